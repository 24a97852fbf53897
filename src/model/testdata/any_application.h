// Applications as random as the rules let them be; for rapidcheck.
#pragma once

#include "model/application/application.h"
#include "model/testdata/any_spec.h"

namespace perdure::model::testing {

inline bool toss() { return *rc::gen::arbitrary<bool>(); }

// The same base for all, so that any of them may share a container.
inline Artefact any_artefact(int base) {
  Artefact artefact;
  if (base == 1) artefact.packages = {"libc6=2.41-12", "redis-server"};
  if (base == 2) artefact.directory = "/srv/a root";
  if (base == 3) artefact.oci = OciRoot{"/srv/image", "v2"};
  for (int i = *rc::gen::inRange(0, 3); i > 0; --i) {
    artefact.files.push_back({*rc::gen::element<std::string>("/srv/a", "/srv/x -> y", "/srv/{b}"), std::format("/to {}/{}", i, *word())});
  }
  return artefact;
}

inline std::vector<ProvidedInterface> any_provided(int component) {
  std::vector<ProvidedInterface> all;
  for (int i = 0; i < 3; ++i) {
    if (toss()) continue;
    ProvidedInterface one{.name = std::format("i{}", i)};
    one.state = *rc::gen::element(StateKind::kStateful, StateKind::kStateless);
    if (one.state == StateKind::kStateful && toss()) one.state_sensitivity = duration(20ms, 24h);
    if (toss()) {
      one.port = static_cast<std::uint16_t>(1000 + 10 * component + i);
      one.protocol = *rc::gen::element(Protocol::kTcp, Protocol::kUdp, Protocol::kHttp, Protocol::kRtsp);
    }
    all.push_back(std::move(one));
  }
  return all;
}

inline std::size_t providers_of(const Application& application, const std::string& interface) {
  return static_cast<std::size_t>(std::ranges::count_if(application.components, [&](const Component& component) {
    return std::ranges::contains(component.provides, interface, &ProvidedInterface::name);
  }));
}

// Of those before it, so that there is no circle.
inline std::vector<RequiredInterface> any_required(const Application& application, std::size_t index) {
  using enum OnRestart::Action;
  std::vector<RequiredInterface> all;
  for (std::size_t i = 0; i < index; ++i) {
    for (const ProvidedInterface& provided : application.components[i].provides) {
      if (toss()) continue;
      RequiredInterface one{.interface = provided.name};
      if (providers_of(application, provided.name) > 1 || toss()) one.sponsor = application.components[i].name();
      if (toss()) one.delay_tolerance = duration(1us, 1h);
      if (toss()) one.outage_tolerance = duration(10ms, 24h);
      one.until = *rc::gen::element(Until::kReady, Until::kStarted, Until::kFinished);
      one.on_restart = *rc::gen::elementOf(std::vector<OnRestart>{{kNothing}, {kRestart}, {kSignal, SIGUSR1}});
      all.push_back(std::move(one));
    }
  }
  return all;
}

inline Component any_component(ComponentSpec program, int index, int base) {
  Component component;
  program.state = ComponentSpec{}.state;
  program.depends_on.clear();
  component.program = std::move(program);
  component.artefact = any_artefact(base);
  component.provides = any_provided(index);
  if (toss()) component.resources = {Bytes{512U << 20}, MilliCores{500}, Bytes{0}};
  if (toss()) component.mttf = std::chrono::seconds(*rc::gen::inRange(1, 1'000'000'000));
  if (toss()) component.recovery_time = duration(1ms, 24h);
  return component;
}

inline ContainerSettings any_settings(const std::string& component, int index) {
  ContainerSettings one;
  one.name = std::format("box{}", index);
  one.components = {component};
  ContainerSpec spec = any_spec();
  spec.name = one.settings.name;
  spec.root_filesystem = one.settings.root_filesystem;
  spec.command = one.settings.command;
  spec.components = one.settings.components;
  spec.application = {};
  // Addresses are given once.
  if (index > 0) spec.network = one.settings.network;
  if (toss()) one.settings = std::move(spec);
  return one;
}

inline Application any_application() {
  Application application{.name = ContainerName::parse("a" + *word()).value()};
  if (toss()) application.suite = "trixie";
  if (toss()) {
    application.network.attachment = NicAttachment{"eth0", maybe(rc::gen::inRange<std::uint16_t>(1, 4095))};
    application.network.addresses = {{Ipv4Prefix::parse("10.9.2.20/24").value(), Ipv4Address{{10, 9, 2, 60}}},
                                     {Ipv4Prefix::parse("10.9.2.70/24").value(), Ipv4Address{{10, 9, 2, 70}}}};
    application.network.dns = {Ipv4Address{{192, 0, 2, 53}}};
    application.network.mtu = maybe(rc::gen::inRange<std::uint32_t>(1280, 9217));
  }
  const int base = *rc::gen::inRange(0, 4);
  int index = 0;
  for (ComponentSpec& program : any_components()) application.components.push_back(any_component(std::move(program), index++, base));
  for (std::size_t i = 0; i < application.components.size(); ++i) application.components[i].required = any_required(application, i);
  for (int i = 0; i < index; ++i) {
    if (toss()) application.containers.push_back(any_settings(application.components[static_cast<std::size_t>(i)].name(), i));
  }
  application.placement.standbys = *rc::gen::inRange<std::uint32_t>(0, 9);
  Latencies& latency = application.placement.latency;
  for (Duration Latencies::* one : {&Latencies::container, &Latencies::host, &Latencies::rack, &Latencies::data_centre, &Latencies::anywhere}) {
    latency.*one = std::chrono::microseconds(*rc::gen::inRange(1, 1'000'000));
  }
  latency.host = std::max(latency.container, latency.host);
  latency.rack = std::max(latency.host, latency.rack);
  latency.data_centre = std::max(latency.rack, latency.data_centre);
  latency.anywhere = std::max(latency.data_centre, latency.anywhere);
  application.placement.apart = *rc::gen::element(FailureDomain::kNode, FailureDomain::kRack, FailureDomain::kDataCentre);
  return application;
}

}  // namespace perdure::model::testing
