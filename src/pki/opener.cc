#include <algorithm>
#include <cstring>
#include <format>
#include <memory>
#include <utility>

#include "base/assert.h"
#include "pki/chunk_cipher.h"
#include "pki/sealing.h"

namespace perdure::pki {
namespace {

// Memory that is not zeroed before and wiped after use.
class Buffer {
 public:
  explicit Buffer(std::size_t size) : bytes_(std::make_unique_for_overwrite<std::byte[]>(size)) {}
  Buffer(const Buffer&) = delete;
  Buffer& operator=(const Buffer&) = delete;
  ~Buffer() { wipe({bytes_.get(), used_}); }
  std::span<std::byte> first(std::size_t size) {
    used_ = std::max(used_, size);
    return {bytes_.get(), size};
  }

 private:
  std::unique_ptr<std::byte[]> bytes_;
  std::size_t used_ = 0;
};

// What is left of an opened chunk goes out first. How many bytes.
std::size_t take(std::span<std::byte>& left, std::span<std::byte> into) {
  const std::size_t taken = std::min(left.size(), into.size());
  if (taken > 0) std::memcpy(into.data(), left.data(), taken);
  left = left.subspan(taken);
  return taken;
}

}  // namespace

Status open_sealed(const KeyRing& ring, std::span<const std::byte> sealed, std::span<std::byte> content) {
  PERDURE_ASSIGN(const std::uint64_t content_bytes, content_size(sealed.size()));
  if (content.size() != content_bytes) {
    return fail(ErrorCode::kCorrupt,
                std::format("sealed content has {} bytes instead of {}", content_bytes, content.size()));
  }
  PERDURE_ASSIGN(ChunkCipher cipher, ChunkCipher::for_file(ring, sealed.first<kSealedHeaderBytes>()));
  sealed = sealed.subspan(kSealedHeaderBytes);
  for (ChunkPlace place; !place.last; ++place.number) {
    const std::size_t size = std::min(content.size(), kChunkBytes);
    place.last = sealed.size() == size + kTagBytes;
    PERDURE_TRY(cipher.open(place, sealed.first(size + kTagBytes), content.first(size)));
    sealed = sealed.subspan(size + kTagBytes);
    content = content.subspan(size);
  }
  return {};
}

struct Opener::State {
  State(ChunkCipher file_cipher, Read file_read, std::uint64_t content)
      : cipher(std::move(file_cipher)),
        read(std::move(file_read)),
        content_bytes(content),
        unread(content),
        buffer(std::min<std::uint64_t>(content, kChunkBytes) + kTagBytes) {}

  // Reads the next chunk and opens it to `target`, or where it lies.
  Status next_chunk(std::span<std::byte> target) {
    const std::size_t size = next_size();
    const std::span<std::byte> sealed = buffer.first(size + kTagBytes);
    PERDURE_TRY(read(sealed));
    const bool last = unread == size;
    PERDURE_TRY(cipher.open({number, last}, sealed, target.empty() ? sealed.first(size) : target));
    ++number;
    unread -= size;
    if (target.empty()) left = sealed.first(size);
    return {};
  }
  std::size_t next_size() const { return std::min<std::uint64_t>(unread, kChunkBytes); }

  ChunkCipher cipher;
  Read read;
  std::uint64_t content_bytes;
  std::uint64_t unread;  // of the content, in chunks that have not been read
  std::uint32_t number = 0;
  Buffer buffer;
  std::span<std::byte> left;  // of the chunk in the buffer
};

Result<Opener> Opener::begin(const KeyRing& ring, std::uint64_t sealed_bytes, Read read) {
  PERDURE_ASSIGN(const std::uint64_t content_bytes, content_size(sealed_bytes));
  SealedHeader header{};
  PERDURE_TRY(read(header));
  PERDURE_ASSIGN(ChunkCipher cipher, ChunkCipher::for_file(ring, header));
  auto state = std::make_unique<State>(std::move(cipher), std::move(read), content_bytes);
  if (content_bytes == 0) PERDURE_TRY(state->next_chunk({}));  // nobody will ask for it
  return Opener(std::move(state));
}

std::uint64_t Opener::content_bytes() const {
  return state_->content_bytes;
}

Status Opener::read(std::span<std::byte> into) {
  PERDURE_ASSERT(into.size() <= state_->left.size() + state_->unread);
  for (;;) {
    into = into.subspan(take(state_->left, into));
    if (into.empty()) return {};
    const std::size_t next = state_->next_size();
    if (into.size() < next) {
      PERDURE_TRY(state_->next_chunk({}));
    } else {
      PERDURE_TRY(state_->next_chunk(into.first(next)));
      into = into.subspan(next);
    }
  }
}

Opener::Opener(std::unique_ptr<State> state) : state_(std::move(state)) {}
Opener::Opener(Opener&&) noexcept = default;
Opener& Opener::operator=(Opener&&) noexcept = default;
Opener::~Opener() = default;

struct StreamOpener::State {
  State(ChunkCipher file_cipher, Read file_read)
      : cipher(std::move(file_cipher)), read(std::move(file_read)), buffer(kSealedChunkBytes + 1) {}

  // One byte more than a chunk tells whether it is the last.
  Status next_chunk() {
    const std::span<std::byte> all = buffer.first(kSealedChunkBytes + 1);
    if (ahead) all.front() = following;
    PERDURE_ASSIGN(const std::size_t got, read(all.subspan(ahead ? 1 : 0)));
    const std::size_t there = got + (ahead ? 1 : 0);
    const std::size_t least = number == 0 ? kTagBytes : kTagBytes + 1;  // only an empty content has an empty chunk
    if (there < least) return ends_early(number);
    const bool last = there < all.size();
    if (!last && number + 1 == kMaxChunks) return fail(ErrorCode::kCorrupt, "sealed content without an end");
    const std::size_t size = (last ? there : kSealedChunkBytes) - kTagBytes;
    PERDURE_TRY(cipher.open({number, last}, all.first(size + kTagBytes), all.first(size)));
    ++number;
    ended = last;
    ahead = !last;
    following = all.back();
    left = all.first(size);
    return {};
  }

  ChunkCipher cipher;
  Read read;
  Buffer buffer;
  std::span<std::byte> left;
  std::uint32_t number = 0;
  bool ahead = false;  // `following` has been read beyond the chunk
  std::byte following{};
  bool ended = false;
};

Result<StreamOpener> StreamOpener::begin(const KeyRing& ring, std::span<const std::byte, kSealedHeaderBytes> header,
                                         Read read) {
  PERDURE_ASSIGN(ChunkCipher cipher, ChunkCipher::for_file(ring, header));
  return StreamOpener(std::make_unique<State>(std::move(cipher), std::move(read)));
}

Result<std::size_t> StreamOpener::read(std::span<std::byte> into) {
  std::size_t got = 0;
  for (;;) {
    got += take(state_->left, into.subspan(got));
    if (got == into.size() || state_->ended) return got;
    PERDURE_TRY(state_->next_chunk());
  }
}

StreamOpener::StreamOpener(std::unique_ptr<State> state) : state_(std::move(state)) {}
StreamOpener::StreamOpener(StreamOpener&&) noexcept = default;
StreamOpener& StreamOpener::operator=(StreamOpener&&) noexcept = default;
StreamOpener::~StreamOpener() = default;

}  // namespace perdure::pki
