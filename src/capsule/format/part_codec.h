// One part: compressing, unpacking, digesting. The only file that names lz4 and zstd. Internal to
// the format.
#pragma once

#include <cstddef>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/result.h"
#include "capsule/format/capsule.h"
#include "capsule/format/compression.h"

namespace perdure::capsule {

using Pieces = std::vector<std::span<const std::byte>>;

// Reused for all parts of one encoding; not thread-safe.
class PartCompressor {
 public:
  PartCompressor();
  ~PartCompressor();
  // The compressed form when it is smaller by kMinimumRatio, else nothing. At most kPartBytes. A
  // sample of the content is tried first, so that what does not compress costs little.
  std::optional<std::string> compress(const Pieces& content, Compression compression);
  // What compressing all samples gives. `speed` absent: the time it takes here, with unpacking in
  // the proportion of kLz4Speed and kZstdSpeed.
  CompressionOffer offer(const std::vector<Pieces>& samples, Compression compression,
                         const std::optional<CompressionSpeed>& speed);

 private:
  std::size_t compressed_size(std::span<const std::byte> content, Compression compression);
  std::span<const std::byte> gather(const Pieces& content);

  struct ZstdContext;
  std::unique_ptr<ZstdContext> zstd_;
  std::vector<std::byte> input_;
  std::vector<std::byte> output_;
};

// Fills `content` exactly. kCorrupt.
Status unpack(std::span<const std::byte> stored, Compression compression,
              std::span<std::byte> content);

Duration thread_cpu_time();

Digest digest_of_pieces(const Pieces& pieces);

}  // namespace perdure::capsule
