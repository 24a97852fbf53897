// Proves that paged objects keep the bytes they are given: overlaying, comparing and sharing agree
// with a plain table of pages for random objects, and impossible runs are refused.
#include "capsule/format/paged_object.h"

#include <gtest/gtest.h>

#include <map>
#include <random>

#include "capsule/format/test_capsules.h"

namespace perdure::capsule {
namespace {

using testing::noise_page;
using testing::object_of;
using testing::page_of;
using testing::slab_of;

using Model = std::map<std::uint64_t, std::string>;

std::string text(std::span<const std::byte> bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

Model model_of(const PagedObject& object) {
  Model model;
  for (const PageRun& run : object.runs()) {
    for (std::uint64_t page = run.first_page; page < run.end_page(); ++page) {
      model[page] = text(object.page(page));
    }
  }
  return model;
}

PagedObject from_model(const Model& model) {
  return object_of({model.begin(), model.end()});
}

Model random_model(std::mt19937& random) {
  Model model;
  const auto up_to = [&](unsigned n) { return static_cast<unsigned>(random() % n); };
  std::uint64_t page = up_to(10);
  for (unsigned run = up_to(6); run > 0; --run) {
    for (unsigned length = up_to(50); length > 0; --length) {
      model[page++] = page_of(static_cast<char>('a' + (up_to(8) == 0 ? up_to(3) : 0)));
    }
    page += up_to(30);
  }
  return model;
}

TEST(PagedObject, AppendJoinsRunsThatContinueEachOther) {
  const SlabRef slab = slab_of(page_of('a') + page_of('b') + page_of('c'));
  PagedObject object;
  ASSERT_TRUE(object.append({5, 1, slab, 0}));
  ASSERT_TRUE(object.append({6, 2, slab, kPageSize}));
  EXPECT_EQ(object.runs().size(), 1u);
  EXPECT_EQ(object.page_count(), 3u);
  ASSERT_TRUE(object.append({8, 0, nullptr, 0}));
  ASSERT_TRUE(object.append({8, 1, slab, 0}));
  EXPECT_EQ(object.runs().size(), 2u);
  EXPECT_EQ(text(object.page(7)), page_of('c'));
  EXPECT_TRUE(object.page(4).empty());
  EXPECT_TRUE(object.page(9).empty());
}

TEST(PagedObject, AppendRefusesWhatDoesNotFit) {
  const SlabRef slab = slab_of(page_of('a') + page_of('b'));
  PagedObject object;
  ASSERT_TRUE(object.append({5, 2, slab, 0}));
  EXPECT_EQ(object.append({6, 1, slab, 0}).error().code(), ErrorCode::kInvalid);
  EXPECT_EQ(object.append({4, 1, slab, 0}).error().code(), ErrorCode::kInvalid);
  EXPECT_EQ(object.append({9, 1, nullptr, 0}).error().code(), ErrorCode::kInvalid);
  EXPECT_EQ(object.append({9, 3, slab, 0}).error().code(), ErrorCode::kInvalid);
  EXPECT_EQ(object.append({9, 2, slab, 1}).error().code(), ErrorCode::kInvalid);
  EXPECT_EQ(object.append({9, 1, slab, ~std::uint64_t{0}}).error().code(), ErrorCode::kInvalid);
  EXPECT_EQ(object.append({kMaxPageNumber, 1, slab, 0}).error().code(), ErrorCode::kInvalid);
  EXPECT_EQ(object.append({~std::uint64_t{0}, 2, slab, 0}).error().code(), ErrorCode::kInvalid);
  EXPECT_EQ(object.append({9, ~std::uint64_t{0}, slab, 0}).error().code(), ErrorCode::kInvalid);
  EXPECT_EQ(object.page_count(), 2u);
}

TEST(PagedObject, OperationsAgreeWithATableOfPages) {
  std::mt19937 random(7);
  for (int round = 0; round < 400; ++round) {
    const Model a = random_model(random);
    const Model b = random_model(random);
    const PagedObject child = from_model(a);
    const PagedObject parent = from_model(b);

    Model overlaid = b;
    for (const auto& [page, bytes] : a) overlaid[page] = bytes;
    EXPECT_EQ(model_of(parent.overlaid_with(child)), overlaid) << "round " << round;

    Model changed;
    for (const auto& [page, bytes] : a) {
      const auto old = b.find(page);
      if (old == b.end() || old->second != bytes) changed[page] = bytes;
    }
    EXPECT_EQ(model_of(child.changed_since(parent)), changed) << "round " << round;
    EXPECT_EQ(model_of(child.shared_with(parent)), a) << "round " << round;
    EXPECT_TRUE(child.shared_with(parent).changed_since(parent).same_as(from_model(changed)));
    EXPECT_EQ(child.same_as(parent), a == b);
    EXPECT_TRUE(child.same_as(from_model(a)));
  }
}

TEST(PagedObject, SharedPagesLieInTheParentsSlab) {
  const PagedObject parent = object_of({{1, page_of('a')}, {2, page_of('b')}, {3, page_of('c')}});
  const PagedObject child = object_of({{1, page_of('a')}, {2, page_of('B')}, {3, page_of('c')}});
  const PagedObject shared = child.shared_with(parent);
  ASSERT_EQ(shared.runs().size(), 3u);
  EXPECT_EQ(shared.runs()[0].slab, parent.runs()[0].slab);
  EXPECT_EQ(shared.runs()[1].slab, child.runs()[0].slab);
  EXPECT_EQ(shared.runs()[2].slab, parent.runs()[0].slab);
}

TEST(PagedObject, ADifferenceInTheLastByteIsFound) {
  std::string bytes;
  for (std::uint32_t i = 0; i < 64; ++i) bytes += noise_page(i);
  const SlabRef before = slab_of(bytes);
  bytes[37 * kPageSize + kPageSize - 1] ^= 1;
  const SlabRef after = slab_of(bytes);
  PagedObject parent;
  PagedObject child;
  ASSERT_TRUE(parent.append({100, 64, before, 0}));
  ASSERT_TRUE(child.append({100, 64, after, 0}));
  const PagedObject changed = child.changed_since(parent);
  ASSERT_EQ(changed.runs().size(), 1u);
  EXPECT_EQ(changed.runs()[0].first_page, 137u);
  EXPECT_EQ(changed.runs()[0].page_count, 1u);
}

TEST(Slab, TrimKeepsTheBeginning) {
  auto slab = Slab::allocate(5 * kPageSize, Slab::Prefault::kYes);
  ASSERT_TRUE(slab);
  (*slab)->writable()[kPageSize] = std::byte{7};
  (*slab)->trim(kPageSize + 1);
  EXPECT_EQ((*slab)->bytes().size(), kPageSize + 1);
  EXPECT_EQ((*slab)->bytes()[kPageSize], std::byte{7});
  (*slab)->trim(0);
  EXPECT_TRUE((*slab)->bytes().empty());
}

TEST(Slab, ImpossibleSizeIsNoSpace) {
  EXPECT_EQ(Slab::allocate(SIZE_MAX - 5, Slab::Prefault::kNo).error().code(), ErrorCode::kNoSpace);
  EXPECT_EQ(Slab::allocate(std::size_t{1} << 60, Slab::Prefault::kNo).error().code(),
            ErrorCode::kNoSpace);
  EXPECT_TRUE(Slab::allocate(0, Slab::Prefault::kYes));
}

TEST(Slab, MappedAndReadFilesHaveTheSameBytes) {
  char path[] = "/tmp/perdure-slab.XXXXXX";
  const UniqueFd fd(::mkstemp(path));
  ASSERT_TRUE(fd);
  ::unlink(path);
  const std::string content = noise_page(1) + "tail";
  ASSERT_TRUE(write_all(fd.get(), std::as_bytes(std::span(content)), path));
  for (const auto read : {Slab::Read::kNow, Slab::Read::kLater}) {
    const auto mapped = Slab::map_file(fd, content.size(), path, read);
    ASSERT_TRUE(mapped);
    EXPECT_TRUE((*mapped)->is_file());
    EXPECT_EQ(text((*mapped)->bytes()), content);
  }
  const auto copied = Slab::read_file(fd, content.size(), path);
  ASSERT_TRUE(copied);
  EXPECT_FALSE((*copied)->is_file());
  EXPECT_EQ(text((*copied)->bytes()), content);
  EXPECT_EQ(Slab::map_file(fd, content.size() + 1, path).error().code(), ErrorCode::kCorrupt);
  EXPECT_EQ(Slab::read_file(fd, content.size() + 1, path).error().code(), ErrorCode::kCorrupt);
}

}  // namespace
}  // namespace perdure::capsule
