// One file's key and header, and its chunks one by one. Not for other rooms; sealing.h has the layout.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

#include "base/result.h"
#include "pki/crypto.h"
#include "pki/key_ring.h"
#include "pki/sealing.h"

namespace perdure::pki {

using SealedHeader = std::array<std::byte, kSealedHeaderBytes>;
inline constexpr std::size_t kSealedChunkBytes = kChunkBytes + kTagBytes;
inline constexpr std::uint64_t kMaxChunks = kMaxSealedContentBytes / kChunkBytes;

struct ChunkPlace {
  std::uint32_t number = 0;
  bool last = false;
};

class ChunkCipher {
 public:
  static Result<ChunkCipher> for_new_file(const SealingKey& key);
  // kCorrupt: no header. kPermission: the ring has not its key.
  static Result<ChunkCipher> for_file(const KeyRing& ring, std::span<const std::byte, kSealedHeaderBytes> header);

  const SealedHeader& header() const { return header_; }

  // `sealed` is kTagBytes longer than `content`; it may begin at the same place.
  Status seal(ChunkPlace place, std::span<const std::byte> content, std::span<std::byte> sealed);
  Status open(ChunkPlace place, std::span<const std::byte> sealed, std::span<std::byte> content);  // kCorrupt

 private:
  enum class Direction : int { kOpen = 0, kSeal = 1 };
  static Result<ChunkCipher> create(const SealedHeader& header, const SealingKey& key, Direction direction);
  ChunkCipher(const SealedHeader& header, Owned<EVP_CIPHER_CTX> context)
      : header_(header), context_(std::move(context)) {}
  bool begin(ChunkPlace place);

  SealedHeader header_;
  Owned<EVP_CIPHER_CTX> context_;  // holds the file's key and wipes it
};

// The chunks of a file with that much content; at least one.
inline std::uint64_t chunk_count(std::uint64_t content_bytes) {
  return content_bytes == 0 ? 1 : (content_bytes - 1) / kChunkBytes + 1;
}

// A pipe that ended within it.
std::unexpected<Error> ends_early(std::uint64_t chunk);

}  // namespace perdure::pki
