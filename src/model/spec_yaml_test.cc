// Proves that a good spec comes out as documented (defaults, every key), that to_yaml() and
// read_spec() are inverse for whatever a spec may hold, and that the examples are good specs.
#include "model/spec_yaml.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <rapidcheck.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "model/testdata/any_spec.h"

namespace perdure::model {
namespace {

using namespace std::chrono_literals;

ContainerName name_of(std::string_view text) {
  return ContainerName::parse(text).value();
}

ContainerSpec read_good(std::string_view yaml) {
  auto spec = read_spec(yaml, "spec");
  if (spec) return *spec;
  ADD_FAILURE() << spec.error().message();
  return ContainerSpec{.name = name_of("failed")};
}

TEST(SpecYaml, DefaultsAreTheDocumentedOnes) {
  const ContainerSpec spec = read_good("name: web\nroot-filesystem: {oci: /srv/web}\n");
  const ContainerSpec expected{.name = name_of("web"),
                               .root_filesystem = OciRoot{"/srv/web", "latest"}};
  EXPECT_EQ(spec, expected);
  EXPECT_FALSE(spec.command);
  EXPECT_EQ(spec.effective_hostname(), "web");
  EXPECT_FALSE(spec.network.attached());
  EXPECT_EQ(spec.checkpoint.interval, 1s);
  EXPECT_EQ(spec.checkpoint.cpu_budget_percent, 20U);
  EXPECT_EQ(spec.checkpoint.generations_kept, 3U);
  EXPECT_EQ(spec.checkpoint.standbys, std::nullopt);
  EXPECT_EQ(spec.availability.outage_tolerance, std::nullopt);
  EXPECT_EQ(spec.effective_outage_tolerance(), 10s);
  EXPECT_EQ(spec.checkpoint.dump_deadline, 10s);
  EXPECT_EQ(spec.restart.max_restores, 5U);
  EXPECT_EQ(spec.restart.window, 1min);
  EXPECT_EQ(spec.restart.probation, 10s);
  EXPECT_EQ(spec.restart.cold_start, ColdStart::kAllowed);
  EXPECT_EQ(spec.stop.signal, SIGTERM);
  EXPECT_EQ(spec.stop.deadline, 10s);
  EXPECT_EQ(spec.log.max_size.count, 10U << 20);
  EXPECT_EQ(spec.log.files, 3U);
  EXPECT_EQ(spec.security.capabilities, default_capabilities());
  EXPECT_TRUE(std::ranges::is_sorted(default_capabilities()));
}

TEST(SpecYaml, EveryKeyArrives) {
  const ContainerSpec spec = read_good(R"(
name: web
root-filesystem: {directory: /srv/web}
command: [sh, -c, "echo \"$A\"\n"]
environment: {A: 1, "x.y-z": "a=b", EMPTY: ""}
working-directory: /srv
user: web:1000
hostname: web.example
network:
  nic: eth0
  vlan: 12
  ipv4: 192.0.2.10/24
  ipv6: 2001:db8::10/64
  ipv4-gateway: 192.0.2.1
  ipv6-gateway: fe80::1
  mac: 02:00:00:00:00:01
  dns: [192.0.2.53, "2001:db8::53"]
  reachability: [192.0.2.1, "fe80::1", "2001:db8::2"]
  mtu: 1400
  tcp-policy: splice
  tcp-ports: [{port: 8554, policy: splice}, {port: 6379, policy: reset}]
  hosts: [{address: 192.0.2.21, names: [db, shop-db]}, {address: "2001:db8::9", names: [cache]}]
volumes:
  - {name: data, mount: /data}
  - {name: films, mount: /films, kind: shared, host: /srv/films, access: read-only}
checkpoint: {state-sensitivity: 1.5s, cpu-budget: 50%, generations: 4, standbys: 2, standby-nodes: [b, a], dump-deadline: 2s}
availability: {outage-tolerance: 250ms}
restart: {max-restores: 7, window: 2min, probation: 0s, cold-start: never, in-place: 3, failovers: 0, failover-window: 1h}
stop: {signal: SIGINT, deadline: 0s}
resources: {memory: 512MiB, cpu: 1.5, pids: 100}
log: {max-size: 1MiB, files: 2}
security:
  capabilities: [CAP_SETUID, CAP_KILL, CAP_SETUID]
  seccomp: unconfined
  sysctls: {net.core.somaxconn: 1024}
terminal: false
application: {name: shop, sponsors: [shop-db], near: [{sponsors: [shop-db], within: rack}], memory: 64MiB, cpu: 0.5, disk: 1GiB}
)");
  ContainerSpec expected{.name = name_of("web"), .root_filesystem = DirectoryRoot{"/srv/web"}};
  expected.command = {"sh", "-c", "echo \"$A\"\n"};
  expected.environment = {{"A", "1"}, {"x.y-z", "a=b"}, {"EMPTY", ""}};
  expected.working_directory = "/srv";
  expected.user = "web:1000";
  expected.hostname = "web.example";
  expected.network.attachment = NicAttachment{"eth0", std::uint16_t{12}};
  expected.network.ipv4 = Ipv4Prefix::parse("192.0.2.10/24").value();
  expected.network.ipv6 = Ipv6Prefix::parse("2001:db8::10/64").value();
  expected.network.ipv4_gateway = Ipv4Address::parse("192.0.2.1").value();
  expected.network.ipv6_gateway = Ipv6Address::parse("fe80::1").value();
  expected.network.mac = MacAddress::parse("02:00:00:00:00:01").value();
  expected.network.dns = {Ipv4Address::parse("192.0.2.53").value(),
                          Ipv6Address::parse("2001:db8::53").value()};
  expected.network.reachability = {Ipv4Address::parse("192.0.2.1").value(), Ipv6Address::parse("fe80::1").value(),
                                   Ipv6Address::parse("2001:db8::2").value()};
  expected.network.mtu = 1400;
  expected.network.tcp_policy = TcpPolicy::kSplice;
  expected.network.tcp_ports = {{6379, TcpPolicy::kReset}, {8554, TcpPolicy::kSplice}};  // the order means nothing
  expected.network.hosts = {{Ipv4Address::parse("192.0.2.21").value(), {"db", "shop-db"}},
                            {Ipv6Address::parse("2001:db8::9").value(), {"cache"}}};
  expected.application = {.name = "shop",
                          .sponsors = {"shop-db"},
                          .near = {{.sponsors = {"shop-db"}, .within = Within::kRack}},
                          .memory = Bytes{64U << 20},
                          .cpu = MilliCores{500},
                          .disk = Bytes{1U << 30}};
  expected.volumes = {{.name = "data", .mount_path = "/data"},
                      {.name = "films",
                       .mount_path = "/films",
                       .kind = VolumeKind::kShared,
                       .host_path = "/srv/films",
                       .access = Access::kReadOnly}};
  expected.checkpoint = {.interval = 1500ms,
                         .interval_source = IntervalSource::kStateSensitivity,
                         .cpu_budget_percent = 50,
                         .generations_kept = 4,
                         .standbys = 2,
                         .standby_nodes = {"b", "a"},
                         .dump_deadline = 2s};
  expected.availability.outage_tolerance = 250ms;
  expected.restart = {
      .max_restores = 7, .window = 2min, .probation = 0s, .cold_start = ColdStart::kNever,
      .in_place = 3, .failovers = 0, .failover_window = 1h};
  expected.stop = {.signal = SIGINT, .deadline = 0s};
  expected.resources = {.memory = Bytes{512U << 20}, .cpu = MilliCores{1500}, .pids = 100};
  expected.log = {.max_size = Bytes{1U << 20}, .files = 2};
  expected.security = {.capabilities = {"CAP_KILL", "CAP_SETUID"},
                       .seccomp = Seccomp::kUnconfined,
                       .sysctls = {{"net.core.somaxconn", "1024"}}};
  EXPECT_EQ(spec, expected) << to_yaml(spec);
  EXPECT_EQ(read_good(to_yaml(spec)), spec);
}

TEST(SpecYaml, AnImageIsNamedByItsDigest) {
  const std::string digest = "sha256:" + std::string(64, '5');
  const ContainerSpec spec = read_good("name: web\nroot-filesystem: {image: \"" + digest + "\"}\n");
  EXPECT_EQ(spec.root_filesystem, RootFilesystem(ImageRoot{digest}));
  EXPECT_FALSE(spec.command.has_value()) << "the image may bring its own";
  EXPECT_EQ(read_good(to_yaml(spec)), spec);
}

TEST(SpecYaml, AnImageSourceIsAnArchiveByItsSuffixOrALayout) {
  EXPECT_EQ(parse_image_source("/srv/web.tar.zst", ""), RootFilesystem(TarRoot{"/srv/web.tar.zst"}));
  EXPECT_EQ(parse_image_source("/srv/web", ""), RootFilesystem(OciRoot{"/srv/web", "latest"}));
  EXPECT_EQ(parse_image_source("/srv/web", "7"), RootFilesystem(OciRoot{"/srv/web", "7"}));
  EXPECT_FALSE(parse_image_source("/srv/web.tar", "7"));
  EXPECT_FALSE(parse_image_source("web", ""));
  EXPECT_FALSE(parse_image_source("/srv/web", "a b"));
}

TEST(SpecYaml, KeysThatDifferAreNamed) {
  const ContainerSpec one = read_good("name: web\nroot-filesystem: {tar: /srv/web.tar}\ncommand: [web]\n");
  ContainerSpec other = one;
  EXPECT_EQ(differing_keys(one, other), std::vector<std::string>{});
  other.command = {"web", "-v"};
  other.resources.memory = Bytes{64U << 20};
  EXPECT_EQ(differing_keys(one, other), (std::vector<std::string>{"command", "resources.memory"}));
}

// What was written before these keys were known stays as it is.
TEST(SpecYaml, HostsAndApplicationAreWrittenOnlyIfThereAreAny) {
  const std::string text = to_yaml(read_good("name: web\nroot-filesystem: {tar: /srv/web.tar}\ncommand: [web]\nnetwork: {hosts: []}\n"));
  EXPECT_EQ(text.find("hosts:"), std::string::npos);
  EXPECT_EQ(text.find("application:"), std::string::npos);
}

TEST(SpecYaml, ReachabilityIsWrittenOnlyIfThereIsAny) {
  const std::string start = "name: web\nroot-filesystem: {tar: /srv/web.tar}\ncommand: [web]\n";
  const std::string network = "network: {ipv4: 192.0.2.10/24, bridge: br0, reachability: ";
  EXPECT_EQ(to_yaml(read_good(start + network + "[]}\n")).find("reachability"), std::string::npos);
  EXPECT_NE(to_yaml(read_good(start + network + "[192.0.2.1]}\n")).find("reachability"), std::string::npos);
}

TEST(SpecYaml, TcpPortsAreWrittenSortedAndOnlyIfThereAreAny) {
  const std::string start = "name: web\nroot-filesystem: {tar: /srv/web.tar}\ncommand: [web]\n";
  const std::string network = "network: {ipv4: 192.0.2.10/24, bridge: br0, tcp-ports: ";
  EXPECT_EQ(to_yaml(read_good(start + network + "[]}\n")).find("tcp-ports"), std::string::npos);
  const std::string text = to_yaml(read_good(start + network + "[{policy: splice, port: 8554}, {policy: reset, port: 80}]}\n"));
  EXPECT_NE(text.find("  tcp-policy: reset\n"
                      "  tcp-ports:\n"
                      "    - port: 80\n      policy: reset\n"
                      "    - port: 8554\n      policy: splice\n"
                      "volumes"),
            std::string::npos)
      << text;
}

TEST(SpecYaml, CanonicalTextIsStable) {
  const ContainerSpec spec = read_good(
      "command: [\"yes\", \"1\", \"a b\"]\nname: web\nroot-filesystem: {tar: /srv/web.tar}\n"
      "network: {ipv4: 192.0.2.10/24, bridge: br0}\nvolumes: [{mount: /data, name: data}]\n"
      "security: {capabilities: []}\n");
  EXPECT_EQ(to_yaml(spec), R"(name: web
root-filesystem:
  tar: /srv/web.tar
command:
  - "yes"
  - "1"
  - "a b"
environment: {}
network:
  bridge: br0
  ipv4: 192.0.2.10/24
  mac: auto
  dns: []
  tcp-policy: reset
volumes:
  - name: data
    mount: /data
    kind: captured
    access: read-write
checkpoint:
  interval: 1s
  cpu-budget: 20%
  generations: 3
  dump-deadline: 10s
restart:
  max-restores: 5
  window: 1min
  probation: 10s
  cold-start: allowed
stop:
  signal: SIGTERM
  deadline: 10s
log:
  max-size: 10MiB
  files: 3
security:
  capabilities: []
  seccomp: default
  sysctls: {}
)");
}

TEST(SpecYaml, AliasesAreExpanded) {
  const ContainerSpec spec = read_good(
      "name: web\nroot-filesystem: {oci: /srv/web}\nenvironment: {A: &a x, B: *a}\n"
      "checkpoint: {dump-deadline: &d 7s}\nstop: {deadline: *d}\n");
  EXPECT_EQ(spec.environment.at("B"), "x");
  EXPECT_EQ(spec.stop.deadline, 7s);
}

TEST(SpecYaml, RelativeHostPathsStartAtTheBaseDirectory) {
  const std::string_view yaml =
      "name: web\nroot-filesystem: {oci: images/web}\n"
      "volumes: [{name: a, mount: /a, host: ../a/}, {name: b, mount: /b, host: /b}]\n";
  const auto spec = read_spec(yaml, "spec", "/srv/specs");
  ASSERT_TRUE(spec) << spec.error().message();
  EXPECT_EQ(spec->root_filesystem, RootFilesystem(OciRoot{"/srv/specs/images/web"}));
  EXPECT_EQ(spec->volumes[0].host_path, "/srv/a");
  EXPECT_EQ(spec->volumes[1].host_path, "/b");
  EXPECT_FALSE(read_spec(yaml, "spec"));
}

TEST(SpecYaml, PathsInTheContainerAreNeverRelative) {
  EXPECT_FALSE(
      read_spec("name: web\nroot-filesystem: {oci: a}\nworking-directory: srv\n", "spec", "/srv"));
}

TEST(SpecYaml, WindowsLineEndsAreAccepted) {
  const ContainerSpec spec =
      read_good("name: web\r\nroot-filesystem:\r\n  oci: /srv/web\r\nuser: root\r\n");
  EXPECT_EQ(spec.user, "root");
}

// --- Round trip ---

TEST(SpecYaml, ReadingWhatWasWrittenGivesTheSameSpec) {
  EXPECT_TRUE(rc::check([] {
    const ContainerSpec spec = testing::any_spec();
    const std::string yaml = to_yaml(spec);
    const auto again = read_spec(yaml, "spec");
    if (!again) RC_FAIL(again.error().message() + "\n" + yaml);
    if (*again != spec) RC_FAIL(yaml + "\nbecame\n" + to_yaml(*again));
  }));
}

// --- MAC ---

TEST(DeriveMac, IsTheSameInEveryRelease) {
  const auto mac =
      derive_mac(name_of("web"), Ipv4Prefix::parse("192.0.2.10/24").value(), std::nullopt);
  EXPECT_EQ(to_string(mac), "02:61:d0:db:6a:9f");
}

TEST(DeriveMac, DependsOnNameAndAddressButNotOnThePrefixLength) {
  const auto of = [](std::string_view name, const char* ipv4) {
    return derive_mac(name_of(name), Ipv4Prefix::parse(ipv4).value(), std::nullopt);
  };
  EXPECT_EQ(of("web", "192.0.2.10/24"), of("web", "192.0.2.10/25"));
  EXPECT_NE(of("web", "192.0.2.10/24"), of("web", "192.0.2.11/24"));
  EXPECT_NE(of("web", "192.0.2.10/24"), of("wec", "192.0.2.10/24"));
  EXPECT_FALSE(of("web", "192.0.2.10/24").is_multicast());
}

TEST(DeriveMac, TheSpecsOwnComesFirst) {
  ContainerSpec spec{.name = name_of("web")};
  EXPECT_EQ(effective_mac(spec), derive_mac(spec.name, std::nullopt, std::nullopt));
  spec.network.mac = MacAddress{{2, 0, 0, 0, 0, 9}};
  EXPECT_EQ(effective_mac(spec), *spec.network.mac);
}

// --- Examples ---

TEST(Examples, AreGoodSpecs) {
  std::size_t count = 0;
  for (const auto& entry : std::filesystem::directory_iterator(PERDURE_EXAMPLES_DIR)) {
    if (entry.path().extension() != ".yaml") continue;
    ++count;
    const auto spec = read_spec_file(entry.path());
    ASSERT_TRUE(spec) << spec.error().message();
    EXPECT_EQ(read_good(to_yaml(*spec)), *spec);
    EXPECT_EQ(entry.path().stem(), spec->name.str());
  }
  EXPECT_GE(count, 3U);
}

}  // namespace
}  // namespace perdure::model
