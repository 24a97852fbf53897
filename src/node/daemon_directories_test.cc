// What the daemon claims before it begins: one daemon per state directory, and a life number that only rises.
#include "node/daemon_directories.h"

#include <linux/magic.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <fstream>

#include "gtest/gtest.h"
#include "io/test_support.h"

namespace perdure::node {
namespace {

class DaemonDirectoriesTest : public ::testing::Test {
 protected:
  DaemonDirectoriesTest() {
    paths_.run_dir = directory_ / "run/perdure";
    paths_.state_dir = directory_ / "lib/perdure";
  }
  io::TemporaryDirectory directory_;
  Paths paths_;
};

TEST_F(DaemonDirectoriesTest, AreMadeAndHeldByOneDaemonOnly) {
  {
    const auto first = claim_directories(paths_);
    ASSERT_TRUE(first) << first.error().message();
    const auto second = claim_directories(paths_);
    ASSERT_FALSE(second);
    EXPECT_EQ(second.error().code(), ErrorCode::kConflict);
    EXPECT_NE(second.error().message().find(paths_.state_dir), std::string::npos);
  }
  EXPECT_TRUE(claim_directories(paths_)) << "the end of a daemon sets it free";
  struct stat status{};
  ASSERT_EQ(::stat(paths_.state_dir.c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 07777, 0700u) << "memory of containers is in there";
}

TEST_F(DaemonDirectoriesTest, EveryLifeHasAHigherNumber) {
  ASSERT_TRUE(claim_directories(paths_));
  EXPECT_EQ(next_incarnation(paths_).value(), Incarnation{1});
  EXPECT_EQ(next_incarnation(paths_).value(), Incarnation{2});
  std::ofstream(paths_.incarnation()) << "41\n";
  EXPECT_EQ(next_incarnation(paths_).value(), Incarnation{42});
}

TEST_F(DaemonDirectoriesTest, ADamagedNumberIsNotBegunAnew) {
  ASSERT_TRUE(claim_directories(paths_));
  for (const char* text : {"", "\n", "x\n", "7", "7\n7\n", "-1\n", "99999999999999999999999\n"}) {
    std::ofstream(paths_.incarnation(), std::ios::trunc) << text;
    const auto number = next_incarnation(paths_);
    ASSERT_FALSE(number) << '"' << text << '"';
    EXPECT_EQ(number.error().code(), ErrorCode::kCorrupt);
  }
}

TEST_F(DaemonDirectoriesTest, WhatADeadDaemonWroteHalfIsRemovedAndNothingElse) {
  ASSERT_TRUE(claim_directories(paths_));
  const std::string home = paths_.containers() + "/web";
  ASSERT_TRUE(io::make_directories(home + "/bundle", 0700));
  ASSERT_TRUE(io::make_directories(paths_.images() + "/digests", 0700));
  const std::vector<std::string> left_over = {
      paths_.state_dir + "/.incarnation.0123456789abcdef.tmp", home + "/.state.json.417f5eba8af8913e.tmp",
      home + "/bundle/.config.json.0000000000000000.tmp", paths_.images() + "/digests/.x.ffffffffffffffff.tmp"};
  const std::vector<std::string> others = {home + "/state.json", home + "/state.json.0123456789abcdef.tmp",
                                           home + "/.state.json.0123456789abcde.tmp",
                                           home + "/.state.json.0123456789abcdeg.tmp", home + "/.0123456789abcdef.tmp"};
  for (const auto* names : {&left_over, &others}) {
    for (const std::string& name : *names) std::ofstream(name) << "half";
  }
  remove_left_over(paths_);
  for (const std::string& name : left_over) EXPECT_NE(::access(name.c_str(), F_OK), 0) << name;
  for (const std::string& name : others) EXPECT_EQ(::access(name.c_str(), F_OK), 0) << name;
}

TEST_F(DaemonDirectoriesTest, ScratchIsATmpfsThatIsUsedAgainAndEmptied) {
  if (::geteuid() != 0) GTEST_SKIP() << "mounting needs root";
  ASSERT_EQ(::unshare(CLONE_NEWNS), 0) << "of this process: it ends with the test";
  ASSERT_EQ(::mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr), 0);
  ASSERT_TRUE(claim_directories(paths_));
  ASSERT_TRUE(prepare_scratch(paths_));
  struct statfs info{};
  ASSERT_EQ(::statfs(paths_.scratch().c_str(), &info), 0);
  EXPECT_EQ(info.f_type, TMPFS_MAGIC);
  ASSERT_TRUE(io::make_directories(paths_.scratch() + "/left/over", 0700));
  ASSERT_TRUE(prepare_scratch(paths_));
  EXPECT_EQ(io::count_entries(paths_.scratch()), 0);
  EXPECT_EQ(::umount(paths_.scratch().c_str()), 0) << "mounted once";
  EXPECT_NE(::umount(paths_.scratch().c_str()), 0);
}

}  // namespace
}  // namespace perdure::node
