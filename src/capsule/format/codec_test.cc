// Proves that what is encoded decodes to the same state, full and as chains of deltas, with every
// compression; that nothing is copied that need not be; and that no damage goes unnoticed: every
// byte of small capsules flipped, every length cut, headers and indexes that are sealed correctly
// but lie.
#include "capsule/format/codec.h"

#include <gtest/gtest.h>

#include <cstdlib>
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

// ---- Lies: sealed correctly, so that only the checks behind the digests can find them

using ChangeHeader = std::function<void(v1::Header&)>;

// A capsule of one index part with these records and one page part of `pages` zero pages.
std::string forged(const std::vector<v1::IndexRecord>& records, std::uint32_t pages,
                   const ChangeHeader& change = {}) {
  std::string index;
  for (const v1::IndexRecord& record : records) append_record(record, index);
  const std::string content(pages * kPageSize, '\0');
  v1::Header header;
  header.mutable_manifest()->set_container("web");
  header.mutable_manifest()->mutable_generation()->set_number(9);
  const auto add = [&](PartKind kind, const std::string& bytes) {
    if (bytes.empty()) return;
    header.add_part_kind(static_cast<std::uint32_t>(kind));
    header.add_part_codec(0);
    header.add_part_content_bytes(static_cast<std::uint32_t>(bytes.size()));
    header.add_part_stored_bytes(static_cast<std::uint32_t>(bytes.size()));
    const DigestBytes digest = to_bytes(digest_of(std::as_bytes(std::span(bytes))));
    header.mutable_part_digests()->append(digest.data(), digest.size());
  };
  add(PartKind::kIndex, index);
  add(PartKind::kPages, content);
  if (change) change(header);
  const std::string body = header.SerializeAsString();
  const auto size = static_cast<std::uint32_t>(body.size());
  std::string file("PERDCAP1\x01\0\0\0", 12);
  for (int i = 0; i < 4; ++i) file += static_cast<char>(size >> (8 * i));
  const DigestBytes digest = to_bytes(digest_of(std::as_bytes(std::span(body))));
  file.append(digest.data(), digest.size());
  file += body + index;
  if (pages > 0) file.resize((file.size() + kPageSize - 1) / kPageSize * kPageSize);
  return file + content;
}

v1::IndexRecord memory_record(std::vector<std::pair<std::uint64_t, std::uint64_t>> runs,
                              const std::string& name = "mm-1") {
  v1::IndexRecord record;
  record.mutable_memory()->set_name(name);
  for (const auto& [gap, length] : runs) {
    record.mutable_memory()->mutable_runs()->add_gap_pages(gap);
    record.mutable_memory()->mutable_runs()->add_length_and_source(length);
  }
  return record;
}

v1::IndexRecord tree_record(const std::string& volume) {
  v1::IndexRecord record;
  record.mutable_tree()->set_volume(volume);
  return record;
}

v1::IndexRecord entry_record(const std::string& path) {
  v1::IndexRecord record;
  record.mutable_entry()->set_path(path);
  return record;
}

v1::IndexRecord image_record(const std::string& name, std::uint64_t size, bool from_parent) {
  v1::IndexRecord record;
  record.mutable_image()->set_name(name);
  record.mutable_image()->set_size_bytes(size);
  record.mutable_image()->set_from_parent(from_parent);
  return record;
}

v1::IndexRecord unchanged_record(std::uint64_t first, std::uint64_t count) {
  v1::IndexRecord record;
  record.mutable_unchanged()->set_first(first);
  record.mutable_unchanged()->set_count(count);
  return record;
}

void expect_refused(const std::string& file, const char* what) {
  const auto decoded = decode_full(file);
  ASSERT_FALSE(decoded) << what;
  EXPECT_EQ(decoded.error().code(), ErrorCode::kCorrupt) << what << decoded.error().message();
}

TEST(Lies, TheForgerWorks) {
  EXPECT_TRUE(decode_full(forged({}, 0)));
  const auto decoded = decode_full(forged({memory_record({{5, 2 << 1}, {3, 1 << 1}})}, 3));
  ASSERT_TRUE(decoded) << decoded.error().message();
  EXPECT_EQ(decoded->memory.at("mm-1").page_count(), 3u);
}

TEST(Lies, RunsThatCannotBe) {
  constexpr std::uint64_t kHuge = ~std::uint64_t{0};
  expect_refused(forged({memory_record({{0, 2 << 1}})}, 1), "more pages than there are");
  expect_refused(forged({memory_record({{0, 1 << 1}})}, 2), "pages left over");
  expect_refused(forged({memory_record({{0, 0}})}, 0), "empty run");
  expect_refused(forged({memory_record({{kHuge, 1 << 1}})}, 1), "gap overflows");
  expect_refused(forged({memory_record({{1, kHuge}})}, 1), "length overflows");
  expect_refused(forged({memory_record({{kMaxPageNumber, 1 << 1}})}, 1), "page beyond the end");
  expect_refused(forged({memory_record({{0, 1 << 1 | 1}})}, 0), "parent of a full capsule");
  v1::IndexRecord lopsided = memory_record({{0, 1 << 1}});
  lopsided.mutable_memory()->mutable_runs()->add_gap_pages(1);
  expect_refused(forged({lopsided}, 1), "gap without a length");
}

TEST(Lies, RecordsOutOfPlace) {
  const auto memory = memory_record({});
  expect_refused(forged({memory, memory}, 0), "object twice");
  expect_refused(forged({memory, memory_record({}, "mm-0")}, 0), "objects out of order");
  expect_refused(forged({memory_record({}, "a/b")}, 0), "object name");
  expect_refused(forged({tree_record(""), memory}, 0), "object behind a tree");
  expect_refused(forged({memory, image_record("a", 0, false)}, 0), "image behind an object");
  expect_refused(forged({image_record("a", 1, false)}, 0), "image without bytes");
  expect_refused(forged({image_record("a", 0, true)}, 0), "image of no parent");
  expect_refused(forged({image_record("../a", 0, false)}, 0), "image name");
  expect_refused(forged({entry_record("x")}, 0), "entry without a tree");
  expect_refused(forged({tree_record(""), tree_record("")}, 0), "tree twice");
  expect_refused(forged({tree_record(""), unchanged_record(0, 1)}, 0), "entries of no parent");
  expect_refused(forged({unchanged_record(0, 0)}, 0), "unchanged without a tree");
  expect_refused(forged({v1::IndexRecord()}, 0), "empty record");
  expect_refused(forged({tree_record(""), entry_record("/etc")}, 0), "absolute path");
  expect_refused(forged({tree_record(""), entry_record("..")}, 0), "path out of the tree");
  auto typeless = entry_record("x");
  typeless.mutable_entry()->set_type(7);
  expect_refused(forged({tree_record(""), typeless}, 0), "unknown type");
  auto xattrs = entry_record("x");
  for (int i = 0; i < 2; ++i) xattrs.mutable_entry()->add_xattrs()->set_key("user.a");
  expect_refused(forged({tree_record(""), xattrs}, 0), "xattr twice");
}

TEST(Lies, PartTablesThatCannotBe) {
  const std::vector<v1::IndexRecord> records{memory_record({{0, 1 << 1}})};
  const auto refuse = [&](const char* what, const ChangeHeader& change) {
    expect_refused(forged(records, 1, change), what);
  };
  ASSERT_TRUE(decode_full(forged(records, 1)));
  refuse("kind 0", [](auto& h) { h.set_part_kind(0, 0); });
  refuse("kind 4", [](auto& h) { h.set_part_kind(1, 4); });
  refuse("kinds out of order", [](auto& h) { h.set_part_kind(0, 3), h.set_part_kind(1, 1); });
  refuse("codec 3", [](auto& h) { h.set_part_codec(1, 3); });
  refuse("codec of another part", [](auto& h) { h.set_part_codec(1, 1); });
  refuse("no content", [](auto& h) { h.set_part_content_bytes(1, 0); });
  refuse("part of a page", [](auto& h) { h.set_part_content_bytes(1, 5000); });
  refuse("content above the bound", [](auto& h) {
    h.set_part_codec(1, 2);
    h.set_part_content_bytes(1, kPartBytes + kPageSize);
  });
  refuse("stored more than content", [](auto& h) { h.set_part_stored_bytes(1, 8192); });
  refuse("stored nothing", [](auto& h) { h.set_part_codec(1, 1), h.set_part_stored_bytes(1, 0); });
  refuse("column too short", [](auto& h) { h.mutable_part_codec()->RemoveLast(); });
  refuse("digest too short", [](auto& h) { h.mutable_part_digests()->pop_back(); });
  refuse("bomb", [](auto& h) { h.set_part_codec(1, 2), h.set_part_stored_bytes(1, 100); });
  refuse("small part in the middle", [](auto& h) {
    h.add_part_kind(3), h.add_part_codec(0);
    h.add_part_content_bytes(4096), h.add_part_stored_bytes(4096);
    h.mutable_part_digests()->append(16, '\0');
  });
}

TEST(Lies, ManifestsThatCannotBe) {
  const auto refuse = [&](const char* what, const ChangeHeader& change) {
    expect_refused(forged({}, 0, change), what);
  };
  refuse("container", [](auto& h) { h.mutable_manifest()->set_container("../web"); });
  refuse("no manifest", [](auto& h) { h.clear_manifest(); });
  refuse("parent without digest", [](auto& h) { h.mutable_manifest()->mutable_parent(); });
  refuse("digest without parent",
         [](auto& h) { h.mutable_manifest()->set_parent_digest(std::string(16, 'd')); });
  refuse("short digest", [](auto& h) {
    h.mutable_manifest()->mutable_parent();
    h.mutable_manifest()->set_parent_digest("short");
  });
  refuse("parent of its own", [](auto& h) {
    *h.mutable_manifest()->mutable_parent() = h.manifest().generation();
    h.mutable_manifest()->set_parent_digest(std::string(16, 'd'));
  });
  refuse("hint twice", [](auto& h) {
    for (int i = 0; i < 2; ++i) h.mutable_manifest()->add_restore_hints()->set_key("k");
  });
}

TEST(Lies, DeltasThatTakeWhatTheParentDoesNotHave) {
  const Capsule parent = small_capsule(7);
  const Digest digest = encoded_full(parent).digest;
  const auto outcome = [&](const std::vector<v1::IndexRecord>& records) {
    const std::string file = forged(records, 0, [&](v1::Header& h) {
      h.mutable_manifest()->mutable_generation()->set_term(4);
      h.mutable_manifest()->mutable_parent()->set_term(3);
      h.mutable_manifest()->mutable_parent()->set_incarnation(0x1f);
      h.mutable_manifest()->mutable_parent()->set_number(7);
      const DigestBytes bytes = to_bytes(digest);
      h.mutable_manifest()->set_parent_digest(bytes.data(), bytes.size());
    });
    const auto decoded = decode(slab_of(file), &parent, &digest);
    return decoded ? ErrorCode::kExists : decoded.error().code();
  };
  const auto tree = tree_record("");
  EXPECT_EQ(outcome({memory_record({{16, 2 << 1 | 1}})}), ErrorCode::kExists);
  EXPECT_EQ(outcome({memory_record({{16, 3 << 1 | 1}})}), ErrorCode::kCorrupt);
  EXPECT_EQ(outcome({memory_record({{15, 1 << 1 | 1}})}), ErrorCode::kCorrupt);
  EXPECT_EQ(outcome({memory_record({{0, 1 << 1 | 1}}, "mm-2")}), ErrorCode::kCorrupt);
  EXPECT_EQ(outcome({image_record("none.img", 0, true)}), ErrorCode::kCorrupt);
  EXPECT_EQ(outcome({image_record("core-1.img", 4, true)}), ErrorCode::kCorrupt);
  EXPECT_EQ(outcome({tree, unchanged_record(0, 8)}), ErrorCode::kExists);
  EXPECT_EQ(outcome({tree, unchanged_record(0, 9)}), ErrorCode::kCorrupt);
  EXPECT_EQ(outcome({tree, unchanged_record(9, 0)}), ErrorCode::kCorrupt);
  EXPECT_EQ(outcome({tree, unchanged_record(1, ~std::uint64_t{0})}), ErrorCode::kCorrupt);
  EXPECT_EQ(outcome({tree, unchanged_record(0, 3), unchanged_record(2, 3)}), ErrorCode::kCorrupt);
  EXPECT_EQ(outcome({tree, unchanged_record(3, 1)}), ErrorCode::kCorrupt);  // no directory above
}

}  // namespace
}  // namespace perdure::capsule
