// What the agent tells its host: one datagram with the state of all components, each time something changes,
// when the host asks, and once a second. Nothing is lost with one that does not arrive, for each says everything. No connection:
// the agent sends to an abstract address of its network namespace, where the host of the day has its socket.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "agent/configuration.h"

namespace perdure::agent {

enum class ComponentState {
  kWaiting,   // for what it depends on
  kStarting,  // runs; has not passed its probe yet
  kRunning,   // healthy, or without a probe
  kFailing,   // its last probes have failed, not often enough yet
  kBackOff,   // has failed; is started again after a delay
  kStopping,
  kFinished,  // has ended with exit code 0
  kStopped,   // with the container
  kFailed,    // and the container with it
};
std::string_view to_string(ComponentState state);

struct ComponentReport {
  std::string name{};
  ComponentState state = ComponentState::kWaiting;
  bool stateful = true;
  bool probed = false;
  std::int32_t pid = 0;  // in the container; 0: does not run
  std::uint32_t restarts = 0;  // by the agent, since the container's start
  std::uint32_t failures = 0;  // of the probe, in a row
  std::string trouble{};  // why it failed or was restarted last, or what its probe says; for people
  // When the last probe that succeeded began: by CLOCK_REALTIME, which container and host share, and how long
  // before the report by the container's own clock. Zero: none has since the last start.
  std::int64_t passed_realtime_ns = 0;
  std::int64_t passed_age_ns = 0;
  bool operator==(const ComponentReport&) const = default;
};

// The agent ends, and with it the container.
struct Ending {
  int code = 0;  // exit code, see below
  std::string component{};  // whose failure it is; empty: nobody's
  std::string reason{};     // for people
  bool operator==(const Ending&) const = default;
};

struct Report {
  std::uint64_t life = 0;      // of this agent: drawn at its start, kept by a restore
  std::uint64_t sequence = 0;  // rises within a life; falls back with a restore
  std::vector<ComponentReport> components{};
  std::optional<Ending> ending{};
  bool operator==(const Report&) const = default;
};

// Sent to the agent by its host after a checkpoint: it reports and probes at once (ProbeRequested).
int probe_now_signal();

// Exit codes of the agent, and so of the container.
inline constexpr int kExitFinished = 0;         // all components have finished, or were asked to stop
inline constexpr int kExitComponentFailed = 101;  // a failure that the agent cannot mend alone
inline constexpr int kExitConfiguration = 102;    // there is nothing that it could run

inline constexpr std::size_t kMaxReasonBytes = 240;
inline constexpr std::size_t kMaxReportBytes = std::size_t{64} << 10;

std::string to_text(const Report& report);
// From inside a container, so from nobody that is trusted.
Parsed<Report> parse_report(std::string_view text);

}  // namespace perdure::agent
