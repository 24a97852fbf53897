#include "agent/supervisor.h"

#include <algorithm>
#include <csignal>
#include <cstring>
#include <utility>

#include "agent/text.h"
#include "policy/component_recovery.h"

namespace perdure::agent {
namespace {

using State = ComponentState;

// Until a component has passed for the first time: what depends on it waits for that.
constexpr Duration kFirstProbes = std::chrono::milliseconds(50);
// For what is left of a failed component after SIGKILL: it hangs in the kernel, and only the host can help.
constexpr Duration kKilled = std::chrono::seconds(10);

bool runs(State state) {
  return state == State::kStarting || state == State::kRunning || state == State::kFailing || state == State::kStopping;
}

std::string how_it_ended(const Exited& event) {
  switch (event.how) {
    case Exited::How::kNotStarted:
      return "was not started: " + event.reason;
    case Exited::How::kSignalled: {
      const char* name = ::sigabbrev_np(event.value);
      std::string text = "was killed by signal " + to_text(event.value);
      if (name != nullptr) text += std::string(" (") + name + ")";
      return event.core ? text + ", core dumped" : text;
    }
    case Exited::How::kExited:
      break;
  }
  return "exited with code " + to_text(event.value);
}

void forget_older(std::deque<Instant>& instants, Instant limit) {
  while (!instants.empty() && instants.front() <= limit) instants.pop_front();
}

Duration delay_after(std::size_t restarts, const Restart& rules) {
  if (restarts == 0) return {};
  Duration delay = rules.delay;
  for (std::size_t i = 1; i < restarts && delay < rules.delay_limit; ++i) delay *= 2;
  return std::min(delay, rules.delay_limit);
}

std::string seconds(Duration duration) {
  const std::int64_t milliseconds = duration.count() / 1'000'000;
  if (milliseconds % 1000 != 0) return to_text(milliseconds) + " ms";
  return to_text(milliseconds / 1000) + " s";
}

}  // namespace

Supervisor::Supervisor(const Configuration& configuration)
    : configuration_(configuration), running_(configuration.components.size()) {}

std::vector<Effect> Supervisor::begin(Instant now) {
  now_ = now;
  start_what_can();
  return std::exchange(effects_, {});
}

std::vector<Effect> Supervisor::handle(const Event& event, Instant now) {
  now_ = now;
  if (!ending_) std::visit([this](const auto& it) { on(it); }, event);
  if (!ending_) pass_time();
  return std::exchange(effects_, {});
}

bool Supervisor::take_changed() { return std::exchange(changed_, false); }

void Supervisor::become(std::size_t index, State state) {
  if (running_[index].state == state) return;
  running_[index].state = state;
  changed_ = true;
}

void Supervisor::finish(Ending ending) {
  ending_ = ending;
  changed_ = true;
  effects_.push_back(Finish{std::move(ending)});
}

// ---- Starting ----

bool Supervisor::is_satisfied(const Dependency& on) const {
  const Running& it = running_[on.component];
  switch (on.until) {
    case Until::kFinished:
      return it.state == State::kFinished;
    case Until::kStarted:
      return it.state == State::kStarting || it.state == State::kRunning || it.state == State::kFailing ||
             it.state == State::kFinished;
    case Until::kReady:
      break;
  }
  return ((it.state == State::kRunning || it.state == State::kFailing) && it.was_ready) || it.state == State::kFinished;
}

bool Supervisor::may_start(std::size_t index) const {
  const auto& depends_on = configuration_.components[index].depends_on;
  return running_[index].state == State::kWaiting &&
         std::ranges::all_of(depends_on, [this](const Dependency& on) { return is_satisfied(on); });
}

// One that is started may be what the next one waits for, but is answered for later: Spawned looks again.
void Supervisor::start_what_can() {
  if (stopping_ || ending_) return;
  for (std::size_t i = 0; i < running_.size(); ++i) {
    if (may_start(i)) spawn(i);
  }
}

void Supervisor::spawn(std::size_t index) {
  Running& it = running_[index];
  it.start_at.reset();
  it.started = now_;
  it.was_ready = false;
  it.failures = it.successes = 0;
  it.passed.reset();
  it.passed_realtime_ns = 0;
  become(index, State::kStarting);
  effects_.push_back(Spawn{index});
}

void Supervisor::on(const Spawned& event) {
  Running& it = running_[event.component];
  it.pid = event.pid;
  changed_ = true;
  if (it.state == State::kStopping) return;
  if (configuration_.components[event.component].probe) {
    it.probe_at = now_;
  } else {
    become_ready(event.component);
  }
  start_what_can();
}

void Supervisor::become_ready(std::size_t index) {
  Running& it = running_[index];
  const bool first = !std::exchange(it.was_ready, true);
  become(index, State::kRunning);
  if (!first) return;
  if (it.restarts > 0) tell_dependants(index);
  start_what_can();
}

// ---- Failing ----

void Supervisor::on(const Exited& event) {
  const std::size_t index = event.component;
  Running& it = running_[index];
  const Component& component = configuration_.components[index];
  end_probing(index);
  it.pid = 0;
  it.kill_at.reset();
  changed_ = true;
  const bool finished = event.how == Exited::How::kExited && event.value == 0;
  if (it.state == State::kStopping) {
    const auto again = std::exchange(it.again, std::nullopt);
    if (again && !stopping_) {
      start_after(index, *again);
    } else {
      become(index, State::kStopped);
    }
  } else if (finished && !component.restart.always) {
    become(index, State::kFinished);
  } else if (finished) {
    // It has let go of its state itself, so that starting it afresh loses nothing.
    it.trouble = how_it_ended(event);
    restart(index);
  } else if (stopping_) {
    it.trouble = how_it_ended(event);
    become(index, State::kStopped);
  } else {
    has_failed(index, how_it_ended(event));
  }
  if (ending_) return;
  if (stopping_) stop_what_can();
  if (finish_if_all_are_done()) return;
  start_what_can();
}

void Supervisor::has_failed(std::size_t index, std::string why) {
  Running& it = running_[index];
  const Component& component = configuration_.components[index];
  it.trouble = std::move(why);
  it.probe_trouble.clear();
  forget_older(it.failures_of_late, now_ - component.restart.window);
  const policy::ComponentQuestion question{.stateful = component.stateful,
                                           .restarts_in_window = static_cast<std::uint32_t>(it.failures_of_late.size()),
                                           .restart_limit = component.restart.limit};
  if (policy::decide_component(question) == policy::ComponentAction::kRestart) {
    it.failures_of_late.push_back(now_);
    return restart(index);
  }
  std::string reason = it.trouble;
  if (!component.stateful && component.restart.limit > 0) {
    reason += ", after " + to_text(question.restarts_in_window) + " restarts within " + seconds(component.restart.window);
  }
  become(index, State::kFailed);
  finish({kExitComponentFailed, component.name, std::move(reason)});
}

// Of a component that has ended, or is killed for it.
void Supervisor::restart(std::size_t index) {
  Running& it = running_[index];
  const Restart& rules = configuration_.components[index].restart;
  forget_older(it.recent, now_ - rules.window);
  const Duration delay = delay_after(it.recent.size(), rules);
  it.recent.push_back(now_);
  ++it.restarts;
  changed_ = true;
  if (it.pid == 0) return start_after(index, delay);
  // It lives and does not answer.
  effects_.push_back(SendSignal{index, SIGKILL});
  end_probing(index);
  it.again = delay;
  it.kill_at = now_ + kKilled;
  become(index, State::kStopping);
}

void Supervisor::start_after(std::size_t index, Duration delay) {
  if (delay == Duration{}) return become(index, State::kWaiting);
  running_[index].start_at = now_ + delay;
  become(index, State::kBackOff);
}

void Supervisor::tell_dependants(std::size_t index) {
  for (std::size_t i = 0; i < running_.size(); ++i) {
    for (const Dependency& on : configuration_.components[i].depends_on) {
      if (on.component != index || running_[i].pid == 0 || running_[i].state == State::kStopping) continue;
      if (on.on_restart == Dependency::OnRestart::kSignal) effects_.push_back(SendSignal{i, on.signal});
      if (on.on_restart != Dependency::OnRestart::kRestart) continue;
      stop(i);
      running_[i].again = Duration{};
      ++running_[i].restarts;
    }
  }
}

// ---- Probing ----

// The host asks for more probes than the specification: they may prove a component healthy, and take nothing of
// the patience that it has been given.
void Supervisor::probe_what_is_due(std::size_t index) {
  Running& it = running_[index];
  if (it.probe_at && *it.probe_at <= now_) {
    it.probe_at.reset();
    it.run_is_extra = false;  // of one that is under way, too
    if (!it.run) begin_probe(index);
  } else if (it.extra_wanted && !it.run) {
    it.run_is_extra = true;
    begin_probe(index);
  }
}

void Supervisor::begin_probe(std::size_t index) {
  Running& it = running_[index];
  it.extra_wanted = false;
  it.run = ++it.runs;
  it.run_began = now_;
  effects_.push_back(BeginProbe{index, *it.run});
}

void Supervisor::end_probing(std::size_t index) {
  Running& it = running_[index];
  it.probe_at.reset();
  it.extra_wanted = false;
  if (std::exchange(it.run, std::nullopt)) effects_.push_back(CancelProbe{index});
}

void Supervisor::on(const ProbeEnded& event) {
  Running& it = running_[event.component];
  if (it.run != event.run) return;
  it.run.reset();
  const Component& component = configuration_.components[event.component];
  const Probe& probe = *component.probe;
  const bool settled = it.was_ready || (event.passed && it.successes + 1 >= probe.successes);
  if (!it.run_is_extra) {
    it.probe_at = std::max(now_, it.run_began + (settled ? probe.interval : std::min(probe.interval, kFirstProbes)));
  }
  // A checkpoint may wait for it; what stateless components pass is told once a second.
  changed_ = changed_ || component.stateful;
  if (event.passed) {
    it.failures = 0;
    it.probe_trouble.clear();
    ++it.successes;
    it.passed = it.run_began;
    it.passed_realtime_ns = event.begun_realtime_ns;
    if (it.successes >= probe.successes) become_ready(event.component);
    return;
  }
  if (it.run_is_extra) return;
  it.successes = 0;
  it.probe_trouble = "does not answer: " + event.reason;
  if (stopping_ || (!it.was_ready && now_ < it.started + probe.grace)) return;
  ++it.failures;
  if (it.was_ready) become(event.component, State::kFailing);
  if (it.failures < probe.failures) return;
  has_failed(event.component, "does not answer: " + event.reason +
                                  (it.failures > 1 ? ", " + to_text(it.failures) + " times in a row" : std::string()));
}

void Supervisor::on(const Interrupted&) {
  for (std::size_t i = 0; i < running_.size(); ++i) {
    if (!running_[i].run) continue;
    end_probing(i);
    running_[i].probe_at = now_;
  }
}

void Supervisor::on(const ProbeRequested&) {
  for (std::size_t i = 0; i < running_.size(); ++i) {
    Running& it = running_[i];
    const Component& component = configuration_.components[i];
    // One that is under way began before the checkpoint, and says nothing of what is in it. It is not cancelled:
    // where checkpoints come faster than probes end, none would.
    if (component.stateful && component.probe && it.was_ready && it.pid != 0 && it.state != State::kStopping) it.extra_wanted = true;
  }
}

// ---- Stopping ----

void Supervisor::stop(std::size_t index) {
  Running& it = running_[index];
  const Component& component = configuration_.components[index];
  end_probing(index);
  it.kill_at = now_ + component.stop_deadline;
  effects_.push_back(SendSignal{index, component.stop_signal});
  become(index, State::kStopping);
}

// Those that nothing which still runs depends on.
void Supervisor::stop_what_can() {
  for (std::size_t i = 0; i < running_.size(); ++i) {
    Running& it = running_[i];
    if (!runs(it.state)) {
      if (it.state == State::kWaiting || it.state == State::kBackOff) become(i, State::kStopped);
      it.start_at.reset();
      continue;
    }
    it.again.reset();
    if (it.state == State::kStopping) continue;
    bool needed = false;
    for (std::size_t j = 0; j < running_.size(); ++j) {
      if (!runs(running_[j].state)) continue;
      for (const Dependency& on : configuration_.components[j].depends_on) needed = needed || on.component == i;
    }
    if (!needed) stop(i);
  }
}

void Supervisor::on(const StopRequested&) {
  if (stopping_) return;
  stopping_ = true;
  stop_what_can();
  finish_if_all_are_done();
}

void Supervisor::on(const SignalReceived& event) {
  for (std::size_t i = 0; i < running_.size(); ++i) {
    if (running_[i].pid != 0) effects_.push_back(SendSignal{i, event.signal});
  }
}

bool Supervisor::finish_if_all_are_done() {
  for (const Running& it : running_) {
    if (it.state != State::kFinished && it.state != State::kStopped) return false;
  }
  finish({kExitFinished, {}, stopping_ ? "was asked to stop" : "all components have finished"});
  return true;
}

// ---- Time ----

void Supervisor::pass_time() {
  for (std::size_t i = 0; i < running_.size() && !ending_; ++i) {
    Running& it = running_[i];
    if (it.start_at && *it.start_at <= now_) {
      it.start_at.reset();
      become(i, State::kWaiting);
    }
    if (it.kill_at && *it.kill_at <= now_) {
      it.kill_at = now_ + kKilled;  // again: one that is being started has no group yet
      effects_.push_back(SendSignal{i, SIGKILL});
    }
    probe_what_is_due(i);
  }
  if (!ending_) start_what_can();
}

std::optional<Instant> Supervisor::next_deadline() const {
  std::optional<Instant> next;
  const auto consider = [&](const std::optional<Instant>& at) {
    if (at && (!next || *at < *next)) next = at;
  };
  for (const Running& it : running_) {
    consider(it.start_at);
    consider(it.kill_at);
    consider(it.probe_at);
  }
  return next;
}

// ---- Telling ----

Report Supervisor::report(Instant now) const {
  Report report;
  for (std::size_t i = 0; i < running_.size(); ++i) {
    const Running& it = running_[i];
    const Component& component = configuration_.components[i];
    ComponentReport one{.name = component.name,
                        .state = it.state,
                        .stateful = component.stateful,
                        .probed = component.probe.has_value(),
                        .pid = it.pid,
                        .restarts = it.restarts,
                        .failures = it.failures,
                        .trouble = it.probe_trouble.empty() ? it.trouble : it.probe_trouble};
    if (it.passed) {
      one.passed_realtime_ns = it.passed_realtime_ns;
      one.passed_age_ns = (now - *it.passed).count();
    }
    report.components.push_back(std::move(one));
  }
  report.ending = ending_;
  return report;
}

std::string to_string(const Effect& effect, const Configuration& configuration) {
  struct Text {
    const Configuration& configuration;
    const std::string& name(std::size_t index) const { return configuration.components[index].name; }
    std::string operator()(const Spawn& it) const { return "spawn " + name(it.component); }
    std::string operator()(const SendSignal& it) const {
      const char* signal = ::sigabbrev_np(it.signal);
      return "signal " + name(it.component) + " " + (signal != nullptr ? signal : to_text(it.signal));
    }
    std::string operator()(const BeginProbe& it) const { return "probe " + name(it.component); }
    std::string operator()(const CancelProbe& it) const { return "cancel the probe of " + name(it.component); }
    std::string operator()(const Finish& it) const {
      std::string text = "finish with code " + to_text(it.ending.code);
      if (!it.ending.component.empty()) text += ", component " + it.ending.component;
      return text + ": " + it.ending.reason;
    }
  };
  return std::visit(Text{configuration}, effect);
}

}  // namespace perdure::agent
