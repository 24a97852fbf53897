#include "capsule/format/slab_reserve.h"

#include <gtest/gtest.h>
#include <sys/mman.h>

#include <cstring>

#include "capsule/format/slab.h"

namespace perdure::capsule {
namespace {

std::byte* map_pages(std::size_t pages) {
  void* data = ::mmap(nullptr, pages * kPageSize, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  EXPECT_NE(data, MAP_FAILED);
  return static_cast<std::byte*>(data);
}

bool is_mapped(std::byte* page) {
  unsigned char resident = 0;
  return ::mincore(page, kPageSize, &resident) == 0;
}

TEST(SlabReserve, GivesOutTheSmallestThatIsLargeEnough) {
  SlabReserve reserve(100 * kPageSize);
  EXPECT_EQ(reserve.take(kPageSize), nullptr);
  std::byte* all = map_pages(22);  // with a hole of a page between each two pieces
  std::byte* const ten = all;
  std::byte* const four = all + 11 * kPageSize;
  std::byte* const six = all + 16 * kPageSize;
  reserve.give(ten, 10 * kPageSize);
  reserve.give(four, 4 * kPageSize);
  reserve.give(six, 6 * kPageSize);
  EXPECT_EQ(reserve.kept_bytes(), 20 * kPageSize);
  EXPECT_EQ(reserve.take(11 * kPageSize), nullptr);
  EXPECT_EQ(reserve.take(5 * kPageSize), six);
  EXPECT_EQ(reserve.take(4 * kPageSize), four);
  EXPECT_EQ(reserve.take(kPageSize), six + 5 * kPageSize) << "what was left of it";
  EXPECT_EQ(reserve.take(10 * kPageSize), ten);
  EXPECT_EQ(reserve.kept_bytes(), 0u);
  ::munmap(all, 22 * kPageSize);
}

TEST(SlabReserve, JoinsWhatLiesSideBySide) {
  SlabReserve reserve(100 * kPageSize);
  std::byte* const all = map_pages(9);
  reserve.give(all, 3 * kPageSize);
  reserve.give(all + 6 * kPageSize, 3 * kPageSize);
  EXPECT_EQ(reserve.take(9 * kPageSize), nullptr);
  reserve.give(all + 3 * kPageSize, 3 * kPageSize);
  ASSERT_EQ(reserve.take(9 * kPageSize), all);
  std::memset(all, 1, 9 * kPageSize);
  reserve.give(all, 9 * kPageSize);
}

TEST(SlabReserve, StaysBelowItsLimitAndLetsTheSmallestGo) {
  SlabReserve reserve(10 * kPageSize);
  std::byte* const all = map_pages(24);
  std::byte* const two = all;
  std::byte* const three = all + 3 * kPageSize;
  std::byte* const six = all + 7 * kPageSize;
  std::byte* const eleven = all + 13 * kPageSize;
  reserve.give(two, 2 * kPageSize);
  reserve.give(three, 3 * kPageSize);
  EXPECT_EQ(reserve.kept_bytes(), 5 * kPageSize);
  reserve.give(six, 6 * kPageSize);
  EXPECT_EQ(reserve.kept_bytes(), 9 * kPageSize);
  EXPECT_FALSE(is_mapped(two));
  EXPECT_TRUE(is_mapped(three));
  reserve.give(eleven, 11 * kPageSize);
  EXPECT_EQ(reserve.kept_bytes(), 9 * kPageSize);
  EXPECT_FALSE(is_mapped(eleven));
}

// Capsules refer to pages of slabs: none may be handed out twice.
TEST(Slab, UsesMemoryAgainOnlyAfterItsLastUserIsGone) {
  constexpr std::size_t kBytes = 16 * kPageSize;
  auto first = Slab::allocate(kBytes, Slab::Prefault::kNo).value();
  std::memset(first->writable().data(), 7, kBytes);
  auto second = Slab::allocate(kBytes, Slab::Prefault::kYes).value();
  std::memset(second->writable().data(), 8, kBytes);
  for (const std::byte b : first->bytes()) ASSERT_EQ(b, std::byte{7});
  const std::byte* const was = first->bytes().data();
  first.reset();
  const auto third = Slab::allocate(kBytes, Slab::Prefault::kNo).value();
  EXPECT_EQ(third->bytes().data(), was);
  std::memset(third->writable().data(), 9, kBytes);
  for (const std::byte b : second->bytes()) ASSERT_EQ(b, std::byte{8});
}

}  // namespace
}  // namespace perdure::capsule
