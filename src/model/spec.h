// ContainerSpec: everything an operator says about one container, as typed values.
//
// Values only: no file is opened, no name is resolved, nothing of the host is looked at. A spec
// that came out of read_spec() (model/spec_yaml.h) satisfies every rule of docs/spec.md; nothing
// checks one that was put together in code. The defaults below are the documented ones.
#pragma once

#include <chrono>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "base/clock.h"
#include "base/ids.h"
#include "base/units.h"
#include "model/address.h"
#include "model/component.h"
#include "model/stop.h"

namespace perdure::model {

// --- Root file system: the read-only lower layer
// ------------------------------------------------------

struct DirectoryRoot {
  std::string path{};  // absolute path of an unpacked root file system; never written to
  auto operator<=>(const DirectoryRoot&) const = default;
};
struct TarRoot {
  std::string path{};  // absolute path; ends in .tar, .tar.gz or .tar.zst
  auto operator<=>(const TarRoot&) const = default;
};
struct OciRoot {
  // Absolute path of an OCI image layout: a directory with oci-layout and index.json.
  std::string path{};
  std::string tag = "latest";
  auto operator<=>(const OciRoot&) const = default;
};
// An image that a node of the cluster has already (image/image.h): what it is called is what it holds.
struct ImageRoot {
  std::string digest{};  // "sha256:" and 64 hexadecimal digits
  auto operator<=>(const ImageRoot&) const = default;
};
using RootFilesystem = std::variant<DirectoryRoot, TarRoot, OciRoot, ImageRoot>;

// --- Network ---

struct NoNetwork {  // loopback only
  auto operator<=>(const NoNetwork&) const = default;
};
struct BridgeAttachment {  // to a bridge that exists already
  std::string bridge{};
  auto operator<=>(const BridgeAttachment&) const = default;
};
// To a bridge that perdure makes and enslaves `nic` to: changes the host, so needs a confirmation.
struct NicAttachment {
  std::string nic{};
  std::optional<std::uint16_t> vlan{};  // 1..4094
  auto operator<=>(const NicAttachment&) const = default;
};
using Attachment = std::variant<NoNetwork, BridgeAttachment, NicAttachment>;

// What becomes of a TCP connection whose peer has moved on since the checkpoint. kReset: the peer
// gets an RST and the restored socket is aborted. kSplice: it goes on where its peer is, so that
// what was sent since comes a second time and what was received since is missing.
enum class TcpPolicy { kReset, kSplice };

// Of the connections of one service: those that the container accepted at this port of its own, and
// those that it opened to this port of others.
struct TcpPortPolicy {
  std::uint16_t port = 0;  // 1..65535
  TcpPolicy policy = TcpPolicy::kReset;
  auto operator<=>(const TcpPortPolicy&) const = default;
};

// A line of the container's /etc/hosts, besides those about itself.
struct HostEntry {
  IpAddress address{};
  std::vector<std::string> names{};  // never empty
  bool operator==(const HostEntry&) const = default;
};

struct NetworkSpec {
  Attachment attachment{};
  // At least one of both unless the attachment is NoNetwork, none if it is.
  std::optional<Ipv4Prefix> ipv4{};
  std::optional<Ipv6Prefix> ipv6{};
  // Inside the prefix of their family (an IPv6 gateway may be link-local too), never the own
  // address.
  std::optional<Ipv4Address> ipv4_gateway{};
  std::optional<Ipv6Address> ipv6_gateway{};
  std::optional<MacAddress> mac{};                            // absent: auto, see effective_mac()
  std::vector<IpAddress> dns{};                               // in order of preference
  std::vector<HostEntry> hosts{};
  // Each once, on the container's own link, not its own.
  std::vector<IpAddress> reachability{};
  std::optional<std::uint32_t> mtu{};                         // bytes; absent: the bridge's
  TcpPolicy tcp_policy = TcpPolicy::kReset;                   // of what `tcp_ports` does not name
  std::vector<TcpPortPolicy> tcp_ports{};                     // sorted, each port once

  bool attached() const { return !std::holds_alternative<NoNetwork>(attachment); }
  bool operator==(const NetworkSpec&) const = default;
};

// --- Volumes ---

// kCaptured: part of every capsule, goes back with the memory. kShared: outside of the capsules,
// never taken back; what the container wrote there after the checkpoint stays.
enum class VolumeKind { kCaptured, kShared };
enum class Access { kReadOnly, kReadWrite };

struct VolumeSpec {
  std::string name{};        // [a-z0-9-], 1..63, unique in the container
  std::string mount_path{};  // in the container; absolute, normalised, not inside another volume
  VolumeKind kind = VolumeKind::kCaptured;
  // Absolute. Always there for kShared; absent for kCaptured: a directory of perdure's own.
  std::optional<std::string> host_path{};
  Access access = Access::kReadWrite;
  bool operator==(const VolumeSpec&) const = default;
};

// --- Protection ---

enum class IntervalSource { kInterval, kStateSensitivity };  // which key the operator wrote

struct CheckpointSpec {
  // From freeze to freeze; the CPU budget may make it longer.
  Duration interval = std::chrono::seconds(1);
  IntervalSource interval_source = IntervalSource::kInterval;
  unsigned cpu_budget_percent = 20;  // of one core, 1..100
  unsigned generations_kept = 3;     // committed ones, 2..100
  std::optional<std::uint32_t> standbys{};  // 0..8; absent: as the cluster says
  std::vector<std::string> standby_nodes{};  // in order of preference; others where these cannot
  // Then the checkpoint is given up and the container thawed.
  Duration dump_deadline = std::chrono::seconds(10);
  bool operator==(const CheckpointSpec&) const = default;
};

struct AvailabilitySpec {
  std::optional<Duration> outage_tolerance{};  // 10 ms..24 h; absent: kDefaultOutageTolerance
  bool operator==(const AvailabilitySpec&) const = default;
};
// Of a container that says nothing: what a client that tries again hardly notices.
inline constexpr Duration kDefaultOutageTolerance = std::chrono::seconds(10);

enum class ColdStart { kAllowed, kNever };

struct RestartSpec {
  unsigned max_restores = 5;  // per window; one more and the container stays down
  Duration window = std::chrono::minutes(1);
  Duration probation =
      std::chrono::seconds(10);  // dying within it counts against the generation restored
  ColdStart cold_start = ColdStart::kAllowed;  // start without state when no generation restores
  // Absent: the policy's default (policy/options.h).
  std::optional<unsigned> in_place{};   // restores in a row that do not hold, before another node goes on
  std::optional<unsigned> failovers{};  // per failover_window
  std::optional<Duration> failover_window{};
  bool operator==(const RestartSpec&) const = default;
};

// --- Limits and rights ---

struct MilliCores {  // 1000 = one core
  std::uint32_t count = 0;
  auto operator<=>(const MilliCores&) const = default;
};

struct ResourcesSpec {  // absent: no limit
  std::optional<Bytes> memory{};
  std::optional<MilliCores> cpu{};
  std::optional<std::uint32_t> pids{};
  bool operator==(const ResourcesSpec&) const = default;
};

struct LogSpec {
  Bytes max_size{std::uint64_t{10} << 20};  // per file, then it is rotated
  unsigned files = 3;                       // kept, the one being written included
  bool operator==(const LogSpec&) const = default;
};

enum class Seccomp { kDefault, kUnconfined };

// What a container gets that names no capabilities: enough to serve, drop rights and own files.
// Without NET_RAW and MKNOD: raw sockets cannot be restored, device nodes would lead around the
// image.
std::vector<std::string> default_capabilities() noexcept;

struct SecuritySpec {
  std::vector<std::string> capabilities = default_capabilities();  // "CAP_CHOWN"; sorted, unique
  Seccomp seccomp = Seccomp::kDefault;
  // net.*, fs.mqueue.* and those of kernel.* that belong to the IPC namespace.
  std::map<std::string, std::string> sysctls{};
  bool operator==(const SecuritySpec&) const = default;
};

// --- The application that it belongs to ---

// From the narrowest to the widest.
enum class Within { kHost, kRack, kDataCentre };

struct Vicinity {
  std::vector<std::string> sponsors{};  // never empty, among those of the application; one of them is enough
  Within within = Within::kHost;
  bool operator==(const Vicinity&) const = default;
};

struct ApplicationMembership {
  std::optional<std::string> name{};    // absent of a container that was made from a specification of its own
  std::vector<std::string> sponsors{};  // containers that this one depends on
  std::vector<Vicinity> near{};         // those that it has to be close to
  // What was reserved for it where it was placed; limits are `resources`. Absent: nothing was counted.
  std::optional<Bytes> memory{};
  std::optional<MilliCores> cpu{};
  std::optional<Bytes> disk{};
  bool operator==(const ApplicationMembership&) const = default;
};

// --- The container ---

struct ContainerSpec {
  ContainerName name;
  RootFilesystem root_filesystem{};
  // Absent: the image's, unless there are components; of a directory or an archive this or they are always there. Never empty.
  std::optional<std::vector<std::string>> command{};
  std::map<std::string, std::string> environment{};  // over the image's
  std::optional<std::string> working_directory{};    // absolute; absent: the image's, else "/"
  // "UID[:GID]" or "NAME[:GROUP]" as written. Absent: the image's, else 0:0.
  std::optional<std::string> user{};
  std::optional<std::string> hostname{};  // absent: the name
  NetworkSpec network{};
  std::vector<VolumeSpec> volumes{};
  // Instead of a command, also of the image's. Environment, working directory and user above hold
  // for each that says nothing else.
  std::vector<ComponentSpec> components{};
  CheckpointSpec checkpoint{};
  AvailabilitySpec availability{};
  RestartSpec restart{};
  StopSpec stop{};
  ResourcesSpec resources{};
  LogSpec log{};
  SecuritySpec security{};
  ApplicationMembership application{};

  const std::string& effective_hostname() const { return hostname ? *hostname : name.str(); }
  Duration effective_outage_tolerance() const { return availability.outage_tolerance.value_or(kDefaultOutageTolerance); }
  bool operator==(const ContainerSpec&) const = default;
};

// A locally administered unicast address (02:…), the same for the same name and addresses on every
// host, so that neighbours need not learn a new one after a restore elsewhere.
MacAddress derive_mac(const ContainerName& name, const std::optional<Ipv4Prefix>& ipv4,
                      const std::optional<Ipv6Prefix>& ipv6);
// The one in the spec, else the derived one.
MacAddress effective_mac(const ContainerSpec& spec);

}  // namespace perdure::model
