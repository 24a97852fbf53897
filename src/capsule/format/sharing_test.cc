// Proves that generations share what did not change, that compaction changes no byte and frees
// emptied slabs within its bounds, and that memory is counted once.
#include "capsule/format/sharing.h"

#include <gtest/gtest.h>

#include <set>

#include "capsule/format/test_capsules.h"

namespace perdure::capsule {
namespace {

using testing::object_of;
using testing::page_of;
using testing::same_state;
using testing::small_capsule;

std::set<const Slab*> slabs_of(const Capsule& capsule) {
  std::set<const Slab*> slabs;
  for (const auto& [name, object] : capsule.memory) {
    for (const PageRun& run : object.runs()) slabs.insert(run.slab.get());
  }
  for (const FileTree& tree : capsule.trees) {
    for (const FileEntry& entry : tree.entries) {
      for (const PageRun& run : entry.content.runs()) slabs.insert(run.slab.get());
    }
  }
  return slabs;
}

// One object of `count` pages in one slab; page i holds the byte fill(i).
Capsule memory_capsule(std::uint64_t number, std::uint64_t count, auto fill) {
  Capsule capsule;
  capsule.manifest.container = "web";
  capsule.manifest.generation = testing::generation(number);
  std::vector<std::pair<std::uint64_t, std::string>> pages;
  for (std::uint64_t i = 0; i < count; ++i) pages.emplace_back(i, page_of(fill(i)));
  capsule.memory["mm-1"] = object_of(pages);
  return capsule;
}

TEST(ShareUnchanged, CountsAndSharesByPage) {
  const Capsule parent = small_capsule(1, 'a');
  const Capsule child = small_capsule(2, 'b');
  const SharedCapsule shared = share_unchanged(child, parent);
  EXPECT_TRUE(same_state(shared.capsule, child));
  EXPECT_EQ(shared.memory_changed.count, kPageSize);
  EXPECT_EQ(shared.files_changed.count, 2 * kPageSize);
  EXPECT_EQ(shared.capsule.memory.at("mm-7").runs()[0].slab,
            parent.memory.at("mm-7").runs()[0].slab);
}

TEST(ShareUnchanged, NewObjectsAndFilesCountWhole) {
  Capsule parent = small_capsule(1);
  parent.memory.erase("mm-7");
  parent.trees.pop_back();
  const SharedCapsule shared = share_unchanged(small_capsule(2), parent);
  EXPECT_EQ(shared.memory_changed.count, kPageSize);
  EXPECT_EQ(shared.files_changed.count, 3 * kPageSize);
}

std::uint64_t slab_bytes(const Footprint& footprint) {
  std::uint64_t bytes = 0;
  for (const auto& [slab, size] : footprint.slabs) bytes += size;
  return bytes;
}

TEST(Compact, LeavesFullSlabsAlone) {
  const Capsule capsule = small_capsule(1);
  const auto result = compact(capsule);
  ASSERT_TRUE(result);
  EXPECT_EQ(result->slabs_released, 0u);
  EXPECT_EQ(slabs_of(result->capsule), slabs_of(capsule));
}

TEST(Compact, CopiesTheFewPagesOfACaptureThatChanged) {
  const Capsule parent = memory_capsule(1, 100, [](auto) { return 'a'; });
  const Capsule child = memory_capsule(2, 100, [](auto i) { return i % 25 == 3 ? 'b' : 'a'; });
  const SharedCapsule shared = share_unchanged(child, parent);
  const auto result = compact(shared.capsule);
  ASSERT_TRUE(result);
  EXPECT_EQ(result->copied.count, 4 * kPageSize);
  EXPECT_EQ(result->slabs_released, 1u);
  EXPECT_TRUE(same_state(result->capsule, child));
  EXPECT_FALSE(slabs_of(result->capsule).contains(child.memory.at("mm-1").runs()[0].slab.get()));
}

TEST(Compact, MemoryStaysBoundedOverManyGenerations) {
  constexpr std::uint64_t kPages = 200;
  const CompactionPolicy policy;
  std::string state(kPages, 'a');
  auto current =
      std::make_shared<const Capsule>(memory_capsule(1, kPages, [](auto) { return 'a'; }));
  for (std::uint64_t number = 2; number < 300; ++number) {
    // Three pages change in every generation, and one that is another each time.
    state[number % kPages] = static_cast<char>(number % 251);
    for (std::size_t hot = 0; hot < 3; ++hot) state[hot] = static_cast<char>(number % 241);
    const Capsule next = memory_capsule(number, kPages, [&](auto i) { return state[i]; });
    auto result = compact(share_unchanged(next, *current).capsule, policy);
    ASSERT_TRUE(result);
    ASSERT_TRUE(same_state(result->capsule, next));
    current = std::make_shared<const Capsule>(std::move(result->capsule));
    EXPECT_LE(slabs_of(*current).size(), policy.maximum_slabs + 1);
    EXPECT_LE(slab_bytes(footprint_of(current)), 2 * kPages * kPageSize);
  }
}

TEST(Compact, MergesTheSmallestSlabsWhenThereAreTooMany) {
  Capsule capsule = memory_capsule(1, 64, [](auto) { return 'a'; });
  for (std::uint64_t i = 0; i < 80; ++i) {
    const PagedObject patch = object_of({{1000 + i, page_of('p')}});
    capsule.memory["mm-1"] = capsule.memory["mm-1"].overlaid_with(patch);
  }
  const auto result = compact(capsule);
  ASSERT_TRUE(result);
  EXPECT_LE(slabs_of(result->capsule).size(), 33u);
  EXPECT_LE(result->copied.count, 80 * kPageSize);  // the large one stays
  EXPECT_TRUE(same_state(result->capsule, capsule));
}

TEST(Footprint, CountsSharedSlabsOnce) {
  const auto first =
      std::make_shared<const Capsule>(memory_capsule(1, 50, [](auto) { return 'a'; }));
  Capsule child = memory_capsule(2, 50, [](auto i) { return i == 7 ? 'b' : 'a'; });
  auto compacted = compact(share_unchanged(std::move(child), *first).capsule);
  ASSERT_TRUE(compacted);
  const auto second = std::make_shared<const Capsule>(std::move(compacted->capsule));
  FootprintSum both;
  std::uint64_t unshared = 0;
  for (const CapsuleRef& one : {first, second, first, CapsuleRef()}) {
    both.add(footprint_of(one));
    unshared += footprint_of(one).other_bytes;
  }
  EXPECT_EQ(both.bytes().count, 51 * kPageSize + unshared);
  EXPECT_FALSE(footprint_of(second).maps_files);
}

TEST(FullSize, CountsEverythingOnce) {
  const Capsule capsule = small_capsule(1);
  EXPECT_GE(full_size(capsule).count, 10 * kPageSize);
  EXPECT_LT(full_size(capsule).count, 11 * kPageSize);
}

}  // namespace
}  // namespace perdure::capsule
