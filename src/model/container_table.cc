// The keys of a container, one entry each: path, form, limits, and why. The order is that of the
// manual and of to_yaml(); keys of one section stand together.
#include <chrono>
#include <cstdint>
#include <iterator>

#include "model/spec.h"
#include "model/table.h"

namespace perdure::model {
namespace {

using namespace std::chrono_literals;
using Keys = Table<ContainerSpec>;

constexpr std::size_t kMaxVolumes = 32;
constexpr std::size_t kMaxDnsServers = 3;  // MAXNS of resolv.conf(5)
constexpr std::size_t kMaxReachability = 8;  // each costs its link a broadcast a second
constexpr std::size_t kMaxTcpPorts = 64;
constexpr std::size_t kMaxHosts = 1024;      // an application of 512 components, some with replicas
constexpr std::size_t kMaxHostNames = 16;
constexpr std::size_t kMaxStandbyNodes = 8;
constexpr std::size_t kMaxCapabilities = 41;
constexpr std::size_t kMaxSysctls = 64;

constexpr Bytes operator""_KiB(unsigned long long count) {
  return {count << 10};
}
constexpr Bytes operator""_MiB(unsigned long long count) {
  return {count << 20};
}
constexpr Bytes operator""_GiB(unsigned long long count) {
  return {count << 30};
}

// A key that stands for one alternative of a variant; `member` is what it fills in.
template <typename Alternative, typename GetVariant, typename T>
Key<ContainerSpec> alternative_key(std::string path, Codec<T> codec, GetVariant get,
                                   T Alternative::* member, Words words) {
  SpecKey doc{std::move(path), codec.type, words.absent, codec.range, words.description};
  doc.shape = codec.shape;
  return {
      .doc = std::move(doc),
      .read =
          [=](Reading& reading, const std::string& at, const YamlNode& node, ContainerSpec& spec) {
            auto value = read_scalar(reading, at, node, codec);
            if (!value) return;
            Alternative chosen;
            chosen.*member = std::move(*value);
            get(spec) = std::move(chosen);
          },
      .write = [=](const ContainerSpec& spec) -> std::optional<YamlNode> {
        const auto* chosen = std::get_if<Alternative>(&get(spec));
        if (chosen == nullptr) return std::nullopt;
        return write_scalar(codec, chosen->*member);
      }};
}

// A key that belongs to an alternative which another key has chosen before it; without that it is
// read and dropped, and check_rules() complains.
template <typename Alternative, typename GetVariant, typename T, typename Member>
Key<ContainerSpec> detail_key(std::string path, Codec<T> codec, GetVariant get,
                              Member Alternative::* member, Words words) {
  SpecKey doc{std::move(path), codec.type, words.absent, codec.range, words.description};
  doc.shape = codec.shape;
  return {
      .doc = std::move(doc),
      .read =
          [=](Reading& reading, const std::string& at, const YamlNode& node, ContainerSpec& spec) {
            auto value = read_scalar(reading, at, node, codec);
            auto* chosen = std::get_if<Alternative>(&get(spec));
            if (value && chosen != nullptr) chosen->*member = std::move(*value);
          },
      .write = [=](const ContainerSpec& spec) -> std::optional<YamlNode> {
        const auto* chosen = std::get_if<Alternative>(&get(spec));
        if (chosen == nullptr) return std::nullopt;
        if constexpr (std::is_same_v<Member, T>) {
          return write_scalar(codec, chosen->*member);
        } else {
          if (!(chosen->*member)) return std::nullopt;
          return write_scalar(codec, *(chosen->*member));
        }
      }};
}

// A key that exists to be refused with a reason; `false` is harmless.
Key<ContainerSpec> refused_key(std::string path, std::string refusal, std::string description) {
  const Codec<bool> codec =
      choice_codec<bool>({{"false", false}, {"true", true, std::move(refusal)}});
  SpecKey doc{std::move(path), codec.type, "false", codec.range, std::move(description)};
  doc.shape = codec.shape;
  return {.doc = std::move(doc),
          .read = [=](Reading& reading, const std::string& at, const YamlNode& node,
                      ContainerSpec&) { (void)read_scalar(reading, at, node, codec); },
          .write = [](const ContainerSpec&) { return std::nullopt; }};
}

Keys image_keys() {
  const auto root = [](auto& spec) -> auto& { return spec.root_filesystem; };
  return {
      scalar_key<ContainerSpec>("name", name_codec(), [](auto& spec) -> auto& { return spec.name; },
                                {std::string(kRequired),
                                 "Names the container on its host: its directory, its cgroup, its "
                                 "network namespace and its host name (RFC 1123 label)."}),
      alternative_key<DirectoryRoot>(
          "root-filesystem.directory", host_path_codec(), root, &DirectoryRoot::path,
          {"one of the four is required",
           "An unpacked root file system on the host. It is the read-only "
           "lower layer and never written to; do not change it while the container exists."}),
      alternative_key<TarRoot>("root-filesystem.tar", tar_path_codec(), root, &TarRoot::path,
                               {"one of the four is required",
                                "An archive of a root file system; unpacked once per content."}),
      alternative_key<OciRoot>("root-filesystem.oci", host_path_codec(), root, &OciRoot::path,
                               {"one of the four is required",
                                "A directory with an OCI image layout (as made by `skopeo copy docker://… oci:DIR:TAG`); unpacked "
                                "once per content. The image's command, user, working directory and environment hold where the "
                                "spec says nothing."}),
      detail_key<OciRoot>(
          "root-filesystem.tag", tag_codec(), root, &OciRoot::tag,
          {"latest", "Which image of the layout. Only with `root-filesystem.oci`."}),
      alternative_key<ImageRoot>("root-filesystem.image", digest_codec(), root, &ImageRoot::digest,
                                 {"one of the four is required",
                                  "The digest of an image that a node of the cluster has already, as `perdure image add` prints it; "
                                  "a node that lacks it fetches it from one that has it."}),
      list_key<ContainerSpec>("command", argument_codec(), {1, kMaxArguments},
                              [](auto& spec) -> auto& { return spec.command; },
                              {"the image's; required for a directory or an archive without `components`",
                               "The argument list, executed without a shell. It replaces the image's entry point and command together. "
                               "Either this or `components`."}),
      text_map_key<ContainerSpec>("environment", argument_codec(), check_environment_name,
                                  kMaxVariables,
                                  [](auto& spec) -> auto& { return spec.environment; },
                                  {"", "Environment variables, over those of the OCI image. Values are text: `1` and `\"1\"` are the same."}),
      scalar_key<ContainerSpec>("working-directory", path_codec(),
                                [](auto& spec) -> auto& { return spec.working_directory; },
                                {"the OCI image's, else /", "Where the command starts."}),
      scalar_key<ContainerSpec>(
          "user", user_codec(), [](auto& spec) -> auto& { return spec.user; },
          {"the OCI image's, else 0:0",
           "`UID`, `UID:GID`, `NAME` or `NAME:GROUP`; names are looked up in the "
           "container's own /etc/passwd and /etc/group. On a host without CAP_SYS_RESOURCE only "
           "0:0 can be "
           "checkpointed."}),
      scalar_key<ContainerSpec>("hostname", hostname_codec(),
                                [](auto& spec) -> auto& { return spec.hostname; },
                                {"the name", "The container's host name."}),
  };
}

Codec<TcpPolicy> tcp_policy_codec() {
  return choice_codec<TcpPolicy>({{"reset", TcpPolicy::kReset}, {"splice", TcpPolicy::kSplice}});
}

// Left out when there is none: what was written before the key was known stays as it is.
Key<ContainerSpec> reachability_key() {
  Key<ContainerSpec> key = list_key<ContainerSpec>(
      "network.reachability", any_address_codec(), {0, kMaxReachability},
      [](auto& spec) -> auto& { return spec.network.reachability; },
      {"none",
       "Hosts on the container's own link, the router for instance, that its node asks for once a second (ARP, neighbour "
       "discovery). When none has answered for 5 s and a ready standby gets an answer, the container is moved there "
       "([cluster.md](cluster.md#cut-from-the-clients))."});
  key.write = [write = std::move(key.write)](const ContainerSpec& spec) -> std::optional<YamlNode> {
    if (spec.network.reachability.empty()) return std::nullopt;
    return write(spec);
  };
  return key;
}

Key<ContainerSpec> hosts_key() {
  return map_list_key<ContainerSpec>(
      "network.hosts", "list of hosts", {0, kMaxHosts}, host_entry_table, EmptyList::kNothing,
      [](auto& spec) -> auto& { return spec.network.hosts; },
      {"none", "Further lines of the container's /etc/hosts, so that its programs find others by name without a name server."});
}

Keys network_keys() {
  const auto attachment = [](auto& spec) -> auto& { return spec.network.attachment; };
  return {
      alternative_key<BridgeAttachment>(
          "network.bridge", interface_codec(), attachment, &BridgeAttachment::bridge,
          {"no network but loopback",
           "An existing bridge of the host to attach to. Either this or `network.nic`."}),
      alternative_key<NicAttachment>(
          "network.nic", interface_codec(), attachment, &NicAttachment::nic,
          {"no network but loopback",
           "A network card of the host that a bridge of perdure's is put on. This "
           "changes the host's own connection, so it has to be confirmed when the container is "
           "created."}),
      detail_key<NicAttachment>(
          "network.vlan", number_codec<std::uint16_t>(1, 4094), attachment, &NicAttachment::vlan,
          {"untagged", "VLAN of the card (IEEE 802.1Q). Only with `network.nic`."}),
      scalar_key<ContainerSpec>("network.ipv4", ipv4_prefix_codec(),
                                [](auto& spec) -> auto& { return spec.network.ipv4; },
                                {"none; one of ipv4 and ipv6 is required with bridge or nic",
                                 "The container's own address and the "
                                 "length of the network's prefix. It goes where the container "
                                 "goes, so it must be free everywhere."}),
      scalar_key<ContainerSpec>(
          "network.ipv6", ipv6_prefix_codec(),
          [](auto& spec) -> auto& { return spec.network.ipv6; },
          {"none; one of ipv4 and ipv6 is required with bridge or nic", "The same for IPv6."}),
      scalar_key<ContainerSpec>("network.ipv4-gateway", ipv4_codec(),
                                [](auto& spec) -> auto& { return spec.network.ipv4_gateway; },
                                {"none: the own network only", "The default route."}),
      scalar_key<ContainerSpec>("network.ipv6-gateway", ipv6_codec(),
                                [](auto& spec) -> auto& { return spec.network.ipv6_gateway; },
                                {"none: the own network only", "The default route for IPv6."}),
      scalar_key<ContainerSpec>("network.mac", mac_codec(),
                                [](auto& spec) -> auto& { return spec.network.mac; },
                                {"",
                                 "`auto` is a locally administered address made from name and addresses: the same after every "
                                 "restore, so that neighbours need not learn another one."}),
      list_key<ContainerSpec>("network.dns", any_address_codec(), {0, kMaxDnsServers},
                              [](auto& spec) -> auto& { return spec.network.dns; },
                              {"",
                               "Name servers for the container's /etc/resolv.conf, in order of preference; three is what the "
                               "C library reads."}),
      hosts_key(),
      reachability_key(),
      scalar_key<ContainerSpec>(
          "network.mtu", number_codec<std::uint32_t>(576, 9216),
          [](auto& spec) -> auto& { return spec.network.mtu; },
          {"the bridge's", "Bytes. At least 576 (RFC 791), with IPv6 1280 (RFC 8200)."}),
      scalar_key<ContainerSpec>(
          "network.tcp-policy", tcp_policy_codec(),
          [](auto& spec) -> auto& { return spec.network.tcp_policy; },
          {"",
           "What becomes of a TCP connection whose peer has moved on since the checkpoint. `reset`: both ends see the connection "
           "reset, at once; never a silent stall. `splice`: it goes on where the peer is: what the container had sent since the "
           "checkpoint comes again, what it had received since is missing. Right for media streams, wrong for anything exact "
           "([recovery.md](recovery.md#connections))."}),
      map_list_key<ContainerSpec>(
          "network.tcp-ports", "list of ports", {0, kMaxTcpPorts}, tcp_port_table,
          EmptyList::kNothing, [](auto& spec) -> auto& { return spec.network.tcp_ports; },
          {"none", "Services whose connections have another policy than `network.tcp-policy`."}),
  };
}

Key<ContainerSpec> volumes_key() {
  return map_list_key<ContainerSpec>(
      "volumes", "list of volumes", {0, kMaxVolumes}, volume_table, EmptyList::kItself,
      [](auto& spec) -> auto& { return spec.volumes; },
      {"",
       "Directories besides the root file system. Everything not in a volume lies in the "
       "writable layer, which is captured."});
}

Key<ContainerSpec> components_key() {
  return map_list_key<ContainerSpec>(
      "components", "list of components", {1, kMaxComponents}, component_table, EmptyList::kNothing,
      [](auto& spec) -> auto& { return spec.components; },
      {"none: `command`",
       "The programs that the container consists of, instead of `command`; an OCI image's own "
       "command is not used. An agent, the container's first process, starts them, watches them "
       "and starts the stateless ones again by itself. More than 32 are several containers."});
}

// `interval` and `state-sensitivity` fill in the same value; the source tells which of them is
// written back.
Key<ContainerSpec> interval_key(std::string path, IntervalSource source, Words words) {
  const Codec<Duration> codec = duration_codec(10ms, 24h);
  SpecKey doc{std::move(path), codec.type, words.absent, codec.range, words.description};
  doc.shape = codec.shape;
  return {
      .doc = std::move(doc),
      .read =
          [=](Reading& reading, const std::string& at, const YamlNode& node, ContainerSpec& spec) {
            const auto value = read_scalar(reading, at, node, codec);
            if (!value) return;
            spec.checkpoint.interval = *value;
            spec.checkpoint.interval_source = source;
          },
      .write = [=](const ContainerSpec& spec) -> std::optional<YamlNode> {
        if (spec.checkpoint.interval_source != source) return std::nullopt;
        return write_scalar(codec, spec.checkpoint.interval);
      }};
}

// Left out when there is none, as `network.reachability`.
Key<ContainerSpec> standby_nodes_key() {
  Key<ContainerSpec> key = list_key<ContainerSpec>(
      "checkpoint.standby-nodes", label_codec(), {0, kMaxStandbyNodes}, [](auto& spec) -> auto& { return spec.checkpoint.standby_nodes; },
      {"the farthest from its node",
       "Nodes that are to stand by, the first before the others. Where one cannot, another one does; one that stands by already stays."});
  key.write = [write = std::move(key.write)](const ContainerSpec& spec) -> std::optional<YamlNode> {
    if (spec.checkpoint.standby_nodes.empty()) return std::nullopt;
    return write(spec);
  };
  return key;
}

Keys protection_keys() {
  return {
      interval_key("checkpoint.interval", IntervalSource::kInterval,
                   {"",
                    "Time from one checkpoint to the next: what may be lost. The CPU budget may "
                    "make it longer. "
                    "Below 10 ms a checkpoint takes longer than the interval."}),
      interval_key(
          "checkpoint.state-sensitivity", IntervalSource::kStateSensitivity,
          {"not given",
           "For how long a state is worth having; the interval follows from it. Instead of "
           "`checkpoint.interval`, not besides it."}),
      scalar_key<ContainerSpec>(
          "checkpoint.cpu-budget", percent_codec(1, 100),
          [](auto& spec) -> auto& { return spec.checkpoint.cpu_budget_percent; },
          {"",
           "How much of one core checkpoints may cost on average. When they cost more the interval "
           "grows, "
           "and the status says so."}),
      scalar_key<ContainerSpec>(
          "checkpoint.generations", number_codec<unsigned>(2, 100),
          [](auto& spec) -> auto& { return spec.checkpoint.generations_kept; },
          {"",
           "Committed generations to keep. Two are the least: the one before is restored when the "
           "newest "
           "does not verify."}),
      scalar_key<ContainerSpec>(
          "checkpoint.standbys", number_codec<std::uint32_t>(0, 8),
          [](auto& spec) -> auto& { return spec.checkpoint.standbys; },
          {"the cluster's",
           "Other nodes that hold the newest generations in memory, so that the container can go on "
           "there. "
           "A generation is committed when all of them have it. 0: only what is durable outlives "
           "the host."}),
      standby_nodes_key(),
      scalar_key<ContainerSpec>("checkpoint.dump-deadline", duration_codec(100ms, 10min),
                                [](auto& spec) -> auto& { return spec.checkpoint.dump_deadline; },
                                {"",
                                 "A checkpoint that takes longer is given up and the container "
                                 "thawed: the application must "
                                 "never stand still for long because its protection hangs."}),
      // Left out when nothing is said: what was written before the key was known stays as it is.
      scalar_key<ContainerSpec>(
          "availability.outage-tolerance", duration_codec(10ms, 24h),
          [](auto& spec) -> auto& { return spec.availability.outage_tolerance; },
          {"10s",
           "How long those who use the container can do without it. When a node dies that owned several, the nodes that take them "
           "over restore those with the shortest first."}),
      scalar_key<ContainerSpec>("restart.max-restores", number_codec<unsigned>(1, 100),
                                [](auto& spec) -> auto& { return spec.restart.max_restores; },
                                {"",
                                 "Restores within `restart.window`; one more and the container "
                                 "stays down and is reported, "
                                 "since its state brings it down again and again."}),
      scalar_key<ContainerSpec>("restart.window", duration_codec(1s, 24h),
                                [](auto& spec) -> auto& { return spec.restart.window; },
                                {"", "The time over which restores are counted."}),
      scalar_key<ContainerSpec>("restart.probation", duration_codec(0s, 1h),
                                [](auto& spec) -> auto& { return spec.restart.probation; },
                                {"",
                                 "A restored container that dies within this time speaks against "
                                 "the generation it came from: "
                                 "the one before is tried next. `0s` trusts every generation."}),
      scalar_key<ContainerSpec>(
          "restart.cold-start",
          choice_codec<ColdStart>({{"allowed", ColdStart::kAllowed}, {"never", ColdStart::kNever}}),
          [](auto& spec) -> auto& { return spec.restart.cold_start; },
          {"",
           "Whether the container may start without its state when no generation can be restored. "
           "`never`: it stays down until an operator decides."}),
      // Left out when nothing is said, as above.
      scalar_key<ContainerSpec>("restart.in-place", number_codec<unsigned>(1, 100),
                                [](auto& spec) -> auto& { return spec.restart.in_place; },
                                {"2",
                                 "Restores in a row on its own node that fail, or after which the container dies within its probation, "
                                 "before a standby goes on with the newest generation that is left: the trouble may be the node's. With "
                                 "the default these are the newest generation and the one before it."}),
      scalar_key<ContainerSpec>("restart.failovers", number_codec<unsigned>(0, 100),
                                [](auto& spec) -> auto& { return spec.restart.failovers; },
                                {"1",
                                 "How often within `restart.failover-window` a standby goes on with a container that its node could not "
                                 "keep running; what fails on a second node too is hardly the node's fault. `0`: never. The death of a "
                                 "node is no such failure and not limited."}),
      scalar_key<ContainerSpec>("restart.failover-window", duration_codec(1s, 24h),
                                [](auto& spec) -> auto& { return spec.restart.failover_window; },
                                {"10min", "The time over which these failovers are counted."}),
      scalar_key<ContainerSpec>("stop.signal", signal_codec(),
                                [](auto& spec) -> auto& { return spec.stop.signal; },
                                {"", "Asks the container's first process to stop."}),
      scalar_key<ContainerSpec>(
          "stop.deadline", duration_codec(0s, 10min),
          [](auto& spec) -> auto& { return spec.stop.deadline; },
          {"", "From the signal to the kill of whatever is left. `0s` kills at once."}),
  };
}

Keys limit_keys() {
  return {
      scalar_key<ContainerSpec>(
          "resources.memory", bytes_codec(4_MiB, Bytes{std::uint64_t{16} << 40}),
          [](auto& spec) -> auto& { return spec.resources.memory; },
          {"no limit", "Memory of the container's cgroup, page cache included."}),
      scalar_key<ContainerSpec>(
          "resources.cpu", cores_codec({10}, {1'024'000}),
          [](auto& spec) -> auto& { return spec.resources.cpu; },
          {"no limit", "Processor time per time, `1.5` is one and a half cores."}),
      scalar_key<ContainerSpec>(
          "resources.pids", number_codec<std::uint32_t>(1, 4'194'304),
          [](auto& spec) -> auto& { return spec.resources.pids; },
          {"no limit", "Processes and threads; the kernel has no more numbers than 2^22."}),
      scalar_key<ContainerSpec>(
          "log.max-size", bytes_codec(64_KiB, 10_GiB),
          [](auto& spec) -> auto& { return spec.log.max_size; },
          {"", "Size at which the container's log file (standard output and error) is rotated."}),
      scalar_key<ContainerSpec>(
          "log.files", number_codec<unsigned>(1, 100),
          [](auto& spec) -> auto& { return spec.log.files; },
          {"",
           "Log files kept, the current one included; size times files bounds the disk space."}),
      list_key<ContainerSpec>("security.capabilities", capability_codec(), {0, kMaxCapabilities},
                              [](auto& spec) -> auto& { return spec.security.capabilities; },
                              {"",
                               "What root in the container may do. The default lets a service take "
                               "a low port, change its "
                               "user and own its files; NET_RAW and MKNOD are left out because raw "
                               "sockets cannot be restored "
                               "and device nodes lead around the image."}),
      scalar_key<ContainerSpec>(
          "security.seccomp",
          choice_codec<Seccomp>(
              {{"default", Seccomp::kDefault}, {"unconfined", Seccomp::kUnconfined}}),
          [](auto& spec) -> auto& { return spec.security.seccomp; },
          {"",
           "Filter of system calls. `default` refuses those that a service has no business with."}),
      text_map_key<ContainerSpec>(
          "security.sysctls", sysctl_value_codec(), check_sysctl_name, kMaxSysctls,
          [](auto& spec) -> auto& { return spec.security.sysctls; },
          {"",
           "Kernel settings of the container's own namespaces: net.*, fs.mqueue.*, kernel.msg*, "
           "kernel.sem and kernel.shm*. All others would change the host."}),
      refused_key("terminal", "a terminal cannot be checkpointed; remove it",
                  "Known in order to be refused: a terminal cannot be checkpointed."),
      refused_key("privileged",
                  "a privileged container cannot be checkpointed; remove it and list what it "
                  "needs in security.capabilities",
                  "Known in order to be refused: a privileged container holds devices of the host, "
                  "which cannot be "
                  "checkpointed."),
  };
}

Keys make_container_table() {
  Keys table;
  const auto append = [&table](Keys keys) { std::ranges::move(keys, std::back_inserter(table)); };
  append(image_keys());
  append(network_keys());
  table.push_back(volumes_key());
  table.push_back(components_key());
  append(protection_keys());
  append(limit_keys());
  append(membership_keys());
  return table;
}

Table<HostEntry> make_host_entry_table() {
  return {
      scalar_key<HostEntry>("address", probe_address_codec(), [](auto& host) -> auto& { return host.address; },
                            {std::string(kRequired), "Where the host is."}),
      list_key<HostEntry>("names", hostname_codec(), {1, kMaxHostNames}, [](auto& host) -> auto& { return host.names; },
                          {std::string(kRequired), "What it is called."}),
  };
}

Table<TcpPortPolicy> make_tcp_port_table() {
  return {
      scalar_key<TcpPortPolicy>(
          "port", number_codec<std::uint16_t>(1, 65535), [](auto& port) -> auto& { return port.port; },
          {std::string(kRequired),
           "The service's port: the container's own where it listens, the other end's for connections "
           "that the container opened. Once in the list."}),
      // Required: what its default would be says `network.tcp-policy` already.
      scalar_key<TcpPortPolicy>("policy", tcp_policy_codec(),
                                [](auto& port) -> auto& { return port.policy; },
                                {std::string(kRequired), "As `network.tcp-policy`, for this port."}),
  };
}

Table<VolumeSpec> make_volume_table() {
  return {
      scalar_key<VolumeSpec>(
          "name", label_codec(), [](auto& volume) -> auto& { return volume.name; },
          {std::string(kRequired), "Names the volume within its container; unique there."}),
      scalar_key<VolumeSpec>(
          "mount", mount_path_codec(), [](auto& volume) -> auto& { return volume.mount_path; },
          {std::string(kRequired), "Where the container sees it; not inside another volume."}),
      scalar_key<VolumeSpec>("kind",
                             choice_codec<VolumeKind>({{"captured", VolumeKind::kCaptured},
                                                       {"shared", VolumeKind::kShared}}),
                             [](auto& volume) -> auto& { return volume.kind; },
                             {"",
                              "`captured`: part of every checkpoint, goes back together with the "
                              "memory. `shared`: outside of "
                              "the checkpoints and never taken back, so that what was written "
                              "after the newest checkpoint may be "
                              "written twice."}),
      scalar_key<VolumeSpec>("host", host_path_codec(),
                             [](auto& volume) -> auto& { return volume.host_path; },
                             {"a directory of perdure's; required if shared",
                              "The directory on the host. A captured one belongs to the "
                              "container: what others write there is taken back by a restore."}),
      scalar_key<VolumeSpec>(
          "access",
          choice_codec<Access>(
              {{"read-write", Access::kReadWrite}, {"read-only", Access::kReadOnly}}),
          [](auto& volume) -> auto& { return volume.access; },
          {"", "A shared volume that is read-only cannot be written twice and is harmless."}),
  };
}

}  // namespace

const Table<ContainerSpec>& container_table() {
  static const Keys kTable = make_container_table();
  return kTable;
}

const Table<HostEntry>& host_entry_table() {
  static const Table<HostEntry> kTable = make_host_entry_table();
  return kTable;
}

const Table<TcpPortPolicy>& tcp_port_table() {
  static const Table<TcpPortPolicy> kTable = make_tcp_port_table();
  return kTable;
}

const Table<VolumeSpec>& volume_table() {
  static const Table<VolumeSpec> kTable = make_volume_table();
  return kTable;
}

}  // namespace perdure::model
