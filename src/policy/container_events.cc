#include "policy/container_events.h"

#include <format>

namespace perdure::policy {

std::string_view to_string(TimerId timer) {
  switch (timer) {
    case TimerId::kCapture:
      return "capture";
    case TimerId::kAge:
      return "age";
    case TimerId::kCommit:
      return "commit";
    case TimerId::kExitGrace:
      return "exit-grace";
    case TimerId::kProbation:
      return "probation";
    case TimerId::kCaptureEnd:
      return "capture-end";
    case TimerId::kRestartDelay:
      return "restart-delay";
    case TimerId::kStop:
      return "stop";
    case TimerId::kKill:
      return "kill";
    case TimerId::kMove:
      return "move";
  }
  return "?";
}

std::string_view to_string(CaptureKind kind) {
  switch (kind) {
    case CaptureKind::kTrial:
      return "trial";
    case CaptureKind::kPeriodic:
      return "periodic";
    case CaptureKind::kRequested:
      return "requested";
    case CaptureKind::kHandover:
      return "handover";
  }
  return "?";
}

std::string_view to_string(Severity severity) {
  switch (severity) {
    case Severity::kInfo:
      return "info";
    case Severity::kWarning:
      return "warning";
    case Severity::kError:
      return "error";
  }
  return "?";
}

std::string_view to_string(DesiredState state) {
  switch (state) {
    case DesiredState::kRunning:
      return "running";
    case DesiredState::kStopped:
      return "stopped";
    case DesiredState::kRemoved:
      return "removed";
  }
  return "?";
}

namespace {

std::string_view to_string(FailureClass failure) {
  return failure == FailureClass::kPermanent ? "permanent" : "transient";
}

std::string_view to_string(DaemonRestarted::Found found) {
  switch (found) {
    case DaemonRestarted::Found::kAlive:
      return "alive";
    case DaemonRestarted::Found::kDead:
      return "dead";
    case DaemonRestarted::Found::kHalfRestored:
      return "half-restored";
  }
  return "?";
}

std::string describe(const PersistentState& state) {
  std::string text = std::format("desired={}", to_string(state.desired));
  if (state.begun) text += " begun";
  if (state.finished) text += " finished";
  if (!state.gave_up.empty()) text += std::format(" gave-up=\"{}\"", state.gave_up);
  if (state.handing_over) {
    text +=
        std::format(" handing-over={} to {}", perdure::to_string(state.handing_over->generation),
                    state.handing_over->target.str());
  }
  return text;
}

std::string describe(std::string_view name, const Generation& generation) {
  return std::format("{} {}", name, perdure::to_string(generation));
}

struct EventText {
  std::string operator()(const SpecAccepted&) const { return "spec-accepted"; }
  std::string operator()(const DaemonRestarted& e) const {
    return std::format("daemon-restarted found={} {} generations={}{}", to_string(e.found),
                       describe(e.state), e.generations.size(),
                       e.awaits_word ? " awaits-word" : e.stored_unknown ? " stored-unknown" : "");
  }
  std::string operator()(const StoredKnown& e) const {
    return std::format("stored-known generations={}", e.generations.size());
  }
  std::string operator()(const TakenOver& e) const {
    return std::format("{} pid={} {} generations={}{}", describe("taken-over", e.generation), e.pid,
                       describe(e.state), e.generations.size(),
                       e.silent_owner ? " silent=" + e.silent_owner->str() : "");
  }
  std::string operator()(const ImageReady&) const { return "image-ready"; }
  std::string operator()(const ImageFailed& e) const {
    return std::format("image-failed {} \"{}\"", to_string(e.failure), e.reason);
  }
  std::string operator()(const Started& e) const { return std::format("started pid={}", e.pid); }
  std::string operator()(const StartFailed& e) const {
    return std::format("start-failed {} \"{}\"", to_string(e.failure), e.reason);
  }
  std::string operator()(const CaptureFinished& e) const {
    return std::format("{} {} cpu={}", describe("capture-finished", e.generation),
                       policy::to_string(e.state), format_duration(e.stats.cpu));
  }
  std::string operator()(const CaptureFailed& e) const {
    return std::format("{} {} \"{}\"", describe("capture-failed", e.generation),
                       to_string(e.failure), e.reason);
  }
  std::string operator()(const Committed& e) const { return describe("committed", e.generation); }
  std::string operator()(const CommitFailed& e) const {
    return std::format("{} {} \"{}\"", describe("commit-failed", e.generation),
                       to_string(e.failure), e.reason);
  }
  std::string operator()(const Durable& e) const {
    return describe("durable", e.generation) +
           (e.parent ? " on " + perdure::to_string(*e.parent) : "");
  }
  std::string operator()(const ProcessKilled& e) const {
    return std::format("process-killed pid={} signal={}{}", e.pid, e.signal, e.is_init ? " init" : "");
  }
  std::string operator()(const ComponentRestarted&) const { return "component-restarted"; }
  std::string operator()(const ContainerDied& e) const {
    return "container-died: it " + policy::to_string(e.status);
  }
  std::string operator()(const RestoreFinished& e) const {
    return std::format("{} pid={}", describe("restore-finished", e.generation), e.pid);
  }
  std::string operator()(const RestoreFailed& e) const {
    return std::format("{} ({}) \"{}\"", describe("restore-failed", e.generation),
                       policy::to_string(e.why), e.reason);
  }
  std::string operator()(const OperatorCheckpoint&) const { return "operator: checkpoint"; }
  std::string operator()(const OperatorStop&) const { return "operator: stop"; }
  std::string operator()(const OperatorStart&) const { return "operator: start"; }
  std::string operator()(const OperatorRestore& e) const {
    return describe("operator: restore", e.generation);
  }
  std::string operator()(const OperatorRemove&) const { return "operator: remove"; }
  std::string operator()(const OperatorMove& e) const {
    return "operator: move to " + e.target.str();
  }
  std::string operator()(const HandedOver&) const { return "handed-over"; }
  std::string operator()(const HandOverFailed& e) const {
    return std::format("hand-over-failed term={} \"{}\"", e.term.value, e.reason);
  }
  std::string operator()(const StandbysReady& e) const {
    std::string text = "standbys ready:";
    for (const NodeName& node : e.nodes) text += " " + node.str();
    return text;
  }
  std::string operator()(const TermRaised& e) const {
    return std::format("term-raised {}", e.term.value);
  }
  std::string operator()(const OwnershipLost& e) const {
    return std::format("ownership-lost to {} term={}", e.owner.str(), e.term.value);
  }
  std::string operator()(const OwnershipUnknown& e) const {
    return std::format("ownership-unknown{} \"{}\"", e.passing ? " passing" : "", e.reason);
  }
  std::string operator()(const OwnershipKnown&) const { return "ownership-known"; }
  std::string operator()(const TimerFired& e) const {
    return std::format("timer {}", policy::to_string(e.timer));
  }
};

struct EffectText {
  Instant origin;

  std::string operator()(const Record& e) const { return "record " + describe(e.state); }
  std::string operator()(const PrepareImage&) const { return "prepare-image"; }
  std::string operator()(const Start&) const { return "start"; }
  std::string operator()(const Capture& e) const {
    return std::format("{} {}", describe("capture", e.generation), policy::to_string(e.kind));
  }
  std::string operator()(const CancelCapture& e) const {
    return describe("cancel-capture", e.generation);
  }
  std::string operator()(const Restore& e) const { return describe("restore", e.generation); }
  std::string operator()(const HoldGate&) const { return "hold-gate"; }
  std::string operator()(const OpenGate&) const { return "open-gate"; }
  std::string operator()(const Terminate&) const { return "terminate"; }
  std::string operator()(const Kill&) const { return "kill"; }
  std::string operator()(const DiscardGeneration& e) const {
    return std::format("{} {}: {}", describe("discard", e.generation), policy::to_string(e.mark),
                       e.reason);
  }
  std::string operator()(const ReinstateGeneration& e) const {
    return describe("reinstate", e.generation);
  }
  std::string operator()(const DeleteGeneration& e) const {
    return describe("delete", e.generation);
  }
  std::string operator()(const SetTimer& e) const {
    return std::format("set-timer {} +{}", policy::to_string(e.timer),
                       format_duration(e.at - origin));
  }
  std::string operator()(const CancelTimer& e) const {
    return std::format("cancel-timer {}", policy::to_string(e.timer));
  }
  std::string operator()(const Emit& e) const {
    return std::format("emit {} {}: {}{}", policy::to_string(e.severity), e.kind, e.text,
                       e.reason.empty() ? "" : std::format(" [{}]", e.reason));
  }
  std::string operator()(const DeclareProtected& e) const {
    return describe("protected by", e.generation);
  }
  std::string operator()(const DeclareUnprotected& e) const {
    return std::format("unprotected: {} [{}]", e.reason, e.remedy);
  }
  std::string operator()(const GiveUp& e) const {
    return std::format("give-up: {} [{}]", e.reason, e.remedy);
  }
  std::string operator()(const Release&) const { return "release"; }
  std::string operator()(const FailOver& e) const {
    return std::format("fail over {} to {}", perdure::to_string(e.generation), e.target.str());
  }
  std::string operator()(const HandOver& e) const {
    return std::format("{} to {}", describe("hand-over", e.generation), e.target.str());
  }
  std::string operator()(const Resume&) const { return "resume"; }
  std::string operator()(const Leave&) const { return "leave"; }
};

}  // namespace

std::string to_string(const Event& event) {
  return std::visit(EventText{}, event);
}

std::string to_string(const Effect& effect, Instant origin) {
  return std::visit(EffectText{origin}, effect);
}

}  // namespace perdure::policy
