// ComponentSpec: one of the programs that a container consists of when it has no command of its
// own. An agent is the container's first process then; it starts the components, watches them and
// starts the stateless ones again. Values only, as in model/spec.h, which holds them.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "base/clock.h"
#include "base/units.h"
#include "model/address.h"
#include "model/stop.h"

namespace perdure::model {

// More than one service consists of.
inline constexpr std::size_t kMaxComponents = 32;

// --- Dependencies ---

// How far the other component must be. kReady: has passed its probe once; started, if it has no
// probe. kFinished: has ended with exit code 0; never of one that is started again after it.
enum class Until { kReady, kStarted, kFinished };

// What happens to the component that depends when the other one is started again.
struct OnRestart {
  enum class Action { kNothing, kRestart, kSignal };
  Action action = Action::kNothing;
  int signal = 0;  // of kSignal only: the number of this host's architecture; else 0
  bool operator==(const OnRestart&) const = default;
};

struct DependencySpec {
  std::string component{};  // the name of another one; each once, and never in a circle
  Until until = Until::kReady;
  OnRestart on_restart{};
  bool operator==(const DependencySpec&) const = default;
};

// --- Probes: each passes or fails within the timeout ---

inline constexpr IpAddress kProbeLoopback{IpFamily::kV4, {127, 0, 0, 1}};

struct ExecProbe {                     // passes with exit code 0
  std::vector<std::string> command{};  // never empty
  bool operator==(const ExecProbe&) const = default;
};
struct TcpProbe {          // passes when a connection is accepted
  std::uint16_t port = 0;  // 1..65535, here and below
  IpAddress address = kProbeLoopback;
  bool operator==(const TcpProbe&) const = default;
};
struct HttpProbe {  // passes when GET is answered with a status of 200 to 399
  std::uint16_t port = 0;
  IpAddress address = kProbeLoopback;
  std::string path = "/";  // begins with '/', printable ASCII without spaces
  bool operator==(const HttpProbe&) const = default;
};
struct RtspProbe {  // passes when OPTIONS is answered with a status of 200 to 299
  std::uint16_t port = 0;
  IpAddress address = kProbeLoopback;
  bool operator==(const RtspProbe&) const = default;
};
struct UnixProbe {     // passes when a connection to the stream socket is accepted
  std::string path{};  // in the container; absolute, at most 107 bytes
  bool operator==(const UnixProbe&) const = default;
};
struct FileProbe {     // passes when the file has changed within `max_age`
  std::string path{};  // in the container; absolute
  Duration max_age{};  // 100 ms..24 h
  bool operator==(const FileProbe&) const = default;
};
using ProbeKind = std::variant<ExecProbe, TcpProbe, HttpProbe, RtspProbe, UnixProbe, FileProbe>;

struct ProbeSpec {
  ProbeKind kind{};
  Duration interval = std::chrono::seconds(1);  // from one to the next; never two at once
  Duration timeout = std::chrono::seconds(1);
  unsigned failures = 3;   // in a row until the component has failed, 1..100
  unsigned successes = 1;  // in a row until the component is healthy, 1..100
  // From the start of the component; failures do not count before one has passed or this is over.
  Duration grace = std::chrono::seconds(10);
  bool operator==(const ProbeSpec&) const = default;
};

// --- The component ---

// kStateful: its failure is the container's, which goes back to a generation. kStateless: it may
// begin anew by itself.
enum class StateKind { kStateful, kStateless };

enum class RestartWhen { kFailure, kAlways };  // kAlways: also after exit code 0

// Of a stateless component; says nothing about a stateful one.
struct ComponentRestart {
  RestartWhen when = RestartWhen::kFailure;
  unsigned limit = 5;  // per window, 0..100; one more and the failure is the container's
  Duration window = std::chrono::minutes(1);
  // Before the second restart in a row, doubled for each further one up to the limit; the first
  // comes at once.
  Duration delay = std::chrono::milliseconds(100);
  Duration delay_limit = std::chrono::seconds(10);  // not below `delay`
  bool operator==(const ComponentRestart&) const = default;
};

struct ComponentLimits {  // setrlimit(2), soft and hard; absent: the container's
  std::optional<std::uint32_t> open_files{};
  std::optional<Bytes> core_size{};
  std::optional<Bytes> file_size{};
  std::optional<Bytes> address_space{};
  bool operator==(const ComponentLimits&) const = default;
};

struct ComponentSpec {
  std::string name{};                                // [a-z0-9-], 1..63, unique in the container
  std::vector<std::string> command{};                // never empty
  std::map<std::string, std::string> environment{};  // over the container's
  std::optional<std::string> working_directory{};    // absolute; absent: the container's
  std::optional<std::string> user{};                 // as the container's; absent: the container's
  StateKind state = StateKind::kStateful;
  std::vector<DependencySpec> depends_on{};
  std::optional<ProbeSpec> probe{};
  ComponentRestart restart{};
  // Shorter than the container's, within which all components have to stop.
  StopSpec stop{.deadline = std::chrono::seconds(5)};
  ComponentLimits limits{};
  bool operator==(const ComponentSpec&) const = default;
};

}  // namespace perdure::model
