// Proves what config.json says for a spec: a golden file for the whole, single tests for what the
// spec or the image may override.
#include "image/bundle.h"

#include <sys/resource.h>

#include <filesystem>
#include <nlohmann/json.hpp>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "image/seccomp_profile.h"
#include "image/test_support.h"

namespace perdure::image {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::json;
using testing::Contains;
using testing::ElementsAre;
using testing::HasSubstr;

model::ContainerSpec web_spec() {
  model::ContainerSpec spec{.name = ContainerName::parse("web").value(),
                            .root_filesystem = model::DirectoryRoot{"/images/web"}};
  spec.command = {"/bin/server", "--port", "80"};
  return spec;
}

class BundleTest : public testing::Test {
 protected:
  void SetUp() override {
    test::write_text(root() + "/etc/passwd", "root:x:0:0::/root:/bin/sh\nweb:x:33:33::/var/www:\n");
    test::write_text(root() + "/etc/group", "root:x:0:\nssl:x:99:web\n");
  }
  std::string root() const { return directory_.path() + "/merged"; }
  std::string bundle_dir() const { return directory_.path() + "/bundle"; }
  BundleOptions options() const {
    return {.bundle_dir = bundle_dir(),
            .root_dir = root(),
            .network_namespace = "/run/perdure/netns/web",
            .cgroups_path = "/perdure/web",
            .volumes = {},
            .open_files = 1024,
            .machine = "x86_64"};
  }
  PreparedImage image() const { return {"sha256:00", root(), {}}; }
  Json config_of(const model::ContainerSpec& spec, const BundleOptions& with) const {
    const auto text = make_config(spec, image(), with);
    EXPECT_TRUE(text) << text.error().message();
    return text ? Json::parse(*text) : Json{};
  }
  const std::string& scratch() const { return directory_.path(); }

 private:
  test::TemporaryDirectory directory_;
};

TEST_F(BundleTest, GoldenConfiguration) {
  model::ContainerSpec spec = web_spec();
  spec.environment = {{"MODE", "fast"}};
  spec.user = "web";
  spec.resources = {.memory = Bytes{64 << 20}, .cpu = model::MilliCores{1500}, .pids = 100};
  spec.security.sysctls = {{"net.ipv4.ip_unprivileged_port_start", "0"}};
  BundleOptions with = options();
  with.volumes = {{"/srv/data", "/data", model::Access::kReadWrite},
                  {"/srv/conf", "/conf", model::Access::kReadOnly}};
  Json config = config_of(spec, with);
  // The profile has a test and a table of its own.
  config["linux"].erase("seccomp");
  config["root"]["path"] = "MERGED";
  const std::string golden_path = std::string(PERDURE_IMAGE_TESTDATA) + "/config.json";
  if (std::getenv("PERDURE_UPDATE_GOLDEN") != nullptr) {
    test::write_text(golden_path, config.dump(2) + "\n");
  }
  EXPECT_EQ(config.dump(2) + "\n", test::read_text(golden_path))
      << "if the change is wanted: PERDURE_UPDATE_GOLDEN=1 image_test";
}

TEST_F(BundleTest, NoTmpfsNoTerminalNoUserNamespace) {
  const Json config = config_of(web_spec(), options());
  EXPECT_FALSE(config["process"]["terminal"].get<bool>());
  EXPECT_TRUE(config["process"]["noNewPrivileges"].get<bool>());
  for (const Json& mount : config["mounts"]) EXPECT_NE(mount["type"], "tmpfs");
  for (const Json& space : config["linux"]["namespaces"]) {
    EXPECT_NE(space["type"], "user");
    EXPECT_NE(space["type"], "cgroup");
  }
  // A masked directory would be a tmpfs.
  for (const Json& masked : config["linux"]["maskedPaths"]) {
    EXPECT_THAT(masked.get<std::string>(), testing::StartsWith("/proc/"));
  }
}

TEST_F(BundleTest, CommandAndDirectoryComeFromTheImageWhereTheSpecIsSilent) {
  model::ContainerSpec spec = web_spec();
  PreparedImage with_defaults = image();
  with_defaults.defaults = {.entrypoint = {"/bin/entry"},
                            .command = {"a", "b"},
                            .environment = {"PATH=/bin", "MODE=slow", "broken"},
                            .working_directory = "/srv",
                            .user = "33"};
  spec.command.reset();
  spec.environment = {{"MODE", "fast"}};
  const Json config = Json::parse(make_config(spec, with_defaults, options()).value());
  EXPECT_THAT(config["process"]["args"].get<std::vector<std::string>>(),
              ElementsAre("/bin/entry", "a", "b"));
  EXPECT_EQ(config["process"]["cwd"], "/srv");
  EXPECT_EQ(config["process"]["user"]["uid"], 33);
  EXPECT_THAT(config["process"]["env"].get<std::vector<std::string>>(),
              ElementsAre("HOME=/var/www", "MODE=fast", "PATH=/bin"));
}

TEST_F(BundleTest, NoCommandAnywhereIsInvalid) {
  model::ContainerSpec spec = web_spec();
  spec.command.reset();
  const auto config = make_config(spec, image(), options());
  ASSERT_FALSE(config);
  EXPECT_EQ(config.error().code(), ErrorCode::kInvalid);
  EXPECT_THAT(config.error().message(), HasSubstr("'web'"));
}

model::ContainerSpec components_spec() {
  model::ContainerSpec spec = web_spec();
  spec.command.reset();
  spec.user = "web";
  spec.environment = {{"MODE", "all"}, {"KEPT", "1"}};
  spec.components = {{.name = "db", .command = {"/bin/db"}, .working_directory = "/var/lib/db"}};
  return spec;
}

TEST_F(BundleTest, ComponentsAreNeverReplacedByTheImagesCommand) {
  PreparedImage with_defaults = image();
  with_defaults.defaults.command = {"/bin/image"};
  const auto config = make_config(components_spec(), with_defaults, options());
  ASSERT_FALSE(config);
  EXPECT_THAT(config.error().message(), HasSubstr("'web' consists of components"));
}

TEST_F(BundleTest, TheAgentRunsAsRootInPlaceOfACommand) {
  test::write_text(scratch() + "/perdure-agent", "the program");
  BundleOptions with = options();
  with.agent = AgentFiles{scratch() + "/perdure-agent", "its configuration\n"};
  const Json process = config_of(components_spec(), with)["process"];
  EXPECT_EQ(process["args"], Json::array({"/.perdure/agent", "/.perdure/agent.conf"}));
  EXPECT_EQ(process["user"], (Json{{"uid", 0}, {"gid", 0}}));
  EXPECT_EQ(process["cwd"], "/");
  ASSERT_TRUE(write_bundle(components_spec(), image(), with));
  EXPECT_EQ(test::read_text(root() + "/.perdure/agent"), "the program");
  EXPECT_EQ(test::read_text(root() + "/.perdure/agent.conf"), "its configuration\n");
  EXPECT_EQ(fs::status(root() + "/.perdure").permissions(), fs::perms::owner_all);
  EXPECT_EQ(fs::status(root() + "/.perdure/agent").permissions(), fs::perms::owner_all);
  EXPECT_EQ(fs::status(root() + "/.perdure/agent.conf").permissions(), fs::perms::owner_read | fs::perms::owner_write)
      << "environments hold secrets";
  EXPECT_TRUE(fs::is_directory(root() + "/var/lib/db"));
}

TEST_F(BundleTest, AComponentsEnvironmentIsOverTheContainersAndTheImages) {
  ImageDefaults defaults;
  defaults.environment = {"PATH=/image", "MODE=image", "IMAGE=1"};
  ProcessIdentity identity;
  identity.home = "/home/db";
  EXPECT_THAT(effective_environment(components_spec(), defaults, identity, {{"MODE", "own"}}),
              ElementsAre("HOME=/home/db", "IMAGE=1", "KEPT=1", "MODE=own", "PATH=/image"));
}

TEST_F(BundleTest, BytesThatAreNotTextAreRefused) {
  model::ContainerSpec spec = web_spec();
  spec.command = {"/bin/server", "\xff"};
  EXPECT_EQ(make_config(spec, image(), options()).error().code(), ErrorCode::kInvalid);
}

Json rules_for(const Json& config, const std::string& name) {
  Json rules = Json::array();
  for (const Json& rule : config["linux"]["seccomp"]["syscalls"]) {
    for (const Json& candidate : rule["names"]) {
      if (candidate == name) rules.push_back(rule);
    }
  }
  return rules;
}

TEST_F(BundleTest, IoUringIsRefusedAsOnAKernelWithoutIt) {
  const Json config = config_of(web_spec(), options());
  const Json rules = rules_for(config, "io_uring_setup");
  ASSERT_EQ(rules.size(), 1u);
  EXPECT_EQ(rules[0]["errnoRet"], ENOSYS);
  EXPECT_FALSE(rules[0].contains("args"));
}

TEST_F(BundleTest, CapabilityOpensItsSystemCalls) {
  model::ContainerSpec spec = web_spec();
  EXPECT_EQ(rules_for(config_of(spec, options()), "mount").size(), 1u);
  spec.security.capabilities = {"CAP_SYS_ADMIN"};
  EXPECT_EQ(rules_for(config_of(spec, options()), "mount").size(), 0u);
  EXPECT_EQ(rules_for(config_of(spec, options()), "io_uring_setup").size(), 1u);
  spec.security.seccomp = model::Seccomp::kUnconfined;
  EXPECT_FALSE(config_of(spec, options())["linux"].contains("seccomp"));
}

TEST_F(BundleTest, EveryRuleSaysWhyAndAnswersAnError) {
  for (const SyscallRule& rule : default_syscall_rules()) {
    EXPECT_FALSE(rule.names.empty());
    EXPECT_FALSE(rule.why.empty()) << rule.names.front();
    EXPECT_GT(rule.error_number, 0) << rule.names.front();
  }
}

TEST_F(BundleTest, WritesDirectoriesAndHostFiles) {
  model::ContainerSpec spec = web_spec();
  spec.network.ipv4 = model::Ipv4Prefix::parse("10.1.0.5/24").value();
  spec.network.dns = {model::Ipv4Address::parse("10.1.0.1").value()};
  spec.network.hosts = {{model::Ipv4Address::parse("10.1.0.6").value(), {"db", "shop-db"}}};
  spec.working_directory = "/srv/app";
  BundleOptions with = options();
  std::filesystem::create_directories(scratch() + "/volume");
  with.volumes = {{scratch() + "/volume", "/var/lib/data", model::Access::kReadWrite}};
  const auto written = write_bundle(spec, image(), with);
  ASSERT_TRUE(written) << written.error().message();
  EXPECT_EQ(test::read_text(root() + "/etc/hostname"), "web\n");
  EXPECT_THAT(test::read_text(root() + "/etc/hosts"), HasSubstr("10.1.0.5 web\n10.1.0.6 db shop-db\n"));
  EXPECT_EQ(test::read_text(root() + "/etc/resolv.conf"), "nameserver 10.1.0.1\n");
  for (const char* directory :
       {"/dev/shm", "/tmp", "/run", "/proc", "/sys", "/srv/app", "/var/lib/data"}) {
    EXPECT_TRUE(std::filesystem::is_directory(root() + directory)) << directory;
  }
  EXPECT_FALSE(Json::parse(test::read_text(bundle_dir() + "/config.json")).empty());
}

TEST_F(BundleTest, ImagesResolverStaysWhenTheSpecNamesNone) {
  test::write_text(root() + "/etc/resolv.conf", "nameserver 9.9.9.9\n");
  ASSERT_TRUE(write_bundle(web_spec(), image(), options()));
  EXPECT_EQ(test::read_text(root() + "/etc/resolv.conf"), "nameserver 9.9.9.9\n");
}

TEST_F(BundleTest, MissingVolumeSourceIsNamed) {
  BundleOptions with = options();
  with.volumes = {{scratch() + "/none", "/data", model::Access::kReadWrite}};
  const auto written = write_bundle(web_spec(), image(), with);
  ASSERT_FALSE(written);
  EXPECT_EQ(written.error().code(), ErrorCode::kNotFound);
  EXPECT_THAT(written.error().message(), HasSubstr("/none"));
}

TEST_F(BundleTest, OpenFilesNeverAboveOurOwnLimit) {
  rlimit limit{};
  ASSERT_EQ(::getrlimit(RLIMIT_NOFILE, &limit), 0);
  BundleOptions with = options();
  with.open_files = RLIM_INFINITY - 1;
  ASSERT_TRUE(write_bundle(web_spec(), image(), with));
  const Json config = Json::parse(test::read_text(bundle_dir() + "/config.json"));
  EXPECT_EQ(config["process"]["rlimits"][0]["hard"].get<rlim_t>(), limit.rlim_max);
}

}  // namespace
}  // namespace perdure::image
