#include "replica/transfer.h"

#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <format>
#include <string>

#include "base/fd.h"
#include "replica/file_system.h"

namespace perdure::replica {
namespace {

Status read_exactly(int fd, std::span<std::byte> target, std::string_view what) {
  PERDURE_ASSIGN(const std::size_t got, read_up_to(fd, target, what));
  if (got < target.size()) {
    return fail(ErrorCode::kCorrupt,
                std::format("it ends early, {} bytes are missing", target.size() - got));
  }
  return {};
}

struct Beginning {
  std::string bytes;  // prelude and header
  capsule::CapsuleInfo info;
};

Result<Beginning> read_beginning(int fd, std::string_view what) {
  Beginning beginning;
  beginning.bytes.resize(capsule::kPreludeBytes);
  PERDURE_TRY(read_exactly(fd, std::as_writable_bytes(std::span(beginning.bytes)), what));
  PERDURE_ASSIGN(const std::size_t needed,
                 capsule::info_size(std::as_bytes(std::span(beginning.bytes))));
  beginning.bytes.resize(needed);
  PERDURE_TRY(read_exactly(
      fd, std::as_writable_bytes(std::span(beginning.bytes)).subspan(capsule::kPreludeBytes),
      what));
  PERDURE_ASSIGN(beginning.info, capsule::read_info(std::as_bytes(std::span(beginning.bytes))));
  return beginning;
}

Status check_acceptable(const capsule::CapsuleInfo& info, Bytes limit) {
  if (info.manifest.parent) {
    return fail(ErrorCode::kInvalid,
                std::format("it is a delta on {} and of no use without that; write it with "
                            "'perdure export'",
                            to_string(*info.manifest.parent)));
  }
  const std::uint64_t needed = std::max(info.size_bytes, info.content_bytes);
  if (needed > limit.count) {
    return fail(ErrorCode::kNoSpace, std::format("it needs {} of memory, at most {} are allowed",
                                                 format_bytes(Bytes{needed}), format_bytes(limit)));
  }
  return {};
}

Result<ImportedCapsule> import_capsule(int fd, Bytes limit, std::string_view what) {
  PERDURE_ASSIGN(const Beginning beginning, read_beginning(fd, what));
  PERDURE_TRY(check_acceptable(beginning.info, limit));
  PERDURE_ASSIGN(const auto file,
                 capsule::Slab::allocate(beginning.info.size_bytes, capsule::Slab::Prefault::kNo));
  std::memcpy(file->writable().data(), beginning.bytes.data(), beginning.bytes.size());
  PERDURE_TRY(read_exactly(fd, file->writable().subspan(beginning.bytes.size()), what));
  std::byte more{};
  PERDURE_ASSIGN(const std::size_t behind, read_up_to(fd, std::span(&more, 1), what));
  if (behind != 0) return fail(ErrorCode::kCorrupt, "there are bytes behind the capsule's end");
  PERDURE_ASSIGN(capsule::Capsule decoded, capsule::decode(file, nullptr, nullptr));
  return ImportedCapsule{beginning.info.digest,
                         std::make_shared<const capsule::Capsule>(std::move(decoded))};
}

}  // namespace

Result<ExportReceipt> write_export(int fd, const capsule::Capsule& capsule, std::string_view what,
                                   const capsule::CodecOptions& options) {
  PERDURE_ASSIGN(const capsule::EncodedCapsule encoded,
                 capsule::encode(capsule, nullptr, nullptr, options));
  PERDURE_TRY(write_pieces(fd, encoded.pieces, std::string(what)));
  struct stat status{};
  if (::fstat(fd, &status) != 0) return fail_errno(std::format("look at {}", what));
  if (S_ISREG(status.st_mode) && ::fsync(fd) != 0) {
    return fail_errno(std::format("sync {}", what));
  }
  return ExportReceipt{encoded.digest, Bytes{encoded.size_bytes}};
}

Result<ImportedCapsule> read_import(int fd, Bytes limit, std::string_view what) {
  auto imported = import_capsule(fd, limit, what);
  if (!imported) return fail(std::move(imported).error().context(std::format("import {}", what)));
  return imported;
}

}  // namespace perdure::replica
