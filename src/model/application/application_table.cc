// The keys of an application, one entry each: path, form, limits, and why. The order is that of the
// manual and of to_yaml().
#include "model/application/application_table.h"

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <iterator>
#include <string>
#include <utility>
#include <variant>

namespace perdure::model {
namespace {

using namespace std::chrono_literals;

constexpr std::size_t kMaxPackages = 256;
constexpr std::size_t kMaxFiles = 256;
constexpr std::size_t kMaxInterfaces = 64;
constexpr std::size_t kMaxRanges = 64;
constexpr std::size_t kMaxPackageBytes = 256;
constexpr std::size_t kMaxSuiteBytes = 64;
constexpr unsigned kMaxReplicas = 32;
constexpr Duration kMaxMttf = 24h * 36'525;  // 100 years
constexpr Bytes kLeastMemory{std::uint64_t{1} << 20};
constexpr Bytes kMostBytes{std::uint64_t{16} << 40};

// --- Keys of a part of the object, and lists of what differs from a default ---

template <typename Outer, typename Inner, typename Get>
Key<Outer> adapted(const Key<Inner>& key, Get get) {
  return {.doc = key.doc,
          .read = [read = key.read, get](Reading& reading, const std::string& at, const YamlNode& node,
                                         Outer& outer) { read(reading, at, node, get(outer)); },
          .write = [write = key.write, get](const Outer& outer) { return write(get(outer)); }};
}

// As map_list_key, but of each item only what differs from its default is written.
template <typename Object, typename Item, typename Get>
Key<Object> brief_list_key(std::string path, std::string type, ListLimits limits, const Table<Item>& (*table)(),
                           Get get, Words words) {
  Key<Object> key = map_list_key<Object>(std::move(path), std::move(type), limits, table, EmptyList::kNothing, get,
                                         std::move(words));
  key.write = [table, get](const Object& object) -> std::optional<YamlNode> {
    const std::vector<Item>& items = get(object);
    if (items.empty()) return std::nullopt;
    YamlNode node{.kind = YamlNode::Kind::kSequence};
    for (const Item& item : items) node.items.push_back(write_changes(table(), item, Item{}));
    return node;
  };
  return key;
}

// --- Codecs ---

Result<std::string> parse_package(std::string_view text) {
  const std::string_view name = text.substr(0, text.find('='));
  const auto is_lower = [](char c) { return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9'); };
  const bool good_name = name.size() >= 2 && is_lower(name.front()) && std::ranges::all_of(name, [&](char c) {
                           return is_lower(c) || c == '+' || c == '-' || c == '.';
                         });
  const std::string_view version = name.size() == text.size() ? "1" : text.substr(name.size() + 1);
  const bool good_version = !version.empty() && std::ranges::all_of(version, [&](char c) {
    return is_lower(c) || (c >= 'A' && c <= 'Z') || std::string_view(".+-:~").contains(c);
  });
  if (!good_name || !good_version) {
    return fail(ErrorCode::kInvalid,
                std::format("{} is no Debian package; write NAME or NAME=VERSION", quote(text)));
  }
  return std::string(text);
}

Result<std::string> parse_suite(std::string_view text) {
  const bool good = !text.empty() && text.front() >= 'a' && text.front() <= 'z' && std::ranges::all_of(text, [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-';
  });
  if (!good) return fail(ErrorCode::kInvalid, std::format("{} is no suite of Debian; write bookworm, for instance", quote(text)));
  return std::string(text);
}

Codec<std::string> word_codec(std::string range, Result<std::string> (*parse)(std::string_view), std::size_t max_bytes) {
  Codec<std::string> codec = argument_codec();
  codec.range = std::move(range);
  codec.parse = parse;
  codec.free_text = false;
  codec.max_bytes = max_bytes;
  return codec;
}

Result<Ipv4Range> parse_range(std::string_view text) {
  const auto dash = text.find('-');
  const auto slash = text.rfind('/');
  if (slash == std::string_view::npos || (dash != std::string_view::npos && dash > slash)) {
    return fail(ErrorCode::kInvalid, std::format("{} is no range; write FIRST-LAST/LENGTH or ADDRESS/LENGTH", quote(text)));
  }
  const std::string first(text.substr(0, std::min(dash, slash)));
  const std::string length(text.substr(slash));
  const std::string last = dash == std::string_view::npos ? first : std::string(text.substr(dash + 1, slash - dash - 1));
  const Codec<Ipv4Prefix> codec = ipv4_prefix_codec();
  PERDURE_ASSIGN(const Ipv4Prefix from, codec.parse(first + length));
  PERDURE_ASSIGN(const Ipv4Prefix to, codec.parse(last + length));
  if (!from.contains(to.address)) {
    return fail(ErrorCode::kInvalid, std::format("'{}' is not in the network of '{}'; give two of one network", last, first));
  }
  if (to.address < from.address) {
    return fail(ErrorCode::kInvalid, std::format("'{}' comes before '{}'; turn them round", last, first));
  }
  return Ipv4Range{from, to.address};
}

std::string print_range(const Ipv4Range& range) {
  if (range.first.address == range.last) return to_string(range.first);
  return std::format("{}-{}/{}", to_string(range.first.address), to_string(range.last), range.first.length);
}

Codec<Ipv4Range> range_codec() {
  return {.type = "address range", .range = "unicast addresses of one network", .parse = parse_range, .print = print_range, .plain = true};
}

// --- Interfaces ---

Table<ProvidedInterface> make_provided_table() {
  return {
      scalar_key<ProvidedInterface>("name", label_codec(), [](auto& it) -> auto& { return it.name; },
                                    {std::string(kRequired), "What others require it by; unique in its component."}),
      scalar_key<ProvidedInterface>(
          "state", choice_codec<StateKind>({{"stateless", StateKind::kStateless}, {"stateful", StateKind::kStateful}}),
          [](auto& it) -> auto& { return it.state; },
          {"",
           "`stateful`: what its component has in memory matters to who uses it. One such interface "
           "makes its component stateful."}),
      scalar_key<ProvidedInterface>(
          "state-sensitivity", duration_codec(20ms, 24h), [](auto& it) -> auto& { return it.state_sensitivity; },
          {"as `checkpoint.interval` of a container",
           "For how long a state is worth having: the checkpoints of the container follow from the "
           "shortest. Only of a stateful interface."}),
      scalar_key<ProvidedInterface>("port", number_codec<std::uint16_t>(1, 65535),
                                    [](auto& it) -> auto& { return it.port; },
                                    {"not over the network", "Where the component listens."}),
      scalar_key<ProvidedInterface>("protocol",
                                    choice_codec<Protocol>({{"tcp", Protocol::kTcp},
                                                            {"udp", Protocol::kUdp},
                                                            {"http", Protocol::kHttp},
                                                            {"rtsp", Protocol::kRtsp}}),
                                    [](auto& it) -> auto& { return it.protocol; },
                                    {"", "What is spoken there; `http` and `rtsp` run over TCP. Only with a port."}),
  };
}

Table<RequiredInterface> make_required_table() {
  Table<RequiredInterface> table = {
      scalar_key<RequiredInterface>("interface", label_codec(), [](auto& it) -> auto& { return it.interface; },
                                    {std::string(kRequired), "The name of an interface that another component provides."}),
      scalar_key<RequiredInterface>(
          "sponsor", label_codec(), [](auto& it) -> auto& { return it.sponsor; },
          {"the component that provides it", "Which component, where several provide an interface of this name."}),
      scalar_key<RequiredInterface>(
          "delay-tolerance", duration_codec(1us, 1h), [](auto& it) -> auto& { return it.delay_tolerance; },
          {"any distance",
           "The round trip to the sponsor that the component can bear: it decides how far apart the two "
           "may be placed."}),
      scalar_key<RequiredInterface>(
          "outage-tolerance", duration_codec(10ms, 24h), [](auto& it) -> auto& { return it.outage_tolerance; },
          {"for ever",
           "How long the component survives without its sponsor: it decides how fast the sponsor has to "
           "come back, and whether both have to be recovered together."}),
  };
  // `until` and `on-restart` mean the same as within a container.
  for (const Key<DependencySpec>& key : dependency_table()) {
    if (key.doc.path == "component") continue;
    Key<RequiredInterface> mine{.doc = key.doc, .read = {}, .write = {}};
    mine.read = [read = key.read](Reading& reading, const std::string& at, const YamlNode& node, RequiredInterface& it) {
      DependencySpec dependency{.component = {}, .until = it.until, .on_restart = it.on_restart};
      read(reading, at, node, dependency);
      it.until = dependency.until;
      it.on_restart = dependency.on_restart;
    };
    mine.write = [write = key.write](const RequiredInterface& it) {
      return write(DependencySpec{.component = {}, .until = it.until, .on_restart = it.on_restart});
    };
    table.push_back(std::move(mine));
  }
  return table;
}

// --- Components ---

Table<CopiedFile> make_file_table() {
  return {
      scalar_key<CopiedFile>("from", host_path_codec(), [](auto& file) -> auto& { return file.from; },
                             {std::string(kRequired), "A file or a directory of this host."}),
      scalar_key<CopiedFile>("to", path_codec(), [](auto& file) -> auto& { return file.to; },
                             {std::string(kRequired), "Where the component finds it."}),
  };
}

Table<Component> artefact_keys() {
  return {
      list_key<Component>(
          "artefact.packages", word_codec("NAME or NAME=VERSION", parse_package, kMaxPackageBytes), {0, kMaxPackages},
          [](auto& it) -> auto& { return it.artefact.packages; },
          {"none", "Debian packages, with what they depend on; of the application's `suite`."}),
      scalar_key<Component>("artefact.directory", host_path_codec(), [](auto& it) -> auto& { return it.artefact.directory; },
                            {"none", "An unpacked root file system. Instead of packages."}),
      {.doc = {"artefact.oci", "path", "none", "", "An OCI image layout. Instead of packages or a directory."},
       .read =
           [](Reading& reading, const std::string& at, const YamlNode& node, Component& it) {
             auto path = read_scalar(reading, at, node, host_path_codec());
             if (path) it.artefact.oci.emplace().path = std::move(*path);
           },
       .write = [](const Component& it) -> std::optional<YamlNode> {
         if (!it.artefact.oci) return std::nullopt;
         return write_scalar(host_path_codec(), it.artefact.oci->path);
       }},
      {.doc = {"artefact.tag", "text", "latest", "", "Which image of the layout. Only with `artefact.oci`."},
       .read =
           [](Reading& reading, const std::string& at, const YamlNode& node, Component& it) {
             auto tag = read_scalar(reading, at, node, tag_codec());
             if (tag && it.artefact.oci) it.artefact.oci->tag = std::move(*tag);
           },
       .write = [](const Component& it) -> std::optional<YamlNode> {
         if (!it.artefact.oci || it.artefact.oci->tag == OciRoot{}.tag) return std::nullopt;
         return write_scalar(tag_codec(), it.artefact.oci->tag);
       }},
      brief_list_key<Component>("artefact.files", "list of files", {0, kMaxFiles}, copied_file_table,
                                [](auto& it) -> auto& { return it.artefact.files; },
                                {"none", "What is copied over it: a program of your own, configuration."}),
  };
}

Table<Component> interface_keys() {
  return {
      brief_list_key<Component>("provides", "list of interfaces", {0, kMaxInterfaces}, provided_interface_table,
                                [](auto& it) -> auto& { return it.provides; },
                                {"none", "What others can require of the component."}),
      brief_list_key<Component>("requires", "list of interfaces", {0, kMaxInterfaces}, required_interface_table,
                                [](auto& it) -> auto& { return it.required; },
                                {"none", "What the component needs of others."}),
  };
}

Table<Component> demand_keys() {
  return {
      scalar_key<Component>("resources.memory", bytes_codec(kLeastMemory, kMostBytes),
                            [](auto& it) -> auto& { return it.resources.memory; },
                            {"not counted", "What it needs of a node's memory; a standby reserves as much."}),
      scalar_key<Component>("resources.cpu", cores_codec({1}, {1'024'000}), [](auto& it) -> auto& { return it.resources.cpu; },
                            {"not counted", "Cores."}),
      scalar_key<Component>("resources.disk", bytes_codec({0}, kMostBytes), [](auto& it) -> auto& { return it.resources.disk; },
                            {"not counted", "What it writes, beside its image."}),
      scalar_key<Component>("mttf", duration_codec(1s, kMaxMttf), [](auto& it) -> auto& { return it.mttf; },
                            {"not known", "Mean time to failure of the program itself, hosts not counted."}),
      scalar_key<Component>("recovery-time", duration_codec(1ms, 24h), [](auto& it) -> auto& { return it.recovery_time; },
                            {"not known", "From its start to its first answer, where it is started anew."}),
      scalar_key<Component>("replicas", number_codec<unsigned>(1, kMaxReplicas), [](auto& it) -> auto& { return it.replicas; },
                            {"", "How many run at once, each in a container of its own; more than one only of a stateless component."}),
  };
}

// In front of what an application says beyond it: the keys of a container's component.
Table<Component> program_keys() {
  const auto program = [](auto& it) -> auto& { return it.program; };
  Table<Component> table;
  for (const Key<ComponentSpec>& key : component_table()) {
    if (key.doc.path == "state" || key.doc.path == "depends-on") continue;
    Key<Component> mine = adapted<Component>(key, program);
    if (mine.doc.path == "probe") {
      mine.write = [](const Component& it) -> std::optional<YamlNode> {
        if (!it.program.probe) return std::nullopt;
        ProbeSpec defaults;
        std::visit([&](const auto& kind) { defaults.kind = std::remove_cvref_t<decltype(kind)>{}; }, it.program.probe->kind);
        return write_changes(probe_table(), *it.program.probe, defaults);
      };
    }
    table.push_back(std::move(mine));
  }
  return table;
}

template <typename Object>
void append(Table<Object>& table, Table<Object> more) {
  std::ranges::move(more, std::back_inserter(table));
}

Table<Component> make_component_table() {
  Table<Component> table = program_keys();
  append(table, artefact_keys());
  append(table, interface_keys());
  append(table, demand_keys());
  return table;
}

// --- Containers, network, placement ---

bool is_settings_key(const std::string& path) {
  return path != "name" && path != "command" && path != "components" && path != "terminal" && path != "privileged" &&
         !path.starts_with("root-filesystem.") && !path.starts_with("application.");
}

Table<ContainerSettings> make_settings_table() {
  Table<ContainerSettings> table = {
      scalar_key<ContainerSettings>(
          "name", label_codec(), [](auto& it) -> auto& { return it.name; },
          {std::string(kRequired), "Within the application, whose name comes before it: `shop-front`."}),
      list_key<ContainerSettings>("components", label_codec(), {1, kMaxComponents},
                                  [](auto& it) -> auto& { return it.components; },
                                  {std::string(kRequired), "The components that run in it."}),
  };
  const auto settings = [](auto& it) -> auto& { return it.settings; };
  for (const Key<ContainerSpec>& key : container_table()) {
    if (is_settings_key(key.doc.path)) table.push_back(adapted<ContainerSettings>(key, settings));
  }
  return table;
}

Table<Application> network_keys() {
  // Read by the keys of a container into one, and taken over.
  const auto through_spec = [](const std::string& path) {
    const Key<ContainerSpec>& key = *std::ranges::find(container_table(), path, [](const auto& one) { return one.doc.path; });
    return Key<Application>{
        .doc = key.doc,
        .read =
            [read = key.read](Reading& reading, const std::string& at, const YamlNode& node, Application& it) {
              ContainerSettings one;
              NetworkSpec& network = one.settings.network;
              network.attachment = it.network.attachment;
              read(reading, at, node, one.settings);
              it.network.attachment = network.attachment;
              if (network.ipv4_gateway) it.network.ipv4_gateway = network.ipv4_gateway;
              if (!network.dns.empty()) it.network.dns = network.dns;
              if (network.mtu) it.network.mtu = network.mtu;
            },
        .write = [write = key.write](const Application& it) {
          ContainerSettings one;
          NetworkSpec& network = one.settings.network;
          network.attachment = it.network.attachment;
          network.ipv4_gateway = it.network.ipv4_gateway;
          network.dns = it.network.dns;
          network.mtu = it.network.mtu;
          return write(one.settings);
        }};
  };
  Table<Application> table;
  for (const char* path : {"network.bridge", "network.nic", "network.vlan"}) table.push_back(through_spec(path));
  table.push_back(list_key<Application>(
      "network.addresses", range_codec(), {0, kMaxRanges}, [](auto& it) -> auto& { return it.network.addresses; },
      {"none",
       "Addresses for the containers that say none of their own, `192.0.2.10-192.0.2.20/24`. A container keeps "
       "the one it got."}));
  for (const char* path : {"network.ipv4-gateway", "network.dns", "network.mtu"}) table.push_back(through_spec(path));
  return table;
}

Table<Application> latency_keys() {
  const auto key = [](std::string path, Duration Latencies::* latency, std::string description) {
    return scalar_key<Application>(std::move(path), duration_codec(1us, 1h), [latency](auto& it) -> auto& { return it.placement.latency.*latency; },
                                   {"", std::move(description)});
  };
  return {
      key("placement.latency.container", &Latencies::container,
          "The round trip between two programs of one container, as measured in your cluster; here and below it decides what keeps a "
          "`delay-tolerance`. None may be below the one before it."),
      key("placement.latency.host", &Latencies::host, "Between two containers of one host."),
      key("placement.latency.rack", &Latencies::rack, "Between two hosts of one rack."),
      key("placement.latency.data-centre", &Latencies::data_centre, "Between two racks of one data centre."),
      key("placement.latency.anywhere", &Latencies::anywhere, "Between any two hosts."),
  };
}

Table<Application> make_application_table() {
  Table<Application> table = {
      scalar_key<Application>("application", name_codec(), [](auto& it) -> auto& { return it.name; },
                              {std::string(kRequired), "Its name, which the names of its containers begin with."}),
      scalar_key<Application>("suite", word_codec("a suite of Debian", parse_suite, kMaxSuiteBytes),
                              [](auto& it) -> auto& { return it.suite; },
                              {"", "Where `artefact.packages` come from."}),
  };
  append(table, network_keys());
  append(table, {
      brief_list_key<Application>("components", "list of components", {1, kMaxApplicationComponents},
                                  application_component_table, [](auto& it) -> auto& { return it.components; },
                                  {std::string(kRequired), "What the application consists of."}),
      brief_list_key<Application>("containers", "list of containers", {0, kMaxApplicationComponents},
                                  container_settings_table, [](auto& it) -> auto& { return it.containers; },
                                  {"as the dependencies want it",
                                   "Which components share a container, and what is to be said about it, in the keys of a "
                                   "container's spec. A component that is named nowhere goes where its dependencies want it."}),
      scalar_key<Application>("placement.standbys", number_codec<std::uint32_t>(0, 8),
                              [](auto& it) -> auto& { return it.placement.standbys; },
                              {"", "Nodes that stand by for each container: they hold the state of one that has any."}),
      scalar_key<Application>("placement.apart",
                              choice_codec<FailureDomain>({{"node", FailureDomain::kNode},
                                                           {"server", FailureDomain::kServer},
                                                           {"rack", FailureDomain::kRack},
                                                           {"data-centre", FailureDomain::kDataCentre}}),
                              [](auto& it) -> auto& { return it.placement.apart; },
                              {"", "What an owner and its standbys, or two replicas, must not have in common."}),
  });
  append(table, latency_keys());
  return table;
}

}  // namespace

const Table<Application>& application_table() {
  static const Table<Application> kTable = make_application_table();
  return kTable;
}
const Table<Component>& application_component_table() {
  static const Table<Component> kTable = make_component_table();
  return kTable;
}
const Table<CopiedFile>& copied_file_table() {
  static const Table<CopiedFile> kTable = make_file_table();
  return kTable;
}
const Table<ProvidedInterface>& provided_interface_table() {
  static const Table<ProvidedInterface> kTable = make_provided_table();
  return kTable;
}
const Table<RequiredInterface>& required_interface_table() {
  static const Table<RequiredInterface> kTable = make_required_table();
  return kTable;
}
const Table<ContainerSettings>& container_settings_table() {
  static const Table<ContainerSettings> kTable = make_settings_table();
  return kTable;
}

}  // namespace perdure::model
