// Specs, and parts of them, as random as the rules let them be; for rapidcheck.
#pragma once

#include <rapidcheck.h>

#include <algorithm>
#include <chrono>
#include <csignal>
#include <cstdint>
#include <format>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "model/spec.h"

namespace perdure::model::testing {

using namespace std::chrono_literals;

// Any text that is UTF-8 and has no NUL, with a taste for what is special in YAML or in XML.
inline rc::Gen<std::string> free_text() {
  return rc::gen::map(
      rc::gen::container<std::vector<std::string>>(rc::gen::elementOf(std::vector<std::string>{
          "a",      "Z",    "0",    " ",    "  ",   "\n",  "\r", "\t",     ":",      ": ",
          "#",      " #",   "-",    "- ",   "\"",   "'",   "\\", "{",      "}",      "[",
          "]",      ",",    "&",    "*",    "!",    "|",   ">",  "%",      "@",      "`",
          "~",      "null", "true", "<<",   "é",    "€",   "😀", "\u0085", "\u2028", "\u2029",
          "\ufeff", "\x01", "\x04", "\x1b", "\x7f", "---", "...",
          "yaml:", "=",     "<",    "&amp;", "]]>", "\r\n"})),
      [](const std::vector<std::string>& parts) {
        std::string text;
        for (const std::string& part : parts) text += part;
        return text;
      });
}

inline rc::Gen<std::string> word() {
  return rc::gen::nonEmpty(rc::gen::resize(
      20, rc::gen::container<std::string>(rc::gen::elementOf(std::string("abcxyz0189")))));
}

inline rc::Gen<std::string> path() {
  return rc::gen::map(word(), [](std::string text) { return "/srv/" + text; });
}

template <typename T>
std::optional<T> maybe(rc::Gen<T> gen) {
  return *rc::gen::arbitrary<bool>() ? std::optional<T>(*gen) : std::nullopt;
}

inline Duration duration(Duration min, Duration max) {
  const auto ns = *rc::gen::inRange<std::int64_t>(min.count(), max.count() + 1);
  const auto unit = *rc::gen::element<std::int64_t>(1, 1000, 1'000'000, 1'000'000'000);
  return std::max(min, Duration(ns - ns % unit));
}

inline NetworkSpec any_network() {
  NetworkSpec network;
  if (*rc::gen::arbitrary<bool>()) {
    network.attachment = BridgeAttachment{"br0"};
  } else {
    network.attachment = NicAttachment{"eth0", maybe(rc::gen::inRange<std::uint16_t>(1, 4095))};
  }
  const auto host = *rc::gen::inRange<int>(2, 254);
  network.ipv4 = Ipv4Prefix{{{10, 1, 2, static_cast<std::uint8_t>(host)}}, 24};
  if (*rc::gen::arbitrary<bool>()) network.ipv4_gateway = Ipv4Address{{10, 1, 2, 1}};
  if (*rc::gen::arbitrary<bool>()) {
    network.ipv6 = Ipv6Prefix{{{0x20, 1, 0xd, 0xb8}}, 64};
    for (std::size_t i = 8; i < 16; ++i)
      network.ipv6->address.bytes[i] = *rc::gen::arbitrary<std::uint8_t>();
    network.ipv6->address.bytes[15] |= 2;
    if (*rc::gen::arbitrary<bool>()) network.ipv6_gateway = Ipv6Address{{0xfe, 0x80, 1}};
    if (*rc::gen::arbitrary<bool>()) network.reachability.push_back(Ipv6Address{{0xfe, 0x80, 1}});
    network.dns.push_back(network.ipv6->address);
  }
  if (*rc::gen::arbitrary<bool>())
    network.mac = MacAddress{{2, 1, 2, 3, 4, static_cast<std::uint8_t>(host)}};
  if (*rc::gen::arbitrary<bool>()) {
    network.hosts = {{Ipv4Address{{192, 0, 2, 21}}, {"db", "shop-db"}}, {Ipv6Address{{0xfe, 0x80, 1}}, {*word()}}};
  }
  network.mtu = maybe(rc::gen::inRange<std::uint32_t>(1280, 9217));
  return network;
}

inline std::vector<VolumeSpec> any_volumes() {
  std::vector<VolumeSpec> volumes;
  const int count = *rc::gen::inRange(0, 4);
  for (int i = 0; i < count; ++i) {
    VolumeSpec volume{.name = std::format("v{}", i), .mount_path = std::format("/mnt/{}", i)};
    volume.kind = *rc::gen::element(VolumeKind::kCaptured, VolumeKind::kShared);
    if (volume.kind == VolumeKind::kShared || *rc::gen::arbitrary<bool>()) {
      volume.host_path = std::format("/host/{}", i);
      volume.access = *rc::gen::element(Access::kReadOnly, Access::kReadWrite);
    }
    volumes.push_back(std::move(volume));
  }
  return volumes;
}

inline ProbeSpec any_probe() {
  ProbeSpec probe{.interval = duration(10ms, 1h),
                  .timeout = duration(10ms, 10min),
                  .failures = *rc::gen::inRange(1U, 101U),
                  .successes = *rc::gen::inRange(1U, 101U),
                  .grace = duration(0s, 1h)};
  const auto port = *rc::gen::inRange<std::uint16_t>(1, 65535);
  const IpAddress address = *rc::gen::elementOf(std::vector<IpAddress>{
      kProbeLoopback, Ipv4Address{{192, 0, 2, 1}}, Ipv6Address::parse("::1").value()});
  probe.kind = *rc::gen::elementOf(std::vector<ProbeKind>{
      ExecProbe{{"probe", *free_text()}}, TcpProbe{port, address}, HttpProbe{port, address, "/a?b=%20#c"},
      RtspProbe{port, address}, UnixProbe{*path()}, FileProbe{*path(), duration(100ms, 24h)}});
  return probe;
}

// Each may depend on those before it.
inline std::vector<ComponentSpec> any_components() {
  using enum OnRestart::Action;
  const std::vector<OnRestart> reactions = {
      {kNothing}, {kRestart}, {kSignal, SIGHUP}, {kSignal, SIGUSR1}, {kSignal, SIGUSR2}};
  std::vector<ComponentSpec> components;
  const int count = *rc::gen::inRange(1, 5);
  for (int i = 0; i < count; ++i) {
    ComponentSpec component{.name = std::format("c{}", i), .command = {"program", *free_text()}};
    component.environment[*word()] = *free_text();
    component.working_directory = maybe(path());
    if (*rc::gen::arbitrary<bool>()) component.user = "u" + *word();
    component.state = *rc::gen::element(StateKind::kStateful, StateKind::kStateless);
    for (int j = 0; j < i; ++j) {
      if (*rc::gen::arbitrary<bool>()) continue;
      component.depends_on.push_back(
          {.component = std::format("c{}", j),
           .until = *rc::gen::element(Until::kReady, Until::kStarted, Until::kFinished),
           .on_restart = *rc::gen::elementOf(reactions)});
    }
    if (*rc::gen::arbitrary<bool>()) component.probe = any_probe();
    component.restart = {.limit = *rc::gen::inRange(0U, 101U),
                         .window = duration(1s, 24h),
                         .delay = duration(1ms, 1min),
                         .delay_limit = duration(1min, 1h)};
    // The last one is nobody's dependency.
    if (i + 1 == count) component.restart.when = RestartWhen::kAlways;
    component.stop = {.signal = *rc::gen::element(SIGTERM, SIGINT, 37), .deadline = duration(0s, 10min)};
    component.limits.open_files = maybe(rc::gen::inRange<std::uint32_t>(3, 1'048'577));
    const auto size = maybe(rc::gen::inRange<std::uint64_t>(4U << 20, std::uint64_t{16} << 40));
    if (size) component.limits.core_size = component.limits.address_space = Bytes{*size};
    if (*rc::gen::arbitrary<bool>()) component.limits.file_size = Bytes{0};
    components.push_back(std::move(component));
  }
  return components;
}

inline ApplicationMembership any_membership() {
  ApplicationMembership membership{.name = *word()};
  const int count = *rc::gen::inRange(0, 4);
  for (int i = 0; i < count; ++i) membership.sponsors.push_back(std::format("s{}", i));
  for (int i = 0; i < count; ++i) {
    if (*rc::gen::arbitrary<bool>()) continue;
    membership.near.push_back({.sponsors = {membership.sponsors[static_cast<std::size_t>(i)], membership.sponsors.front()},
                               .within = *rc::gen::element(Within::kHost, Within::kRack, Within::kDataCentre)});
  }
  if (*rc::gen::arbitrary<bool>()) membership.memory = Bytes{64U << 20};
  return membership;
}

inline ContainerSpec any_spec() {
  ContainerSpec spec{.name = ContainerName::parse(*word()).value()};
  const std::string where = *path();
  spec.root_filesystem = *rc::gen::element<RootFilesystem>(
      DirectoryRoot{where}, TarRoot{where + ".tar.zst"}, OciRoot{where, *word()});
  if (*rc::gen::arbitrary<bool>()) {
    spec.components = any_components();
  } else {
    spec.command = *rc::gen::container<std::vector<std::string>>(free_text());
    spec.command->insert(spec.command->begin(), "program");
  }
  for (const std::string& value : *rc::gen::container<std::vector<std::string>>(free_text())) {
    spec.environment[*word()] = value;
  }
  spec.working_directory = maybe(path());
  if (*rc::gen::arbitrary<bool>()) spec.user = "u" + *word();
  spec.hostname = maybe(word());
  if (*rc::gen::arbitrary<bool>()) spec.network = any_network();
  spec.volumes = any_volumes();
  if (*rc::gen::arbitrary<bool>()) spec.application = any_membership();
  spec.checkpoint = {.interval = duration(10ms, 24h),
                     .interval_source = *rc::gen::element(IntervalSource::kInterval,
                                                          IntervalSource::kStateSensitivity),
                     .cpu_budget_percent = *rc::gen::inRange(1U, 101U),
                     .generations_kept = *rc::gen::inRange(2U, 101U),
                     .standbys = maybe(rc::gen::inRange<std::uint32_t>(0, 9)),
                     .dump_deadline = duration(100ms, 10min)};
  if (*rc::gen::arbitrary<bool>()) spec.availability.outage_tolerance = duration(10ms, 24h);
  spec.restart = {.max_restores = *rc::gen::inRange(1U, 101U),
                  .window = duration(1s, 24h),
                  .probation = duration(0s, 1h),
                  .cold_start = *rc::gen::element(ColdStart::kAllowed, ColdStart::kNever),
                  .in_place = maybe(rc::gen::inRange(1U, 101U)),
                  .failovers = maybe(rc::gen::inRange(0U, 101U)),
                  .failover_window = {}};
  if (*rc::gen::arbitrary<bool>()) spec.restart.failover_window = duration(1s, 24h);
  spec.stop = {.signal = *rc::gen::element(SIGTERM, SIGINT, SIGKILL, 37),
               .deadline = duration(0s, 10min)};
  const auto memory = maybe(rc::gen::inRange<std::uint64_t>(4U << 20, std::uint64_t{16} << 40));
  if (memory) spec.resources.memory = Bytes{*memory};
  const auto cpu = maybe(rc::gen::inRange<std::uint32_t>(10, 1'024'001));
  if (cpu) spec.resources.cpu = MilliCores{*cpu};
  spec.resources.pids = maybe(rc::gen::inRange<std::uint32_t>(1, 4'194'305));
  spec.log = {
      .max_size = Bytes{*rc::gen::inRange<std::uint64_t>(64U << 10, std::uint64_t{10} << 30)},
      .files = *rc::gen::inRange(1U, 101U)};
  if (*rc::gen::arbitrary<bool>()) spec.security.capabilities = {"CAP_KILL", "CAP_SYS_ADMIN"};
  spec.security.seccomp = *rc::gen::element(Seccomp::kDefault, Seccomp::kUnconfined);
  if (*rc::gen::arbitrary<bool>())
    spec.security.sysctls = {{"net.ipv4.ip_forward", "1"}, {"kernel.sem", "1\u00a02"}};
  return spec;
}

}  // namespace perdure::model::testing
