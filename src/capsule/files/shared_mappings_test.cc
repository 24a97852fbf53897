// Proves that stores through shared mappings are found although they leave no trace in mtime and
// ctime, and that mapped files are not read more often than that takes.
#include "capsule/files/test_mapping.h"

namespace perdure::capsule {
namespace {

using namespace test;

TEST(SharedMappingTest, StoresWithoutATraceAreFound) {
  if (::geteuid() != 0) GTEST_SKIP() << "/proc/PID/map_files needs root";
  TestTree tree;
  write_file(tree / "file", std::string(kPageSize, '0'));
  MappedFile mapping(tree / "file");
  mapping.store('1');  // faults: this one sets ctime
  // A store leaves a trace when the host has written the page back meanwhile: that one proves nothing.
  bool left_none = false;
  for (int attempt = 0; !left_none && attempt < 20; ++attempt) {
    tree.settle();
    tree.must_capture(own_hints());
    struct stat before{};
    struct stat after{};
    ::stat((tree / "file").c_str(), &before);
    const char stored = static_cast<char>('a' + attempt);
    mapping.store(stored);
    ::stat((tree / "file").c_str(), &after);
    left_none = before.st_ctim.tv_nsec == after.st_ctim.tv_nsec && before.st_ctim.tv_sec == after.st_ctim.tv_sec;
    EXPECT_EQ(content_of(*find_entry(tree.must_capture(own_hints()), "file")).front(), stored);
  }
  EXPECT_TRUE(left_none) << "each store left a trace";
}

TEST(SharedMappingTest, StoresBeforeTheMappingWentAwayAreFound) {
  if (::geteuid() != 0) GTEST_SKIP() << "/proc/PID/map_files needs root";
  TestTree tree;
  write_file(tree / "file", std::string(kPageSize, '0'));
  // A store leaves a trace when the host has written the page back meanwhile: that one proves nothing.
  bool left_none = false;
  for (int attempt = 0; !left_none && attempt < 20; ++attempt) {
    struct stat before{};
    struct stat after{};
    const char stored = static_cast<char>('a' + attempt);
    {
      MappedFile mapping(tree / "file");
      mapping.store('1');
      tree.settle();
      tree.must_capture(own_hints());
      ::stat((tree / "file").c_str(), &before);
      mapping.store(stored);
      ::stat((tree / "file").c_str(), &after);
    }
    left_none = before.st_ctim.tv_nsec == after.st_ctim.tv_nsec && before.st_ctim.tv_sec == after.st_ctim.tv_sec;
    EXPECT_EQ(content_of(*find_entry(tree.must_capture(own_hints()), "file")).front(), stored);
    if (!left_none) continue;
    tree.must_capture(own_hints());
    EXPECT_EQ(tree.last.files_read, 0u) << "and once is enough";
  }
  EXPECT_TRUE(left_none) << "each store left a trace";
}

TEST(SharedMappingTest, StoresBetweenTwoChangesOfProtectionAreFound) {
  if (::geteuid() != 0) GTEST_SKIP() << "/proc/PID/map_files needs root";
  TestTree tree;
  write_file(tree / "file", std::string(kPageSize, '0'));
  MappedFile mapping(tree / "file");
  mapping.store('1');
  mapping.protect(PROT_READ);
  tree.settle();
  tree.must_capture(own_hints());
  for (const char value : {'2', '3'}) {
    mapping.protect(PROT_READ | PROT_WRITE);
    mapping.store(value);
    mapping.protect(PROT_READ);
    EXPECT_EQ(content_of(*find_entry(tree.must_capture(own_hints()), "file")).front(), value);
  }
}

TEST(SharedMappingTest, AMappedFileThatIsWrittenBackIsNotReadUntilItChanges) {
  if (::geteuid() != 0) GTEST_SKIP() << "/proc/PID/map_files needs root";
  TestTree tree;
  write_file(tree / "file", std::string(kPageSize, '0'));
  MappedFile mapping(tree / "file");
  mapping.store('1');
  tree.settle();
  ASSERT_EQ(::msync(mapping.data(), kPageSize, MS_SYNC), 0);
  tree.must_capture(own_hints());
  tree.must_capture(own_hints());
  if (tree.last.files_read > 0)
    GTEST_SKIP() << "this kernel has no cachestat(2): mapped files are always read";
  for (const char value : {'2', '3'}) {
    mapping.store(value);
    EXPECT_EQ(content_of(*find_entry(tree.must_capture(own_hints()), "file")).front(), value);
  }
}

TEST(SharedMappingTest, FilesOpenedForReadingDoNotCount) {
  if (::geteuid() != 0) GTEST_SKIP() << "/proc/PID/map_files needs root";
  TestTree tree;
  constexpr std::size_t kSize = 37 * kPageSize;  // no range that was looked at before
  write_file(tree / "file", std::string(kSize, '0'));
  const std::size_t before = own_hints().shared_writable.size();
  const UniqueFd fd(::open((tree / "file").c_str(), O_RDONLY | O_CLOEXEC));
  void* data = ::mmap(nullptr, kSize, PROT_READ, MAP_SHARED, fd.get(), 0);
  EXPECT_EQ(own_hints().shared_writable.size(), before);
  ::munmap(data, kSize);
}

TEST(SharedMappingTest, AProcessThatIsGoneCountsForNothing) {
  const pid_t gone = 0x3fffff;
  EXPECT_TRUE(collect_shared_writable_mappings({&gone, 1}));
}

}  // namespace
}  // namespace perdure::capsule
