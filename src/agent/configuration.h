// What the agent is to run: perdured writes it into the container before its first start, the agent reads
// it once. It travels with the container, as the agent's program does, so both are always of one release.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

namespace perdure::agent {

using Duration = std::chrono::nanoseconds;

// A result of parsing: the value, or why there is none.
template <typename T>
struct Parsed {
  std::optional<T> value{};
  std::string error{};
};

enum class Until {
  kReady,     // has passed its probe once; without a probe: has been started
  kStarted,   // has been started
  kFinished,  // has ended with exit code 0
};

struct Dependency {
  std::size_t component = 0;  // index in the configuration; never its own, no cycles
  Until until = Until::kReady;
  // When what it depends on has been restarted.
  enum class OnRestart { kNothing, kRestart, kSignal } on_restart = OnRestart::kNothing;
  int signal = 0;  // with kSignal
  bool operator==(const Dependency&) const = default;
};

struct ExecProbe {  // exit code 0, as the component's user, with its environment
  std::vector<std::string> command{};
  bool operator==(const ExecProbe&) const = default;
};
struct TcpProbe {  // accepts a connection
  std::string address{};  // IPv4 or IPv6
  std::uint16_t port = 0;
  bool operator==(const TcpProbe&) const = default;
};
struct HttpProbe {  // GET path: a status of 200 to 399 (RFC 9110)
  std::string address{};
  std::uint16_t port = 0;
  std::string path{};
  bool operator==(const HttpProbe&) const = default;
};
struct RtspProbe {  // OPTIONS *: a status of 200 to 299 (RFC 2326, 10.1)
  std::string address{};
  std::uint16_t port = 0;
  bool operator==(const RtspProbe&) const = default;
};
struct UnixProbe {  // accepts a stream connection
  std::string path{};  // at most 107 bytes
  bool operator==(const UnixProbe&) const = default;
};
struct FileProbe {  // was changed within max_age
  std::string path{};
  Duration max_age{};
  bool operator==(const FileProbe&) const = default;
};
using ProbeKind = std::variant<ExecProbe, TcpProbe, HttpProbe, RtspProbe, UnixProbe, FileProbe>;

struct Probe {
  ProbeKind kind{};
  Duration interval{};
  Duration timeout{};
  std::uint32_t failures = 1;   // in a row, until the component counts as failed
  std::uint32_t successes = 1;  // in a row, until it counts as healthy
  Duration grace{};             // after its start failures do not count until it has passed
  bool operator==(const Probe&) const = default;
};

struct Limits {  // setrlimit(2), soft and hard; absent: the container's
  std::optional<std::uint64_t> open_files{};
  std::optional<std::uint64_t> core_size{};
  std::optional<std::uint64_t> file_size{};
  std::optional<std::uint64_t> address_space{};
  bool operator==(const Limits&) const = default;
};

struct Restart {
  bool always = false;  // also after exit code 0
  std::uint32_t limit = 0;  // within the window; one more failure is the container's
  Duration window{};
  Duration delay{};  // before the second one in a row; doubled up to delay_limit
  Duration delay_limit{};
  bool operator==(const Restart&) const = default;
};

struct Component {
  std::string name{};
  std::vector<std::string> command{};
  std::vector<std::string> environment{};  // "NAME=value", complete
  std::string directory{};
  std::uint32_t uid = 0;
  std::uint32_t gid = 0;
  std::vector<std::uint32_t> groups{};
  bool stateful = true;
  Limits limits{};
  std::vector<Dependency> depends_on{};
  Restart restart{};
  std::optional<Probe> probe{};
  int stop_signal = 15;
  Duration stop_deadline{};  // then SIGKILL
  bool operator==(const Component&) const = default;
};

struct Configuration {
  // Abstract name (unix(7)) of the socket that reports go to; whoever owns it is in this network namespace.
  std::string report_to{};
  int stop_signal = 15;  // what asks the agent to end; other signals are passed on
  std::vector<Component> components{};
  bool operator==(const Configuration&) const = default;
};

inline constexpr std::size_t kMaxComponents = 32;
inline constexpr std::size_t kMaxConfigurationBytes = std::size_t{8} << 20;

std::string to_text(const Configuration& configuration);
// Refuses what to_text() writes of no valid configuration: names twice, unknown or circular dependencies.
Parsed<Configuration> parse_configuration(std::string_view text);

}  // namespace perdure::agent
