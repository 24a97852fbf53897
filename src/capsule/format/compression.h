// Which compression saves time. The rule in pure form; the measuring is in codec.cc.
#pragma once

#include <cstdint>
#include <string_view>

namespace perdure::capsule {

enum class Compression : std::uint8_t { kNone = 0, kLz4 = 1, kZstd = 2 };  // values are on disk
std::string_view to_string(Compression compression);

struct CompressionSpeed {
  double compress_bytes_per_second = 0;    // of uncompressed bytes, one core
  double decompress_bytes_per_second = 0;  // of uncompressed bytes, one core
};
// Measured on process memory on one machine (docs/capsule-format.md); the encoder measures for
// itself.
inline constexpr CompressionSpeed kLz4Speed{1.27e9, 4.3e9};
inline constexpr CompressionSpeed kZstdSpeed{0.66e9, 1.67e9};

// Below this ratio (uncompressed by compressed) compression is never worth its CPU time.
inline constexpr double kMinimumRatio = 1.15;

// Seconds per uncompressed byte from the page to the other side's page: written as it is, 1 / B;
// compressed, 1 / C + 1 / (r B) + 1 / D. The second is smaller exactly when B < (1 - 1/r) / (1/C +
// 1/D).
double transfer_cost(double ratio, const CompressionSpeed& speed, double bytes_per_second);

struct CompressionOffer {
  double ratio = 1;  // of a sample
  CompressionSpeed speed;
};
// The cheapest way through a link or disk of that bandwidth; kNone when nothing is known about it
// (bandwidth <= 0), when neither ratio reaches kMinimumRatio, or when it is too fast to gain
// anything.
Compression choose_compression(const CompressionOffer& lz4, const CompressionOffer& zstd,
                               double bytes_per_second);

}  // namespace perdure::capsule
