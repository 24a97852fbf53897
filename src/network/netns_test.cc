// Proves that pinned namespaces outlive threads, are found again, and leave nothing behind; that
// the caller's thread stays where it was.
#include <sys/stat.h>

#include <filesystem>

#include "network/network_test_support.h"

namespace perdure::network {
namespace {

const std::string kPath = "/run/perdure/netns/one";

ino_t inode_of(int fd) {
  struct stat info{};
  EXPECT_EQ(::fstat(fd, &info), 0);
  return info.st_ino;
}

class NetnsTest : public SandboxTest {};

TEST_F(NetnsTest, CreatedOpenedAndDeleted) {
  const ino_t before = inode_of(value_of(NetworkNamespace::current()).fd());
  auto made = value_of(NetworkNamespace::create(kPath));
  EXPECT_EQ(inode_of(value_of(NetworkNamespace::current()).fd()), before) << "the caller moved";
  EXPECT_NE(inode_of(made.fd()), before);
  EXPECT_EQ(inode_of(value_of(NetworkNamespace::open(kPath)).fd()), inode_of(made.fd()));
  const auto again = NetworkNamespace::create(kPath);
  ASSERT_FALSE(again);
  EXPECT_EQ(again.error().code(), ErrorCode::kExists);
  ASSERT_OK(made.remove());
  EXPECT_FALSE(std::filesystem::exists(kPath));
  EXPECT_EQ(NetworkNamespace::open(kPath).error().code(), ErrorCode::kNotFound);
  EXPECT_OK(delete_netns(kPath));
}

TEST_F(NetnsTest, DestructionRemovesAndReleaseKeeps) {
  {
    auto made = value_of(NetworkNamespace::create(kPath));
  }
  EXPECT_FALSE(std::filesystem::exists(kPath));
  {
    auto made = value_of(NetworkNamespace::create(kPath));
    made.release();
  }
  auto opened = value_of(NetworkNamespace::open(kPath));
  opened.adopt();
  ASSERT_OK(opened.remove());
  EXPECT_FALSE(std::filesystem::exists(kPath));
}

TEST_F(NetnsTest, LeftOverFileIsReplacedAndForeignFileRefused) {
  std::filesystem::create_directories("/run/perdure/netns");
  ASSERT_TRUE(open_file(kPath, O_CREAT | O_WRONLY));
  EXPECT_EQ(NetworkNamespace::open(kPath).error().code(), ErrorCode::kInvalid);
  auto made = value_of(NetworkNamespace::create(kPath));
  EXPECT_EQ(NetworkNamespace::create("relative").error().code(), ErrorCode::kInvalid);
}

TEST_F(NetnsTest, HasASmallTableOfConnectionsAndTheLimitsOfTheHost) {
  const std::string settings = "/proc/sys/net/ipv4/";
  if (!std::filesystem::exists(settings + "tcp_child_ehash_entries")) {
    GTEST_SKIP() << "the kernel (before 6.1) has no table of connections per network namespace";
  }
  const std::string waiting = value_of(read_file(settings + "tcp_max_tw_buckets"));
  const std::string child = value_of(read_file(settings + "tcp_child_ehash_entries"));
  auto made = value_of(NetworkNamespace::create(kPath));
  ASSERT_OK(run_in_netns(made.fd(), [&]() -> Status {
    EXPECT_EQ(value_of(read_file(settings + "tcp_ehash_entries")), "16384\n") << "negative: it is shared";
    EXPECT_EQ(value_of(read_file(settings + "tcp_max_tw_buckets")), waiting);
    return {};
  }));
  EXPECT_EQ(value_of(read_file(settings + "tcp_child_ehash_entries")), child) << "not ours to change";
}

TEST_F(NetnsTest, LoopbackIsUpInside) {
  auto made = value_of(NetworkNamespace::create(kPath));
  EXPECT_TRUE(value_of(value_of(LinkControl::open(made.fd())).get("lo")).up);
}

TEST_F(NetnsTest, WorkRunsInsideOnAnotherThread) {
  auto made = value_of(NetworkNamespace::create(kPath));
  const auto inside = call_in_netns(made.fd(), []() -> Result<ino_t> {
    PERDURE_ASSIGN(auto here, NetworkNamespace::current());
    return inode_of(here.fd());
  });
  EXPECT_EQ(value_of(inside), inode_of(made.fd()));
  const auto failed =
      run_in_netns(made.fd(), [] { return Status(fail(ErrorCode::kConflict, "mine")); });
  EXPECT_EQ(failed.error().message(), "mine");
}

// A mount namespace that was copied while the pin existed must not keep the namespace alive.
TEST_F(NetnsTest, RemovalReachesCopiedMountNamespaces) {
  auto made = value_of(NetworkNamespace::create(kPath));
  Pipe ready = value_of(make_pipe());
  Pipe finish = value_of(make_pipe());
  const pid_t child = ::fork();
  if (child == 0) {
    char byte = 0;
    // As a slave, what containers do; a private copy taken now would keep it.
    const bool entered =
        ::unshare(CLONE_NEWNS) == 0 && ::mount("", "/", nullptr, MS_REC | MS_SLAVE, nullptr) == 0;
    (void)!::write(ready.write_end.get(), "r", 1);
    (void)!::read(finish.read_end.get(), &byte, 1);
    ::_exit(entered && !NetworkNamespace::open(kPath) ? 0 : 1);
  }
  char byte;
  ASSERT_EQ(::read(ready.read_end.get(), &byte, 1), 1);
  ASSERT_OK(made.remove());
  ASSERT_EQ(::write(finish.write_end.get(), "f", 1), 1);
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

}  // namespace
}  // namespace perdure::network
