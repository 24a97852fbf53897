#include <algorithm>
#include <cstring>
#include <format>
#include <memory>
#include <optional>
#include <utility>

#include "base/assert.h"
#include "base/units.h"
#include "pki/chunk_cipher.h"
#include "pki/sealing.h"

namespace perdure::pki {

// Whether a chunk is the last goes into its seal, so a full one waits here until something follows it.
struct Sealer::State {
  State(ChunkCipher file_cipher, Write file_write)
      : cipher(std::move(file_cipher)),
        write(std::move(file_write)),
        buffer(std::make_unique_for_overwrite<std::byte[]>(kSealedHeaderBytes + kSealedChunkBytes)) {}
  State(const State&) = delete;
  State& operator=(const State&) = delete;
  ~State() { wipe({buffer.get() + kSealedHeaderBytes, used}); }

  Status append(std::span<const std::byte> content);
  // Seals `content`, which may be what waits in the buffer, and writes it.
  Status write_chunk(std::span<const std::byte> content, bool last);

  ChunkCipher cipher;
  Write write;
  std::unique_ptr<std::byte[]> buffer;  // room for the header, then a chunk and its tag
  std::size_t waiting = 0;              // bytes of the chunk that has begun
  std::size_t used = 0;                 // the most that `waiting` has been
  std::uint64_t total = 0;
  std::uint32_t number = 0;
  std::optional<Error> failure;
  bool finished = false;
};

Status Sealer::State::write_chunk(std::span<const std::byte> content, bool last) {
  const std::span<std::byte> sealed(buffer.get() + kSealedHeaderBytes, content.size() + kTagBytes);
  PERDURE_TRY(cipher.seal({number, last}, content, sealed));
  waiting = 0;
  if (number++ > 0) return write(sealed);
  std::ranges::copy(cipher.header(), buffer.get());
  return write({buffer.get(), kSealedHeaderBytes + sealed.size()});
}

Status Sealer::State::append(std::span<const std::byte> content) {
  if (content.size() > kMaxSealedContentBytes - total) {
    return fail(ErrorCode::kInvalid,
                std::format("more than {} in one sealed file", format_bytes(Bytes{kMaxSealedContentBytes})));
  }
  total += content.size();
  while (!content.empty()) {
    if (waiting == kChunkBytes) PERDURE_TRY(write_chunk({buffer.get() + kSealedHeaderBytes, kChunkBytes}, false));
    if (waiting == 0 && content.size() > kChunkBytes) {
      PERDURE_TRY(write_chunk(content.first(kChunkBytes), false));
      content = content.subspan(kChunkBytes);
      continue;
    }
    const std::size_t taken = std::min(content.size(), kChunkBytes - waiting);
    std::memcpy(buffer.get() + kSealedHeaderBytes + waiting, content.data(), taken);
    waiting += taken;
    used = std::max(used, waiting);
    content = content.subspan(taken);
  }
  return {};
}

Result<Sealer> Sealer::begin(const SealingKey& key, Write write) {
  PERDURE_ASSIGN(ChunkCipher cipher, ChunkCipher::for_new_file(key));
  return Sealer(std::make_unique<State>(std::move(cipher), std::move(write)));
}

Status Sealer::append(std::span<const std::byte> content) {
  PERDURE_ASSERT(!state_->finished);
  if (state_->failure) return fail(*state_->failure);
  Status appended = state_->append(content);
  if (!appended) state_->failure = appended.error();
  return appended;
}

Status Sealer::finish() {
  PERDURE_ASSERT(!state_->finished);
  if (state_->failure) return fail(*state_->failure);
  Status written = state_->write_chunk({state_->buffer.get() + kSealedHeaderBytes, state_->waiting}, true);
  if (!written) state_->failure = written.error();
  state_->finished = written.has_value();
  return written;
}

Sealer::Sealer(std::unique_ptr<State> state) : state_(std::move(state)) {}
Sealer::Sealer(Sealer&&) noexcept = default;
Sealer& Sealer::operator=(Sealer&&) noexcept = default;
Sealer::~Sealer() = default;

}  // namespace perdure::pki
