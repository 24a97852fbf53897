#include "pki/chunk_cipher.h"

#include <algorithm>
#include <format>
#include <string>
#include <utility>

#include "base/assert.h"
#include "pki/crypto.h"

namespace perdure::pki {
namespace {

constexpr std::string_view kMagic = "PERDSEA1";
constexpr std::uint32_t kVersion = 1;
constexpr std::size_t kVersionAt = 8;
constexpr std::size_t kKeyIdAt = 12;
constexpr std::size_t kMarkAt = 16;
constexpr std::size_t kMarkBytes = 8;
constexpr std::size_t kRandomAt = 24;
constexpr std::size_t kRandomBytes = 16;
constexpr std::size_t kDigestAt = 40;
constexpr std::size_t kDigestBytes = 8;
static_assert(kDigestAt + kDigestBytes == kSealedHeaderBytes);
constexpr std::string_view kPurpose = "perdure sealed file 1";
constexpr std::string_view kMarkPurpose = "perdure sealing key's mark 1";
constexpr std::size_t kNonceNumberAt = 8;

std::string numbers_of(const KeyRing& ring) {
  if (ring.empty()) return "none";
  std::string text;
  for (const SealingKey& key : ring.keys()) text += std::format("{}{}", text.empty() ? "" : ", ", key.id);
  return text;
}

std::span<const std::byte> mark_in(const SealedHeader& header) {
  return std::span(header).subspan(kMarkAt, kMarkBytes);
}
std::span<const std::byte> random_in(const SealedHeader& header) {
  return std::span(header).subspan(kRandomAt, kRandomBytes);
}

using KeyMark = std::array<std::byte, kMarkBytes>;
Result<KeyMark> mark_of(const SealingKey& key) {
  PERDURE_ASSIGN(const Key256 derived, derive_key(key.key, {}, kMarkPurpose));
  KeyMark mark{};
  std::copy_n(derived.begin(), mark.size(), mark.begin());
  return mark;
}

std::array<std::byte, kDigestBytes> digest_of(const SealedHeader& header) {
  const Sha256Digest whole = sha256(std::span(header).first(kDigestAt));
  std::array<std::byte, kDigestBytes> digest{};
  std::copy_n(whole.begin(), digest.size(), digest.begin());
  return digest;
}

// kCorrupt.
Status check_header(const SealedHeader& header) {
  if (!is_sealed(header)) return fail(ErrorCode::kCorrupt, "not sealed content: its header is damaged");
  const auto version = get_little_endian<std::uint32_t>(header.data() + kVersionAt);
  if (version != kVersion) {
    return fail(ErrorCode::kCorrupt,
                std::format("sealed content of version {}, only {} is known: damaged, or of a newer perdure", version,
                            kVersion));
  }
  if (!std::ranges::equal(digest_of(header), std::span(header).subspan(kDigestAt))) {
    return fail(ErrorCode::kCorrupt, "the header of sealed content does not verify");
  }
  return {};
}

Result<const SealingKey*> key_for(const KeyRing& ring, const SealedHeader& header) {
  const auto id = get_little_endian<std::uint32_t>(header.data() + kKeyIdAt);
  const SealingKey* const key = ring.find(id);
  if (key == nullptr) {
    return fail(ErrorCode::kPermission,
                std::format("sealed with key {}, which is not in the key ring (keys there: {})", id, numbers_of(ring)));
  }
  PERDURE_ASSIGN(const KeyMark mark, mark_of(*key));
  if (std::ranges::equal(mark, mark_in(header))) return key;
  return fail(
      ErrorCode::kPermission,
      std::format("sealed with a key {} ({}) that is not the key {} in the key ring ({}): it is of another cluster", id,
                  to_hex(mark_in(header)), id, to_hex(mark)));
}

}  // namespace

std::uint64_t sealed_size(std::uint64_t content_bytes) {
  return kSealedHeaderBytes + content_bytes + chunk_count(content_bytes) * kTagBytes;
}

std::uint64_t sealed_prefix_size(std::uint64_t content_bytes) {
  return kSealedHeaderBytes + chunk_count(content_bytes) * kSealedChunkBytes;
}

Result<std::uint64_t> content_size(std::uint64_t sealed_bytes) {
  const auto impossible = [&] {
    return fail(ErrorCode::kCorrupt,
                std::format("a sealed file cannot have {} bytes: it is cut or damaged", sealed_bytes));
  };
  if (sealed_bytes < kSealedHeaderBytes + kTagBytes || sealed_bytes > sealed_size(kMaxSealedContentBytes))
    return impossible();
  const std::uint64_t rest = sealed_bytes - kSealedHeaderBytes;
  const std::uint64_t chunks = (rest - 1) / kSealedChunkBytes + 1;
  const std::uint64_t last = rest - (chunks - 1) * kSealedChunkBytes;
  if (last < kTagBytes || (last == kTagBytes && chunks > 1)) return impossible();
  return rest - chunks * kTagBytes;
}

bool is_sealed(std::span<const std::byte> beginning) {
  return beginning.size() >= kMagic.size() && std::ranges::equal(beginning.first(kMagic.size()), bytes_of(kMagic));
}

std::unexpected<Error> ends_early(std::uint64_t chunk) {
  return fail(ErrorCode::kCorrupt, std::format("sealed content ends early, in chunk {}", chunk));
}

Result<ChunkCipher> ChunkCipher::for_new_file(const SealingKey& key) {
  SealedHeader header{};
  std::ranges::copy(bytes_of(kMagic), header.begin());
  put_little_endian(header.data() + kVersionAt, kVersion);
  put_little_endian(header.data() + kKeyIdAt, key.id);
  PERDURE_ASSIGN(const KeyMark mark, mark_of(key));
  std::ranges::copy(mark, header.begin() + kMarkAt);
  PERDURE_TRY(random_bytes(std::span(header).subspan(kRandomAt, kRandomBytes)));
  std::ranges::copy(digest_of(header), header.begin() + kDigestAt);
  return create(header, key, Direction::kSeal);
}

Result<ChunkCipher> ChunkCipher::for_file(const KeyRing& ring, std::span<const std::byte, kSealedHeaderBytes> bytes) {
  SealedHeader header{};
  std::ranges::copy(bytes, header.begin());
  PERDURE_TRY(check_header(header));
  PERDURE_ASSIGN(const SealingKey* const key, key_for(ring, header));
  return create(header, *key, Direction::kOpen);
}

Result<ChunkCipher> ChunkCipher::create(const SealedHeader& header, const SealingKey& key, Direction direction) {
  const ErrorScope errors;
  PERDURE_ASSIGN(Key256 file_key, derive_key(key.key, random_in(header), kPurpose));
  Owned<EVP_CIPHER_CTX> context(EVP_CIPHER_CTX_new());
  const bool good = context != nullptr && EVP_CipherInit_ex2(context.get(), EVP_aes_256_gcm(), raw(file_key.data()),
                                                             nullptr, static_cast<int>(direction), nullptr) == 1;
  wipe(file_key);
  if (!good) return fail_openssl(ErrorCode::kIo, "begin AES-256-GCM");
  return ChunkCipher(header, std::move(context));
}

bool ChunkCipher::begin(ChunkPlace place) {
  std::array<std::byte, kNonceBytes> nonce{};
  put_little_endian(nonce.data() + kNonceNumberAt, place.number);
  std::array<std::byte, kSealedHeaderBytes + sizeof place.number + 1> associated{};
  std::ranges::copy(header_, associated.begin());
  put_little_endian(associated.data() + kSealedHeaderBytes, place.number);
  associated.back() = static_cast<std::byte>(place.last);
  int size = 0;
  return EVP_CipherInit_ex2(context_.get(), nullptr, nullptr, raw(nonce.data()), -1, nullptr) == 1 &&
         EVP_CipherUpdate(context_.get(), nullptr, &size, raw(associated.data()), associated.size()) == 1;
}

Status ChunkCipher::seal(ChunkPlace place, std::span<const std::byte> content, std::span<std::byte> sealed) {
  PERDURE_ASSERT(content.size() <= kChunkBytes && sealed.size() == content.size() + kTagBytes);
  const ErrorScope errors;
  int size = 0;
  std::byte* const tag = sealed.data() + content.size();
  if (!begin(place) ||
      (!content.empty() && EVP_CipherUpdate(context_.get(), raw(sealed.data()), &size, raw(content.data()),
                                            static_cast<int>(content.size())) != 1) ||
      EVP_CipherFinal_ex(context_.get(), raw(tag), &size) != 1 ||
      EVP_CIPHER_CTX_ctrl(context_.get(), EVP_CTRL_AEAD_GET_TAG, kTagBytes, tag) != 1) {
    return fail_openssl(ErrorCode::kIo, std::format("seal chunk {}", place.number));
  }
  return {};
}

Status ChunkCipher::open(ChunkPlace place, std::span<const std::byte> sealed, std::span<std::byte> content) {
  PERDURE_ASSERT(content.size() <= kChunkBytes && sealed.size() == content.size() + kTagBytes);
  const ErrorScope errors;
  int size = 0;
  std::array<std::byte, kTagBytes> tag{};
  std::ranges::copy(sealed.last(kTagBytes), tag.begin());
  std::array<std::byte, kTagBytes> nothing{};
  if (!begin(place) || EVP_CIPHER_CTX_ctrl(context_.get(), EVP_CTRL_AEAD_SET_TAG, kTagBytes, tag.data()) != 1) {
    return fail_openssl(ErrorCode::kIo, std::format("open chunk {}", place.number));
  }
  if ((!content.empty() && EVP_CipherUpdate(context_.get(), raw(content.data()), &size, raw(sealed.data()),
                                            static_cast<int>(content.size())) != 1) ||
      EVP_CipherFinal_ex(context_.get(), raw(nothing.data()), &size) != 1) {
    wipe(content);  // nothing unverified is left for anybody to use
    return fail(ErrorCode::kCorrupt,
                std::format("chunk {} of sealed content does not verify: it was changed, cut or moved", place.number));
  }
  return {};
}

}  // namespace perdure::pki
