// Proves that an application in YAML becomes the values that it says, that what is written is read again as it was,
// that each bad one is refused with its place and a remedy (testdata/application_refusals.txt), and that
// docs/application.md is what the reader understands.
#include "model/application/application_yaml.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <csignal>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <set>
#include <string>

#include "model/application/derive.h"
#include "model/testdata/refusal_cases.h"

namespace perdure::model {
namespace {

using namespace std::chrono_literals;

constexpr std::string_view kGoodStart = R"(application: shop
components:
  - {name: db, command: [/db], provides: [{name: sql, port: 5432, state: stateful}]}
  - {name: web, command: [/web], provides: [{name: http, port: 80, protocol: http}], requires: [{interface: sql}]}
)";

constexpr std::string_view kEverything = R"(application: shop
suite: trixie
network:
  nic: eth0
  vlan: 7
  addresses: [192.0.2.10-192.0.2.20/24, 192.0.2.30/24]
  ipv4-gateway: 192.0.2.1
  dns: [192.0.2.53]
  mtu: 1400
components:
  - name: db
    command: [/usr/bin/redis-server, --save, ""]
    environment: {LANG: C}
    working-directory: /data
    user: redis
    probe: {exec: [redis-cli, ping], interval: 500ms}
    stop: {signal: SIGINT, deadline: 2s}
    limits: {open-files: 1024}
    artefact:
      packages: [redis-server, "libc6=2.41-12"]
      files:
        - {from: redis.conf, to: /etc/redis/redis.conf}
    provides:
      - {name: keys, port: 6379, state: stateful, state-sensitivity: 500ms}
      - {name: metrics, port: 9121, protocol: http}
    resources: {memory: 512MiB, cpu: 0.5, disk: 1GiB}
    mttf: 30d
    recovery-time: 800ms
  - name: web
    command: [/web]
    probe: {http: 80, path: /up}
    restart: {when: always, limit: 9}
    artefact: {oci: images/web, tag: v2}
    provides:
      - {name: http, port: 80, protocol: http}
    requires:
      - {interface: keys, sponsor: db, delay-tolerance: 2ms, outage-tolerance: 5s, until: started, on-restart: SIGHUP}
      - {interface: metrics, outage-tolerance: 1min, on-restart: restart}
    replicas: 3
  - name: prepare
    command: [/prepare]
    artefact: {directory: /srv/prepare}
containers:
  - name: data
    components: [db]
    network: {ipv4: 192.0.2.99/24, tcp-policy: splice}
    volumes:
      - {name: data, mount: /data}
    checkpoint: {cpu-budget: 40%}
    restart: {in-place: 1}
placement:
  standbys: 2
  apart: rack
  latency: {rack: 1ms}
)";

Application read(std::string_view yaml) {
  auto application = read_application(yaml, "app", "/srv/shop");
  EXPECT_TRUE(application.has_value()) << application.error().message();
  return application.value();
}

std::string refusal(std::string_view yaml) { return testing::refusal_of(read_application(yaml, "app"), "app"); }

TEST(ApplicationYaml, EveryKeyIsRead) {
  const Application app = read(kEverything);
  EXPECT_EQ(app.name.str(), "shop");
  EXPECT_EQ(app.suite, "trixie");
  EXPECT_EQ(std::get<NicAttachment>(app.network.attachment), (NicAttachment{"eth0", 7}));
  ASSERT_EQ(app.network.addresses.size(), 2u);
  EXPECT_EQ(to_string(app.network.addresses[0].first), "192.0.2.10/24");
  EXPECT_EQ(to_string(app.network.addresses[0].last), "192.0.2.20");
  EXPECT_EQ(to_string(app.network.addresses[1].last), "192.0.2.30");
  EXPECT_EQ(to_string(*app.network.ipv4_gateway), "192.0.2.1");
  EXPECT_EQ(app.network.dns.size(), 1u);
  EXPECT_EQ(app.network.mtu, 1400u);

  ASSERT_EQ(app.components.size(), 3u);
  const Component& db = app.components[0];
  EXPECT_EQ(db.program.command, (std::vector<std::string>{"/usr/bin/redis-server", "--save", ""}));
  EXPECT_EQ(db.program.user, "redis");
  EXPECT_EQ(db.program.probe->interval, 500ms);
  EXPECT_EQ(db.program.stop.signal, SIGINT);
  EXPECT_EQ(db.artefact.packages, (std::vector<std::string>{"libc6=2.41-12", "redis-server"})) << "in order";
  EXPECT_EQ(db.artefact.files, (std::vector<CopiedFile>{{"/srv/shop/redis.conf", "/etc/redis/redis.conf"}}));
  EXPECT_EQ(db.provides, (std::vector<ProvidedInterface>{{"keys", StateKind::kStateful, 500ms, 6379, Protocol::kTcp},
                                                         {"metrics", StateKind::kStateless, {}, 9121, Protocol::kHttp}}));
  EXPECT_EQ(db.resources, (Demand{Bytes{512u << 20}, MilliCores{500}, Bytes{1u << 30}}));
  EXPECT_EQ(db.mttf, 24h * 30);
  EXPECT_EQ(db.recovery_time, 800ms);
  EXPECT_EQ(db.replicas, 1u);
  const Component& web = app.components[1];
  EXPECT_EQ(web.artefact.oci, (OciRoot{"/srv/shop/images/web", "v2"}));
  EXPECT_EQ(web.required[0], (RequiredInterface{"keys", "db", 2ms, 5s, Until::kStarted, {OnRestart::Action::kSignal, SIGHUP}}));
  EXPECT_EQ(web.required[1], (RequiredInterface{"metrics", {}, {}, 1min, Until::kReady, {OnRestart::Action::kRestart, 0}}));
  EXPECT_EQ(web.replicas, 3u);
  EXPECT_EQ(app.components[2].artefact.directory, "/srv/prepare");

  ASSERT_EQ(app.containers.size(), 1u);
  EXPECT_EQ(app.containers[0].components, std::vector<std::string>{"db"});
  EXPECT_EQ(to_string(*app.containers[0].settings.network.ipv4), "192.0.2.99/24");
  EXPECT_EQ(app.containers[0].settings.network.tcp_policy, TcpPolicy::kSplice);
  EXPECT_EQ(app.containers[0].settings.volumes.size(), 1u);
  EXPECT_EQ(app.containers[0].settings.checkpoint.cpu_budget_percent, 40u);
  EXPECT_EQ(app.containers[0].settings.restart.in_place, 1u);
  EXPECT_EQ(app.placement, (PlacementPolicy{2, FailureDomain::kRack, {.rack = std::chrono::milliseconds(1)}}));
}

TEST(ApplicationYaml, WhatIsWrittenIsReadAgainAsItWas) {
  for (const std::string_view yaml : {kEverything, kGoodStart}) {
    const Application app = read(yaml);
    const std::string written = to_yaml(app);
    const auto again = read_application(written, "written");
    ASSERT_TRUE(again.has_value()) << again.error().message() << "\n" << written;
    EXPECT_EQ(*again, app) << written;
    EXPECT_EQ(to_yaml(*again), written);
  }
}

TEST(ApplicationYaml, OnlyWhatDiffersFromItsDefaultIsWritten) {
  EXPECT_EQ(to_yaml(read("application: tiny\ncomponents:\n  - {name: a, command: [/a], replicas: 1, probe: {tcp: 80, timeout: 1s}}\n")),
            "application: tiny\n"
            "components:\n"
            "  - name: a\n"
            "    command:\n"
            "      - /a\n"
            "    probe:\n"
            "      tcp: 80\n");
}

TEST(ApplicationYaml, TableOfBadApplications) {
  EXPECT_EQ(refusal(kGoodStart), "accepted");
  const auto cases = testing::read_refusal_cases(PERDURE_MODEL_DIR "/testdata/application_refusals.txt", kGoodStart);
  ASSERT_GT(cases.size(), 20u);
  for (const testing::RefusalCase& bad : cases) {
    EXPECT_EQ(refusal(bad.document), bad.expected) << bad.title << "\n" << bad.document;
  }
}

TEST(ApplicationYaml, SizeIsBounded) {
  EXPECT_EQ(refusal("#" + std::string(kMaxApplicationBytes, 'x')), "1:1: the application has 262145 bytes; shorten it to 262144");
  std::string many = "application: shop\ncomponents:\n";
  for (int i = 0; i < 513; ++i) many += "- {name: c" + std::to_string(i) + ", command: [c]}\n";
  EXPECT_EQ(refusal(many), "3:1: components: has 513 items; give at most 512");
}

TEST(ApplicationYaml, EveryDocumentedKeyIsDocumentedOnceAndInFull) {
  std::set<std::string> paths;
  for (const SpecKey& key : application_keys()) {
    EXPECT_TRUE(paths.insert(key.path).second) << key.path;
    EXPECT_FALSE(key.type.empty()) << key.path;
    EXPECT_FALSE(key.default_value.empty()) << key.path;
    EXPECT_TRUE(key.description.ends_with('.')) << key.path;
  }
  EXPECT_GT(paths.size(), 70u);
}

// PERDURE_UPDATE_DOCS=1 in the environment writes the manual instead of comparing it.
TEST(ApplicationYaml, ManualIsUpToDate) {
  const char* path = PERDURE_DOCS_DIR "/application.md";
  if (std::getenv("PERDURE_UPDATE_DOCS") != nullptr) std::ofstream(path) << application_reference_markdown();
  std::ifstream in(path);
  const std::string manual{std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>()};
  EXPECT_EQ(manual, application_reference_markdown()) << "run model_test with PERDURE_UPDATE_DOCS=1";
}

TEST(ApplicationYaml, SchemaIsUpToDate) {
  const char* path = PERDURE_DOCS_DIR "/application.schema.json";
  if (std::getenv("PERDURE_UPDATE_DOCS") != nullptr) std::ofstream(path) << application_json_schema();
  std::ifstream in(path);
  const std::string schema{std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>()};
  EXPECT_EQ(schema, application_json_schema()) << "run model_test with PERDURE_UPDATE_DOCS=1";
}

// The one in the manual is what the manual says.
TEST(ApplicationYaml, TheManualsExampleIsAccepted) {
  const std::string manual = application_reference_markdown();
  const auto begin = manual.find("```yaml\n") + 8;
  const Application app = read(manual.substr(begin, manual.find("```", begin) - begin));
  EXPECT_EQ(state_of(app.components[0]), StateKind::kStateless);
  EXPECT_EQ(state_of(app.components[1]), StateKind::kStateful);
}

// --- What follows ---

TEST(Derivation, AComponentIsStatefulIfOneOfItsInterfacesIs) {
  const Application app = read(kEverything);
  EXPECT_EQ(state_of(app.components[0]), StateKind::kStateful);
  EXPECT_EQ(recovery_scope_of(app.components[0]), RecoveryScope::kContainer);
  EXPECT_EQ(state_of(app.components[1]), StateKind::kStateless);
  EXPECT_EQ(recovery_scope_of(app.components[1]), RecoveryScope::kComponent);
  EXPECT_EQ(state_of(app.components[2]), StateKind::kStateless) << "it provides nothing";
}

TEST(Derivation, TheShortestSensitivityCounts) {
  const Application app = read(
      "application: a\ncomponents:\n"
      "  - {name: a, command: [/a], provides: [{name: x, state: stateful, state-sensitivity: 2s},"
      " {name: y, state: stateful, state-sensitivity: 300ms}, {name: z, state: stateful}, {name: w}]}\n"
      "  - {name: b, command: [/b], provides: [{name: v, state: stateful}]}\n"
      "  - {name: c, command: [/c]}\n");
  EXPECT_EQ(state_sensitivity_of(app.components[0]), 300ms);
  EXPECT_EQ(state_sensitivity_of(app.components[1]), std::nullopt);
  EXPECT_EQ(state_sensitivity_of(app.components[2]), std::nullopt);
}

TEST(Derivation, RequirementsOfOneSponsorAreOneDependency) {
  const Application app = read(kEverything);
  const std::vector<Dependency> all = dependencies_of(app);
  ASSERT_EQ(all.size(), 1u);
  EXPECT_EQ(all[0], (Dependency{1, 0, 2ms, 5s, Until::kReady, {OnRestart::Action::kSignal, SIGHUP}}));
  EXPECT_EQ(outage_tolerance_of(app, 0), 5s);
  EXPECT_EQ(outage_tolerance_of(app, 1), std::nullopt);
}

TEST(Derivation, DependenciesAreInTheOrderOfComponentsAndSponsors) {
  const Application app = read(
      "application: a\ncomponents:\n"
      "  - {name: a, command: [/a], requires: [{interface: z, outage-tolerance: 9s}, {interface: y}]}\n"
      "  - {name: b, command: [/b], provides: [{name: y}], requires: [{interface: z, outage-tolerance: 3s}]}\n"
      "  - {name: c, command: [/c], provides: [{name: z}]}\n");
  std::vector<std::pair<std::size_t, std::size_t>> pairs;
  for (const Dependency& it : dependencies_of(app)) pairs.emplace_back(it.dependent, it.sponsor);
  EXPECT_THAT(pairs, ::testing::ElementsAre(std::pair(0, 1), std::pair(0, 2), std::pair(1, 2)));
  EXPECT_EQ(outage_tolerance_of(app, 2), 3s);
  EXPECT_EQ(outage_tolerance_of(app, 1), std::nullopt) << "for ever";
}

}  // namespace
}  // namespace perdure::model
