// Proves that the components of a spec come out as documented (defaults, every key, every kind of
// probe) and are written back in one form. What is refused stands in testdata/refusals.txt.
#include "model/component.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <csignal>
#include <string>
#include <string_view>

#include "model/spec_yaml.h"

namespace perdure::model {
namespace {

using namespace std::chrono_literals;

constexpr std::string_view kStart = "name: web\nroot-filesystem: {directory: /srv/web}\n";

ContainerSpec read_good(std::string_view lines) {
  auto spec = read_spec(std::string(kStart) + std::string(lines), "spec");
  if (spec) return *spec;
  ADD_FAILURE() << spec.error().message();
  return ContainerSpec{.name = ContainerName::parse("failed").value(), .components = {{}}};
}

TEST(Component, DefaultsAreTheDocumentedOnes) {
  const ContainerSpec spec = read_good("components: [{name: db, command: [db, -v]}]\n");
  EXPECT_FALSE(spec.command);
  ASSERT_EQ(spec.components.size(), 1U);
  const ComponentSpec& component = spec.components[0];
  EXPECT_EQ(component, (ComponentSpec{.name = "db", .command = {"db", "-v"}}));
  EXPECT_FALSE(component.working_directory);
  EXPECT_FALSE(component.user);
  EXPECT_EQ(component.state, StateKind::kStateful);
  EXPECT_FALSE(component.probe);
  EXPECT_EQ(component.restart.when, RestartWhen::kFailure);
  EXPECT_EQ(component.restart.limit, 5U);
  EXPECT_EQ(component.restart.window, 1min);
  EXPECT_EQ(component.restart.delay, 100ms);
  EXPECT_EQ(component.restart.delay_limit, 10s);
  EXPECT_EQ(component.stop.signal, SIGTERM);
  EXPECT_EQ(component.stop.deadline, 5s);
  EXPECT_FALSE(component.limits.open_files);
}

TEST(Component, DefaultsOfDependencyAndProbeAreTheDocumentedOnes) {
  const ContainerSpec spec = read_good(
      "components:\n"
      "  - {name: db, command: [db], probe: {http: 8080}}\n"
      "  - {name: app, command: [app], depends-on: [{component: db}]}\n");
  ASSERT_EQ(spec.components.size(), 2U);
  ASSERT_TRUE(spec.components[0].probe);
  const ProbeSpec& probe = *spec.components[0].probe;
  EXPECT_EQ(probe.kind, ProbeKind(HttpProbe{8080, Ipv4Address{{127, 0, 0, 1}}, "/"}));
  EXPECT_EQ(probe.interval, 1s);
  EXPECT_EQ(probe.timeout, 1s);
  EXPECT_EQ(probe.failures, 3U);
  EXPECT_EQ(probe.successes, 1U);
  EXPECT_EQ(probe.grace, 10s);
  ASSERT_EQ(spec.components[1].depends_on.size(), 1U);
  const DependencySpec& dependency = spec.components[1].depends_on[0];
  EXPECT_EQ(dependency.component, "db");
  EXPECT_EQ(dependency.until, Until::kReady);
  EXPECT_EQ(dependency.on_restart, OnRestart{});
}

TEST(Component, EveryKeyArrives) {
  const ContainerSpec spec = read_good(R"(
environment: {MODE: slow}
working-directory: /srv
user: web
components:
  - name: migrate
    command: [migrate, ""]
  - name: db
    command: [db]
    depends-on: [{component: migrate, until: finished}]
  - name: app
    command: [sh, -c, "app\n"]
    environment: {MODE: fast, EMPTY: ""}
    working-directory: /srv/app
    user: "33:33"
    state: stateless
    depends-on:
      - {component: db, until: started, on-restart: SIGUSR1}
      - {component: migrate, until: finished, on-restart: restart}
    restart: {when: always, limit: 0, window: 2min, delay: 20ms, delay-limit: 20ms}
    probe: {exec: [check, "a b"], interval: 500ms, timeout: 2s, failures: 1, successes: 2, grace: 0s}
    stop: {signal: SIGINT, deadline: 0s}
    limits: {open-files: 1024, core-size: 0, file-size: 1GiB, address-space: 2GiB}
)");
  using enum OnRestart::Action;
  const std::vector<ComponentSpec> expected = {
      {.name = "migrate", .command = {"migrate", ""}},
      {.name = "db",
       .command = {"db"},
       .depends_on = {{.component = "migrate", .until = Until::kFinished}}},
      {.name = "app",
       .command = {"sh", "-c", "app\n"},
       .environment = {{"MODE", "fast"}, {"EMPTY", ""}},
       .working_directory = "/srv/app",
       .user = "33:33",
       .state = StateKind::kStateless,
       .depends_on = {{"db", Until::kStarted, {kSignal, SIGUSR1}},
                      {"migrate", Until::kFinished, {kRestart}}},
       .probe = ProbeSpec{.kind = ExecProbe{{"check", "a b"}},
                          .interval = 500ms,
                          .timeout = 2s,
                          .failures = 1,
                          .successes = 2,
                          .grace = 0s},
       .restart = {.when = RestartWhen::kAlways,
                   .limit = 0,
                   .window = 2min,
                   .delay = 20ms,
                   .delay_limit = 20ms},
       .stop = {.signal = SIGINT, .deadline = 0s},
       .limits = {.open_files = 1024,
                  .core_size = Bytes{0},
                  .file_size = Bytes{1U << 30},
                  .address_space = Bytes{2U << 30}}}};
  EXPECT_EQ(spec.components, expected) << to_yaml(spec);
  EXPECT_EQ(spec.environment.at("MODE"), "slow");
  EXPECT_EQ(spec.working_directory, "/srv");
  EXPECT_EQ(spec.user, "web");
  EXPECT_EQ(read_spec(to_yaml(spec), "again").value(), spec);
}

ProbeKind kind_of(std::string_view probe) {
  const ContainerSpec spec =
      read_good(std::format("components: [{{name: a, command: [a], probe: {{{}}}}}]\n", probe));
  const auto again = read_spec(to_yaml(spec), "again");
  EXPECT_TRUE(again && *again == spec) << to_yaml(spec);
  return spec.components[0].probe.value_or(ProbeSpec{}).kind;
}

TEST(Component, EveryKindOfProbeArrives) {
  const IpAddress own = Ipv4Address{{192, 0, 2, 10}};
  EXPECT_EQ(kind_of("exec: [check]"), ProbeKind(ExecProbe{{"check"}}));
  EXPECT_EQ(kind_of("tcp: 1"), ProbeKind(TcpProbe{1}));
  EXPECT_EQ(kind_of("address: 192.0.2.10, tcp: 65535"), ProbeKind(TcpProbe{65535, own}));
  EXPECT_EQ(kind_of("path: \"/a?b\", http: 80, address: \"::1\""),
            ProbeKind(HttpProbe{80, Ipv6Address::parse("::1").value(), "/a?b"}));
  EXPECT_EQ(kind_of("rtsp: 8554, address: 127.0.0.2"),
            ProbeKind(RtspProbe{8554, Ipv4Address{{127, 0, 0, 2}}}));
  EXPECT_EQ(kind_of("unix: /run/a.sock"), ProbeKind(UnixProbe{"/run/a.sock"}));
  EXPECT_EQ(kind_of("max-age: 7s, file: /srv/live.m3u8"),
            ProbeKind(FileProbe{"/srv/live.m3u8", 7s}));
}

TEST(Component, CanonicalTextIsStable) {
  const std::string text =
      to_yaml(read_good("components: [{command: [db], name: db}, {probe: {path: /up, http: 80}, "
                        "name: app, state: stateless,\n"
                        "  limits: {open-files: 64}, depends-on: [{on-restart: SIGHUP, component: "
                        "db}], command: [app]}]\n"));
  EXPECT_THAT(text, testing::HasSubstr(R"(volumes: []
components:
  - name: db
    command:
      - db
    environment: {}
    state: stateful
    depends-on: []
    restart:
      when: failure
      limit: 5
      window: 1min
      delay: 100ms
      delay-limit: 10s
    stop:
      signal: SIGTERM
      deadline: 5s
  - name: app
    command:
      - app
    environment: {}
    state: stateless
    depends-on:
      - component: db
        until: ready
        on-restart: SIGHUP
    probe:
      http: 80
      path: /up
      address: "127.0.0.1"
      interval: 1s
      timeout: 1s
      failures: 3
      successes: 1
      grace: 10s
    restart:
      when: failure
      limit: 5
      window: 1min
      delay: 100ms
      delay-limit: 10s
    stop:
      signal: SIGTERM
      deadline: 5s
    limits:
      open-files: 64
checkpoint:
)"));
}

// So that a node that does not know them still reads what others have written.
TEST(Component, NothingIsWrittenWhenThereIsNone) {
  EXPECT_THAT(to_yaml(read_good("command: [web]\n")),
              testing::Not(testing::HasSubstr("components")));
}

}  // namespace
}  // namespace perdure::model
