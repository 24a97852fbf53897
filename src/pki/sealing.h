// Sealed bytes at rest: AES-256-GCM in chunks, so that a large file is written and read as a stream, a part of it can
// be read, and a change, a cut or a reordering of chunks is noticed.
//
// Layout (little endian), 48 bytes: magic "PERDSEA1", u32 version 1, u32 key id, 8 bytes of the key's mark, 16 random
// bytes, the first 8 bytes of the SHA-256 of the 40 before. Then chunks of kChunkBytes of content (the last one
// shorter, never empty but for an empty content), each followed by its tag of 16. Each file has a key of its own:
// HKDF-SHA-256 of the ring's key, the random bytes as salt. Nonce of a chunk: 8 zero bytes and its number (u32).
// Associated data: the header, the number (u32) and whether it is the last (u8).
//
// The mark (HKDF of the ring's key as well) tells a key from another cluster's of the same number; the header's digest
// tells damage from a key that is missing.
//
// A key per file, because nonces of 8 random bytes under one key for all would probably repeat: a hundred containers
// with twenty generations a second write 2^32 files in a month, and GCM with a nonce used twice hides nothing any more.
//
// What it does not notice: a sealed file in the place of another one of the same ring, or of an unsealed one where
// those are accepted as well. What the content says of itself (container, generation, parent's digest) settles that.
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

inline constexpr std::size_t kSealedHeaderBytes = 48;
inline constexpr std::size_t kChunkBytes = std::size_t{1} << 20;
inline constexpr std::size_t kTagBytes = 16;
inline constexpr std::uint64_t kMaxSealedContentBytes = std::uint64_t{1} << 40;

std::uint64_t sealed_size(std::uint64_t content_bytes);
// kCorrupt: no file can be this long.
Result<std::uint64_t> content_size(std::uint64_t sealed_bytes);
// How many sealed bytes must be read to open the first `content_bytes` of a longer content: whole chunks.
std::uint64_t sealed_prefix_size(std::uint64_t content_bytes);
bool is_sealed(std::span<const std::byte> beginning);

// All at once, from memory to memory: `content` is as long as content_size() says. Errors as Opener's.
Status open_sealed(const KeyRing& ring, std::span<const std::byte> sealed, std::span<std::byte> content);

// Writes sealed bytes through `write` as content comes in.
class Sealer {
 public:
  using Write = std::function<Status(std::span<const std::byte>)>;
  static Result<Sealer> begin(const SealingKey& key, Write write);
  // An error of `write` is returned, and again by every later call.
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

// Reads sealed bytes through `read` (exactly as many bytes as asked, from the place where the last call ended) and
// hands the content out in order. kCorrupt: names the chunk. kPermission: sealed under a key that the ring does not
// hold; names its number.
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

// The same for what comes through a pipe or a socket: its length is known only when it ends.
class StreamOpener {
 public:
  // Fills as much as there is: fewer bytes than asked for only at the end.
  using Read = std::function<Result<std::size_t>(std::span<std::byte>)>;
  // `header`: the first bytes, which have been read to tell whether it is sealed.
  static Result<StreamOpener> begin(const KeyRing& ring, std::span<const std::byte, kSealedHeaderBytes> header,
                                    Read read);
  // As Read. Who has seen the end has a content that is complete.
  Result<std::size_t> read(std::span<std::byte> into);

  StreamOpener(StreamOpener&&) noexcept;
  StreamOpener& operator=(StreamOpener&&) noexcept;
  ~StreamOpener();

 private:
  struct State;
  explicit StreamOpener(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

}  // namespace perdure::pki
