// Which component is started, probed, restarted and stopped when: a pure state machine, (event, now) ->
// effects. No clock, no I/O.
//
// `now` is the time that the agent has lived: while the container is frozen, and from a checkpoint to the
// restore from it, it stands still (lived_clock.h), so that no deadline passes meanwhile. It never goes back.
//
// Contract of whoever performs the effects, in order:
// - Spawn is answered at once by Spawned or Exited;
// - Exited comes once per Spawned, when the component's first process has ended and what was left of its
//   process group has been killed;
// - BeginProbe ends in one ProbeEnded with its run, unless CancelProbe comes before;
// - after Finish nothing is handled any more.
#pragma once

#include <cstdint>
#include <deque>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "agent/configuration.h"
#include "agent/report.h"

namespace perdure::agent {

using Instant = std::chrono::nanoseconds;  // lived since some instant

// ---- Events ----

struct Spawned {
  std::size_t component = 0;
  std::int32_t pid = 0;
};
struct Exited {
  std::size_t component = 0;
  enum class How { kExited, kSignalled, kNotStarted } how = How::kExited;
  int value = 0;        // exit code or signal
  bool core = false;    // with kSignalled: a core was dumped
  std::string reason{};   // with kNotStarted: "execute '/x': no such file or directory"
};
struct ProbeEnded {
  std::size_t component = 0;
  std::uint32_t run = 0;
  bool passed = false;
  std::int64_t begun_realtime_ns = 0;
  std::string reason{};  // why it has not passed: "127.0.0.1:80 refuses the connection"
};
// The container was restored, or the clock was set: what is under way of a probe says nothing.
struct Interrupted {};
// The host has taken a checkpoint and waits for the next success of every probe of a stateful component.
struct ProbeRequested {};
struct StopRequested {};
struct SignalReceived {  // to be passed on
  int signal = 0;
};
struct TimePassed {};

using Event = std::variant<Spawned, Exited, ProbeEnded, Interrupted, ProbeRequested, StopRequested, SignalReceived, TimePassed>;

// ---- Effects ----

struct Spawn {
  std::size_t component = 0;
};
struct SendSignal {  // to its process group
  std::size_t component = 0;
  int signal = 0;
};
struct BeginProbe {
  std::size_t component = 0;
  std::uint32_t run = 0;
};
struct CancelProbe {
  std::size_t component = 0;
};
struct Finish {
  Ending ending;
};

using Effect = std::variant<Spawn, SendSignal, BeginProbe, CancelProbe, Finish>;

// One line each, for logs and golden tests.
std::string to_string(const Effect& effect, const Configuration& configuration);

class Supervisor {
 public:
  // `configuration` is valid (parse_configuration) and outlives this object.
  explicit Supervisor(const Configuration& configuration);

  std::vector<Effect> begin(Instant now);
  std::vector<Effect> handle(const Event& event, Instant now);

  // When TimePassed has to come at the latest; nullopt: something else has to happen first.
  std::optional<Instant> next_deadline() const;
  // Whether anything that a report tells has changed since the last call.
  bool take_changed();
  // Without life and sequence. `now` as for handle().
  Report report(Instant now) const;

 private:
  struct Running {  // one component
    ComponentState state = ComponentState::kWaiting;
    std::int32_t pid = 0;  // of its first process; 0: none
    bool was_ready = false;  // since its last start
    Instant started{};
    std::optional<Instant> start_at{};   // kBackOff
    std::optional<Instant> kill_at{};    // asked to stop, or failed and killed
    std::optional<Duration> again{};     // kStopping: to be started again so long afterwards
    std::optional<std::uint32_t> run{};  // of the probe under way
    bool run_is_extra = false;           // asked for by the host: its failure does not count
    bool extra_wanted = false;           // one that begins from now on
    std::optional<Instant> probe_at{};   // the next regular one
    std::uint32_t runs = 0;
    std::uint32_t failures = 0;   // in a row
    std::uint32_t successes = 0;  // in a row
    Instant run_began{};
    std::int64_t passed_realtime_ns = 0;
    std::optional<Instant> passed{};  // when the last success began
    std::uint32_t restarts = 0;
    std::deque<Instant> recent;    // restarts within the window
    std::deque<Instant> failures_of_late;  // ... that followed failures
    std::string trouble;
    std::string probe_trouble;  // what its probe says since it has passed last
  };

  void on(const Spawned& event);
  void on(const Exited& event);
  void on(const ProbeEnded& event);
  void on(const Interrupted&);
  void on(const ProbeRequested&);
  void on(const StopRequested&);
  void on(const SignalReceived& event);
  void on(const TimePassed&) {}

  void start_what_can();
  bool may_start(std::size_t index) const;
  bool is_satisfied(const Dependency& on) const;
  void spawn(std::size_t index);
  void become(std::size_t index, ComponentState state);
  void become_ready(std::size_t index);
  void has_failed(std::size_t index, std::string why);
  void restart(std::size_t index);
  void start_after(std::size_t index, Duration delay);
  void tell_dependants(std::size_t index);
  void stop(std::size_t index);
  void stop_what_can();
  void begin_probe(std::size_t index);
  void probe_what_is_due(std::size_t index);
  void end_probing(std::size_t index);
  void pass_time();
  void finish(Ending ending);
  bool finish_if_all_are_done();

  const Configuration& configuration_;
  std::vector<Running> running_;
  bool stopping_ = false;
  std::optional<Ending> ending_;
  bool changed_ = true;
  Instant now_{};
  std::vector<Effect> effects_;
};

}  // namespace perdure::agent
