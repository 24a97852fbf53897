// The keys of a component, of its dependencies and of its probe; as container_table.cc.
#include <algorithm>
#include <chrono>
#include <csignal>
#include <cstdint>
#include <iterator>
#include <variant>

#include "model/component.h"
#include "model/table.h"

namespace perdure::model {
namespace {

using namespace std::chrono_literals;

constexpr Bytes kMaxLimit{std::uint64_t{16} << 40};
// Less holds no C library.
constexpr Bytes kMinAddressSpace{std::uint64_t{4} << 20};
constexpr std::uint32_t kMinOpenFiles = 3;          // standard input, output and error
constexpr std::uint32_t kMaxOpenFiles = 1'048'576;  // fs.nr_open of a host that says nothing

// --- Dependencies ---

Codec<OnRestart> on_restart_codec() {
  using enum OnRestart::Action;
  return choice_codec<OnRestart>({{"nothing", {kNothing}},
                                  {"restart", {kRestart}},
                                  {"SIGHUP", {kSignal, SIGHUP}},
                                  {"SIGUSR1", {kSignal, SIGUSR1}},
                                  {"SIGUSR2", {kSignal, SIGUSR2}}});
}

Table<DependencySpec> make_dependency_table() {
  return {
      scalar_key<DependencySpec>(
          "component", label_codec(),
          [](auto& dependency) -> auto& { return dependency.component; },
          {std::string(kRequired),
           "Another component of the container; each once, and never in a circle."}),
      scalar_key<DependencySpec>(
          "until",
          choice_codec<Until>({{"ready", Until::kReady},
                               {"started", Until::kStarted},
                               {"finished", Until::kFinished}}),
          [](auto& dependency) -> auto& { return dependency.until; },
          {"",
           "How far the other one must be before this one is started. `ready`: it has passed its "
           "probe once; without a probe it has been started. `started`: its process runs. "
           "`finished`: it has ended with exit code 0, as one does that prepares something; not "
           "with `restart.when: always`, after which it never ends for good."}),
      scalar_key<DependencySpec>(
          "on-restart", on_restart_codec(),
          [](auto& dependency) -> auto& { return dependency.on_restart; },
          {"",
           "What happens to this one when the other one has been started again. `nothing`: it "
           "sees its connections break, as it has to cope with anyway. `restart`: it is started "
           "again as well. A signal is sent to its process, for a program that connects anew or "
           "reads its configuration again when told so."}),
  };
}

// --- Probes ---

// A key that stands for one kind of probe.
template <typename Kind>
Key<ProbeSpec> kind_key(Key<Kind> key) {
  key.doc.default_value = "one of the six is required";
  return {
      .doc = std::move(key.doc),
      .read = [read = std::move(key.read)](
                  Reading& reading, const std::string& at, const YamlNode& node,
                  ProbeSpec& probe) { read(reading, at, node, probe.kind.emplace<Kind>()); },
      .write = [write = std::move(key.write)](const ProbeSpec& probe) -> std::optional<YamlNode> {
        const auto* kind = std::get_if<Kind>(&probe.kind);
        return kind == nullptr ? std::nullopt : write(*kind);
      }};
}

// A key of a kind that another key has chosen before it; without that it is read and dropped, and
// check_rules() complains.
template <typename Kind>
Key<ProbeSpec> detail_key(Key<Kind> key) {
  return {
      .doc = std::move(key.doc),
      .read =
          [read = std::move(key.read)](Reading& reading, const std::string& at,
                                       const YamlNode& node, ProbeSpec& probe) {
            Kind dropped;
            auto* kind = std::get_if<Kind>(&probe.kind);
            read(reading, at, node, kind == nullptr ? dropped : *kind);
          },
      .write = [write = std::move(key.write)](const ProbeSpec& probe) -> std::optional<YamlNode> {
        const auto* kind = std::get_if<Kind>(&probe.kind);
        return kind == nullptr ? std::nullopt : write(*kind);
      }};
}

// Of all kinds that connect to a port.
Key<ProbeSpec> address_key() {
  const Codec<IpAddress> codec = probe_address_codec();
  SpecKey doc{"address", codec.type, to_string(kProbeLoopback), codec.range,
              "What the probe connects to, in the container's own network. Only with `probe.tcp`, "
              "`probe.http` and `probe.rtsp`, for a component that does not listen on loopback."};
  return {.doc = std::move(doc),
          .read =
              [=](Reading& reading, const std::string& at, const YamlNode& node, ProbeSpec& probe) {
                const auto address = read_scalar(reading, at, node, codec);
                if (!address) return;
                std::visit(
                    [&](auto& kind) {
                      if constexpr (requires { kind.address; }) kind.address = *address;
                    },
                    probe.kind);
              },
          .write =
              [=](const ProbeSpec& probe) {
                return std::visit(
                    [&](const auto& kind) -> std::optional<YamlNode> {
                      if constexpr (requires { kind.address; }) {
                        return write_scalar(codec, kind.address);
                      } else {
                        return std::nullopt;
                      }
                    },
                    probe.kind);
              }};
}

template <typename Kind>
Key<ProbeSpec> port_key(std::string path, std::string description) {
  return kind_key(scalar_key<Kind>(std::move(path), number_codec<std::uint16_t>(1, 65535),
                                   [](auto& kind) -> auto& { return kind.port; },
                                   {"", std::move(description)}));
}

Table<ProbeSpec> make_probe_table() {
  const auto path_of = [](auto& kind) -> auto& {
    return kind.path;
  };
  return {
      kind_key(list_key<ExecProbe>("exec", argument_codec(), {1, kMaxArguments},
                                   [](auto& kind) -> auto& { return kind.command; },
                                   {"",
                                    "The argument list of a program, executed in the container "
                                    "without a shell; exit code 0 passes."})),
      port_key<TcpProbe>("tcp", "A TCP port; passes when a connection is accepted."),
      port_key<HttpProbe>("http",
                          "An HTTP port; passes when GET of `probe.path` is answered with a status "
                          "of 200 to 399."),
      port_key<RtspProbe>("rtsp", "An RTSP port; passes when OPTIONS is answered with a status of 200 to 299."),
      kind_key(scalar_key<UnixProbe>(
          "unix", socket_path_codec(), path_of,
          {"", "A Unix stream socket in the container; passes when a connection is accepted."})),
      kind_key(scalar_key<FileProbe>(
          "file", path_codec(), path_of,
          {"",
           "A file in the container that the component writes again and again, a playlist for "
           "instance; passes when its last change is not older than `probe.max-age`."})),
      detail_key(scalar_key<HttpProbe>(
          "path", http_path_codec(), path_of,
          {HttpProbe{}.path,
           "What is asked for, with a query if need be. Only with `probe.http`."})),
      detail_key(scalar_key<FileProbe>(
          "max-age", duration_codec(100ms, 24h), [](auto& kind) -> auto& { return kind.max_age; },
          {"required with `probe.file`",
           "How old the file's last change may be: longer than the component takes from one to "
           "the next, which nobody else knows. Only with `probe.file`."})),
      address_key(),
      scalar_key<ProbeSpec>(
          "interval", duration_codec(10ms, 1h), [](auto& probe) -> auto& { return probe.interval; },
          {"",
           "From one probe to the next; none begins before the one before it is over. Below 10 ms "
           "a component would be busy with being asked."}),
      scalar_key<ProbeSpec>("timeout", duration_codec(10ms, 10min),
                            [](auto& probe) -> auto& { return probe.timeout; },
                            {"", "A probe that takes longer has failed."}),
      scalar_key<ProbeSpec>("failures", number_codec<unsigned>(1, 100),
                            [](auto& probe) -> auto& { return probe.failures; },
                            {"",
                             "Failed probes in a row until the component has failed. One may be "
                             "the work of a busy moment, three are not."}),
      scalar_key<ProbeSpec>("successes", number_codec<unsigned>(1, 100),
                            [](auto& probe) -> auto& { return probe.successes; },
                            {"", "Passed probes in a row until the component is healthy."}),
      scalar_key<ProbeSpec>(
          "grace", duration_codec(0s, 1h), [](auto& probe) -> auto& { return probe.grace; },
          {"",
           "From the start of the component: failed probes do not count until one has passed or "
           "this time is over, since no program serves from its first moment on."}),
  };
}

Key<ComponentSpec> probe_key() {
  SpecKey doc{"probe", "map", "none", "exactly one of exec, tcp, http, rtsp, unix and file",
              "How to find out from outside whether the component does its work. Without one it "
              "is healthy as long as its process lives.",
              KeyStructure::kMap};
  return {.doc = std::move(doc),
          .read =
              [](Reading& reading, const std::string& at, const YamlNode& node,
                 ComponentSpec& component) {
                if (!expect_kind(reading, at, node, YamlNode::Kind::kMap)) return;
                read_table(reading, at + ".", node, probe_table(), component.probe.emplace());
              },
          .write = [](const ComponentSpec& component) -> std::optional<YamlNode> {
            if (!component.probe) return std::nullopt;
            return write_table(probe_table(), *component.probe);
          }};
}

// --- Components ---

Table<ComponentSpec> restart_keys() {
  return {
      scalar_key<ComponentSpec>(
          "restart.when",
          choice_codec<RestartWhen>(
              {{"failure", RestartWhen::kFailure}, {"always", RestartWhen::kAlways}}),
          [](auto& component) -> auto& { return component.restart.when; },
          {"",
           "When a stateless component is started again. `failure`: it was killed, has ended with "
           "another exit code than 0 or its probe has failed. `always`: also after exit code 0, "
           "for a program that ends when it has nobody to work for."}),
      scalar_key<ComponentSpec>(
          "restart.limit", number_codec<unsigned>(0, 100),
          [](auto& component) -> auto& { return component.restart.limit; },
          {"",
           "Restarts of a stateless component within its `restart.window`; with one more its "
           "failure is the container's, since starting it again has not helped. `0`: its first "
           "failure is."}),
      scalar_key<ComponentSpec>(
          "restart.window", duration_codec(1s, 24h),
          [](auto& component) -> auto& { return component.restart.window; },
          {"", "The time over which the restarts of a stateless component are counted."}),
      scalar_key<ComponentSpec>(
          "restart.delay", duration_codec(1ms, 1min),
          [](auto& component) -> auto& { return component.restart.delay; },
          {"",
           "Wait before the second restart in a row of a stateless component, doubled for each "
           "further one. The first comes at once: most failures do not come twice."}),
      scalar_key<ComponentSpec>(
          "restart.delay-limit", duration_codec(1ms, 1h),
          [](auto& component) -> auto& { return component.restart.delay_limit; },
          {"", "What this wait grows to at most; not below `restart.delay`."}),
  };
}

Table<ComponentSpec> component_limit_keys() {
  const std::string absent = "the container's";
  return {
      scalar_key<ComponentSpec>(
          "limits.open-files", number_codec<std::uint32_t>(kMinOpenFiles, kMaxOpenFiles),
          [](auto& component) -> auto& { return component.limits.open_files; },
          {absent,
           "Open descriptors of each of its processes (RLIMIT_NOFILE), standard input, output and "
           "error among them. No host allows more unless its `fs.nr_open` was raised."}),
      scalar_key<ComponentSpec>(
          "limits.core-size", bytes_codec({0}, kMaxLimit),
          [](auto& component) -> auto& { return component.limits.core_size; },
          {absent, "Size of a core dump (RLIMIT_CORE). `0`: none is written."}),
      scalar_key<ComponentSpec>("limits.file-size", bytes_codec({0}, kMaxLimit),
                                [](auto& component) -> auto& { return component.limits.file_size; },
                                {absent, "Size that a file may be written to (RLIMIT_FSIZE)."}),
      scalar_key<ComponentSpec>(
          "limits.address-space", bytes_codec(kMinAddressSpace, kMaxLimit),
          [](auto& component) -> auto& { return component.limits.address_space; },
          {absent,
           "Virtual memory of each of its processes (RLIMIT_AS); what is really used is limited "
           "by `resources.memory`. In less than 4 MiB no C library starts."}),
  };
}

Table<ComponentSpec> make_component_table() {
  Table<ComponentSpec> table = {
      scalar_key<ComponentSpec>(
          "name", label_codec(), [](auto& component) -> auto& { return component.name; },
          {std::string(kRequired),
           "Names the component within its container, for dependencies and for whatever is said "
           "about it; unique there."}),
      list_key<ComponentSpec>(
          "command", argument_codec(), {1, kMaxArguments},
          [](auto& component) -> auto& { return component.command; },
          {std::string(kRequired), "The argument list, executed without a shell."}),
      text_map_key<ComponentSpec>("environment", argument_codec(), check_environment_name,
                                  kMaxVariables,
                                  [](auto& component) -> auto& { return component.environment; },
                                  {"", "Environment variables, over those of the container."}),
      scalar_key<ComponentSpec>("working-directory", path_codec(), [](auto& component) -> auto& {
        return component.working_directory;
      },
                                {"the container's", "Where the command starts."}),
      scalar_key<ComponentSpec>("user", user_codec(),
                                [](auto& component) -> auto& { return component.user; },
                                {"the container's", "As the container's `user`."}),
      scalar_key<ComponentSpec>(
          "state",
          choice_codec<StateKind>(
              {{"stateful", StateKind::kStateful}, {"stateless", StateKind::kStateless}}),
          [](auto& component) -> auto& { return component.state; },
          {"",
           "`stateful`: what it has in memory matters, so its failure is the container's, which is "
           "restored from a generation. `stateless`: it can begin anew at any time, so it is "
           "started again by itself while the others go on. The default loses nothing."}),
      map_list_key<ComponentSpec>(
          "depends-on", "list of dependencies", {0, kMaxComponents - 1}, dependency_table,
          EmptyList::kItself, [](auto& component) -> auto& { return component.depends_on; },
          {"",
           "What has to be there before this component is started; one that depends on nothing is "
           "started at once."}),
      probe_key(),
  };
  const auto append = [&table](Table<ComponentSpec> keys) {
    std::ranges::move(keys, std::back_inserter(table));
  };
  append(restart_keys());
  append({
      scalar_key<ComponentSpec>("stop.signal", signal_codec(),
                                [](auto& component) -> auto& { return component.stop.signal; },
                                {"", "Asks the component's process to stop."}),
      scalar_key<ComponentSpec>(
          "stop.deadline", duration_codec(0s, 10min),
          [](auto& component) -> auto& { return component.stop.deadline; },
          {"",
           "From the signal to the kill; `0s` kills at once. Half of what the container has by "
           "default for all of them, after which its own `stop.deadline` ends whatever is left."}),
  });
  append(component_limit_keys());
  return table;
}

}  // namespace

const Table<ComponentSpec>& component_table() {
  static const Table<ComponentSpec> kTable = make_component_table();
  return kTable;
}

const Table<DependencySpec>& dependency_table() {
  static const Table<DependencySpec> kTable = make_dependency_table();
  return kTable;
}

const Table<ProbeSpec>& probe_table() {
  static const Table<ProbeSpec> kTable = make_probe_table();
  return kTable;
}

}  // namespace perdure::model
