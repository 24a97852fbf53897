// For the tests of this room: a loop, a directory of one's own, and what the process holds open.
#pragma once

#include <dirent.h>
#include <stdlib.h>
#include <unistd.h>

#include <chrono>
#include <memory>
#include <string>

#include "base/clock.h"
#include "gtest/gtest.h"
#include "io/atomic_file.h"
#include "io/loop.h"

namespace perdure::io {

// Generous: reached only when a test fails.
inline constexpr Duration kTestTime = std::chrono::seconds(30);
// "Never" within a test.
inline constexpr Duration kLongTime = std::chrono::hours(1);

inline std::unique_ptr<Loop> make_loop() {
  return Loop::create().value();
}

// Turns the loop until all that was ready before has been called: two posts, with the reactor asked
// in between.
inline void settle(Loop& loop) {
  for (int i = 0; i < 2; ++i) {
    bool passed = false;
    Timer timer = loop.after(Duration::zero(), [&] { passed = true; });
    ASSERT_TRUE(loop.run_until([&] { return passed; }, kTestTime));
  }
}

class TemporaryDirectory {
 public:
  explicit TemporaryDirectory(const std::string& parent = "/tmp")
      : path_(parent + "/perdure-io.XXXXXX") {
    EXPECT_NE(::mkdtemp(path_.data()), nullptr);
  }
  TemporaryDirectory(const TemporaryDirectory&) = delete;
  TemporaryDirectory& operator=(const TemporaryDirectory&) = delete;
  ~TemporaryDirectory() { EXPECT_TRUE(remove_tree(path_)); }
  const std::string& path() const { return path_; }
  std::string operator/(const std::string& name) const { return path_ + "/" + name; }

 private:
  std::string path_;
};

// For thousands of files: a disk may take seconds.
inline std::string memory_directory() {
  return ::access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp";
}

inline int count_entries(const std::string& path) {
  DIR* const directory = ::opendir(path.c_str());
  if (directory == nullptr) return -1;
  int count = -2;  // . and ..
  while (::readdir(directory) != nullptr) ++count;
  ::closedir(directory);
  return count;
}

inline int count_open_descriptors() {
  return count_entries("/proc/self/fd");
}

}  // namespace perdure::io
