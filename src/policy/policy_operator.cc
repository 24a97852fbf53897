// ContainerPolicy: what an operator may ask for, and what he is shown.
#include <algorithm>
#include <format>

#include "policy/container_policy.h"

namespace perdure::policy {

namespace {

struct Asked {
  std::string_view verb;
  bool start = false;
  bool stop = false;
  bool checkpoint = false;
  bool move = false;
  std::optional<Generation> restore{};
};

std::optional<Asked> asked_by(const Event& event) {
  if (std::holds_alternative<OperatorStart>(event)) return Asked{.verb = "start", .start = true};
  if (std::holds_alternative<OperatorStop>(event)) return Asked{.verb = "stop", .stop = true};
  if (std::holds_alternative<OperatorRemove>(event)) return Asked{.verb = "remove"};
  if (std::holds_alternative<OperatorCheckpoint>(event)) {
    return Asked{.verb = "checkpoint", .checkpoint = true};
  }
  if (std::holds_alternative<OperatorMove>(event)) return Asked{.verb = "move", .move = true};
  if (const auto* restore = std::get_if<OperatorRestore>(&event)) {
    return Asked{.verb = "restore", .restore = restore->generation};
  }
  return std::nullopt;
}

}  // namespace

Status ContainerPolicy::admit(const Event& event) const {
  const auto asked = asked_by(event);
  if (!asked) return {};
  const auto refuse = [&](ErrorCode code, std::string_view why) {
    return fail(code, std::format("{} container '{}': {}", asked->verb, name_.str(), why));
  };
  const auto in = [this](auto... phases) { return ((phase_ == phases) || ...); };
  const std::string is = std::format("it is {}", to_string(phase_));
  if (in(Phase::kNew, Phase::kRemoved)) return refuse(ErrorCode::kConflict, is);
  if (leaving()) {
    return refuse(ErrorCode::kConflict,
                  std::format("{}; ask that node", resume_ ? resume_->reason : reason_));
  }
  if (in(Phase::kMoving)) {
    return refuse(ErrorCode::kConflict,
                  std::format("it is moving to node '{}'; try again when that "
                              "has ended",
                              move_->target.str()));
  }
  if (ownership_unknown_ && !asked->checkpoint) {
    return refuse(ErrorCode::kConflict,
                  std::format("who owns it is not known{} ({}); {}: {}", ownership_settles_ ? " yet" : "",
                              *ownership_unknown_,
                              ownership_settles_ ? "try again in some seconds; if that does not help and it "
                                                   "runs nowhere else"
                                                 : "if it runs nowhere else and never will",
                              recover_command()));
  }
  if (const auto later = of_later_owner(); later && (asked->start || asked->restore)) {
    return refuse(ErrorCode::kConflict, std::format("generation {} is of a later owner; restart "
                                                    "perdured",
                                                    perdure::to_string(*later)));
  }
  if (asked->start && in(Phase::kWaiting)) {
    return refuse(ErrorCode::kConflict, reason_ + "; restore a generation, or stop it first");
  }
  if (asked->start && !in(Phase::kStopped, Phase::kFailed)) return refuse(ErrorCode::kConflict, is);
  if (asked->stop && in(Phase::kStopped)) return refuse(ErrorCode::kConflict, is);
  if (persistent_.desired == DesiredState::kRemoved && !in(Phase::kFailed)) {
    return refuse(ErrorCode::kConflict, "it is being removed");
  }
  if (asked->checkpoint || asked->move) {
    const std::string_view done = asked->move ? "moved" : "captured";
    if (options_.statefulness == Statefulness::kStateless) {
      return refuse(ErrorCode::kConflict, asked->move
                                              ? "it is stateless: stop it here and start it there"
                                              : "it is stateless: nothing is captured");
    }
    if (!running()) {
      return refuse(ErrorCode::kConflict,
                    std::format("{}; only a running one can be {}", is, done));
    }
  }
  if (asked->restore) {
    const GenerationInfo* generation = find(generations_, *asked->restore);
    const std::string named = "generation " + perdure::to_string(*asked->restore);
    if (generation == nullptr) return refuse(ErrorCode::kNotFound, named + " is not known");
    if (generation->state != CommitState::kCommitted) {
      return refuse(ErrorCode::kConflict, named + " is not committed");
    }
    if (!restorable(generations_, *asked->restore)) {
      return refuse(ErrorCode::kConflict, named + " or a base of it is corrupt or missing");
    }
    if (in(Phase::kPreparing, Phase::kStarting, Phase::kStopping)) {
      return refuse(ErrorCode::kConflict, is + "; try again when that has ended");
    }
  }
  return {};
}

ContainerStatus ContainerPolicy::status() const {
  ContainerStatus status{.phase = phase_,
                         .phase_since = phase_since_,
                         .reason = reason_,
                         .remedy = remedy_,
                         .gate = gate_,
                         .pid = pid_};
  if (ownership_unknown_ && phase_ != Phase::kWaiting) {
    status.reason += std::format("{}who owns it is not known: {}", reason_.empty() ? "" : "; ",
                                 *ownership_unknown_);
    if (remedy_.empty()) {
      status.remedy = (ownership_settles_ ? "it settles by itself; if not: " : "") + recover_command() +
                      ", if it runs nowhere else";
    }
  }
  if (const GenerationInfo* newest = newest_good(generations_)) status.newest_good = *newest;
  for (const auto& generation : generations_) {
    if (generation.durable) status.newest_durable = generation.id;
  }
  if (status.newest_good && alive_) status.fresh_since = fresh_since_;
  status.pace = schedule_.pace();
  status.capture_failures_in_row = schedule_.failures_in_row();
  status.restores_in_window = within(restores_, options_.restore_window, now_);
  return status;
}

}  // namespace perdure::policy
