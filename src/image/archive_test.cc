// Proves with real trees: what is packed on one side is on the other side byte for byte, attribute for attribute and
// hole for hole; the receiver shows an image whole or not at all, whatever arrives, wherever it is interrupted, however
// many receive at once. Needs root: owners, device nodes, trusted attributes.
#include "image/archive.h"

#include <fcntl.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <filesystem>
#include <thread>

#include "base/fd.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "image/archive_test_support.h"
#include "image/test_support.h"
#include "io/process.h"

namespace perdure::image {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;
using testing::IsEmpty;

// cap_net_bind_service+ep, revision 2 (linux/capability.h).
const std::string kCapability("\x01\x00\x00\x02\x00\x04\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00", 20);

class ArchiveTest : public testing::Test {
 protected:
  void SetUp() override {
    if (!test::is_root()) GTEST_SKIP() << "needs root: trees hold owners and device nodes";
    make_tree();
  }

  void make_tree() const {
    for (const char* directory : {"/bin", "/empty", "/deep/er", "/opaque"}) fs::create_directories(tree() + directory);
    test::write_text(tree() + "/bin/server", std::string(3'000'000, 'x') + "end");
    ASSERT_EQ(::chown((tree() + "/bin/server").c_str(), 33, 34), 0);
    ASSERT_EQ(::chmod((tree() + "/bin/server").c_str(), 04751), 0);
    fs::create_hard_link(tree() + "/bin/server", tree() + "/bin/again");
    fs::create_hard_link(tree() + "/bin/server", tree() + "/deep/er/third");
    fs::create_symlink("../../../../etc/passwd", tree() + "/deep/link");
    ASSERT_EQ(::lchown((tree() + "/deep/link").c_str(), 7, 8), 0);
    test::write_text(tree() + "/deep/er/empty", "");
    test::write_text(tree() + "/odd \n\xff name", "odd");
    set(tree() + "/bin/server", "security.capability", kCapability);
    set(tree() + "/deep/er/empty", "user.empty", "");
    set(tree() + "/deep/er/empty", "user.note", std::string("a\0b", 3));
    set(tree() + "/opaque", "trusted.overlay.opaque", "y");
    set(tree() + "/opaque", "trusted.overlay.origin", "of this host alone");
    ASSERT_EQ(::mknod((tree() + "/opaque/whiteout").c_str(), S_IFCHR, makedev(0, 0)), 0);
    ASSERT_EQ(::mknod((tree() + "/null").c_str(), S_IFCHR | 0666, makedev(1, 3)), 0);
    ASSERT_EQ(::mknod((tree() + "/disk").c_str(), S_IFBLK | 0640, makedev(8, 300)), 0);
    ASSERT_EQ(::mknod((tree() + "/fifo").c_str(), S_IFIFO | 0600, 0), 0);
    ASSERT_EQ(::mknod((tree() + "/socket").c_str(), S_IFSOCK | 0755, 0), 0);
    ASSERT_EQ(::chmod((tree() + "/empty").c_str(), 03701), 0);
    ASSERT_EQ(::chmod((tree() + "/deep").c_str(), 0), 0);
    ASSERT_EQ(::chmod(tree().c_str(), 0751), 0);
    for (const char* name : {"/bin/server", "/deep/link", "/deep", "/null", ""}) {
      const timespec times[2] = {{1'000'000'000, 5}, {1'234'567'890, 123'456'789}};
      ASSERT_EQ(::utimensat(AT_FDCWD, (tree() + name).c_str(), times, AT_SYMLINK_NOFOLLOW), 0);
    }
  }
  static void set(const std::string& path, const char* name, const std::string& value) {
    ASSERT_EQ(::lsetxattr(path.c_str(), name, value.data(), value.size(), 0), 0) << name << ": " << errno;
  }
  static std::string attribute(const std::string& path, const char* name) {
    std::array<char, 256> value{};
    const ssize_t size = ::lgetxattr(path.c_str(), name, value.data(), value.size());
    return size < 0 ? "none" : std::string(value.data(), static_cast<std::size_t>(size));
  }
  static struct stat status(const std::string& path) {
    struct stat info{};
    EXPECT_EQ(::lstat(path.c_str(), &info), 0) << path;
    return info;
  }

  std::string tree() const { return scratch() + "/tree"; }
  std::string sender_dir() const { return scratch() + "/sender"; }
  std::string images() const { return scratch() + "/receiver"; }
  const std::string& scratch() const { return directory_.path(); }
  PreparedImage from_directory() const {
    auto image = prepare_root(model::DirectoryRoot{tree()}, {.images_dir = sender_dir()});
    EXPECT_TRUE(image) << image.error().message();
    return image.value_or(PreparedImage{});
  }
  std::vector<std::string> received() const {
    std::vector<std::string> names;
    if (!fs::exists(images())) return names;
    for (const auto& entry : fs::directory_iterator(images())) names.push_back(entry.path().filename().string());
    return names;
  }
  // Names of everything beside the receiver's directory: what a hostile archive would have changed.
  std::vector<std::string> outside() const {
    std::vector<std::string> names;
    for (auto entry = fs::recursive_directory_iterator(scratch()); entry != fs::recursive_directory_iterator();
         ++entry) {
      if (entry->path() == images()) entry.disable_recursion_pending();
      names.push_back(entry->path().string());
    }
    return names;
  }
  Result<PreparedImage> receive(const std::string& digest, std::string_view archive) const {
    return test::receive(images(), digest, archive);
  }

 private:
  test::TemporaryDirectory directory_;
};

TEST_F(ArchiveTest, ATreeArrivesAsItWas) {
  const PreparedImage sent = from_directory();
  const auto got = receive(sent.digest, test::pack(sent));
  ASSERT_TRUE(got) << got.error().message();
  EXPECT_EQ(got->digest, sent.digest);
  EXPECT_EQ(got->tree_digest, sent.digest);
  EXPECT_EQ(digest_tree(got->lower_dir, "").value(), sent.digest);
  EXPECT_EQ(find_prepared(images(), sent.digest).value().lower_dir, got->lower_dir);
  const std::string& root = got->lower_dir;
  for (const char* name : {"", "/bin", "/bin/server", "/empty", "/deep", "/deep/link", "/deep/er/empty", "/null",
                           "/disk", "/fifo", "/socket", "/opaque/whiteout", "/odd \n\xff name"}) {
    const struct stat before = status(tree() + name);
    const struct stat after = status(root + name);
    EXPECT_EQ(after.st_mode, before.st_mode) << name;
    EXPECT_EQ(after.st_uid, before.st_uid) << name;
    EXPECT_EQ(after.st_gid, before.st_gid) << name;
    EXPECT_EQ(after.st_rdev, before.st_rdev) << name;
    EXPECT_EQ(after.st_mtim.tv_sec, before.st_mtim.tv_sec) << name;
    EXPECT_EQ(after.st_mtim.tv_nsec, before.st_mtim.tv_nsec) << name;
  }
  EXPECT_EQ(fs::read_symlink(root + "/deep/link"), "../../../../etc/passwd");
}

TEST_F(ArchiveTest, HardLinksArriveAsOneInode) {
  const PreparedImage sent = from_directory();
  const auto got = receive(sent.digest, test::pack(sent));
  ASSERT_TRUE(got) << got.error().message();
  const struct stat first = status(got->lower_dir + "/bin/server");
  EXPECT_EQ(first.st_nlink, 3u);
  EXPECT_EQ(status(got->lower_dir + "/bin/again").st_ino, first.st_ino);
  EXPECT_EQ(status(got->lower_dir + "/deep/er/third").st_ino, first.st_ino);
}

TEST_F(ArchiveTest, AttributesOfTheImageArriveAndThoseOfTheHostDoNot) {
  const PreparedImage sent = from_directory();
  const auto got = receive(sent.digest, test::pack(sent));
  ASSERT_TRUE(got) << got.error().message();
  EXPECT_EQ(attribute(got->lower_dir + "/bin/server", "security.capability"), kCapability);
  EXPECT_EQ(attribute(got->lower_dir + "/deep/er/empty", "user.empty"), "");
  EXPECT_EQ(attribute(got->lower_dir + "/deep/er/empty", "user.note"), std::string("a\0b", 3));
  EXPECT_EQ(attribute(got->lower_dir + "/opaque", "trusted.overlay.opaque"), "y");
  EXPECT_EQ(attribute(got->lower_dir + "/opaque", "trusted.overlay.origin"), "none");
}

TEST_F(ArchiveTest, HolesStayHoles) {
  constexpr std::uint64_t kSize = std::uint64_t{200} << 20;
  const std::string path = tree() + "/sparse";
  {
    const UniqueFd file = open_file(path, O_WRONLY | O_CREAT, 0644).value();
    ASSERT_EQ(::pwrite(file.get(), "begin", 5, 0), 5);
    ASSERT_EQ(::pwrite(file.get(), "middle", 6, 100'000'000), 6);
    ASSERT_EQ(::ftruncate(file.get(), kSize), 0);
  }
  const PreparedImage sent = from_directory();
  const std::string archive = test::pack(sent);
  EXPECT_LT(archive.size(), 4'000'000u);
  const auto got = receive(sent.digest, archive);
  ASSERT_TRUE(got) << got.error().message();
  const struct stat info = status(got->lower_dir + "/sparse");
  EXPECT_EQ(static_cast<std::uint64_t>(info.st_size), kSize);
  EXPECT_LT(info.st_blocks * 512, 1'000'000);
}

TEST_F(ArchiveTest, TheBytesDoNotDependOnThePieces) {
  const PreparedImage sent = from_directory();
  const std::string archive = test::pack(sent);
  EXPECT_EQ(test::pack(sent, 4099), archive);
  const auto got = test::receive(images(), sent.digest, archive, 4099);
  ASSERT_TRUE(got) << got.error().message();
  // The header names where the sender has it.
  const std::string again = test::pack(*got);
  const auto same_until = std::ranges::mismatch(again.rbegin(), again.rend(), archive.rbegin(), archive.rend());
  EXPECT_GT(same_until.in1 - again.rbegin(), static_cast<std::ptrdiff_t>(archive.size()) - 2000);
}

TEST_F(ArchiveTest, AnArchiveOfATarTravelsOnFromNodeToNodeWithItsDefaults) {
  const std::string tar = scratch() + "/root.tar";
  const auto made = io::command_output({"tar", "-cf", tar, "--xattrs", "--xattrs-include=*", "-C", tree(), "."});
  ASSERT_TRUE(made) << made.error().message();
  auto first = prepare_root(model::TarRoot{tar}, {.images_dir = sender_dir()});
  ASSERT_TRUE(first) << first.error().message();
  EXPECT_EQ(first->tree_digest, digest_tree(first->lower_dir, "").value());
  EXPECT_NE(first->tree_digest, first->digest);
  first->defaults = {.entrypoint = {"/bin/server"},
                     .command = {"--port", "80"},
                     .environment = {"A=1"},
                     .working_directory = "/deep",
                     .user = "33:34"};
  const auto second = receive(first->digest, test::pack(*first));
  ASSERT_TRUE(second) << second.error().message();
  EXPECT_EQ(second->digest, first->digest);
  EXPECT_EQ(second->tree_digest, first->tree_digest);
  EXPECT_EQ(second->defaults, first->defaults);
  const auto third = test::receive(scratch() + "/third", first->digest, test::pack(*second));
  ASSERT_TRUE(third) << third.error().message();
  EXPECT_EQ(third->defaults, first->defaults);
  EXPECT_EQ(digest_tree(third->lower_dir, "").value(), first->tree_digest);
}

TEST_F(ArchiveTest, AnImagePreparedBeforeTreeDigestsWereKeptTravelsToo) {
  PreparedImage sent = from_directory();
  sent.tree_digest.clear();
  const auto got = receive(sent.digest, test::pack(sent));
  ASSERT_TRUE(got) << got.error().message();
  EXPECT_EQ(got->tree_digest, sent.digest);
}

TEST_F(ArchiveTest, ATreeThatWasChangedSinceIsNotTaken) {
  const PreparedImage sent = from_directory();
  test::write_text(tree() + "/deep/er/empty", "no longer");
  const auto got = receive(sent.digest, test::pack(sent));
  ASSERT_FALSE(got);
  EXPECT_EQ(got.error().code(), ErrorCode::kCorrupt);
  EXPECT_THAT(got.error().message(), testing::AllOf(HasSubstr(sent.digest), HasSubstr("since it was prepared")));
  EXPECT_THAT(received(), IsEmpty());
}

TEST_F(ArchiveTest, ATreeThatShrinksWhileItIsReadIsNotSent) {
  const auto packer = Packer::open(from_directory()).value();
  std::string piece(100'000, '\0');
  ASSERT_TRUE(packer->read(std::as_writable_bytes(std::span(piece))));
  fs::resize_file(tree() + "/bin/server", 50'000);
  Result<std::size_t> size = 0;
  while (size && !packer->finished()) size = packer->read(std::as_writable_bytes(std::span(piece)));
  ASSERT_FALSE(size);
  EXPECT_EQ(size.error().code(), ErrorCode::kTransient) << size.error().message();
  EXPECT_FALSE(packer->finished());
  EXPECT_FALSE(packer->read(std::as_writable_bytes(std::span(piece))));
}

TEST_F(ArchiveTest, AnArchiveOfAnotherImageIsRefusedAtItsHeader) {
  const PreparedImage sent = from_directory();
  const std::string other = "sha256:" + std::string(64, '0');
  const auto unpacker = Unpacker::begin(images(), other).value();
  const Status fed = test::feed(*unpacker, test::pack(sent).substr(0, 2000));
  ASSERT_FALSE(fed);
  EXPECT_EQ(fed.error().code(), ErrorCode::kCorrupt);
  EXPECT_THAT(fed.error().message(), testing::AllOf(HasSubstr(other), HasSubstr(sent.digest)));
  EXPECT_FALSE(unpacker->finish());
  EXPECT_EQ(find_prepared(images(), other).error().code(), ErrorCode::kNotFound);
}

TEST_F(ArchiveTest, WhatIsNoDigestIsRefused) {
  EXPECT_EQ(Unpacker::begin(images(), "../x").error().code(), ErrorCode::kInvalid);
  EXPECT_EQ(Packer::open({"latest", tree(), {}}).error().code(), ErrorCode::kInvalid);
  PreparedImage gone = from_directory();
  gone.lower_dir += "/gone";
  EXPECT_EQ(Packer::open(gone).error().code(), ErrorCode::kNotFound);
}

TEST_F(ArchiveTest, FinishedOnlyOnce) {
  const PreparedImage sent = from_directory();
  const auto unpacker = Unpacker::begin(images(), sent.digest).value();
  ASSERT_TRUE(test::feed(*unpacker, test::pack(sent)));
  ASSERT_TRUE(unpacker->finish());
  EXPECT_EQ(unpacker->finish().error().code(), ErrorCode::kInvalid);
  EXPECT_FALSE(test::feed(*unpacker, "x"));
  EXPECT_TRUE(find_prepared(images(), sent.digest));
}

TEST_F(ArchiveTest, AttributesThatThisFileSystemCannotKeepAreNamed) {
  const std::string digest = "sha256:" + std::string(64, '1');
  EntryMeta file = test::meta(S_IFREG | 0644);
  file.attributes = {{"security.capability", "no capability"}};
  const auto unpacker = Unpacker::begin(images(), digest).value();
  const Status fed = test::feed(*unpacker, test::ArchiveMaker().begin(digest).file("odd", 0, file).leave().text());
  ASSERT_FALSE(fed);
  EXPECT_THAT(fed.error().message(), testing::AllOf(HasSubstr("'security.capability'"), HasSubstr("/odd")));
}

// A small tree, so that it can be cut and broken everywhere.
class BrokenArchiveTest : public ArchiveTest {
 protected:
  void SetUp() override {
    if (!test::is_root()) GTEST_SKIP() << "needs root: trees hold owners and device nodes";
    fs::create_directories(tree() + "/a/b");
    test::write_text(tree() + "/a/file", "content");
    fs::create_hard_link(tree() + "/a/file", tree() + "/a/b/hard");
    fs::create_symlink("../..", tree() + "/a/up");
    set(tree() + "/a/b", "user.note", "value");
    ASSERT_EQ(::mknod((tree() + "/a/null").c_str(), S_IFCHR | 0666, makedev(1, 3)), 0);
    sent = from_directory();
    archive = test::pack(sent);
    ASSERT_LT(archive.size(), 2000u);
    before = outside();
  }
  PreparedImage sent;
  std::string archive;
  std::vector<std::string> before;
};

TEST_F(BrokenArchiveTest, CutAnywhereItLeavesNothing) {
  fs::create_directories(images());
  before = outside();
  for (std::size_t size = 0; size < archive.size(); ++size) {
    {
      const auto unpacker = Unpacker::begin(images(), sent.digest).value();
      ASSERT_TRUE(test::feed(*unpacker, archive.substr(0, size))) << size;
      EXPECT_EQ(find_prepared(images(), sent.digest).error().code(), ErrorCode::kNotFound);
      if (size % 2 == 0) {
        const auto finished = unpacker->finish();
        ASSERT_FALSE(finished);
        EXPECT_EQ(finished.error().code(), ErrorCode::kCorrupt) << finished.error().message();
      }
    }
    ASSERT_THAT(received(), IsEmpty()) << size;
  }
  EXPECT_EQ(outside(), before);
  EXPECT_TRUE(receive(sent.digest, archive));
}

TEST_F(BrokenArchiveTest, BrokenAnywhereItIsRefusedOrTheSameTree) {
  fs::create_directories(images());
  before = outside();
  std::size_t accepted = 0;
  for (std::size_t at = 0; at < archive.size(); ++at) {
    std::string broken = archive;
    broken[at] = static_cast<char>(broken[at] ^ 0x10);  // no size becomes one that takes long to verify
    const auto got = receive(sent.digest, broken);
    if (!got) {
      ASSERT_THAT(received(), IsEmpty()) << at;
      continue;
    }
    // A time, the name of the source: nothing that a digest covers.
    ++accepted;
    ASSERT_EQ(digest_tree(got->lower_dir, "").value(), sent.digest) << at;
    fs::remove_all(images() + "/" + sent.digest.substr(7));
  }
  EXPECT_EQ(outside(), before);
  EXPECT_GT(accepted, 0u);
  EXPECT_LT(accepted, archive.size() / 4);
}

TEST_F(BrokenArchiveTest, NothingIsWrittenThroughALink) {
  const std::string digest = "sha256:" + std::string(64, '2');
  const std::string target = scratch() + "/target";
  test::write_text(target + "/file", "untouched");
  before = outside();
  using test::ArchiveMaker;
  const auto linked = [&] { return ArchiveMaker().begin(digest).directory("d").symlink("out", target).leave(); };
  const std::vector<ArchiveMaker> hostile = {
      linked().directory("d"),                                               // again, with its link
      ArchiveMaker().begin(digest).symlink("out", target).directory("out"),  // into a link
      ArchiveMaker().begin(digest).symlink("out", target + "/file").file("out", 1).data(0, "x"),
      ArchiveMaker().begin(digest).symlink("out", target + "/new").file("out", 1).data(0, "x"),
      ArchiveMaker().begin(digest).symlink("out", target).node("out", S_IFIFO | 0600, 0),
      ArchiveMaker().begin(digest).symlink("out", target).symlink("out", "/etc"),
      linked().link("inside", "d/out/file"),  // of a file outside
      ArchiveMaker().begin(digest).symlink("out", target).link("inside", "out/file"),
      ArchiveMaker().begin(digest).link("inside", "nothing"),
      ArchiveMaker().begin(digest).directory("d").leave().link("again", "d"),  // of a directory
      ArchiveMaker().begin(digest).file("f", 0).file("f", 0),
  };
  for (std::size_t i = 0; i < hostile.size(); ++i) {
    ArchiveMaker archive_of = hostile[i];
    const auto unpacker = Unpacker::begin(images(), digest).value();
    EXPECT_FALSE(test::feed(*unpacker, archive_of.leave().text())) << i;
    EXPECT_FALSE(unpacker->finish()) << i;
  }
  EXPECT_THAT(received(), IsEmpty());
  EXPECT_EQ(test::read_text(target + "/file"), "untouched");
  std::erase(before, images());
  std::vector<std::string> after = outside();
  std::erase(after, images());
  EXPECT_EQ(after, before);
}

TEST_F(ArchiveTest, ManyReceiversMakeOneImage) {
  const PreparedImage sent = from_directory();
  const std::string archive = test::pack(sent);
  constexpr std::size_t kReceivers = 6;
  std::vector<std::string> lowers(kReceivers);
  {
    std::vector<std::jthread> threads;
    for (std::string& lower : lowers) {
      threads.emplace_back([&] {
        if (const auto got = receive(sent.digest, archive)) lower = got->lower_dir;
      });
    }
  }
  for (const std::string& lower : lowers) EXPECT_EQ(lower, images() + "/" + sent.digest.substr(7) + "/rootfs");
  EXPECT_THAT(received(), testing::ElementsAre(sent.digest.substr(7)));
  EXPECT_EQ(digest_tree(lowers.front(), "").value(), sent.digest);
}

TEST_F(ArchiveTest, AReceiverAndAPreparationOfOneImageDoNotMind) {
  const std::string tar = scratch() + "/root.tar";
  ASSERT_TRUE(io::command_output({"tar", "-cf", tar, "-C", tree(), "."}));
  const PreparedImage sent = prepare_root(model::TarRoot{tar}, {.images_dir = sender_dir()}).value();
  const std::string archive = test::pack(sent);
  // Unpacked, but not yet in its place, when the other comes.
  PrepareOptions options{.images_dir = images()};
  const auto unpacker = Unpacker::begin(images(), sent.digest).value();
  ASSERT_TRUE(test::feed(*unpacker, archive));
  options.progress = [&](std::string_view what) {
    if (!what.starts_with("unpacking")) return;
    const auto finished = unpacker->finish();
    EXPECT_TRUE(finished) << finished.error().message();
  };
  const auto prepared = prepare_root(model::TarRoot{tar}, options);
  ASSERT_TRUE(prepared) << prepared.error().message();
  EXPECT_EQ(digest_tree(prepared->lower_dir, "").value(), sent.tree_digest);
  for (const std::string& name : received())
    EXPECT_FALSE(name.starts_with(".staging") || name.starts_with(".incoming"));
}

TEST_F(ArchiveTest, WhatADeadReceiverLeftIsRemovedByTheNextAndALivingOnesIsNot) {
  const PreparedImage sent = from_directory();
  const std::string archive = test::pack(sent);
  const auto living = Unpacker::begin(images(), sent.digest).value();
  ASSERT_TRUE(test::feed(*living, archive.substr(0, archive.size() / 2)));
  const pid_t child = ::fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    auto dying = Unpacker::begin(images(), sent.digest);
    const bool fed = dying && test::feed(**dying, archive.substr(0, archive.size() - 1));
    ::_exit(fed ? 0 : 1);  // no destructor runs
  }
  int ended = 0;
  ASSERT_EQ(::waitpid(child, &ended, 0), child);
  ASSERT_EQ(ended, 0);
  EXPECT_THAT(received(), testing::SizeIs(2));
  {
    const auto next = Unpacker::begin(images(), sent.digest).value();
    EXPECT_THAT(received(), testing::SizeIs(2)) << "the living one's and this one's";
  }
  ASSERT_TRUE(test::feed(*living, archive.substr(archive.size() / 2)));
  const auto got = living->finish();
  ASSERT_TRUE(got) << got.error().message();
  EXPECT_THAT(received(), testing::ElementsAre(sent.digest.substr(7)));
}

TEST_F(ArchiveTest, AFullDiskIsSaidAndLeavesNothing) {
  const PreparedImage sent = from_directory();
  const std::string archive = test::pack(sent);
  ASSERT_EQ(::unshare(CLONE_NEWNS), 0);
  ASSERT_EQ(::mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr), 0);
  fs::create_directories(images());
  ASSERT_EQ(::mount("tmpfs", images().c_str(), "tmpfs", 0, "size=1m,mode=700"), 0);
  const auto got = receive(sent.digest, archive);
  EXPECT_EQ(got.error().code(), ErrorCode::kNoSpace) << got.error().message();
  EXPECT_THAT(received(), IsEmpty());
  ASSERT_EQ(::umount(images().c_str()), 0);
}

}  // namespace
}  // namespace perdure::image
