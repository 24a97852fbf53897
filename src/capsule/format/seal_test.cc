// Proves that a seal finds every change of a capsule's content, wherever it lies, and none in a capsule that was only moved in memory;
// that damage of a parent is found in what was built on it; and that what a delta takes over is not read.
#include "capsule/format/seal.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>

#include "capsule/format/sharing.h"
#include "capsule/format/test_capsules.h"

namespace perdure::capsule {
namespace {

using ::testing::HasSubstr;
using testing::changed_capsule;
using testing::joined;
using testing::slab_of;
using testing::noise_page;
using testing::object_of;
using testing::small_capsule;

// As a cosmic ray does: what the slab says about itself does not matter.
void flip(const PagedObject& object, std::uint64_t page, std::size_t at) {
  const auto bytes = object.page(page);
  auto* byte = const_cast<std::byte*>(&bytes[at]);
  *byte ^= std::byte{0x10};
}

Seal sealed(const Capsule& capsule) { return seal_of(capsule, nullptr, nullptr); }

// As a standby has what an owner sends: `owners` is the parent as its owner has it.
Capsule received(const Capsule& child, const Capsule* owners, const Capsule* parent, const Digest* parent_digest,
                 Digest* digest = nullptr) {
  const auto encoded = encode(child, owners, parent_digest, {});
  EXPECT_TRUE(encoded) << encoded.error().message();
  if (digest != nullptr) *digest = encoded->digest;
  auto decoded = decode(slab_of(joined(*encoded)), parent, parent_digest);
  EXPECT_TRUE(decoded) << decoded.error().message();
  return *std::move(decoded);
}

TEST(Seal, WhatIsAsItWasHoldsItsSeal) {
  Digest digest;
  const Capsule parent = received(small_capsule(1), nullptr, nullptr, nullptr, &digest);
  const Seal seal = sealed(parent);
  EXPECT_TRUE(check_seal(parent, seal));
  const Capsule child = received(changed_capsule(2), &parent, &parent, &digest);
  EXPECT_TRUE(check_seal(child, seal_of(child, &parent, &seal)));
  EXPECT_FALSE(check_seal(child, seal));
}

TEST(Seal, EveryByteOfAPageCounts) {
  const Capsule capsule = received(small_capsule(1), nullptr, nullptr, nullptr);
  const Seal seal = sealed(capsule);
  for (const std::size_t at : {std::size_t{0}, std::size_t{1777}, kPageSize - 1}) {
    flip(capsule.memory.at("mm-1"), 40, at);
    const Status checked = check_seal(capsule, seal);
    ASSERT_FALSE(checked);
    EXPECT_EQ(checked.error().code(), ErrorCode::kCorrupt);
    EXPECT_THAT(checked.error().message(), HasSubstr("memory 'mm-1': page 40"));
    flip(capsule.memory.at("mm-1"), 40, at);
  }
  EXPECT_TRUE(check_seal(capsule, seal));
  flip(capsule.trees[1].entries[0].content, 2, 5);
  EXPECT_THAT(check_seal(capsule, seal).error().message(), HasSubstr("file 'log' of volume 'data': page 2"));
}

TEST(Seal, EveryOtherValueCounts) {
  const Capsule good = small_capsule(1);
  const Seal seal = sealed(good);
  const auto changed = [&](auto change) {
    Capsule capsule = good;
    change(capsule);
    return !check_seal(capsule, seal).has_value();
  };
  EXPECT_FALSE(changed([](Capsule&) {}));
  EXPECT_TRUE(changed([](Capsule& it) { it.images[1].bytes[2] ^= 1; }));
  EXPECT_TRUE(changed([](Capsule& it) { it.images[0].name[0] ^= 1; }));
  EXPECT_TRUE(changed([](Capsule& it) { it.images.pop_back(); }));
  EXPECT_TRUE(changed([](Capsule& it) { it.manifest.restore_hints["pipe"] = "18"; }));
  EXPECT_TRUE(changed([](Capsule& it) { it.manifest.addresses[0][0] ^= 1; }));
  EXPECT_TRUE(changed([](Capsule& it) { it.trees[0].entries[2].mode ^= 04000; }));
  EXPECT_TRUE(changed([](Capsule& it) { it.trees[0].entries[2].size_bytes ^= 1; }));
  EXPECT_TRUE(changed([](Capsule& it) { it.trees[0].entries[1].xattrs["trusted.overlay.opaque"] = "n"; }));
  EXPECT_TRUE(changed([](Capsule& it) { it.trees[0].entries.pop_back(); }));
  EXPECT_TRUE(changed([](Capsule& it) { it.memory.erase("mm-7"); }));
  EXPECT_TRUE(changed([](Capsule& it) { it.trees.pop_back(); }));
  // The same pages under other numbers.
  EXPECT_TRUE(changed([](Capsule& it) {
    const PageRun run = it.memory.at("mm-7").runs()[0];
    it.memory["mm-7"] = {};
    ASSERT_TRUE(it.memory["mm-7"].append({run.first_page - 1, run.page_count, run.slab, run.slab_offset}));
  }));
}

TEST(Seal, DamageOfTheParentIsFoundInTheChild) {
  Digest digest;
  Capsule parent = received(small_capsule(1), nullptr, nullptr, nullptr, &digest);
  const Seal seal = sealed(parent);
  flip(parent.memory.at("mm-7"), 0x7ffff, 9);  // the child does not change this page,
  parent.images[0].bytes[0] ^= 1;              // nor this image,
  parent.trees[0].entries[1].uid ^= 1;         // nor this directory
  const Capsule owners = small_capsule(1);
  const Capsule child = received(small_capsule(2, 'b'), &owners, &parent, &digest);
  const Seal of_child = seal_of(child, &parent, &seal);
  EXPECT_THAT(check_seal(child, of_child).error().message(), HasSubstr("image 'core-1.img'"));
  parent.images[0].bytes[0] ^= 1;
  Capsule mended = child;
  mended.images[0].bytes[0] ^= 1;
  EXPECT_THAT(check_seal(mended, of_child).error().message(), HasSubstr("memory 'mm-7': page"));
  flip(child.memory.at("mm-7"), 0x7ffff, 9);
  EXPECT_THAT(check_seal(mended, of_child).error().message(), HasSubstr("an entry of the writable layer"));
}

TEST(Seal, HoldsWhenPagesAreCopiedTogether) {
  Capsule capsule;
  capsule.manifest.generation = testing::generation(1);
  std::vector<std::pair<std::uint64_t, std::string>> pages;
  for (std::uint32_t i = 0; i < 64; ++i) pages.emplace_back(i, noise_page(i));
  const PagedObject all = object_of(pages);
  PagedObject few;  // little of a slab
  for (const std::uint64_t page : {3, 4, 40}) ASSERT_TRUE(few.append({page, 1, all.runs()[0].slab, page * kPageSize}));
  capsule.memory["mm-1"] = few;
  const Seal seal = sealed(capsule);
  const auto compacted = compact(capsule);
  ASSERT_TRUE(compacted);
  ASSERT_GT(compacted->slabs_released, 0u);
  EXPECT_TRUE(check_seal(compacted->capsule, seal));
  // ... and what is built on it knows which digest is whose.
  const Seal again = seal_of(capsule, &compacted->capsule, &seal);
  EXPECT_TRUE(check_seal(capsule, again));
  flip(compacted->capsule.memory.at("mm-1"), 40, 0);
  EXPECT_FALSE(check_seal(compacted->capsule, seal_of(compacted->capsule, &compacted->capsule, &seal)));
}

}  // namespace
}  // namespace perdure::capsule
