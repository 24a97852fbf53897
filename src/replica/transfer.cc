#include "replica/transfer.h"

#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <format>
#include <functional>
#include <memory>
#include <string>
#include <utility>

#include "base/fd.h"
#include "pki/sealing.h"
#include "replica/file_system.h"

namespace perdure::replica {
namespace {

// Fills as much as there is: fewer bytes than asked for only at the end.
using Source = std::function<Result<std::size_t>(std::span<std::byte>)>;

Status read_exactly(const Source& source, std::span<std::byte> target) {
  PERDURE_ASSIGN(const std::size_t got, source(target));
  if (got < target.size()) {
    return fail(ErrorCode::kCorrupt,
                std::format("it ends early, {} bytes are missing", target.size() - got));
  }
  return {};
}

Source source_of(int fd, std::string_view what) {
  return [fd, what](std::span<std::byte> into) { return read_up_to(fd, into, what); };
}

// What follows the magic, opened.
Result<Source> opened(const Source& source, std::span<const std::byte> magic, const pki::KeyRing* ring) {
  std::array<std::byte, pki::kSealedHeaderBytes> header{};
  std::ranges::copy(magic, header.begin());
  PERDURE_TRY(read_exactly(source, std::span(header).subspan(magic.size())));
  auto opener = pki::StreamOpener::begin(ring != nullptr ? *ring : pki::KeyRing(), header, source);
  if (!opener && opener.error().code() == ErrorCode::kPermission) {
    return fail(ErrorCode::kPermission,
                std::format("it is {}; it was exported in another cluster, or this node has lost its keys: "
                            "import it in the cluster that made it",
                            opener.error().message()));
  }
  if (!opener) return fail(std::move(opener).error());
  // Source can be copied.
  auto shared = std::make_shared<pki::StreamOpener>(std::move(*opener));
  return [shared](std::span<std::byte> into) { return shared->read(into); };
}

static_assert(capsule::kPreludeBytes <= pki::kSealedHeaderBytes);
struct Beginning {
  std::string bytes;  // prelude and header
  capsule::CapsuleInfo info;
};

std::span<std::byte> writable(std::string& text) { return std::as_writable_bytes(std::span(text)); }

// `source` is then what stands behind it, opened if it is sealed.
Result<Beginning> read_beginning(Source& source, const pki::KeyRing* ring) {
  Beginning beginning;
  beginning.bytes.resize(capsule::kPreludeBytes);
  PERDURE_TRY(read_exactly(source, writable(beginning.bytes)));
  if (pki::is_sealed(writable(beginning.bytes))) {
    PERDURE_ASSIGN(source, opened(source, writable(beginning.bytes), ring));
    PERDURE_TRY(read_exactly(source, writable(beginning.bytes)));
  }
  PERDURE_ASSIGN(const std::size_t needed,
                 capsule::info_size(std::as_bytes(std::span(beginning.bytes))));
  beginning.bytes.resize(needed);
  PERDURE_TRY(read_exactly(source, writable(beginning.bytes).subspan(capsule::kPreludeBytes)));
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

Result<ImportedCapsule> import_capsule(Source source, Bytes limit, const pki::KeyRing* ring) {
  PERDURE_ASSIGN(const Beginning beginning, read_beginning(source, ring));
  PERDURE_TRY(check_acceptable(beginning.info, limit));
  PERDURE_ASSIGN(const auto file,
                 capsule::Slab::allocate(beginning.info.size_bytes, capsule::Slab::Prefault::kNo));
  std::memcpy(file->writable().data(), beginning.bytes.data(), beginning.bytes.size());
  PERDURE_TRY(read_exactly(source, file->writable().subspan(beginning.bytes.size())));
  std::byte more{};
  PERDURE_ASSIGN(const std::size_t behind, source(std::span(&more, 1)));
  if (behind != 0) return fail(ErrorCode::kCorrupt, "there are bytes behind the capsule's end");
  PERDURE_ASSIGN(capsule::Capsule decoded, capsule::decode(file, nullptr, nullptr));
  return ImportedCapsule{beginning.info.digest,
                         std::make_shared<const capsule::Capsule>(std::move(decoded))};
}

// How many bytes there were.
Result<std::uint64_t> write_sealed(int fd, std::span<const std::span<const std::byte>> pieces, const std::string& what,
                                   const pki::KeyRing& ring) {
  if (ring.empty()) {
    return fail(ErrorCode::kPermission, std::format("write {}: the key ring has no key to seal it with", what));
  }
  std::uint64_t size_bytes = 0;
  const auto write = [&](std::span<const std::byte> sealed) {
    size_bytes += sealed.size();
    return write_all(fd, sealed, what);
  };
  PERDURE_ASSIGN(pki::Sealer sealer, pki::Sealer::begin(ring.newest(), write));
  for (const auto piece : pieces) PERDURE_TRY(sealer.append(piece));
  PERDURE_TRY(sealer.finish());
  return size_bytes;
}

}  // namespace

Result<ExportReceipt> write_export(int fd, const capsule::Capsule& capsule, std::string_view what,
                                   const capsule::CodecOptions& options, const pki::KeyRing* ring) {
  PERDURE_ASSIGN(const capsule::EncodedCapsule encoded,
                 capsule::encode(capsule, nullptr, nullptr, options));
  std::uint64_t size_bytes = encoded.size_bytes;
  if (ring != nullptr) {
    PERDURE_ASSIGN(size_bytes, write_sealed(fd, encoded.pieces, std::string(what), *ring));
  } else {
    PERDURE_TRY(write_pieces(fd, encoded.pieces, std::string(what)));
  }
  struct stat status{};
  if (::fstat(fd, &status) != 0) return fail_errno(std::format("look at {}", what));
  if (S_ISREG(status.st_mode) && ::fsync(fd) != 0) {
    return fail_errno(std::format("sync {}", what));
  }
  return ExportReceipt{encoded.digest, Bytes{size_bytes}};
}

Result<ImportedCapsule> read_import(int fd, Bytes limit, std::string_view what, const pki::KeyRing* ring) {
  auto imported = import_capsule(source_of(fd, what), limit, ring);
  if (!imported) return fail(std::move(imported).error().context(std::format("import {}", what)));
  return imported;
}

}  // namespace perdure::replica
