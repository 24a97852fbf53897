// logs: what a container has written, and, with follow, what it writes.
#include <sys/inotify.h>
#include <unistd.h>

#include <array>
#include <format>
#include <memory>
#include <optional>

#include "base/log.h"
#include "io/atomic_file.h"
#include "node/control_request.h"
#include "node/log_reader.h"
#include "node/status_codec.h"

namespace perdure::node {
namespace {

namespace v1 = control::v1;

// Unsent bytes beyond which nothing more is read: a log may be larger than what a connection may hold.
constexpr std::size_t kSendAhead = std::size_t{1} << 20;
// Lines that a container writes one by one are read together.
constexpr Duration kGather = std::chrono::milliseconds(20);
constexpr Duration kPoolAgain = std::chrono::milliseconds(50);

class LogRequest final : public ControlRequest {
 public:
  using ControlRequest::ControlRequest;
  ~LogRequest() override {
    if (service_ != nullptr && service_token_->alive()) service_->remove_listener(listener_);
  }

  void begin() override {
    const v1::LogsRequest& wanted = message().logs();
    service_ = find_or_fail(wanted.name());
    if (service_ == nullptr) return;
    service_token_ = service_->token();
    listener_ = service_->add_listener([this] { changed(); });
    LogReaderOptions options;
    options.directory = service_->paths().logs();
    if (wanted.has_tail_lines()) options.tail_lines = wanted.tail_lines();
    if (wanted.has_since_unix_ms()) options.since_unix_ms = wanted.since_unix_ms();
    if (wanted.follow()) {
      if (Status watching = watch(options.directory); !watching) return fail(watching.error());
    }
    reader_ = std::make_shared<LogReader>(std::move(options));
    pump();
  }

  void drained() override { pump(); }

 private:
  // Before the first look, so that nothing is missed.
  Status watch(const std::string& directory) {
    PERDURE_TRY(io::make_directories(directory, 0700));
    news_.reset(::inotify_init1(IN_NONBLOCK | IN_CLOEXEC));
    if (!news_) return perdure::fail_errno("follow a log: make an inotify instance");
    if (::inotify_add_watch(news_.get(), directory.c_str(), IN_MODIFY | IN_CREATE | IN_MOVED_TO) < 0) {
      return perdure::fail_errno(std::format("follow the log in '{}'", directory));
    }
    PERDURE_ASSIGN(watch_, node().loop().watch_readable(news_.get(), [this] { written(); }));
    return {};
  }

  void written() {
    std::array<char, 4096> events;
    while (::read(news_.get(), events.data(), events.size()) > 0) {
    }
    news_pending_ = true;
    if (!gather_.active()) gather_ = node().loop().after(kGather, [this] { pump(); });
  }

  void changed() {
    if (!service_->removed()) return;
    service_->remove_listener(listener_);
    service_ = nullptr;
    node().loop().post([this, token = lifetime_.token()] {
      if (token.alive()) pump();
    });
  }

  // One piece at a time is on its way: read on the pool, sent here, then the next.
  void pump() {
    if (is_finished() || reading_ || queued_bytes() > kSendAhead) return;
    if (at_end_ && !news_pending_ && is_there()) return;
    news_pending_ = false;
    reading_ = true;
    const Status submitted =
        node().pool().submit(node().loop(), lifetime_, [reader = reader_] { return reader->read(); },
                             [this](Result<LogReader::Batch> batch) { deliver(std::move(batch)); });
    if (submitted) return;
    reading_ = false;
    news_pending_ = true;
    gather_ = node().loop().after(kPoolAgain, [this] { pump(); });
  }

  void deliver(Result<LogReader::Batch> batch) {
    reading_ = false;
    if (!batch) return fail(batch.error());
    for (v1::LogChunk& chunk : batch->chunks) {
      v1::Response response;
      *response.mutable_log() = std::move(chunk);
      if (!send(std::move(response))) return;
    }
    at_end_ = batch->at_end;
    const bool more_may_come = message().logs().follow() && is_there();
    if (at_end_ && !more_may_come) {
      v1::Response response;
      response.mutable_done();
      return finish(std::move(response));
    }
    if (!at_end_ || (news_pending_ && !gather_.active())) pump();
  }

  bool is_there() const { return service_ != nullptr && service_token_->alive(); }

  ContainerService* service_ = nullptr;  // null: removed
  std::optional<io::Lifetime::Token> service_token_;
  std::uint64_t listener_ = 0;
  std::shared_ptr<LogReader> reader_;
  UniqueFd news_;
  io::Watch watch_;
  io::Timer gather_;
  bool news_pending_ = false;
  bool reading_ = false;
  bool at_end_ = false;
};

}  // namespace

std::unique_ptr<ControlRequest> make_log_request(RequestSetup setup) {
  return std::make_unique<LogRequest>(std::move(setup));
}

}  // namespace perdure::node
