// How a container's service hears its agent: what is known of the components, what is worth an event, and what
// their failure means to the container.
#include <algorithm>
#include <csignal>
#include <format>
#include <utility>

#include "base/log.h"
#include "node/container_service.h"

namespace perdure::node {

// Of the life that has just begun here.
void ContainerService::hear_agent() {
  if (spec_.components.empty()) return;
  if (!agent_) {
    auto socket = backend_->open_agent_socket();
    if (socket && !*socket) return;  // there is none to hear
    auto link = socket ? AgentLink::open(environment_.loop, *std::move(socket), [this](const agent::Report& report) { agent_reports(report); })
                       : Result<AgentLink>(std::unexpected(socket.error()));
    if (!link) {
      emit({policy::Severity::kWarning, "components_unknown",
            "its agent looks after the components, but what it reports cannot be heard", link.error().message()});
      return;
    }
    agent_.emplace(*std::move(link));
  }
  agent_->listen_to(record_.runtime->init.pid);
  health_.hear_agent();
  agent_silence_.begin(environment_.clock.now());
  killed_silent_.reset();
  held_for_.reset();
  look_at_agent();
}

// A stateless component is mended beside the others, who need not fall silent for that.
void ContainerService::hold_for_stateful() {
  const policy::Phase phase = policy_.phase();
  // Else what the newest report says may be of a life that is being replaced.
  if (!process_ || (phase != policy::Phase::kTrial && phase != policy::Phase::kProtected && phase != policy::Phase::kUnprotected)) return;
  StatefulProcesses processes{.init = record_.runtime->init.pid, .pids = {}};
  for (const agent::ComponentReport& it : components_.components()) {
    if (it.stateful && it.pid > 1) processes.pids.push_back(it.pid);
  }
  if (held_for_ == processes) return;
  held_for_ = std::move(processes);
  held_for_since_ = environment_.clock.now();
  backend_->hold_for(held_for_);
}

// Whether the gate may be closed for its death only.
bool ContainerService::may_have_held(const std::string& component) const {
  const auto found = std::ranges::find(components_.components(), component, &agent::ComponentReport::name);
  return closed_by_any_ || (found != components_.components().end() && found->stateful);
}

void ContainerService::look_at_agent() {
  agent_look_ = environment_.loop.after(kAgentLookEvery, [this] { look_at_agent(); });
  if (!process_ || !agent_) return;
  agent_->drain();
  const policy::Phase phase = policy_.phase();
  const bool may_be_ended = phase == policy::Phase::kTrial || phase == policy::Phase::kProtected || phase == policy::Phase::kUnprotected;
  const auto counts = may_be_ended && !backend_->frozen() ? AgentSilence::Counts::kYes : AgentSilence::Counts::kNo;
  if (const auto silent = agent_silence_.look(environment_.clock.now(), counts)) agent_is_silent(*silent);
}

// From here on as with any death of its first process.
void ContainerService::agent_is_silent(Duration silent) {
  killed_silent_ = silent;
  emit({policy::Severity::kWarning, "agent_silent",
        std::format("its agent has not reported for {}, so that nobody looks after its components; it is killed, and recovered",
                    format_duration(silent)),
        "the container's first process was stopped, spins or hangs in the kernel"});
  if (Status killed = process_->signal(SIGKILL); !killed) log::warning("{}: {}", spec_.name.str(), killed.error().message());
}

Status ContainerService::agent_may_be_moved() {
  if (agent_) agent_->drain();
  const Duration silent = agent_silence_.lasts(environment_.clock.now());
  if (silent < kSilenceThatForbidsAMove) return {};
  return fail(ErrorCode::kConflict,
              std::format("its agent has not reported for {} and may stand still; it is recovered here if that lasts, then move it again",
                          format_duration(silent)));
}

void ContainerService::agent_reports(const agent::Report& report) {
  using Kind = ComponentTable::Change::Kind;
  bool restarted = false;
  const auto changes = components_.take(report, environment_.clock.now(), environment_.clock.wall());
  agent_silence_.heard(environment_.clock.now());
  for (const ComponentTable::Change& change : changes) {
    const std::string name = std::format("component '{}'", change.component);
    switch (change.kind) {
      case Kind::kRestarted:
        restarted = restarted || may_have_held(change.component);
        emit({policy::Severity::kWarning, "component_restarted", name + " is started again", with_evidence(change.trouble)});
        break;
      case Kind::kFailing:
        emit({policy::Severity::kWarning, "component_failing", name + " does not pass its probe", change.trouble});
        break;
      case Kind::kHealthy:
        emit({policy::Severity::kInfo, "component_healthy", name + " passes its probe again", {}});
        break;
      case Kind::kFailed:
        emit({policy::Severity::kError, "component_failed", name + " has failed, and the container with it",
              components_.ending() ? components_.ending()->reason : change.trouble});
        break;
      case Kind::kFinished:
        emit({policy::Severity::kInfo, "component_finished", name + " has finished", {}});
        break;
    }
  }
  if (restarted) handle(policy::ComponentRestarted{});
  hold_for_stateful();
  offer(health_.take_proved(components_));
  if (!changes.empty()) notify();
}

void ContainerService::offer_when_healthy(const CaptureOutcome& outcome) {
  if (agent_) agent_->drain();  // what it had said before proves nothing
  health_.add({outcome.capsule, outcome.base, outcome.thawed, components_.heard()});
  // Else it would take up to the interval of the probe, or of the reports.
  if (process_) (void)process_->signal(agent::probe_now_signal());
  progress_text_ = "waiting until " + health_.waits_for(components_);
  notify();
}

void ContainerService::offer(const std::vector<HealthGate::Waiting>& proved) {
  for (const HealthGate::Waiting& it : proved) {
    if (owned_ != nullptr) owned_->handle(policy::ownership::Captured{it.generation()});
    replication_.offer(it.capsule, it.base, it.thawed);
  }
}

// The agent says why it ends before it does.
policy::ExitStatus ContainerService::ended_as(policy::ExitStatus status) {
  if (agent_) {
    agent_->drain();
    agent_->stop_listening();
  }
  agent_silence_.end();
  const bool heard = components_.current();  // of this life
  components_.ended();
  health_.clear();
  const auto silent = std::exchange(killed_silent_, std::nullopt);
  // A perdured that was restarted meanwhile is not told by the kernel how it ended.
  if (silent && (status == policy::ExitStatus::signalled(SIGKILL) || status == policy::ExitStatus{})) {
    status = policy::ExitStatus::signalled(SIGKILL);
    status.trouble = std::format("its agent had not reported for {}", format_duration(*silent));
    return status;
  }
  const auto& ending = components_.ending();
  // Who ended before anybody could look, or while perdured was restarted, is not told by the kernel how.
  const bool unseen = heard && status == policy::ExitStatus{};
  if (!ending || ending->component.empty() || (!unseen && status != policy::ExitStatus::exited(agent::kExitComponentFailed))) {
    if (status.kind == policy::ExitStatus::Kind::kSignalled) status.trouble = with_evidence({});
    return status;
  }
  return policy::ExitStatus::failed_component(ending->component, with_evidence(ending->reason));
}

// Of a failure that has just been heard of: what the host knows beside.
std::string ContainerService::with_evidence(std::string trouble) {
  const std::uint64_t kills = backend_->out_of_memory_kills();
  if (std::exchange(memory_kills_, kills) >= kills) return trouble;
  return trouble + (trouble.empty() ? "" : ": ") + "the kernel had no memory left for it";
}

}  // namespace perdure::node
