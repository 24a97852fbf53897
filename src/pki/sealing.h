// Sealed bytes at rest: AES-256-GCM in chunks, so that a large file is written and read as a stream, a part of it can be read, and a
// change, a cut or a reordering of chunks is noticed.
//
// Layout (little endian): magic "PERDSEA1", u32 version 1, u32 key id, 8 random bytes of the file, 8 zero bytes: 32 bytes. Then chunks of
// kChunkBytes of content (the last one shorter, never empty but for an empty content), each followed by its tag of 16. Nonce of a chunk: the file's 8 bytes and its
// number (u32). Associated data: the header, the number and whether it is the last.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string_view>

#include "base/result.h"
#include "pki/key_ring.h"

namespace perdure::pki {

inline constexpr std::size_t kSealedHeaderBytes = 32;
inline constexpr std::size_t kChunkBytes = std::size_t{1} << 20;
inline constexpr std::size_t kTagBytes = 16;
inline constexpr std::uint64_t kMaxSealedContentBytes = std::uint64_t{1} << 40;

std::uint64_t sealed_size(std::uint64_t content_bytes);
// kCorrupt: no file can be this long.
Result<std::uint64_t> content_size(std::uint64_t sealed_bytes);
bool is_sealed(std::span<const std::byte> beginning);

// Writes sealed bytes through `write` as content comes in.
class Sealer {
 public:
  using Write = std::function<Status(std::span<const std::byte>)>;
  static Result<Sealer> begin(const SealingKey& key, Write write);
  Status append(std::span<const std::byte> content);
  Status finish();  // once; without it the file does not open

  Sealer(Sealer&&) noexcept;
  Sealer& operator=(Sealer&&) noexcept;
  ~Sealer();

 private:
  struct State;
  explicit Sealer(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

// Reads `sealed` through `read` (exactly as many bytes as asked, from the place where the last call ended) and hands the
// content out in order. kCorrupt: names the chunk. kPermission: sealed under a key that the ring does not hold; names its number.
class Opener {
 public:
  using Read = std::function<Status(std::span<std::byte>)>;
  static Result<Opener> begin(const KeyRing& ring, std::uint64_t sealed_bytes, Read read);
  std::uint64_t content_bytes() const;
  // Fills `into` with what follows; its size must not go beyond the end of the content.
  Status read(std::span<std::byte> into);

  Opener(Opener&&) noexcept;
  Opener& operator=(Opener&&) noexcept;
  ~Opener();

 private:
  struct State;
  explicit Opener(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

}  // namespace perdure::pki
