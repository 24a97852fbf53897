// Proves that what is encoded decodes to the same state, full and as chains of deltas, with every
// compression; that nothing is copied that need not be; and that no damage goes unnoticed: every
// byte of small capsules flipped, every length cut.
#include "capsule/format/codec.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <format>
#include <fstream>
#include <functional>
#include <random>

#include "capsule.pb.h"
#include "capsule/format/layout.h"
#include "capsule/format/sharing.h"
#include "capsule/format/test_capsules.h"

namespace perdure::capsule {
namespace {

using testing::changed_capsule;
using testing::encoded_delta;
using testing::encoded_full;
using testing::joined;
using testing::noise_page;
using testing::object_of;
using testing::page_of;
using testing::regular;
using testing::same_state;
using testing::slab_of;
using testing::small_capsule;

constexpr Compression kAll[] = {Compression::kNone, Compression::kLz4, Compression::kZstd};

Result<Capsule> decode_full(std::string_view bytes) {
  return decode(slab_of(bytes), nullptr, nullptr);
}

TEST(Codec, FullCapsulesComeBack) {
  const Capsule capsule = small_capsule(7);
  for (const Compression compression : kAll) {
    const EncodedCapsule encoded = encoded_full(capsule, compression);
    const std::string bytes = joined(encoded);
    EXPECT_EQ(bytes.size(), encoded.size_bytes);
    const auto decoded = decode_full(bytes);
    ASSERT_TRUE(decoded) << decoded.error().message();
    EXPECT_TRUE(same_state(*decoded, capsule));
    EXPECT_FALSE(decoded->manifest.parent);
  }
  EXPECT_LT(encoded_full(capsule, Compression::kZstd).size_bytes,
            encoded_full(capsule).size_bytes / 4);
}

TEST(Codec, AnEmptyCapsuleComesBack) {
  Capsule capsule;
  capsule.manifest.container = "web";
  capsule.manifest.generation = testing::generation(1);
  const auto decoded = decode_full(joined(encoded_full(capsule)));
  ASSERT_TRUE(decoded);
  EXPECT_TRUE(same_state(*decoded, capsule));
}

TEST(Codec, DeltasComeBackWithTheirParent) {
  const Capsule parent = small_capsule(7);
  const EncodedCapsule full = encoded_full(parent);
  for (const Compression compression : kAll) {
    const Capsule child = changed_capsule(8);
    const EncodedCapsule delta = encoded_delta(child, parent, full.digest, compression);
    const auto decoded = decode(slab_of(joined(delta)), &parent, &full.digest);
    ASSERT_TRUE(decoded) << decoded.error().message();
    EXPECT_TRUE(same_state(*decoded, child));
    EXPECT_EQ(decoded->manifest.parent, parent.manifest.generation);
    EXPECT_EQ(decoded->manifest.parent_digest, full.digest);
  }
}

TEST(Codec, ADeltaOfNothingIsSmall) {
  const Capsule parent = small_capsule(7);
  const EncodedCapsule full = encoded_full(parent);
  const EncodedCapsule delta = encoded_delta(small_capsule(8), parent, full.digest);
  EXPECT_EQ(delta.stats.pages.count, 0u);
  EXPECT_LT(delta.size_bytes, 600u);
}

TEST(Codec, CpuFeaturesAreWrittenAgainOnlyWhenTheyChange) {
  Capsule parent = small_capsule(7);
  parent.manifest.requirements.cpu_features.clear();
  for (int i = 100; i < 220; ++i) parent.manifest.requirements.cpu_features.push_back(std::format("feature{}", i));
  const EncodedCapsule full = encoded_full(parent);
  Capsule child = parent;
  child.manifest.generation = testing::generation(8);
  const auto decoded = [&](const EncodedCapsule& delta) {
    const auto capsule = decode(slab_of(joined(delta)), &parent, &full.digest);
    EXPECT_TRUE(capsule) << capsule.error().message();
    return capsule ? capsule->manifest.requirements.cpu_features : std::vector<std::string>{"none"};
  };
  const EncodedCapsule same = encoded_delta(child, parent, full.digest);
  EXPECT_TRUE(same.manifest.requirements.cpu_features_from_parent);
  EXPECT_LT(same.size_bytes, 600u);
  EXPECT_EQ(decoded(same), parent.manifest.requirements.cpu_features);
  for (const std::vector<std::string>& other : {std::vector<std::string>{"avx", "feature100"}, std::vector<std::string>{}}) {
    child.manifest.requirements.cpu_features = other;
    EXPECT_EQ(decoded(encoded_delta(child, parent, full.digest)), other);
  }
}

TEST(Codec, RandomChainsComeBack) {
  std::mt19937 random(11);
  for (int round = 0; round < 20; ++round) {
    Capsule state = small_capsule(1);
    EncodedCapsule encoded = encoded_full(state);
    auto stored = decode_full(joined(encoded));
    ASSERT_TRUE(stored);
    for (std::uint64_t number = 2; number < 12; ++number) {
      std::vector<std::pair<std::uint64_t, std::string>> pages;
      for (std::uint64_t page = 0; page < 40; ++page) {
        if (random() % 4 != 0) pages.emplace_back(page, page_of(static_cast<char>(random() % 3)));
      }
      state.memory["mm-1"] = object_of(pages);
      state.manifest.generation = testing::generation(number);
      auto& files = state.trees[1].entries;
      files.clear();
      for (char name = 'a'; name < 'm'; ++name) {
        if (random() % 3 == 0) continue;
        files.push_back(regular(std::string(1, name), std::string(random() % 3 * 5000, 'f')));
      }
      state = share_unchanged(state, *stored).capsule;
      const Digest parent_digest = encoded.digest;
      encoded = encoded_delta(state, *stored, parent_digest, kAll[random() % 3]);
      auto next = decode(slab_of(joined(encoded)), &*stored, &parent_digest);
      ASSERT_TRUE(next) << next.error().message();
      ASSERT_TRUE(same_state(*next, state)) << "round " << round << " number " << number;
      stored = std::move(next);
    }
  }
}

TEST(Codec, ManyPartsComeBack) {
  Capsule capsule = small_capsule(1);
  std::string bytes;
  for (std::uint32_t i = 0; i < 700; ++i) bytes += i % 300 < 256 ? noise_page(i) : page_of('c');
  ASSERT_TRUE(capsule.memory["mm-9"].append({50, 700, slab_of(bytes), 0}));
  capsule.images.push_back({"tcp-stream-1.img", std::string(2'500'000, 't')});
  for (const Compression compression : kAll) {
    const EncodedCapsule encoded = encoded_full(capsule, compression);
    const auto decoded = decode_full(joined(encoded));
    ASSERT_TRUE(decoded) << decoded.error().message();
    EXPECT_TRUE(same_state(*decoded, capsule));
  }
}

TEST(Codec, UncompressedPagesAreNeverCopied) {
  Capsule capsule;
  capsule.manifest.container = "web";
  capsule.manifest.generation = testing::generation(1);
  std::string bytes;
  for (std::uint32_t i = 0; i < 600; ++i) bytes += noise_page(i);
  const SlabRef slab = slab_of(bytes);
  ASSERT_TRUE(capsule.memory["mm-1"].append({50, 600, slab, 0}));
  const EncodedCapsule encoded = encoded_full(capsule);
  std::size_t in_slab = 0;
  for (const auto piece : encoded.pieces) {
    const bool inside = piece.data() >= slab->bytes().data() &&
                        piece.data() < slab->bytes().data() + slab->bytes().size();
    if (inside) in_slab += piece.size();
  }
  EXPECT_EQ(in_slab, bytes.size());

  const SlabRef file = slab_of(joined(encoded));
  const auto decoded = decode(file, nullptr, nullptr);
  ASSERT_TRUE(decoded);
  ASSERT_EQ(decoded->memory.at("mm-1").runs().size(), 1u);  // over three parts
  EXPECT_EQ(decoded->memory.at("mm-1").runs()[0].slab, file);
  EXPECT_EQ(decoded->memory.at("mm-1").runs()[0].slab_offset % kPageSize, 0u);
}

TEST(Codec, PiecesOutliveTheCapsule) {
  EncodedCapsule encoded;
  {
    const Capsule capsule = small_capsule(7);
    encoded = encoded_full(capsule);
  }
  EXPECT_TRUE(decode_full(joined(encoded)));
}

TEST(Codec, CompressionFollowsContentAndBandwidth) {
  const auto capsule_of = [](auto page) {
    Capsule capsule;
    capsule.manifest.container = "web";
    capsule.manifest.generation = testing::generation(1);
    std::string bytes;
    for (std::uint32_t i = 0; i < 300; ++i) bytes += page(i);
    EXPECT_TRUE(capsule.memory["mm-1"].append({0, 300, slab_of(bytes), 0}));
    return capsule;
  };
  const Capsule text = capsule_of([](auto i) { return page_of(static_cast<char>(i)); });
  const Capsule noise = capsule_of([](auto i) { return noise_page(i); });
  const auto chosen = [](const Capsule& capsule, double bytes_per_second) {
    CodecOptions options;
    options.bytes_per_second = bytes_per_second;
    return encode(capsule, nullptr, nullptr, options)->stats;
  };
  EXPECT_EQ(chosen(text, 0).compression, Compression::kNone);
  EXPECT_NE(chosen(text, 50e6).compression, Compression::kNone);
  EXPECT_EQ(chosen(text, 5e9).compression, Compression::kNone);
  EXPECT_EQ(chosen(noise, 50e6).compression, Compression::kNone);
  EXPECT_GT(chosen(text, 50e6).compressed_from.count, chosen(text, 50e6).compressed_to.count * 10);
}

TEST(Codec, PartsThatDoNotShrinkStayAsTheyAre) {
  Capsule capsule = small_capsule(1);
  std::string bytes;
  for (std::uint32_t i = 0; i < 600; ++i) bytes += noise_page(i);
  ASSERT_TRUE(capsule.memory["mm-9"].append({0, 600, slab_of(bytes), 0}));
  const EncodedCapsule encoded = encoded_full(capsule, Compression::kZstd);
  EXPECT_LT(encoded.stats.compressed_from.count, std::uint64_t{700} << 10);
  EXPECT_TRUE(decode_full(joined(encoded)));
}

TEST(Codec, InfoIsReadFromTheHeaderAlone) {
  const EncodedCapsule encoded = encoded_full(small_capsule(7));
  const std::string bytes = joined(encoded);
  const auto all = std::as_bytes(std::span(bytes));
  const auto needed = info_size(all.first(kPreludeBytes));
  ASSERT_TRUE(needed);
  const auto info = read_info(all.first(*needed));
  ASSERT_TRUE(info);
  EXPECT_EQ(info->digest, encoded.digest);
  EXPECT_EQ(info->size_bytes, bytes.size());
  EXPECT_EQ(info->content_bytes, encoded.stats.content.count);
  EXPECT_TRUE(testing::same_manifest(info->manifest, encoded.manifest));
  EXPECT_EQ(read_info(all.first(*needed - 1)).error().code(), ErrorCode::kCorrupt);
}

// The files that the fuzzer starts from were written by earlier builds: what this one reads, an
// operator's old capsules can rely on. PERDURE_WRITE_CORPUS=1 writes them anew, after a change of
// version only.
TEST(Codec, FilesOfEarlierBuildsComeBack) {
  const Capsule parent = small_capsule(7);
  const EncodedCapsule full = encoded_full(parent);
  for (const Compression compression : kAll) {
    const std::string suffix = "-" + std::string(to_string(compression)) + ".capsule";
    const std::string full_path = PERDURE_FORMAT_CORPUS "/full" + suffix;
    const std::string delta_path = PERDURE_FORMAT_CORPUS "/delta" + suffix;
    if (std::getenv("PERDURE_WRITE_CORPUS") != nullptr) {
      std::ofstream(full_path) << joined(encoded_full(parent, compression));
      std::ofstream(delta_path) << joined(
          encoded_delta(changed_capsule(8), parent, full.digest, compression));
    }
    const auto old_full = read_file(full_path);
    const auto old_delta = read_file(delta_path);
    ASSERT_TRUE(old_full && old_delta);
    const auto first = decode_full(*old_full);
    ASSERT_TRUE(first) << first.error().message();
    EXPECT_TRUE(same_state(*first, parent));
    const auto info = read_info(std::as_bytes(std::span(*old_delta)));
    ASSERT_TRUE(info);
    const auto second = decode(slab_of(*old_delta), &parent, &info->manifest.parent_digest.value());
    ASSERT_TRUE(second) << second.error().message();
    EXPECT_TRUE(same_state(*second, changed_capsule(8)));
  }
}

// ---- Damage

struct Sample {
  std::string bytes;
  const Capsule* parent = nullptr;
  const Digest* parent_digest = nullptr;
};

class Damage : public ::testing::Test {
 protected:
  Damage() : parent_(small_capsule(7)), full_(encoded_full(parent_)) {
    for (const Compression compression : kAll) {
      samples_.push_back({joined(encoded_full(parent_, compression)), nullptr, nullptr});
      const EncodedCapsule delta =
          encoded_delta(changed_capsule(8), parent_, full_.digest, compression);
      samples_.push_back({joined(delta), &parent_, &full_.digest});
    }
  }

  static ErrorCode outcome(const Sample& sample, std::string_view bytes) {
    const auto decoded = decode(slab_of(bytes), sample.parent, sample.parent_digest);
    if (decoded) return ErrorCode::kExists;  // taken for a good one
    EXPECT_FALSE(decoded.error().message().empty());
    return decoded.error().code();
  }

  const Capsule parent_;
  const EncodedCapsule full_;
  std::vector<Sample> samples_;
};

TEST_F(Damage, EveryFlippedByteIsFound) {
  for (const Sample& sample : samples_) {
    std::string bytes = sample.bytes;
    for (std::size_t at = 0; at < bytes.size(); ++at) {
      const auto flip = static_cast<char>(at % 5 == 0 ? 0xff : 1 << at % 8);
      bytes[at] = static_cast<char>(bytes[at] ^ flip);
      ASSERT_EQ(outcome(sample, bytes), ErrorCode::kCorrupt) << "byte " << at;
      bytes[at] = static_cast<char>(bytes[at] ^ flip);
    }
  }
}

TEST_F(Damage, EveryTruncationIsFound) {
  for (const Sample& sample : samples_) {
    for (std::size_t length = 0; length < sample.bytes.size(); ++length) {
      ASSERT_EQ(outcome(sample, std::string_view(sample.bytes).substr(0, length)),
                ErrorCode::kCorrupt)
          << "length " << length;
    }
  }
}

TEST_F(Damage, BytesBehindTheEndAreRefused) {
  for (const Sample& sample : samples_) {
    EXPECT_EQ(outcome(sample, sample.bytes + '\0'), ErrorCode::kCorrupt);
  }
}

TEST_F(Damage, TheErrorNamesThePart) {
  std::string bytes = samples_[0].bytes;
  bytes.back() ^= 1;
  const auto decoded = decode_full(bytes);
  ASSERT_FALSE(decoded);
  EXPECT_NE(decoded.error().message().find("3.1f.7 of 'web': part 2 (pages)"), std::string::npos)
      << decoded.error().message();
}

TEST_F(Damage, ADeltaOnAnotherParentIsRefused) {
  const Sample& delta = samples_[1];
  const Digest other{1, 2};
  EXPECT_EQ(decode(slab_of(delta.bytes), &parent_, &other).error().code(), ErrorCode::kCorrupt);
  const Capsule sibling = small_capsule(6);
  EXPECT_EQ(decode(slab_of(delta.bytes), &sibling, &full_.digest).error().code(),
            ErrorCode::kCorrupt);
  EXPECT_EQ(decode(slab_of(delta.bytes), nullptr, nullptr).error().code(), ErrorCode::kInvalid);
}

TEST_F(Damage, MoreContentThanAllowedIsRefusedBeforeMemoryIsTaken) {
  DecodeOptions options;
  options.content_limit_bytes = kPageSize;
  EXPECT_EQ(decode(slab_of(samples_[0].bytes), nullptr, nullptr, options).error().code(),
            ErrorCode::kNoSpace);
}

}  // namespace
}  // namespace perdure::capsule
