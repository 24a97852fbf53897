#include "agent/agent.h"

#include <poll.h>
#include <signal.h>
#include <sys/random.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <time.h>

#include <algorithm>
#include <deque>
#include <utility>

#include "agent/abstract_address.h"
#include "agent/descriptor.h"
#include "agent/lived_clock.h"
#include "agent/log_relay.h"
#include "agent/processes.h"
#include "agent/prober.h"
#include "agent/report.h"
#include "agent/supervisor.h"

namespace perdure::agent {
namespace {

constexpr Duration kReportEvery = std::chrono::seconds(1);  // a host that was started anew knows soon
// While a probe is under way: so soon a freeze is noticed, and not counted against the component.
constexpr Duration kTick = std::chrono::milliseconds(20);

Duration clock_now(clockid_t clock) {
  timespec now{};
  ::clock_gettime(clock, &now);
  return std::chrono::seconds(now.tv_sec) + std::chrono::nanoseconds(now.tv_nsec);
}

std::uint64_t random_life() {
  std::uint64_t life = 0;
  if (::getrandom(&life, sizeof life, 0) != sizeof life) life = static_cast<std::uint64_t>(clock_now(CLOCK_REALTIME).count());
  return life >> 1;  // a report holds 63 bits
}

// Sends to whoever has the address now; nobody is fine, the next report says it all again.
class Reporter {
 public:
  explicit Reporter(const std::string& name)
      : socket_(::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0)), address_(name) {}
  void send(const std::string& text) const {
    (void)::sendto(socket_.get(), text.data(), text.size(), MSG_NOSIGNAL, address_.get(), address_.size());
  }

 private:
  Descriptor socket_;
  AbstractAddress address_;
};

class Agent {
 public:
  explicit Agent(const Configuration& configuration)
      : configuration_(configuration),
        relay_(STDOUT_FILENO, STDERR_FILENO),
        prober_(configuration, processes_),
        supervisor_(configuration),
        reporter_(configuration.report_to),
        clock_(clock_now(CLOCK_MONOTONIC), clock_now(CLOCK_REALTIME)),
        pids_(configuration.components.size(), 0),
        life_(random_life()) {}

  int run() {
    sigset_t all;
    ::sigfillset(&all);
    ::sigprocmask(SIG_SETMASK, &all, nullptr);
    signals_ = Descriptor(::signalfd(-1, &all, SFD_CLOEXEC | SFD_NONBLOCK));
    if (!signals_) return kExitConfiguration;
    perform(supervisor_.begin(clock_.lived()));
    while (!ending_) turn();
    relay_.drain();
    return ending_->code;
  }

 private:
  void turn() {
    report_if_due();
    std::vector<pollfd> polls{{signals_.get(), POLLIN, 0}};
    prober_.add_polls(polls);
    relay_.add_polls(polls);
    const Duration longest = wait_at_most();
    const timespec timeout{.tv_sec = longest.count() / 1'000'000'000, .tv_nsec = longest.count() % 1'000'000'000};
    ::ppoll(polls.data(), polls.size(), &timeout, nullptr);
    // Before anything is judged.
    if (clock_.advance(clock_now(CLOCK_MONOTONIC), clock_now(CLOCK_REALTIME), longest)) handle(Interrupted{});
    take_signals();
    for (const ProbeEnded& ended : prober_.look(polls)) handle(ended);
    for (const ProbeEnded& ended : prober_.pass_time(clock_.lived())) handle(ended);
    relay_.look(polls);
    handle(TimePassed{});
  }

  Duration wait_at_most() const {
    const Instant now = clock_.lived();
    Instant until = reported_ + kReportEvery;
    if (const auto deadline = supervisor_.next_deadline()) until = std::min(until, *deadline);
    if (const auto deadline = prober_.next_deadline()) until = std::min(until, *deadline);
    if (prober_.busy()) until = std::min(until, now + kTick);
    return std::max(until - now, Duration{});
  }

  void handle(const Event& event) {
    if (!ending_) perform(supervisor_.handle(event, clock_.lived()));
  }

  void perform(std::vector<Effect> begun) {
    std::deque<Effect> effects(begun.begin(), begun.end());
    const auto answer = [&](const Event& event) {
      for (Effect& effect : supervisor_.handle(event, clock_.lived())) effects.push_back(std::move(effect));
    };
    while (!effects.empty() && !ending_) {
      const Effect effect = std::move(effects.front());
      effects.pop_front();
      if (const auto* spawn = std::get_if<Spawn>(&effect)) {
        answer(spawned(spawn->component));
      } else if (const auto* signal = std::get_if<SendSignal>(&effect)) {
        if (const pid_t pid = pids_[signal->component]; pid > 0) Processes::signal_group(pid, signal->signal);
      } else if (const auto* probe = std::get_if<BeginProbe>(&effect)) {
        if (auto ended = prober_.begin(probe->component, probe->run, clock_.lived())) answer(*ended);
      } else if (const auto* cancel = std::get_if<CancelProbe>(&effect)) {
        prober_.cancel(cancel->component);
      } else if (const auto* finish = std::get_if<Finish>(&effect)) {
        end(finish->ending);
      }
    }
  }

  Event spawned(std::size_t index) {
    Output output;
    std::string error;
    const Component& component = configuration_.components[index];
    const pid_t pid = processes_.start(component, output, error);
    if (pid < 0) return Exited{.component = index, .how = Exited::How::kNotStarted, .reason = error};
    pids_[index] = pid;
    relay_.add(component.name, std::move(output.standard), std::move(output.error));
    return Spawned{index, pid};
  }

  void end(const Ending& ending) {
    if (!ending.component.empty()) relay_.say("component '" + ending.component + "' " + ending.reason);
    report();
    ending_ = ending;
  }

  void take_signals() {
    signalfd_siginfo info{};
    while (::read(signals_.get(), &info, sizeof info) == sizeof info) {
      const int signal = static_cast<int>(info.ssi_signo);
      if (signal == SIGCHLD) continue;  // they are merged: whoever has ended is looked for below
      if (signal == probe_now_signal()) {
        handle(ProbeRequested{});
        asked_ = true;
      } else if (signal == configuration_.stop_signal || signal == SIGTERM || signal == SIGINT) {
        handle(StopRequested{});
      } else if (signal != SIGPIPE) {
        handle(SignalReceived{signal});
      }
    }
    for (const ChildEnd& ended : processes_.reap()) child_ended(ended);
  }

  void child_ended(const ChildEnd& ended) {
    const auto component = std::ranges::find(pids_, ended.pid);
    if (component == pids_.end()) {
      if (auto probe = prober_.child_ended(ended)) handle(*probe);
      return;
    }
    *component = 0;
    handle(Exited{.component = static_cast<std::size_t>(component - pids_.begin()),
                  .how = ended.how,
                  .value = ended.value,
                  .core = ended.core,
                  .reason = ended.reason});
  }

  void report_if_due() {
    const bool changed = supervisor_.take_changed();
    const bool asked = std::exchange(asked_, false);
    if (!changed && !asked && clock_.lived() < reported_ + kReportEvery) return;
    report();
  }
  void report() {
    reported_ = clock_.lived();
    Report report = supervisor_.report(clock_.lived());
    report.life = life_;
    report.sequence = ++sequence_;
    reporter_.send(to_text(report));
  }

  const Configuration& configuration_;
  Descriptor signals_;
  Processes processes_;
  LogRelay relay_;
  Prober prober_;
  Supervisor supervisor_;
  Reporter reporter_;
  LivedClock clock_;
  std::vector<pid_t> pids_;  // of the components' first processes; 0: none
  const std::uint64_t life_;
  std::uint64_t sequence_ = 0;
  Instant reported_{};
  bool asked_ = false;  // by the host, which wants to hear that it goes on
  std::optional<Ending> ending_;
};

}  // namespace

int run(const Configuration& configuration) { return Agent(configuration).run(); }

}  // namespace perdure::agent
