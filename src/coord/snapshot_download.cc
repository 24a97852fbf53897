#include "coord/snapshot_download.h"

#include <fcntl.h>
#include <unistd.h>

#include <filesystem>
#include <format>
#include <span>
#include <utility>

#include "coord/etcd_messages.h"
#include "io/atomic_file.h"

namespace perdure::coord {
namespace {

constexpr std::string_view kSnapshotMethod = "/etcdserverpb.Maintenance/Snapshot";
constexpr std::size_t kDigestBytes = 32;
constexpr mode_t kSnapshotMode = 0600;  // it holds all that etcd holds

std::string temporary(const std::string& path) { return path + ".tmp"; }

std::string to_hex(std::string_view bytes) {
  std::string text;
  for (const char c : bytes) text += std::format("{:02x}", static_cast<unsigned char>(c));
  return text;
}

// One chunk is read, then written, then the next is read: memory is bounded, and the loop never writes.
class Download : public std::enable_shared_from_this<Download> {
 public:
  Download(io::Loop& loop, EtcdCaller& caller, io::Pool& pool, io::Lifetime::Token owner, std::string path, Instant deadline,
           Answer<SnapshotFile> answer)
      : loop_(loop),
        caller_(caller),
        pool_(pool),
        owner_(std::move(owner)),
        path_(std::move(path)),
        deadline_(deadline),
        answer_(std::move(answer)) {}

  void begin() {
    on_pool([path = path_] { return SnapshotWriter::create(path); },
            [this](Result<std::shared_ptr<SnapshotWriter>> writer) {
              if (!writer) return finish(fail(std::move(writer.error())));
              writer_ = std::move(*writer);
              open();
            });
  }

 private:
  template <typename Work, typename Done>
  void on_pool(Work work, Done done) {
    const Status queued = pool_.submit(loop_, lifetime_, std::move(work),
                                       [self = shared_from_this(), done](auto result) {
                                         if (self->owner_.alive()) done(std::move(result));
                                       });
    if (!queued) finish(fail(queued.error()));
  }

  void open() {
    channel_ = caller_.best();
    RpcStreamHandlers handlers;
    // Whoever holds the stream holds this; the end takes both away.
    handlers.on_message = [self = shared_from_this()](const std::string& bytes) { self->take(bytes); };
    handlers.on_end = [self = shared_from_this()](const RpcStatus& status) { self->ended(status); };
    stream_ = caller_.transport().open({channel_, std::string(kSnapshotMethod), deadline_, Leader::kNotNeeded}, std::move(handlers));
    stream_->send({});  // an empty request
    stream_->sends_done();
    stream_->read();
  }

  void take(const std::string& bytes) {
    if (!owner_.alive()) return stream_.reset();
    auto response = parse_reply<etcdserverpb::SnapshotResponse>(bytes, "take a snapshot");
    if (!response) return finish(fail(response.error()));
    on_pool([writer = writer_, blob = std::move(*response->mutable_blob())] { return writer->append(blob); },
            [this](Status written) {
              if (!written) return finish(fail(std::move(written.error())));
              if (stream_) stream_->read();
            });
  }

  void ended(const RpcStatus& status) {
    if (!owner_.alive()) return;
    if (!status.ok()) {
      return finish(fail(to_error(status, std::format("take a snapshot into '{}'", path_), GrpcTransport::endpoint_of(*channel_))));
    }
    on_pool([writer = writer_] { return writer->finish(); }, [this](Result<SnapshotFile> file) { finish(std::move(file)); });
  }

  void finish(Result<SnapshotFile> result) {
    const auto self = shared_from_this();
    stream_.reset();
    // The file is removed on the pool, too, if there is no place for that: here.
    if (!result && writer_) (void)pool_.submit(loop_, lifetime_, [writer = std::exchange(writer_, nullptr)] {}, [self] {});
    writer_.reset();
    if (const auto answer = std::exchange(answer_, nullptr)) answer(std::move(result));
  }

  io::Loop& loop_;
  EtcdCaller& caller_;
  io::Pool& pool_;
  const io::Lifetime::Token owner_;
  const std::string path_;
  const Instant deadline_;
  Answer<SnapshotFile> answer_;
  std::shared_ptr<Channel> channel_;
  std::unique_ptr<RpcStream> stream_;
  std::shared_ptr<SnapshotWriter> writer_;
  io::Lifetime lifetime_;
};

}  // namespace

Result<std::shared_ptr<SnapshotWriter>> SnapshotWriter::create(const std::string& path) {
  if (::access(path.c_str(), F_OK) == 0) {
    return fail(ErrorCode::kExists, std::format("snapshot '{}' exists already", path));
  }
  PERDURE_ASSIGN(UniqueFd fd, open_file(temporary(path), O_WRONLY | O_CREAT | O_TRUNC, kSnapshotMode));
  return std::shared_ptr<SnapshotWriter>(new SnapshotWriter(path, std::move(fd)));
}

SnapshotWriter::~SnapshotWriter() {
  if (!finished_) (void)::unlink(temporary(path_).c_str());
}

Status SnapshotWriter::append(std::string_view bytes) {
  bytes_ += bytes.size();
  if (bytes_ > kMaxSnapshotBytes) {
    return fail(ErrorCode::kInvalid, std::format("snapshot '{}': more than {} bytes", path_, kMaxSnapshotBytes));
  }
  tail_ += bytes;
  if (tail_.size() > kDigestBytes) {
    const std::size_t content = tail_.size() - kDigestBytes;
    hash_.update(std::string_view(tail_).substr(0, content));
    tail_.erase(0, content);
  }
  return write_all(fd_.get(), std::as_bytes(std::span(bytes)), std::format("snapshot '{}'", path_));
}

Result<SnapshotFile> SnapshotWriter::finish() {
  if (image::digest_hex(hash_.finish()) != to_hex(tail_)) {
    return fail(ErrorCode::kCorrupt, std::format("snapshot '{}': what has come does not have the digest at its end", path_));
  }
  if (::fsync(fd_.get()) != 0) return fail_errno(std::format("fsync '{}'", temporary(path_)));
  if (::rename(temporary(path_).c_str(), path_.c_str()) != 0) {
    return fail_errno(std::format("rename '{}' to '{}'", temporary(path_), path_));
  }
  finished_ = true;
  PERDURE_TRY(io::sync_directory(std::filesystem::path(path_).parent_path()));
  return SnapshotFile{path_, bytes_};
}

void download_snapshot(io::Loop& loop, EtcdCaller& caller, io::Pool& pool, io::Lifetime::Token owner, std::string path,
                       Instant deadline, Answer<SnapshotFile> answer) {
  std::make_shared<Download>(loop, caller, pool, std::move(owner), std::move(path), deadline, std::move(answer))->begin();
}

}  // namespace perdure::coord
