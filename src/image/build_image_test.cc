// Builds images with the programs that really do it.
#include "image/build_image.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <vector>

#include "base/assert.h"
#include "image/image.h"
#include "image/test_support.h"
#include "io/process.h"

namespace perdure::image {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

class BuildImageTest : public testing::Test {
 protected:
  void SetUp() override {
    if (!test::is_root()) GTEST_SKIP() << "owners of files need root";
    if (!test::have_busybox()) GTEST_SKIP() << "/bin/busybox is not there";
    test::make_busybox_root(path("base"));
    test::write_text(path("agent"), "an agent");
    test::write_text(path("a.py"), "print('a')\n");
    test::write_text(path("site/index.html"), "<p>\n");
    recipe_ = {.directory = path("base"), .files = {{path("a.py"), "/app/a.py"}, {path("site"), "/srv/site"}}};
  }
  std::string path(const std::string& name) const { return directory_.path() + "/" + name; }
  BuildOptions options(const std::string& cache = "cache") const {
    return {.cache_dir = path(cache), .agent_program = path("agent"), .configuration = [](const std::string&) { return "told\n"; },
            .configuration_source = "told"};
  }
  BuiltImage build(const std::string& cache = "cache") const {
    const auto built = build_image(recipe_, options(cache));
    PERDURE_ASSERT(built.has_value());
    return *built;
  }
  // Of the unpacked image.
  std::string unpacked(const BuiltImage& built) const {
    PrepareOptions prepare;
    prepare.images_dir = path("images");
    const auto prepared = prepare_root(model::OciRoot{built.layout_dir, "latest"}, prepare);
    EXPECT_TRUE(prepared) << prepared.error().message();
    EXPECT_EQ(prepared->digest, built.digest);
    EXPECT_EQ(prepared->defaults.entrypoint, (std::vector<std::string>{"/.perdure/agent", "/.perdure/agent.conf"}));
    return prepared->lower_dir;
  }
  std::vector<std::string> left_behind(const std::string& cache = "cache") const {
    std::vector<std::string> names;
    for (const char* below : {"/bases", "/layouts"}) {
      for (const auto& entry : fs::directory_iterator(path(cache) + below)) {
        if (entry.path().filename().string().starts_with(".building-")) names.push_back(entry.path().string());
      }
    }
    return names;
  }

  test::TemporaryDirectory directory_;
  Recipe recipe_;
};

TEST_F(BuildImageTest, FilesAndAgentLieOverTheBase) {
  const BuiltImage built = build();
  EXPECT_FALSE(built.cached);
  const std::string root = unpacked(built);
  EXPECT_EQ(test::read_text(root + "/app/a.py"), "print('a')\n");
  EXPECT_EQ(test::read_text(root + "/srv/site/index.html"), "<p>\n");
  EXPECT_EQ(test::read_text(root + "/.perdure/agent"), "an agent");
  EXPECT_EQ(test::read_text(root + "/.perdure/agent.conf"), "told\n");
  EXPECT_TRUE(fs::exists(root + "/bin/busybox"));
  EXPECT_THAT(left_behind(), IsEmpty());
}

TEST_F(BuildImageTest, TheSameInputsGiveTheSameDigestElsewhereAndLater) {
  const BuiltImage first = build();
  EXPECT_TRUE(build().cached);
  ::sleep(1);  // another second of the clock: nothing of it may be in the image
  fs::last_write_time(path("a.py"), fs::file_time_type::clock::now());
  const BuiltImage second = build("other");
  EXPECT_FALSE(second.cached);
  EXPECT_EQ(second.digest, first.digest);
}

TEST_F(BuildImageTest, EveryInputChangesTheDigest) {
  const std::string before = build().digest;
  const auto differs = [&](const char* what) { EXPECT_NE(build().digest, before) << what; };
  test::write_text(path("a.py"), "print('b')\n");
  differs("a file");
  test::write_text(path("a.py"), "print('a')\n");
  EXPECT_EQ(build().digest, before);
  fs::permissions(path("a.py"), fs::perms::owner_all);
  differs("rights");
  fs::permissions(path("a.py"), fs::perms::owner_read | fs::perms::owner_write | fs::perms::group_read | fs::perms::others_read);
  recipe_.files.pop_back();
  differs("one file less");
  recipe_.files.push_back({path("site"), "/srv/site"});
  test::write_text(path("base/etc/motd"), "hello\n");
  differs("the base");
  fs::remove(path("base/etc/motd"));
  test::write_text(path("agent"), "a newer agent");
  differs("the agent");
}

TEST_F(BuildImageTest, ALinkOfTheBaseDoesNotLeadOutOfTheImage) {
  fs::create_directories(path("outside"));
  fs::create_directories(path("base") + path("outside"));  // where the link leads within the image
  fs::create_directory_symlink(path("outside"), path("base/app"));
  recipe_.files = {{path("a.py"), "/app/a.py"}};
  const std::string root = unpacked(build());
  EXPECT_TRUE(fs::is_empty(path("outside")));
  EXPECT_TRUE(fs::exists(root + path("outside") + "/a.py"));
}

TEST_F(BuildImageTest, AFailureLeavesNothingHalfMade) {
  BuildOptions failing = options();
  failing.configuration = [](const std::string&) -> Result<std::string> { return fail(ErrorCode::kNotFound, "no user 'web'"); };
  const auto built = build_image(recipe_, failing);
  ASSERT_FALSE(built);
  EXPECT_EQ(built.error().code(), ErrorCode::kNotFound);
  EXPECT_THAT(left_behind(), IsEmpty());
  EXPECT_FALSE(build().cached);
}

TEST_F(BuildImageTest, WhatADeadBuildLeftIsRemoved) {
  build();
  const std::string left = path("cache/layouts/.building-00-ff");
  test::write_text(left + "/layer.tar", "half");
  build();
  EXPECT_FALSE(fs::exists(left));
}

TEST_F(BuildImageTest, ASourceThatIsNotThereIsNamed) {
  recipe_.files = {{path("nowhere"), "/x"}};
  const auto built = build_image(recipe_, options());
  ASSERT_FALSE(built);
  EXPECT_EQ(built.error().code(), ErrorCode::kNotFound);
  EXPECT_THAT(built.error().message(), HasSubstr(path("nowhere")));
}

TEST_F(BuildImageTest, ADebianBaseIsReproducibleAndKeptForOtherFiles) {
  recipe_ = {.suite = "bookworm", .packages = {"netcat-openbsd"}, .files = {{path("a.py"), "/app/a.py"}}};
  std::vector<std::string> steps;
  BuildOptions telling = options();
  telling.progress = [&](std::string_view text) { steps.emplace_back(text); };
  const auto first = build_image(recipe_, telling);
  ASSERT_TRUE(first) << first.error().message();
  EXPECT_THAT(steps, testing::Contains(HasSubstr("packages: ")));
  const std::string root = unpacked(*first);
  EXPECT_TRUE(fs::exists(root + "/bin/nc.openbsd"));
  EXPECT_TRUE(fs::is_empty(root + "/dev"));

  steps.clear();
  test::write_text(path("a.py"), "print('b')\n");
  ASSERT_TRUE(build_image(recipe_, telling));
  EXPECT_THAT(steps, testing::Not(testing::Contains(HasSubstr("packages: ")))) << "the packages are there";

  test::write_text(path("a.py"), "print('a')\n");
  const auto again = build_image(recipe_, options("other"));
  ASSERT_TRUE(again) << again.error().message();
  EXPECT_EQ(again->digest, first->digest);
}

TEST_F(BuildImageTest, APackageThatDoesNotExistIsNamed) {
  recipe_ = {.suite = "bookworm", .packages = {"no-such-package-anywhere"}};
  const auto built = build_image(recipe_, options());
  ASSERT_FALSE(built);
  EXPECT_EQ(built.error().code(), ErrorCode::kInvalid) << built.error().message();
  EXPECT_THAT(built.error().message(), HasSubstr("no-such-package-anywhere"));
  EXPECT_THAT(left_behind(), IsEmpty());
}

bool anybody_installs_into(const std::string& directory) {
  for (const auto& process : fs::directory_iterator("/proc")) {
    if (test::read_text(process.path().string() + "/cmdline").contains(directory)) return true;
  }
  return false;
}

TEST_F(BuildImageTest, AKilledBuildLeavesNeitherProcessesNorMounts) {
  recipe_ = {.suite = "bookworm", .packages = {"netcat-openbsd"}};
  const pid_t builder = ::fork();
  if (builder == 0) {
    (void)build_image(recipe_, options());
    ::_exit(0);
  }
  const Instant deadline = BootClock::now() + std::chrono::minutes(1);
  while (!anybody_installs_into(path("cache")) && BootClock::now() < deadline) ::usleep(10'000);
  ASSERT_EQ(::kill(builder, SIGKILL), 0);
  int status = 0;
  ASSERT_EQ(::waitpid(builder, &status, 0), builder);
  EXPECT_TRUE(WIFSIGNALED(status)) << "it was over too soon";
  while (anybody_installs_into(path("cache")) && BootClock::now() < deadline) ::usleep(10'000);
  EXPECT_FALSE(anybody_installs_into(path("cache")));
  EXPECT_EQ(test::read_text("/proc/self/mountinfo").find(path("cache")), std::string::npos);
  EXPECT_FALSE(left_behind().empty());
  recipe_ = {.directory = path("base")};
  build();
  EXPECT_THAT(left_behind(), IsEmpty());
}

}  // namespace
}  // namespace perdure::image
