#include "capsule/format/part_codec.h"

#include <lz4.h>
#include <time.h>
#include <xxhash.h>
#include <zstd.h>

#include <algorithm>
#include <cstring>
#include <format>

#include "base/assert.h"
#include "capsule/format/codec.h"

namespace perdure::capsule {
namespace {

constexpr int kZstdLevel = 1;
// Of a part's middle, tried before the whole: 16 KiB give the ratio of process memory within a
// tenth.
constexpr std::size_t kTrialBytes = 16384;

bool pays(std::size_t content, std::size_t stored) {
  return stored > 0 && static_cast<double>(stored) * kMinimumRatio <= static_cast<double>(content);
}

const char* chars(std::span<const std::byte> bytes) {
  return reinterpret_cast<const char*>(bytes.data());
}

}  // namespace

struct PartCompressor::ZstdContext {
  ZSTD_CCtx* context = nullptr;
  ~ZstdContext() { ZSTD_freeCCtx(context); }
};

PartCompressor::PartCompressor() : zstd_(std::make_unique<ZstdContext>()) {}
PartCompressor::~PartCompressor() = default;

std::span<const std::byte> PartCompressor::gather(const Pieces& content) {
  if (content.size() == 1) return content.front();
  input_.clear();
  for (const auto piece : content) input_.insert(input_.end(), piece.begin(), piece.end());
  return input_;
}

// Into output_; 0 when it does not fit or the library refuses: then the content stays as it is.
std::size_t PartCompressor::compressed_size(std::span<const std::byte> content,
                                            Compression compression) {
  PERDURE_ASSERT(content.size() <= kPartBytes);
  output_.resize(std::max(static_cast<std::size_t>(LZ4_COMPRESSBOUND(kPartBytes)),
                          ZSTD_COMPRESSBOUND(kPartBytes)));
  if (compression == Compression::kLz4) {
    const int size =
        LZ4_compress_default(chars(content), reinterpret_cast<char*>(output_.data()),
                             static_cast<int>(content.size()), static_cast<int>(output_.size()));
    return size > 0 ? static_cast<std::size_t>(size) : 0;
  }
  if (zstd_->context == nullptr) zstd_->context = ZSTD_createCCtx();
  if (zstd_->context == nullptr) return 0;
  const std::size_t size = ZSTD_compressCCtx(zstd_->context, output_.data(), output_.size(),
                                             content.data(), content.size(), kZstdLevel);
  return ZSTD_isError(size) ? 0 : size;
}

std::optional<std::string> PartCompressor::compress(const Pieces& content,
                                                    Compression compression) {
  if (compression == Compression::kNone) return std::nullopt;
  const std::span<const std::byte> whole = gather(content);
  if (whole.size() > 4 * kTrialBytes) {
    const auto trial = whole.subspan(whole.size() / 2, kTrialBytes);
    if (!pays(trial.size(), compressed_size(trial, compression))) return std::nullopt;
  }
  const std::size_t size = compressed_size(whole, compression);
  if (!pays(whole.size(), size)) return std::nullopt;
  return std::string(reinterpret_cast<const char*>(output_.data()), size);
}

CompressionOffer PartCompressor::offer(const std::vector<Pieces>& samples, Compression compression,
                                       const std::optional<CompressionSpeed>& speed) {
  double content = 0;
  double stored = 0;
  const Duration begun = thread_cpu_time();
  for (const Pieces& sample : samples) {
    const auto bytes = gather(sample);
    const std::size_t size = compressed_size(bytes, compression);
    content += static_cast<double>(bytes.size());
    stored += static_cast<double>(size > 0 ? size : bytes.size());
  }
  const double seconds = std::chrono::duration<double>(thread_cpu_time() - begun).count();
  CompressionOffer offer{stored > 0 ? content / stored : 1,
                         compression == Compression::kLz4 ? kLz4Speed : kZstdSpeed};
  if (speed) {
    offer.speed = *speed;
  } else if (seconds > 0 && content > 0) {
    const double factor = content / seconds / offer.speed.compress_bytes_per_second;
    offer.speed.compress_bytes_per_second *= factor;
    offer.speed.decompress_bytes_per_second *= factor;
  }
  return offer;
}

Duration thread_cpu_time() {
  timespec time{};
  ::clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
  return std::chrono::seconds(time.tv_sec) + std::chrono::nanoseconds(time.tv_nsec);
}

Status unpack(std::span<const std::byte> stored, Compression compression,
              std::span<std::byte> content) {
  std::size_t size = 0;
  switch (compression) {
    case Compression::kNone:
      size = stored.size();
      if (size == content.size()) std::ranges::copy(stored, content.begin());
      break;
    case Compression::kLz4: {
      const int got =
          LZ4_decompress_safe(chars(stored), reinterpret_cast<char*>(content.data()),
                              static_cast<int>(stored.size()), static_cast<int>(content.size()));
      size = got > 0 ? static_cast<std::size_t>(got) : 0;
      break;
    }
    case Compression::kZstd: {
      size = ZSTD_decompress(content.data(), content.size(), stored.data(), stored.size());
      if (ZSTD_isError(size)) size = 0;
      break;
    }
  }
  if (size != content.size()) {
    return fail(ErrorCode::kCorrupt, std::format("does not unpack to {} bytes with {}",
                                                 content.size(), to_string(compression)));
  }
  return {};
}

Digest digest_of_pieces(const Pieces& pieces) {
  if (pieces.size() == 1) return digest_of(pieces.front());
  const std::unique_ptr<XXH3_state_t, decltype(&XXH3_freeState)> state(XXH3_createState(),
                                                                       &XXH3_freeState);
  PERDURE_ASSERT(state != nullptr);
  XXH3_128bits_reset(state.get());
  for (const auto piece : pieces) XXH3_128bits_update(state.get(), piece.data(), piece.size());
  const XXH128_hash_t hash = XXH3_128bits_digest(state.get());
  return Digest{hash.high64, hash.low64};
}

}  // namespace perdure::capsule
