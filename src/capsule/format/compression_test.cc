// Proves the rule of when compression saves time, at the figures it was derived from and at its
// edges.
#include "capsule/format/compression.h"

#include <gtest/gtest.h>

#include <limits>

namespace perdure::capsule {
namespace {

constexpr CompressionOffer kMemoryLz4{2.5, kLz4Speed};
constexpr CompressionOffer kMemoryZstd{3.3, kZstdSpeed};

TEST(ChooseCompression, ProcessMemoryThroughLinksOfManySpeeds) {
  EXPECT_EQ(choose_compression(kMemoryLz4, kMemoryZstd, 20e6), Compression::kZstd);
  EXPECT_EQ(choose_compression(kMemoryLz4, kMemoryZstd, 118e6), Compression::kLz4);
  EXPECT_EQ(choose_compression(kMemoryLz4, kMemoryZstd, 500e6), Compression::kLz4);
  EXPECT_EQ(choose_compression(kMemoryLz4, kMemoryZstd, 650e6), Compression::kNone);
  EXPECT_EQ(choose_compression(kMemoryLz4, kMemoryZstd, 1200e6), Compression::kNone);
}

TEST(ChooseCompression, TheBreakEvenIsWhereTheFormulaHasIt) {
  const auto limit = [](const CompressionOffer& offer) {
    return (1 - 1 / offer.ratio) / (1 / offer.speed.compress_bytes_per_second +
                                    1 / offer.speed.decompress_bytes_per_second);
  };
  const CompressionOffer useless{1, kZstdSpeed};
  const double lz4_limit = limit(kMemoryLz4);
  EXPECT_NEAR(lz4_limit, 590e6, 10e6);
  EXPECT_NEAR(limit(kMemoryZstd), 330e6, 10e6);
  EXPECT_EQ(choose_compression(kMemoryLz4, useless, lz4_limit * 0.999), Compression::kLz4);
  EXPECT_EQ(choose_compression(kMemoryLz4, useless, lz4_limit * 1.001), Compression::kNone);
}

TEST(ChooseCompression, WhatDoesNotShrinkStaysAsItIs) {
  const CompressionOffer noise_lz4{1.149, kLz4Speed};
  const CompressionOffer noise_zstd{1.149, kZstdSpeed};
  EXPECT_EQ(choose_compression(noise_lz4, noise_zstd, 1e6), Compression::kNone);
  EXPECT_EQ(choose_compression({1.151, kLz4Speed}, noise_zstd, 1e6), Compression::kLz4);
}

TEST(ChooseCompression, UnknownBandwidthMeansNone) {
  EXPECT_EQ(choose_compression(kMemoryLz4, kMemoryZstd, 0), Compression::kNone);
  EXPECT_EQ(choose_compression(kMemoryLz4, kMemoryZstd, -1), Compression::kNone);
  EXPECT_EQ(choose_compression(kMemoryLz4, kMemoryZstd, std::numeric_limits<double>::quiet_NaN()),
            Compression::kNone);
}

}  // namespace
}  // namespace perdure::capsule
