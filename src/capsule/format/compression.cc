#include "capsule/format/compression.h"

namespace perdure::capsule {

std::string_view to_string(Compression compression) {
  switch (compression) {
    case Compression::kNone:
      return "none";
    case Compression::kLz4:
      return "lz4";
    case Compression::kZstd:
      return "zstd";
  }
  return "unknown";
}

double transfer_cost(double ratio, const CompressionSpeed& speed, double bytes_per_second) {
  return 1 / speed.compress_bytes_per_second + 1 / (ratio * bytes_per_second) +
         1 / speed.decompress_bytes_per_second;
}

Compression choose_compression(const CompressionOffer& lz4, const CompressionOffer& zstd,
                               double bytes_per_second) {
  if (!(bytes_per_second > 0)) return Compression::kNone;
  double best = 1 / bytes_per_second;
  Compression choice = Compression::kNone;
  const auto consider = [&](const CompressionOffer& offer, Compression compression) {
    if (!(offer.ratio >= kMinimumRatio)) return;
    const double cost = transfer_cost(offer.ratio, offer.speed, bytes_per_second);
    if (!(cost < best)) return;
    best = cost;
    choice = compression;
  };
  consider(lz4, Compression::kLz4);
  consider(zstd, Compression::kZstd);
  return choice;
}

}  // namespace perdure::capsule
