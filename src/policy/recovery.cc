#include "policy/recovery.h"

#include <csignal>
#include <cstring>
#include <format>

namespace perdure::policy {
namespace {

using Action = RecoveryDecision::Action;
using Trouble = RecoveryQuestion::Trouble;

void mark(std::vector<GenerationInfo>& generations, const Generation& id, Mark mark,
          RecoveryDecision& decision) {
  for (auto& generation : generations) {
    if (generation.id != id || generation.mark == Mark::kCorrupt || generation.mark == mark)
      continue;
    generation.mark = mark;
    decision.marks.push_back({id, mark});
  }
}

// What the failure says of generations: they are marked in the copy and named in the decision.
void lay_blame(const RecoveryQuestion& question, std::vector<GenerationInfo>& generations,
               RecoveryDecision& decision) {
  if (question.trouble == Trouble::kRestoreFailed && question.failure != RestoreFailure::kHost) {
    mark(generations, question.failed_generation,
         question.failure == RestoreFailure::kCorrupt ? Mark::kCorrupt : Mark::kSuspect, decision);
  }
  if (question.trouble != Trouble::kDied || !question.probation) return;
  // The state has lived well where it came from, so its death here speaks of this host first. If it
  // dies of its memory, the restore that follows shows it at the cost of one more attempt; a mark
  // would throw good generations away that were committed elsewhere.
  if (question.probation->after == Probation::After::kMove) return;
  if (question.blame == Blame::kNotSigkill && question.status == ExitStatus::signalled(SIGKILL)) {
    return;
  }
  const std::vector<GenerationInfo> before = generations;
  for (const auto& generation : before) {
    // What was captured since the restore carries the same state on, and the same death.
    const bool since = generation.id > question.probation->restored &&
                       generation.id.number >= question.probation->first_number;
    if (generation.mark != Mark::kNone || generation.state != CommitState::kCommitted) continue;
    if (generation.id == question.probation->restored || since) {
      mark(generations, generation.id, Mark::kSuspect, decision);
    }
  }
}

std::string describe(const RecoveryQuestion& question) {
  switch (question.trouble) {
    case Trouble::kDied:
      if (!question.probation) return "it " + to_string(question.status);
      return "it " + to_string(question.status) +
             (question.probation->after == Probation::After::kMove ? " soon after its move"
                                                                   : " while on probation");
    case Trouble::kRestoreFailed:
      return std::format("generation {} was not restored ({})",
                         to_string(question.failed_generation), to_string(question.failure));
    case Trouble::kStartFailed:
      return "the cold start failed";
    case Trouble::kFailoverFailed:
      return std::format("node '{}' did not go on with it ({})", question.refused_by ? question.refused_by->str() : "?",
                         question.refusal);
    case Trouble::kOperatorStart:
      break;
  }
  return "an operator starts it again";
}

RecoveryDecision& conclude(RecoveryDecision& decision, Action action, std::string reason) {
  decision.action = action;
  decision.reason = std::move(reason);
  return decision;
}

std::string counted(std::uint32_t number, std::string_view noun) {
  return std::format("{} {}{}", number, noun, number == 1 ? "" : "s");
}

RecoveryDecision& give_up(RecoveryDecision& decision, std::string reason, std::string remedy) {
  decision.remedy = std::move(remedy);
  return conclude(decision, Action::kGiveUp, std::move(reason));
}

bool limit_is_reached(const RecoveryQuestion& question) { return question.restores_in_window >= question.max_restores; }

// Why this host has done enough; empty: it has not.
std::string exhaustion(const RecoveryQuestion& question) {
  if (limit_is_reached(question)) {
    return std::format("after {} restores and cold starts within {}", question.restores_in_window,
                       format_duration(question.restore_window));
  }
  if (question.failed_in_place < question.max_in_place) return {};
  return std::format("after {} in a row here that did not hold", counted(question.failed_in_place, "restore"));
}

// Why another node does not go on with it, where one should; empty: one does, or there is no cluster.
std::string objection_to_failover(const RecoveryQuestion& question) {
  if (question.max_failovers == 0) return question.other_node || !question.no_other_node.empty() ? "the spec forbids a failover" : "";
  if (question.failovers_in_window >= question.max_failovers) {
    return std::format("it has failed over {} within {}", counted(question.failovers_in_window, "time"),
                       format_duration(question.failover_window));
  }
  return question.other_node ? "" : question.no_other_node;
}

// What another node goes on with: state. It has nothing to offer to a container that begins anew.
bool may_fail_over(const RecoveryQuestion& question, const std::vector<GenerationInfo>& generations) {
  return question.trouble != Trouble::kOperatorStart && question.statefulness == Statefulness::kStateful && question.other_node &&
         question.failovers_in_window < question.max_failovers && newest_good(generations) != nullptr;
}

RecoveryDecision& fail_over(const RecoveryQuestion& question, const std::vector<GenerationInfo>& generations,
                            RecoveryDecision& decision) {
  decision.generation = newest_good(generations)->id;
  decision.node = question.other_node;
  return conclude(decision, Action::kFailOver,
                  std::format("{}, {}: node '{}' goes on with generation {}", decision.trouble, exhaustion(question),
                              decision.node->str(), to_string(*decision.generation)));
}

// Back to the newest good generation, or to a cold start; what limits allow is decided before.
RecoveryDecision& choose(const RecoveryQuestion& question,
                         const std::vector<GenerationInfo>& generations,
                         RecoveryDecision& decision) {
  std::string why = decision.trouble;
  if (!exhaustion(question).empty() && !finished_by_itself(question)) {
    if (const std::string stays = objection_to_failover(question); !stays.empty()) why += "; " + stays;
  }
  if (question.statefulness == Statefulness::kStateless) {
    return conclude(decision, Action::kColdStart, why + ": stateless, started afresh");
  }
  if (finished_by_itself(question)) {
    return conclude(decision, Action::kColdStart,
                    why + ": started afresh, as restart: always says");
  }
  if (const GenerationInfo* newest = newest_good(generations)) {
    decision.generation = newest->id;
    return conclude(decision, Action::kRestore,
                    std::format("{}: back to generation {}", why, to_string(newest->id)));
  }
  const std::string none =
      generations.empty() ? "there is no generation" : "no good generation is left";
  // Whoever ordered a cold start that failed has allowed the next one.
  if (question.cold_start == ColdStart::kAllowed || question.trouble == Trouble::kStartFailed ||
      question.trouble == Trouble::kOperatorStart) {
    return conclude(decision, Action::kColdStart,
                    std::format("{} and {}: started without its state", why, none));
  }
  return give_up(
      decision, std::format("{} and {}; the spec forbids a cold start", why, none),
      "restore a generation by hand if one is worth a try, or start the container without "
      "its state");
}

}  // namespace

std::string to_string(const ExitStatus& status) {
  switch (status.kind) {
    case ExitStatus::Kind::kExited:
      return std::format("exited with code {}", status.value);
    case ExitStatus::Kind::kSignalled: {
      const char* name = ::sigabbrev_np(status.value);
      return std::format("was killed by signal {} ({}){}{}", status.value, name ? name : "unknown",
                         status.trouble.empty() ? "" : ": ", status.trouble);
    }
    case ExitStatus::Kind::kComponent:
      return std::format("failed with its component '{}', which {}", status.component, status.trouble);
    case ExitStatus::Kind::kUnknown:
      break;
  }
  return "was found dead";
}

std::string_view to_string(RestoreFailure why) {
  switch (why) {
    case RestoreFailure::kCorrupt:
      return "corrupt";
    case RestoreFailure::kMissingFiles:
      return "files are missing";
    case RestoreFailure::kCriu:
      return "criu failed";
    case RestoreFailure::kHost:
      return "the host could not";
  }
  return "?";
}

std::string to_string(const RecoveryDecision& decision) {
  switch (decision.action) {
    case Action::kStayStopped:
      return "it stays stopped";
    case Action::kRestore:
      return std::format("back to generation {}, in place", to_string(*decision.generation));
    case Action::kFailOver:
      return std::format("node '{}' goes on with generation {}", decision.node->str(), to_string(*decision.generation));
    case Action::kColdStart:
      return "a start without its state";
    case Action::kGiveUp:
      break;
  }
  return "given up, until an operator starts it";
}

bool finished_by_itself(const RecoveryQuestion& question) {
  return question.trouble == Trouble::kDied && question.status == ExitStatus::exited(0);
}

RecoveryDecision decide_recovery(const RecoveryQuestion& question) {
  RecoveryDecision decision;
  std::vector<GenerationInfo> generations(question.generations.begin(), question.generations.end());
  const std::string& why = decision.trouble = describe(question);
  if (question.desired != DesiredState::kRunning) {
    return conclude(decision, Action::kStayStopped, why + ": it is not wanted to run");
  }
  if (finished_by_itself(question) && question.restart == RestartPolicy::kOnFailure) {
    return conclude(decision, Action::kStayStopped,
                    why + ": it has finished by itself; restart: always would start it afresh");
  }
  // Finishing is no failure, so it neither blames a generation nor counts against the limit.
  if (!finished_by_itself(question)) {
    lay_blame(question, generations, decision);
    const bool exhausted = question.trouble != Trouble::kOperatorStart && !exhaustion(question).empty();
    if (exhausted && may_fail_over(question, generations)) return fail_over(question, generations, decision);
    if (exhausted && limit_is_reached(question)) {
      const std::string stays = objection_to_failover(question);
      return give_up(
          decision, std::format("{}, {}{}{}", why, exhaustion(question), stays.empty() ? "" : "; ", stays),
          "find out why it keeps failing (its log, the events before), then start it");
    }
  }
  return choose(question, generations, decision);
}

}  // namespace perdure::policy
