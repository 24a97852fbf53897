#include "capsule/format/layout.h"

#include <xxhash.h>

#include <cstring>
#include <format>

#include "capsule.pb.h"
#include "capsule/format/manifest_codec.h"

namespace perdure::capsule {
namespace {

constexpr char kMagic[8] = {'P', 'E', 'R', 'D', 'C', 'A', 'P', '1'};
constexpr std::uint32_t kVersion = 1;
constexpr std::size_t kVersionAt = 8;
constexpr std::size_t kHeaderSizeAt = 12;
constexpr std::size_t kHeaderDigestAt = 16;
constexpr std::size_t kDigestBytes = sizeof(DigestBytes);

void put_u32(char* at, std::uint32_t value) {
  for (int i = 0; i < 4; ++i) at[i] = static_cast<char>(value >> (8 * i));
}

std::uint32_t get_u32(const std::byte* at) {
  std::uint32_t value = 0;
  for (int i = 0; i < 4; ++i) value |= std::to_integer<std::uint32_t>(at[i]) << (8 * i);
  return value;
}

// One element per part in every column.
bool same_columns(const v1::Header& header) {
  const int parts = header.part_kind_size();
  return header.part_codec_size() == parts && header.part_content_bytes_size() == parts &&
         header.part_stored_bytes_size() == parts &&
         header.part_digests().size() == static_cast<std::size_t>(parts) * kDigestBytes;
}

Status check_part(const v1::Header& header, int i) {
  const std::uint32_t kind = header.part_kind(i);
  const std::uint32_t codec = header.part_codec(i);
  const std::uint32_t content = header.part_content_bytes(i);
  const std::uint32_t stored = header.part_stored_bytes(i);
  const bool last_of_kind = i + 1 == header.part_kind_size() || header.part_kind(i + 1) != kind;
  const auto bad = [&](std::string_view what) {
    return corrupt(std::format("part {}: {}", i, what));
  };
  if (kind < 1 || kind > 3 || (i > 0 && kind < header.part_kind(i - 1))) {
    return bad("unknown kind or out of order");
  }
  if (codec > 2) return bad("unknown codec");
  if (content == 0 || content > kPartBytes || (!last_of_kind && content != kPartBytes)) {
    return bad("impossible size");
  }
  if (kind == static_cast<std::uint32_t>(PartKind::kPages) && content % kPageSize != 0) {
    return bad("pages that are not whole");
  }
  if (codec == 0 ? stored != content : (stored == 0 || stored >= content)) {
    return bad("impossible stored size");
  }
  return {};
}

Result<Layout> read_parts(const v1::Header& header) {
  if (!same_columns(header)) return corrupt("part table: columns of different length");
  Layout layout;
  std::uint64_t total = 0;
  layout.parts.reserve(static_cast<std::size_t>(header.part_kind_size()));
  for (int i = 0; i < header.part_kind_size(); ++i) {
    PERDURE_TRY(check_part(header, i));
    Part part;
    part.kind = static_cast<PartKind>(header.part_kind(i));
    part.codec = static_cast<Compression>(header.part_codec(i));
    part.content_bytes = header.part_content_bytes(i);
    part.stored_bytes = header.part_stored_bytes(i);
    part.digest = digest_from_bytes(header.part_digests().data() +
                                    static_cast<std::size_t>(i) * kDigestBytes);
    layout.content_bytes[header.part_kind(i)] += part.content_bytes;
    total += part.content_bytes;
    layout.parts.push_back(part);
  }
  if (total > kMaxContentBytes) return corrupt(std::format("part table: {} bytes in all", total));
  return layout;
}

}  // namespace

std::string_view to_string(PartKind kind) {
  switch (kind) {
    case PartKind::kIndex:
      return "index";
    case PartKind::kImages:
      return "images";
    case PartKind::kPages:
      return "pages";
  }
  return "unknown";
}

Digest digest_of(std::span<const std::byte> bytes) {
  const XXH128_hash_t hash = XXH3_128bits(bytes.data(), bytes.size());
  return Digest{hash.high64, hash.low64};
}

DigestBytes to_bytes(const Digest& digest) {
  XXH128_canonical_t canonical;
  XXH128_canonicalFromHash(&canonical, XXH128_hash_t{.low64 = digest.low, .high64 = digest.high});
  DigestBytes bytes;
  std::memcpy(bytes.data(), canonical.digest, bytes.size());
  return bytes;
}

Digest digest_from_bytes(const char* bytes) {
  XXH128_canonical_t canonical;
  std::memcpy(canonical.digest, bytes, sizeof canonical.digest);
  const XXH128_hash_t hash = XXH128_hashFromCanonical(&canonical);
  return Digest{hash.high64, hash.low64};
}

std::uint64_t place_parts(std::uint64_t header_end, std::span<Part> parts) {
  std::uint64_t at = header_end;
  for (Part& part : parts) {
    if (part.kind == PartKind::kPages && part.codec == Compression::kNone) {
      at = (at + kPageSize - 1) / kPageSize * kPageSize;
    }
    part.offset = at;
    at += part.stored_bytes;
  }
  return at;
}

Result<SealedHeader> write_header(const Manifest& manifest, std::span<const Part> parts) {
  v1::Header header;
  write_manifest(manifest, *header.mutable_manifest());
  for (const Part& part : parts) {
    header.add_part_kind(static_cast<std::uint32_t>(part.kind));
    header.add_part_codec(static_cast<std::uint32_t>(part.codec));
    header.add_part_content_bytes(part.content_bytes);
    header.add_part_stored_bytes(part.stored_bytes);
    const DigestBytes digest = to_bytes(part.digest);
    header.mutable_part_digests()->append(digest.data(), digest.size());
  }
  const std::size_t size = header.ByteSizeLong();
  if (size > kMaxHeaderBytes) {
    return fail(
        ErrorCode::kInvalid,
        std::format("capsule {} of '{}': manifest and part table take {} bytes, at most {} "
                    "fit; the specification or the restore hints are too large",
                    to_string(manifest.generation), manifest.container, size, kMaxHeaderBytes));
  }
  SealedHeader sealed;
  sealed.bytes.assign(kMagic, sizeof kMagic);
  sealed.bytes.resize(kPreludeBytes);
  header.AppendToString(&sealed.bytes);
  const auto body = std::as_bytes(std::span(sealed.bytes)).subspan(kPreludeBytes);
  sealed.digest = digest_of(body);
  put_u32(sealed.bytes.data() + kVersionAt, kVersion);
  put_u32(sealed.bytes.data() + kHeaderSizeAt, static_cast<std::uint32_t>(body.size()));
  const DigestBytes digest = to_bytes(sealed.digest);
  sealed.bytes.replace(kHeaderDigestAt, digest.size(), digest.data(), digest.size());
  return sealed;
}

Result<std::size_t> info_size(std::span<const std::byte> prelude) {
  if (prelude.size() < kPreludeBytes) {
    return corrupt(std::format("header: the file ends after {} bytes", prelude.size()));
  }
  if (std::memcmp(prelude.data(), kMagic, sizeof kMagic) != 0) {
    return corrupt("header: not a capsule (wrong magic number)");
  }
  const std::uint32_t version = get_u32(prelude.data() + kVersionAt);
  if (version != kVersion) {
    return corrupt(
        std::format("header: format version {}, this program reads {}", version, kVersion));
  }
  const std::uint32_t size = get_u32(prelude.data() + kHeaderSizeAt);
  if (size > kMaxHeaderBytes) return corrupt(std::format("header: impossible size {}", size));
  return kPreludeBytes + size;
}

Result<Layout> read_layout(std::span<const std::byte> beginning) {
  PERDURE_ASSIGN(const std::size_t end, info_size(beginning));
  if (beginning.size() < end) {
    return corrupt(std::format("header: {} of {} bytes are there", beginning.size(), end));
  }
  const auto body = beginning.subspan(kPreludeBytes, end - kPreludeBytes);
  const char* stored_digest = reinterpret_cast<const char*>(beginning.data()) + kHeaderDigestAt;
  const Digest digest = digest_of(body);
  if (digest != digest_from_bytes(stored_digest)) return corrupt("header: digest does not match");
  v1::Header header;
  if (!header.ParseFromArray(body.data(), static_cast<int>(body.size()))) {
    return corrupt("header: not a protobuf message");
  }
  PERDURE_ASSIGN(Layout layout, read_parts(header));
  PERDURE_ASSIGN(layout.manifest, read_manifest(header.manifest()));
  layout.digest = digest;
  layout.header_end = end;
  layout.size_bytes = place_parts(end, layout.parts);
  return layout;
}

Result<CapsuleInfo> read_info(std::span<const std::byte> beginning) {
  PERDURE_ASSIGN(Layout layout, read_layout(beginning));
  CapsuleInfo info;
  info.digest = layout.digest;
  info.size_bytes = layout.size_bytes;
  for (const std::uint64_t bytes : layout.content_bytes) info.content_bytes += bytes;
  info.part_count = layout.parts.size();
  info.manifest = std::move(layout.manifest);
  return info;
}

}  // namespace perdure::capsule
