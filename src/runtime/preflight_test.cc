// Proves that each thing which would leave a container unprotected is refused before it starts,
// with the object's name and a remedy, and that a good spec on a good host passes.
#include "runtime/preflight.h"

#include <elf.h>
#include <linux/capability.h>

#include <cstring>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "image/test_support.h"

namespace perdure::runtime {
namespace {

using image::test::write_text;
using testing::AllOf;
using testing::Contains;
using testing::Field;
using testing::HasSubstr;
using testing::IsEmpty;
using Severity = Finding::Severity;

HostFacts good_host() {
  HostFacts facts;
  facts.kernel_release = "6.18.0";
  facts.kernel = {6, 18, 0};
  facts.capability_bounding = facts.capability_effective = ~std::uint64_t{0};
  facts.cgroups = CgroupLayout{.v2_mount = "/sys/fs/cgroup",
                               .v2_root = "/",
                               .v2_controllers = {"cpu", "memory", "pids"},
                               .v1 = {}};
  facts.has_overlay = true;
  facts.run_filesystem = "tmpfs";
  facts.machine = "x86_64";
  facts.runc = {"/usr/sbin/runc", Version{1, 1, 5}};
  facts.criu = {"/usr/sbin/criu", Version{4, 2, 1}};
  return facts;
}

auto refusal(const std::string& what) {
  return Contains(AllOf(Field(&Finding::severity, Severity::kRefusal),
                        Field(&Finding::what, HasSubstr(what)),
                        Field(&Finding::remedy, testing::Not(IsEmpty()))));
}
auto warning(const std::string& what) {
  return Contains(AllOf(Field(&Finding::severity, Severity::kWarning),
                        Field(&Finding::what, HasSubstr(what)),
                        Field(&Finding::remedy, testing::Not(IsEmpty()))));
}

class PreflightTest : public testing::Test {
 protected:
  void SetUp() override {
    add_program("/bin/server", "#!/bin/sh\n");
    add_program("/bin/sh", "not even an elf");
    spec.command = {"/bin/server"};
  }
  void add_program(const std::string& path, std::string_view content) {
    write_text(root() + path, content);
    std::filesystem::permissions(root() + path, std::filesystem::perms(0755));
  }
  std::string root() const { return directory_.path(); }
  std::vector<Finding> check() const {
    return check_spec(spec, {"sha256:0", root(), defaults}, host);
  }

  image::ImageDefaults defaults;
  HostFacts host = good_host();
  model::ContainerSpec spec{.name = ContainerName::parse("web").value(),
                            .root_filesystem = model::DirectoryRoot{"/"}};

 private:
  image::test::TemporaryDirectory directory_;
};

TEST_F(PreflightTest, GoodSpecOnGoodHostPasses) {
  EXPECT_THAT(check(), IsEmpty());
  EXPECT_THAT(check_host(host), IsEmpty());
}

TEST_F(PreflightTest, OtherUserNeedsTheResourceCapability) {
  spec.user = "33";
  EXPECT_THAT(check(), IsEmpty());
  host.capability_bounding &= ~(std::uint64_t{1} << CAP_SYS_RESOURCE);
  EXPECT_THAT(check(), refusal("33:0"));
  spec.user = "0:5";
  EXPECT_THAT(check(), refusal("0:5"));
  spec.user = "0:0";
  EXPECT_THAT(check(), IsEmpty());
  EXPECT_THAT(check_host(host), warning("CAP_SYS_RESOURCE"));
}

TEST_F(PreflightTest, UnknownUserIsRefused) {
  spec.user = "nobody";
  EXPECT_THAT(check(), refusal("nobody"));
}

TEST_F(PreflightTest, CommandMustBeThereAndExecutable) {
  spec.command = {"/bin/none"};
  EXPECT_THAT(check(), refusal("/bin/none"));
  write_text(root() + "/bin/plain", "x");
  spec.command = {"/bin/plain"};
  EXPECT_THAT(check(), refusal("not executable"));
  spec.command = {"server"};
  EXPECT_THAT(check(), IsEmpty()) << "found in PATH";
  spec.environment["PATH"] = "/sbin";
  EXPECT_THAT(check(), refusal("server"));
  spec.command.reset();
  EXPECT_THAT(check(), refusal("command"));
}

TEST_F(PreflightTest, CommandInAVolumeIsNotJudged) {
  spec.command = {"/data/program"};
  spec.volumes = {{.name = "data", .mount_path = "/data", .host_path = {}}};
  EXPECT_THAT(check(), IsEmpty());
}

TEST_F(PreflightTest, InterpreterAndLoaderMustBeThere) {
  add_program("/bin/script", "#! /usr/bin/env python3\n");
  spec.command = {"/bin/script"};
  EXPECT_THAT(check(), refusal("/usr/bin/env"));

  Elf64_Ehdr header{};
  std::memcpy(header.e_ident, ELFMAG, SELFMAG);
  header.e_ident[EI_CLASS] = ELFCLASS64;
  header.e_machine = EM_X86_64;
  header.e_phoff = sizeof header;
  header.e_phnum = 1;
  Elf64_Phdr segment{};
  segment.p_type = PT_INTERP;
  segment.p_offset = sizeof header + sizeof segment;
  const std::string loader("/lib64/ld-test.so\0", 18);
  segment.p_filesz = loader.size();
  const auto bytes = [](const auto& value) {
    return std::string(reinterpret_cast<const char*>(&value), sizeof value);
  };
  add_program("/bin/dynamic", bytes(header) + bytes(segment) + loader);
  spec.command = {"/bin/dynamic"};
  EXPECT_THAT(check(), refusal("/lib64/ld-test.so"));
  add_program("/lib64/ld-test.so", "x");
  EXPECT_THAT(check(), IsEmpty());
  host.machine = "aarch64";
  EXPECT_THAT(check(), refusal("another machine"));
}

TEST_F(PreflightTest, BrokenElfIsNoReasonToCrash) {
  std::string head(64, '\xff');
  std::memcpy(head.data(), ELFMAG, SELFMAG);
  head[EI_CLASS] = ELFCLASS64;
  head[18] = EM_X86_64;
  head[19] = 0;
  add_program("/bin/broken", head);
  spec.command = {"/bin/broken"};
  EXPECT_THAT(check(), IsEmpty());
}

TEST_F(PreflightTest, RightsThatUndermineProtectionAreTold) {
  spec.security.capabilities = {"CAP_SYS_ADMIN"};
  EXPECT_THAT(check(), warning("CAP_SYS_ADMIN"));
  host.capability_bounding = 0;
  EXPECT_THAT(check(), refusal("CAP_SYS_ADMIN"));
  spec.security.capabilities = {"CAP_NONSENSE"};
  EXPECT_THAT(check(), refusal("CAP_NONSENSE"));
  spec.security.capabilities = {};
  spec.security.seccomp = model::Seccomp::kUnconfined;
  EXPECT_THAT(check(), warning("io_uring"));
}

TEST_F(PreflightTest, VolumesMustExistAndNotCoverOurMounts) {
  spec.volumes = {{.name = "a", .mount_path = "/proc/x", .host_path = {}}};
  EXPECT_THAT(check(), refusal("/proc/x"));
  spec.volumes = {{.name = "b", .mount_path = "/data", .host_path = root() + "/none"}};
  EXPECT_THAT(check(), refusal("/none"));
}

TEST_F(PreflightTest, LimitsNeedTheirController) {
  spec.resources.memory = Bytes{64 << 20};
  EXPECT_THAT(check(), IsEmpty());
  host.cgroups->v2_controllers = {"pids"};
  EXPECT_THAT(check(), refusal("memory"));
  host.cgroups->v1 = {{{"memory"}, "/sys/fs/cgroup/memory", "/"}};
  EXPECT_THAT(check(), IsEmpty());
  spec.resources.memory = Bytes{1 << 20};
  EXPECT_THAT(check(), refusal("too little"));
}

TEST_F(PreflightTest, HostFindings) {
  host.criu.version = Version{4, 1, 1};
  EXPECT_THAT(check_host(host), refusal("4.2.0"));
  host.kernel = {6, 12, 0};
  EXPECT_THAT(check_host(host), IsEmpty()) << "an older kernel takes an older CRIU";
  host.criu = {};
  EXPECT_THAT(check_host(host), refusal("criu is not installed"));
  host = good_host();
  host.runc.version.reset();
  EXPECT_THAT(check_host(host), refusal("does not answer"));
  host = good_host();
  host.cgroups.reset();
  host.has_overlay = false;
  host.kernel = {5, 10, 0};
  host.kernel_release = "5.10.0";
  host.capability_effective = 0;
  host.run_filesystem = "ext4";
  const auto findings = check_host(host);
  EXPECT_THAT(findings, refusal("cgroup2"));
  EXPECT_THAT(findings, refusal("overlayfs"));
  EXPECT_THAT(findings, refusal("5.10.0"));
  EXPECT_THAT(findings, refusal("CAP_SYS_ADMIN"));
  EXPECT_THAT(findings, warning("/run is ext4"));
  EXPECT_EQ(findings.back().severity, Severity::kWarning) << "refusals come first";
}

TEST_F(PreflightTest, AStandbyHasTheSharedVolumesAlready) {
  const std::string shared = root() + "/shared";
  spec.volumes = {{.name = "data", .mount_path = "/data", .kind = model::VolumeKind::kShared, .host_path = shared},
                  {.name = "own", .mount_path = "/own"}};
  const auto missing = check_standby(spec, good_host());
  EXPECT_THAT(missing, refusal("'" + shared + "' of shared volume 'data' is not on this host"));
  EXPECT_THAT(missing, Contains(Field(&Finding::remedy, HasSubstr("what the other hosts have"))));
  std::filesystem::create_directories(shared);
  EXPECT_THAT(check_standby(spec, good_host()), IsEmpty());
}

TEST_F(PreflightTest, AStandbyDoesNotTakeAnInterfaceFromItsHost) {
  spec.network.attachment = model::NicAttachment{.nic = "eth0"};
  const auto findings = check_standby(spec, good_host());
  EXPECT_THAT(findings, refusal("network.nic: eth0"));
  EXPECT_THAT(findings, Contains(Field(&Finding::remedy, HasSubstr("network.bridge"))));
  spec.network.attachment = model::BridgeAttachment{.bridge = "br0"};
  EXPECT_THAT(check_standby(spec, good_host()), IsEmpty());
}

TEST_F(PreflightTest, AStandbyIsAHostThatCouldRestore) {
  HostFacts facts = good_host();
  facts.criu = {"/usr/sbin/criu", Version{3, 17, 0}};
  facts.run_filesystem = "ext4";  // slower, no reason to refuse
  EXPECT_THAT(check_standby(spec, facts), AllOf(refusal("criu 3.17.0"), testing::SizeIs(1)));
  facts = good_host();
  facts.memory_bytes = std::uint64_t{1} << 30;
  spec.resources.memory = Bytes{std::uint64_t{2} << 30};
  EXPECT_THAT(check_standby(spec, facts), warning("this host has"));
}

}  // namespace
}  // namespace perdure::runtime
