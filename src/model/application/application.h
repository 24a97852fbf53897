// Application: the extended component diagram of the paper (III-A, Fig. 3) as typed values.
//
// An application is components that provide and require interfaces. What follows for containers,
// their place and their protection is derived (derive.h, placement/). Values only, as in
// model/spec.h: one that came out of a reader satisfies every rule of docs/application.md.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/ids.h"
#include "base/units.h"
#include "model/address.h"
#include "model/component.h"
#include "model/spec.h"

namespace perdure::model {

// --- Interfaces and dependencies ---

// kHttp and kRtsp run over TCP.
enum class Protocol { kTcp, kUdp, kHttp, kRtsp };

struct ProvidedInterface {
  std::string name{};  // [a-z0-9-], 1..63; unique in its component
  StateKind state = StateKind::kStateless;
  // For how long a state is worth having; only of a stateful one, absent: as a container's
  // checkpoint.interval.
  std::optional<Duration> state_sensitivity{};  // 20 ms..24 h
  std::optional<std::uint16_t> port{};          // 1..65535; absent: not over the network
  Protocol protocol = Protocol::kTcp;
  bool operator==(const ProvidedInterface&) const = default;
};

struct RequiredInterface {
  std::string interface{};
  // The component that provides it; absent: the only one that does.
  std::optional<std::string> sponsor{};
  // Round trip between the two; absent: any.
  std::optional<Duration> delay_tolerance{};
  // How long the component survives without its sponsor; absent: for ever.
  std::optional<Duration> outage_tolerance{};
  Until until = Until::kReady;
  OnRestart on_restart{};
  bool operator==(const RequiredInterface&) const = default;
};

// --- What a component is made of ---

struct CopiedFile {
  std::string from{};  // on this host; a file or a directory; absolute
  std::string to{};    // in the image; absolute
  bool operator==(const CopiedFile&) const = default;
};

// At most one base: Debian packages, an unpacked root file system or an OCI image. Files come on top.
struct Artefact {
  std::vector<std::string> packages{};   // of Debian; sorted, each once
  std::optional<std::string> directory{};
  std::optional<OciRoot> oci{};
  std::vector<CopiedFile> files{};
  bool operator==(const Artefact&) const = default;
};

// What it needs of a node. Absent: not counted.
struct Demand {
  std::optional<Bytes> memory{};
  std::optional<MilliCores> cpu{};
  std::optional<Bytes> disk{};
  bool operator==(const Demand&) const = default;
};

// --- The component ---

struct Component {
  // Name, command, environment, user, probe, restart, stop, limits. State and dependencies are
  // derived from the interfaces: `state` and `depends_on` are not used.
  ComponentSpec program{};
  Artefact artefact{};
  std::vector<ProvidedInterface> provides{};
  std::vector<RequiredInterface> required{};
  Demand resources{};
  std::optional<Duration> mttf{};           // mean time to failure, 1 s..100 years
  std::optional<Duration> recovery_time{};  // from a failure to the next answer, 1 ms..24 h
  unsigned replicas = 1;                    // 1..32; more than one only of a stateless component

  const std::string& name() const { return program.name; }
  bool operator==(const Component&) const = default;
};

// --- Containers and placement ---

// Several addresses of one network, for containers that have none of their own.
struct Ipv4Range {
  Ipv4Prefix first{};
  Ipv4Address last{};
  bool operator==(const Ipv4Range&) const = default;
};

// What the containers of the application have in common; a container's own network comes first.
struct ApplicationNetwork {
  Attachment attachment{};
  std::vector<Ipv4Range> addresses{};
  std::optional<Ipv4Address> ipv4_gateway{};
  std::vector<IpAddress> dns{};
  std::optional<std::uint32_t> mtu{};
  bool operator==(const ApplicationNetwork&) const = default;
};

// What an integrator says about one container. Without it containers follow from the dependencies.
struct ContainerSettings {
  ContainerSettings();
  std::string name{};                     // within the application; unique
  std::vector<std::string> components{};  // each component in one container at most
  // Whatever a container's spec says beyond name, root file system, command and components.
  ContainerSpec settings;
  bool operator==(const ContainerSettings&) const = default;
};

// The narrowest that active and standby, and two replicas, may share none of.
enum class FailureDomain { kNode, kServer, kRack, kDataCentre };

// Round trips between two programs that are no farther apart; each not below the one before it. The defaults are what is usual:
// loopback; a bridge; one switch; a few; a continent.
struct Latencies {
  Duration container = std::chrono::microseconds(50);  // 1 us..1 h, here and below
  Duration host = std::chrono::microseconds(150);
  Duration rack = std::chrono::microseconds(500);
  Duration data_centre = std::chrono::milliseconds(2);
  Duration anywhere = std::chrono::milliseconds(100);
  bool operator==(const Latencies&) const = default;
};

struct PlacementPolicy {
  std::uint32_t standbys = 1;  // 0..8, of each container with a stateful component
  FailureDomain apart = FailureDomain::kNode;
  Latencies latency{};
  bool operator==(const PlacementPolicy&) const = default;
};

// --- The application ---

inline constexpr std::size_t kMaxApplicationComponents = 512;

struct Application {
  ContainerName name;
  std::string suite = "bookworm";  // of Debian, for packages
  ApplicationNetwork network{};
  std::vector<Component> components{};
  std::vector<ContainerSettings> containers{};
  PlacementPolicy placement{};
  bool operator==(const Application&) const = default;
};

}  // namespace perdure::model
