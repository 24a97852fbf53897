#include "replica/sealed_file_system.h"

#include <algorithm>
#include <cstring>
#include <format>
#include <optional>
#include <utility>

#include "base/units.h"
#include "pki/sealing.h"

namespace perdure::replica {
namespace {

class SealedNewFile final : public NewFile {
 public:
  static Result<std::unique_ptr<NewFile>> begin(const pki::SealingKey& key, std::unique_ptr<NewFile> file,
                                                const std::string& path) {
    const auto write = [inner = file.get()](std::span<const std::byte> sealed) {
      return inner->append(std::span(&sealed, 1));
    };
    PERDURE_ASSIGN(pki::Sealer sealer, pki::Sealer::begin(key, write));
    return std::unique_ptr<NewFile>(new SealedNewFile(std::move(file), std::move(sealer), path));
  }

  Status append(std::span<const std::span<const std::byte>> pieces) override {
    if (finished_)
      return fail(ErrorCode::kInvalid, std::format("append to '{}': a sealed file ends when it is synced", path_));
    for (const auto piece : pieces) PERDURE_TRY(sealer_.append(piece));
    return {};
  }

  Status sync() override {
    if (!finished_) PERDURE_TRY(sealer_.finish());
    finished_ = true;
    return file_->sync();
  }

 private:
  SealedNewFile(std::unique_ptr<NewFile> file, pki::Sealer sealer, std::string path)
      : file_(std::move(file)), sealer_(std::move(sealer)), path_(std::move(path)) {}

  std::unique_ptr<NewFile> file_;
  pki::Sealer sealer_;
  std::string path_;
  bool finished_ = false;
};

// Reads from what lies in memory.
pki::Opener::Read reader_of(std::string_view bytes) {
  return [rest = std::as_bytes(std::span(bytes))](std::span<std::byte> into) mutable -> Status {
    if (into.size() > rest.size()) return fail(ErrorCode::kCorrupt, "it ends early");
    std::ranges::copy(rest.first(into.size()), into.begin());
    rest = rest.subspan(into.size());
    return {};
  };
}

template <typename T>
Result<T> named(Result<T> result, const std::string& path) {
  if (!result) return fail(std::move(result).error().context(std::format("open sealed '{}'", path)));
  return result;
}

struct Look {
  std::uint64_t file_bytes = 0;
  std::optional<std::uint64_t> content_bytes;  // absent: it is not sealed
};
Result<Look> look_at(FileSystem& files, const std::string& path) {
  Look look;
  PERDURE_ASSIGN(look.file_bytes, files.size(path));
  PERDURE_ASSIGN(const std::string beginning, files.read_prefix(path, pki::kSealedHeaderBytes));
  if (!pki::is_sealed(std::as_bytes(std::span(beginning)))) return look;
  PERDURE_ASSIGN(look.content_bytes, named(pki::content_size(look.file_bytes), path));
  return look;
}

Result<std::string> open_prefix(const pki::KeyRing& ring, std::string_view sealed, std::uint64_t file_bytes,
                                std::uint64_t wanted) {
  PERDURE_ASSIGN(pki::Opener opener, pki::Opener::begin(ring, file_bytes, reader_of(sealed)));
  std::string content(wanted, '\0');
  PERDURE_TRY(opener.read(std::as_writable_bytes(std::span(content))));
  return content;
}

Result<capsule::SlabRef> open_all(const pki::KeyRing& ring, std::span<const std::byte> sealed,
                                  std::uint64_t content_bytes) {
  PERDURE_ASSIGN(auto content, capsule::Slab::allocate(content_bytes, capsule::Slab::Prefault::kNo));
  PERDURE_TRY(pki::open_sealed(ring, sealed, content->writable()));
  return content;
}

}  // namespace

SealedFileSystem::SealedFileSystem(std::shared_ptr<FileSystem> inner, std::shared_ptr<const pki::KeyRing> ring)
    : below_(std::move(inner)), inner_(*below_), ring_(std::move(ring)) {}

void SealedFileSystem::use(std::shared_ptr<const pki::KeyRing> ring) {
  const std::scoped_lock guard(mutex_);
  ring_.swap(ring);
}

void SealedFileSystem::seal(bool seals) {
  const std::scoped_lock guard(mutex_);
  seals_ = seals;
}

std::shared_ptr<const pki::KeyRing> SealedFileSystem::ring() const {
  const std::scoped_lock guard(mutex_);
  return ring_;
}

std::shared_ptr<const pki::KeyRing> SealedFileSystem::ring_to_seal_with() const {
  const std::scoped_lock guard(mutex_);
  return seals_ ? ring_ : nullptr;
}

Result<std::unique_ptr<NewFile>> SealedFileSystem::create(const std::string& path) {
  const auto keys = ring_to_seal_with();
  if (keys == nullptr) return inner_.create(path);
  if (keys->empty()) {
    return fail(ErrorCode::kPermission, std::format("create '{}': the key ring has no key to seal it with", path));
  }
  PERDURE_ASSIGN(std::unique_ptr<NewFile> file, inner_.create(path));
  return SealedNewFile::begin(keys->newest(), std::move(file), path);
}

Result<std::uint64_t> SealedFileSystem::size(const std::string& path) {
  PERDURE_ASSIGN(const Look look, look_at(inner_, path));
  return look.content_bytes.value_or(look.file_bytes);
}

Result<std::string> SealedFileSystem::read_prefix(const std::string& path, std::size_t size_bytes) {
  PERDURE_ASSIGN(const Look look, look_at(inner_, path));
  if (!look.content_bytes) return inner_.read_prefix(path, size_bytes);
  const std::uint64_t wanted = std::min<std::uint64_t>(size_bytes, *look.content_bytes);
  PERDURE_ASSIGN(const std::string sealed,
                 inner_.read_prefix(path, std::min(pki::sealed_prefix_size(wanted), look.file_bytes)));
  const auto keys = ring();
  return named(open_prefix(keys ? *keys : pki::KeyRing(), sealed, look.file_bytes, wanted), path);
}

Result<capsule::SlabRef> SealedFileSystem::load(const std::string& path, std::uint64_t limit_bytes) {
  PERDURE_ASSIGN(const Look look, look_at(inner_, path));
  if (!look.content_bytes) return inner_.load(path, limit_bytes);
  if (*look.content_bytes > limit_bytes) {
    return fail(ErrorCode::kNoSpace,
                std::format("'{}' has {} of content, at most {} are read", path,
                            format_bytes(Bytes{*look.content_bytes}), format_bytes(Bytes{limit_bytes})));
  }
  PERDURE_ASSIGN(const capsule::SlabRef sealed, inner_.load(path, look.file_bytes));
  const auto keys = ring();
  return named(open_all(keys ? *keys : pki::KeyRing(), sealed->bytes(), *look.content_bytes), path);
}

Status SealedFileSystem::make_directories(const std::string& path) {
  return inner_.make_directories(path);
}
Status SealedFileSystem::rename_new(const std::string& from, const std::string& to) {
  return inner_.rename_new(from, to);
}
Status SealedFileSystem::remove(const std::string& path) {
  return inner_.remove(path);
}
Status SealedFileSystem::sync_directory(const std::string& path) {
  return inner_.sync_directory(path);
}
Result<std::vector<std::string>> SealedFileSystem::list(const std::string& path) {
  return inner_.list(path);
}
Result<std::unique_ptr<StoreLock>> SealedFileSystem::lock(const std::string& path) {
  return inner_.lock(path);
}

}  // namespace perdure::replica
