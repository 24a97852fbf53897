// Fuzzes the decoder. Digests would stop nearly every input at the door, so each input is tried
// twice: as it is, and with all digests made right for what it says.
#include <cstdint>
#include <span>
#include <string>

#include "capsule.pb.h"
#include "capsule/format/codec.h"
#include "capsule/format/layout.h"
#include "capsule/format/test_capsules.h"

namespace {

using namespace perdure::capsule;

constexpr std::size_t kMaxInputBytes = std::size_t{1} << 20;
constexpr std::uint64_t kContentLimitBytes = std::uint64_t{16} << 20;

std::string with_digests(std::string_view file) {
  if (file.size() < kPreludeBytes) return std::string(file);
  std::uint32_t header_bytes = 0;
  for (std::size_t i = 0; i < 4; ++i) {
    header_bytes |= static_cast<std::uint32_t>(static_cast<unsigned char>(file[12 + i])) << (8 * i);
  }
  const std::string_view body = file.substr(kPreludeBytes, header_bytes);
  v1::Header header;
  if (!header.ParseFromArray(body.data(), static_cast<int>(body.size()))) return std::string(file);
  const std::string_view rest = file.substr(kPreludeBytes + body.size());

  std::vector<Part> parts;
  for (int i = 0; i < header.part_kind_size(); ++i) {
    if (i >= header.part_codec_size() || i >= header.part_stored_bytes_size()) break;
    Part part;
    part.kind = static_cast<PartKind>(header.part_kind(i));
    part.codec = static_cast<Compression>(header.part_codec(i));
    part.stored_bytes = header.part_stored_bytes(i);
    parts.push_back(part);
  }
  place_parts(kPreludeBytes + body.size(), parts);
  std::vector<std::string> stored;
  std::string digests;
  for (const Part& part : parts) {
    const std::uint64_t at = part.offset - kPreludeBytes - body.size();
    stored.emplace_back(at < rest.size() ? rest.substr(at, part.stored_bytes) : std::string_view());
    if (part.stored_bytes <= kMaxInputBytes) stored.back().resize(part.stored_bytes);
    const DigestBytes digest = to_bytes(digest_of(std::as_bytes(std::span(stored.back()))));
    digests.append(digest.data(), digest.size());
  }
  header.set_part_digests(digests);

  const std::string sealed_body = header.SerializeAsString();
  std::string sealed("PERDCAP1\x01\0\0\0", 12);
  for (int i = 0; i < 4; ++i) sealed += static_cast<char>(sealed_body.size() >> (8 * i));
  const DigestBytes digest = to_bytes(digest_of(std::as_bytes(std::span(sealed_body))));
  sealed.append(digest.data(), digest.size());
  sealed += sealed_body;
  place_parts(sealed.size(), parts);
  for (std::size_t i = 0; i < parts.size() && sealed.size() < 4 * kMaxInputBytes; ++i) {
    sealed.resize(parts[i].offset);
    sealed += stored[i];
  }
  return sealed;
}

void try_decoding(std::string_view bytes, const Capsule& parent) {
  const SlabRef file = testing::slab_of(bytes);
  DecodeOptions options;
  options.content_limit_bytes = kContentLimitBytes;
  const auto info = read_info(file->bytes());
  const Digest digest =
      info && info->manifest.parent_digest ? *info->manifest.parent_digest : Digest{};
  const auto decoded = decode(file, &parent, &digest, options);
  if (!decoded) return;
  // What the decoder hands out, the encoder takes, and it comes back the same.
  const EncodedCapsule again = testing::encoded_full(*decoded, Compression::kLz4);
  const auto back = decode(testing::slab_of(testing::joined(again)), nullptr, nullptr);
  PERDURE_ASSERT(back.has_value() && testing::same_state(*back, *decoded));
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size > kMaxInputBytes) return 0;
  static const Capsule parent = testing::small_capsule(7);
  const std::string_view bytes(reinterpret_cast<const char*>(data), size);
  try_decoding(bytes, parent);
  try_decoding(with_digests(bytes), parent);
  return 0;
}
