// The outer form of a capsule file: prelude, header, places of the parts. Used by encoder and
// decoder; everyone else reads codec.h.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <expected>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "base/result.h"
#include "capsule/format/capsule.h"
#include "capsule/format/codec.h"

namespace perdure::capsule {

inline std::unexpected<Error> corrupt(std::string text) { return fail(ErrorCode::kCorrupt, std::move(text)); }

enum class PartKind : std::uint32_t { kIndex = 1, kImages = 2, kPages = 3 };  // values are on disk
std::string_view to_string(PartKind kind);

struct Part {
  PartKind kind = PartKind::kIndex;
  Compression codec = Compression::kNone;
  std::uint32_t content_bytes = 0;
  std::uint32_t stored_bytes = 0;
  Digest digest;             // of the stored bytes
  std::uint64_t offset = 0;  // in the file; follows from the sizes before it, is not stored
};

struct Layout {
  Manifest manifest;
  Digest digest;  // of the header: the capsule's
  std::vector<Part> parts;
  std::uint64_t header_end = 0;
  std::uint64_t size_bytes = 0;                  // of the file
  std::array<std::uint64_t, 4> content_bytes{};  // by kind

  std::uint64_t content_of(PartKind kind) const {
    return content_bytes[static_cast<std::size_t>(kind)];
  }
};

// Prelude and header. kInvalid: larger than kMaxHeaderBytes.
struct SealedHeader {
  std::string bytes;
  Digest digest;
};
Result<SealedHeader> write_header(const Manifest& manifest, std::span<const Part> parts);

// Verified against the header's digest and all bounds of the part table. kCorrupt.
Result<Layout> read_layout(std::span<const std::byte> beginning);

// Sets the offsets: parts follow the header without gaps, but that uncompressed pages begin at a
// multiple of kPageSize. Returns the size of the file.
std::uint64_t place_parts(std::uint64_t header_end, std::span<Part> parts);

// The canonical (big-endian) form.
using DigestBytes = std::array<char, 16>;
DigestBytes to_bytes(const Digest& digest);
Digest digest_from_bytes(const char* bytes);

}  // namespace perdure::capsule
