#include "policy/ownership_events.h"

#include <format>

namespace perdure::policy::ownership {
namespace {

std::string_view word_of(DesiredState desired) {
  switch (desired) {
    case DesiredState::kRunning:
      return "running";
    case DesiredState::kStopped:
      return "stopped";
    case DesiredState::kRemoved:
      return "removed";
  }
  return "?";
}

std::string_view word_of(model::RecordPhase phase) {
  switch (phase) {
    case model::RecordPhase::kStarting:
      return "starting";
    case model::RecordPhase::kRunning:
      return "running";
    case model::RecordPhase::kMoving:
      return "moving";
  }
  return "?";
}

std::string text_of(const Generation& generation) {
  return perdure::to_string(generation);
}
std::string text_of(const std::optional<Generation>& generation) {
  return generation ? text_of(*generation) : "nothing";
}
std::string text_of(const std::optional<OwnershipRecord>& record) {
  return record ? to_string(*record) : "no record";
}

struct EventText {
  std::string operator()(const Adopted& e) const {
    return std::format("adopted revision {}: {}", e.revision, to_string(e.record));
  }
  std::string operator()(const Restarted& e) const {
    return std::format(
        "restarted term {}{}{}", e.term.value,
        e.handing_over ? " handing over to " + to_string(e.handing_over->target) : "",
        e.removed ? " removed" : "");
  }
  std::string operator()(const GrantsFlow& e) const { return "grants-flow " + to_string(e.life); }
  std::string operator()(const GrantsStopped& e) const { return "grants-stopped " + to_string(e.life); }
  std::string operator()(const RecordRead& e) const {
    return std::format("read #{} revision {}: {}", e.request, e.revision, text_of(e.record));
  }
  std::string operator()(const ReadFailed& e) const {
    return std::format("read-failed #{} {}", e.request, e.reason);
  }
  std::string operator()(const SwapApplied& e) const {
    return std::format("applied #{} revision {}", e.request, e.revision);
  }
  std::string operator()(const SwapRefused& e) const {
    return std::format("refused #{} revision {}: {}", e.request, e.revision, text_of(e.record));
  }
  std::string operator()(const SwapUnknown& e) const {
    return std::format("unknown #{} {}", e.request, e.reason);
  }
  std::string operator()(const RecordChanged& e) const {
    return std::format("changed revision {}", e.revision);
  }
  std::string operator()(const StoreForeign& e) const { return "foreign " + e.reason; }
  std::string operator()(const PeerUp& e) const {
    return std::format("up {} holds {}", to_string(e.life), text_of(e.held));
  }
  std::string operator()(const PeerDown& e) const { return "down " + e.node.str(); }
  std::string operator()(const PeerEnds& e) const { return "ends " + to_string(e.life); }
  std::string operator()(const Candidates& e) const {
    std::string text = "candidates";
    for (const NodeName& node : e.order) text += " " + node.str();
    for (const auto& [node, why] : e.refused) text += std::format(" !{} ({})", node.str(), why);
    return text;
  }
  std::string operator()(const Enlisted& e) const {
    return std::format("enlisted {} holds {}", to_string(e.life), text_of(e.held));
  }
  std::string operator()(const EnlistRefused& e) const {
    return std::format("enlist-refused {} {}", e.node.str(), e.reason);
  }
  std::string operator()(const Dismissed& e) const { return "dismissed " + e.node.str(); }
  std::string operator()(const DismissRefused& e) const {
    return std::format("dismiss-refused {} {}", e.node.str(), e.reason);
  }
  std::string operator()(const Captured& e) const { return "captured " + text_of(e.generation); }
  std::string operator()(const Held& e) const {
    return std::format("held {} {}", to_string(e.life), text_of(e.generation));
  }
  std::string operator()(const HoldingShrank& e) const {
    return std::format("shrank {} holds {}", to_string(e.life), text_of(e.held));
  }
  std::string operator()(const Durable& e) const { return "durable " + text_of(e.generation); }
  std::string operator()(const GenerationsDiscarded& e) const {
    std::string text = "discarded";
    for (const Generation& generation : e.generations) text += " " + text_of(generation);
    return text;
  }
  std::string operator()(const GoneBackTo& e) const {
    return std::format("gone back to {}{}", text_of(e.generation), e.durable ? " durable" : "");
  }
  std::string operator()(const ContainerRuns&) const { return "runs"; }
  std::string operator()(const ContainerRemoved&) const { return "container-removed"; }
  std::string operator()(const DesiredAsked& e) const {
    return std::format("asked {}", word_of(e.desired));
  }
  std::string operator()(const StandbysWanted& e) const {
    return std::format("wanted {}", e.count);
  }
  std::string operator()(const MoveAsked& e) const { return "move " + e.target.str(); }
  std::string operator()(const FailOverAsked& e) const {
    return std::format("fail over to {} with {}", e.target.str(), perdure::to_string(e.generation));
  }
  std::string operator()(const MovePrepared& e) const {
    return std::format("prepared {} {}", e.target.str(), e.refusal);
  }
  std::string operator()(const HandoverCaptured& e) const {
    return "handover-captured " + text_of(e.generation);
  }
  std::string operator()(const NotRemembered& e) const { return "not-remembered: " + e.reason; }
  std::string operator()(const HandoverCaptureFailed& e) const {
    return "handover-capture-failed " + e.reason;
  }
  std::string operator()(const Taken& e) const {
    return std::format("taken {} term {} {}", e.target.str(), e.term.value,
                       e.error.empty() ? "running" : e.error);
  }
  std::string operator()(const TargetCommitted& e) const {
    return std::format("target-committed term {}", e.term.value);
  }
  std::string operator()(const TargetSilent& e) const {
    return "target-silent, held " + (e.held ? text_of(*e.held) : std::string("nothing"));
  }
  std::string operator()(const TimerFired&) const { return "timer"; }
};

struct EffectText {
  Instant origin;

  std::string operator()(const ReadRecord& e) const { return std::format("read #{}", e.request); }
  std::string operator()(const Swap& e) const {
    return std::format("swap #{} at {}: {}", e.request, e.expected, to_string(e.record));
  }
  std::string operator()(const RemoveRecord& e) const {
    return std::format("remove-record #{} at {}", e.request, e.expected);
  }
  std::string operator()(const Enlist& e) const { return "enlist " + e.node.str(); }
  std::string operator()(const NeedGrants& e) const {
    const auto list = [](const std::vector<NodeLife>& lives) {
      std::string text;
      for (const NodeLife& life : lives) text += (text.empty() ? "" : ",") + to_string(life);
      return text.empty() ? std::string("nobody") : text;
    };
    return std::format("need grants of {} under term {}{}{}", list(e.required), e.term.value,
                       e.asked.empty() ? "" : ", asked: " + list(e.asked), e.inherits ? ", inherits" : "");
  }
  std::string operator()(const RenewNothing&) const { return "renew-nothing"; }
  std::string operator()(const SetPace& e) const {
    return std::format("pace {} {}", e.node.str(), to_string(e.pace));
  }
  std::string operator()(const Dismiss& e) const {
    return std::format("dismiss {}{}: {}", e.node.str(), e.everything ? " everything" : "",
                       e.reason);
  }
  std::string operator()(const Commit& e) const { return "commit " + text_of(e.generation); }
  std::string operator()(const Emit& e) const {
    return std::format("emit {} {}: {}", policy::to_string(e.severity), e.kind, e.text);
  }
  std::string operator()(const SetTimer& e) const {
    return "timer +" + format_duration(e.at - origin);
  }
  std::string operator()(const RaiseTerm& e) const {
    return std::format("raise-term {}", e.term.value);
  }
  std::string operator()(const Remember& e) const {
    if (!e.handing_over) return "remember nothing";
    return std::format("remember handing over {} to {}", text_of(e.handing_over->generation),
                       to_string(e.handing_over->target));
  }
  std::string operator()(const TellTerm& e) const {
    return std::format("tell-term {} {}", e.node.str(), e.term.value);
  }
  std::string operator()(const AskPrepare& e) const { return "prepare " + e.target.str(); }
  std::string operator()(const BeginHandover& e) const {
    return "begin-handover " + e.target.str();
  }
  std::string operator()(const TellTake& e) const {
    return std::format("take {} term {} {} revision {}", to_string(e.target), e.term.value,
                       text_of(e.generation), e.revision);
  }
  std::string operator()(const HandedOver& e) const {
    return std::format("handed-over {} term {}", to_string(e.target), e.term.value);
  }
  std::string operator()(const EndCopy&) const { return "end-copy"; }
  std::string operator()(const HandOverFailed& e) const {
    return std::format("hand-over-failed term {}: {}", e.term.value, e.reason);
  }
  std::string operator()(const MoveFailed& e) const {
    return std::format("move-failed {}: {}", e.target.str(), e.reason);
  }
  std::string operator()(const Suspend& e) const {
    return std::format("suspend owner {} term {}", to_string(e.owner), e.term.value);
  }
  std::string operator()(const OwnershipLost& e) const {
    return std::format("lost to {} term {}", to_string(e.owner), e.term.value);
  }
  std::string operator()(const OwnershipUnknown& e) const { return "unknown: " + e.reason; }
  std::string operator()(const OwnershipKnown&) const { return "known"; }
  std::string operator()(const DesiredSettled& e) const {
    return std::format("settled {}", word_of(e.desired));
  }
  std::string operator()(const RemovalComplete&) const { return "removal-complete"; }
  std::string operator()(const Refuse& e) const {
    return std::format("refuse {}: {}", e.what, e.why);
  }
};

}  // namespace

std::string to_string(const Event& event) {
  return std::visit(EventText{}, event);
}

std::string to_string(const Effect& effect, Instant origin) {
  return std::visit(EffectText{origin}, effect);
}

std::string to_string(const NodeLife& life) {
  return std::format("{}/{:x}", life.node.str(), life.incarnation.value);
}

std::string to_string(const OwnershipRecord& record) {
  std::string text = std::format("{} term {} {}", to_string(record.owner), record.term.value,
                                 word_of(record.phase));
  if (record.desired != DesiredState::kRunning) {
    text += std::format(" desired {}", word_of(record.desired));
  }
  for (bool first = true; const NodeLife& standby : record.standbys) {
    text += (first ? " standbys " : ",") + to_string(standby);
    first = false;
  }
  return text;
}

std::string_view to_string(Pace pace) {
  switch (pace) {
    case Pace::kNone:
      return "none";
    case Pace::kNewest:
      return "newest";
    case Pace::kEvery:
      return "every";
  }
  return "?";
}

}  // namespace perdure::policy::ownership
