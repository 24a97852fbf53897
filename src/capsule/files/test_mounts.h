// File systems of the tests' own, in a mount namespace that vanishes with the process.
#pragma once

#include <sched.h>
#include <sys/mount.h>

#include "capsule/files/test_tree.h"

namespace perdure::capsule::test {

inline bool run(const std::string& command) {
  return std::system((command + " >/dev/null 2>&1").c_str()) == 0;
}

class PrivilegedTest : public testing::Test {
 protected:
  void SetUp() override {
    if (::geteuid() != 0) GTEST_SKIP() << "needs root";
    static const bool own_mounts =
        ::unshare(CLONE_NEWNS) == 0 &&
        ::mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) == 0;
    ASSERT_TRUE(own_mounts) << std::strerror(errno);
  }
};

// A file system of its own, in memory or in an image that is already unlinked when it is used.
class Mounted {
 public:
  Mounted(const std::string& type, std::uint64_t megabytes) : path_(make_scratch_directory()) {
    if (type == "tmpfs") {
      mounted_ = ::mount("none", path_.c_str(), "tmpfs", 0,
                         std::format("size={}m", megabytes).c_str()) == 0;
      return;
    }
    const std::string image = path_ + ".img";
    write_file(image, "");
    EXPECT_EQ(::truncate(image.c_str(), static_cast<off_t>(megabytes << 20)), 0);
    mounted_ = run("mkfs." + type + " -q " + image) && run("mount -o loop " + image + " " + path_);
    fs::remove(image);
  }
  ~Mounted() {
    if (mounted_) ::umount2(path_.c_str(), MNT_DETACH);
    ::rmdir(path_.c_str());
  }
  Mounted(const Mounted&) = delete;
  Mounted& operator=(const Mounted&) = delete;
  bool ok() const { return mounted_; }
  const std::string& path() const { return path_; }

 private:
  std::string path_;
  bool mounted_ = false;
};

}  // namespace perdure::capsule::test
