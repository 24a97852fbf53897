// Proves what follows a failure by one table, testdata/recovery.txt, whoever decides it: the agent inside of the container
// (decide_component), its node (decide_recovery), a standby (Taking). One line of input, the decision in full.
#include "policy/recovery.h"

#include <format>

#include "gtest/gtest.h"
#include "policy/component_recovery.h"
#include "policy/golden_file.h"
#include "policy/taking.h"

namespace perdure::policy {
namespace {

using Trouble = RecoveryQuestion::Trouble;

ExitStatus parse_status(const std::string& text) {
  const auto parts = split(text, ':');
  if (parts.at(0) == "signal") return ExitStatus::signalled(std::stoi(parts.at(1)));
  if (parts.at(0) == "exit") return ExitStatus::exited(std::stoi(parts.at(1)));
  if (parts.at(0) == "component") return ExitStatus::failed_component(parts.at(1), "was killed by signal 9 (KILL)");
  EXPECT_EQ(text, "found-dead");
  return {};
}

RestoreFailure parse_failure(const std::string& text) {
  if (text == "corrupt") return RestoreFailure::kCorrupt;
  if (text == "missing") return RestoreFailure::kMissingFiles;
  if (text == "host") return RestoreFailure::kHost;
  EXPECT_EQ(text, "criu");
  return RestoreFailure::kCriu;
}

// The trouble is the first word: died=…, restore-failed=N:WHY, start-failed, operator-start.
void parse_word(const std::string& key, const std::string& value, RecoveryQuestion& question) {
  if (key == "died") {
    question.status = parse_status(value);
  } else if (key == "restore-failed") {
    const auto parts = split(value, ':');
    question.trouble = Trouble::kRestoreFailed;
    question.failed_generation = generation(std::stoull(parts.at(0)));
    question.failure = parse_failure(parts.at(1));
  } else if (key == "start-failed") {
    question.trouble = Trouble::kStartFailed;
  } else if (key == "operator-start") {
    question.trouble = Trouble::kOperatorStart;
  } else if (key == "desired") {
    question.desired = value == "stopped" ? DesiredState::kStopped : DesiredState::kRemoved;
  } else if (key == "cold") {
    question.cold_start = value == "never" ? ColdStart::kNever : ColdStart::kAllowed;
  } else if (key == "restart") {
    question.restart = value == "always" ? RestartPolicy::kAlways : RestartPolicy::kOnFailure;
  } else if (key == "blame") {
    question.blame = value == "not-sigkill" ? Blame::kNotSigkill : Blame::kAnyDeath;
  } else if (key == "stateless") {
    question.statefulness = Statefulness::kStateless;
  } else if (key == "restores") {
    const auto parts = split(value, '/');
    question.restores_in_window = static_cast<std::uint32_t>(std::stoul(parts.at(0)));
    question.max_restores = static_cast<std::uint32_t>(std::stoul(parts.at(1)));
  } else if (key == "in-place") {
    const auto parts = split(value, '/');
    question.failed_in_place = static_cast<std::uint32_t>(std::stoul(parts.at(0)));
    question.max_in_place = static_cast<std::uint32_t>(std::stoul(parts.at(1)));
  } else if (key == "other") {
    question.other_node = NodeName::parse(value).value();
  } else if (key == "no-other") {
    question.no_other_node = "no standby is ready";
  } else if (key == "failovers") {
    const auto parts = split(value, '/');
    question.failovers_in_window = static_cast<std::uint32_t>(std::stoul(parts.at(0)));
    question.max_failovers = static_cast<std::uint32_t>(std::stoul(parts.at(1)));
  } else if (key == "refused-by") {
    question.trouble = Trouble::kFailoverFailed;
    question.refused_by = NodeName::parse(value).value();
    question.refusal = "it cannot be reached";
  } else if (key == "probation") {  // restored:first number since[:move]
    const auto parts = split(value, ':');
    question.probation = Probation{generation(std::stoull(parts.at(0))), std::stoull(parts.at(1))};
    if (parts.size() > 2) question.probation->after = Probation::After::kMove;
  } else {
    ADD_FAILURE() << "what is '" << key << "'?";
  }
}

std::string describe(const RecoveryDecision& decision) {
  std::string text;
  for (const auto& marked : decision.marks) {
    text += std::format("mark {} {}\n", marked.id.number, to_string(marked.mark));
  }
  switch (decision.action) {
    case RecoveryDecision::Action::kStayStopped:
      text += "stay stopped";
      break;
    case RecoveryDecision::Action::kRestore:
      text += std::format("restore {}", decision.generation->number);
      break;
    case RecoveryDecision::Action::kFailOver:
      text += std::format("fail over to {} with {}", decision.node->str(), decision.generation->number);
      break;
    case RecoveryDecision::Action::kColdStart:
      text += "cold start";
      break;
    case RecoveryDecision::Action::kGiveUp:
      text += "give up";
      break;
  }
  text += "\n  " + decision.reason + "\n";
  if (!decision.remedy.empty()) text += "  remedy: " + decision.remedy + "\n";
  return text;
}

// component-failed=stateless restarts=5/5
std::string decide_inside(const std::vector<std::string>& words) {
  ComponentQuestion question;
  for (const std::string& word : words) {
    if (word == "component-failed=stateless") question.stateful = false;
    if (!word.starts_with("restarts=")) continue;
    const auto parts = split(word.substr(9), '/');
    question.restarts_in_window = static_cast<std::uint32_t>(std::stoul(parts.at(0)));
    question.restart_limit = static_cast<std::uint32_t>(std::stoul(parts.at(1)));
  }
  return decide_component(question) == ComponentAction::kRestart ? "start it again, beside the others\n"
                                                                 : "its failure is the container's\n";
}

// node-died holds=1,2 [cannot-restore=2]: what a standby does, which holds these.
std::string decide_elsewhere(const std::vector<std::string>& words) {
  std::vector<Generation> holds;
  std::optional<Generation> damaged;
  model::OwnershipRecord record{.container = ContainerName::parse("web").value(),
                                .owner = {NodeName::parse("a").value(), Incarnation{1}},
                                .standbys = {{NodeName::parse("b").value(), Incarnation{2}}},
                                .term = Term{1},
                                .spec_digest = {},
                                .image_digest = {},
                                .desired = model::DesiredState::kRunning,
                                .phase = model::RecordPhase::kRunning,
                                .writer = {NodeName::parse("a").value(), Incarnation{1}}};
  for (const std::string& word : words) {
    if (word == "desired=stopped") record.desired = model::DesiredState::kStopped;
    if (word.starts_with("cannot-restore=")) damaged = generation(std::stoull(word.substr(15)));
    if (!word.starts_with("holds=") || word == "holds=") continue;
    for (const std::string& number : split(word.substr(6), ',')) holds.push_back(generation(std::stoull(number)));
  }
  Taking taking(record.container, record.standbys.front(), record.term, {}, [] { return model::Nonce{}; });
  std::string text;
  std::vector<taking::Event> events{taking::OwnerSilent{record, 1, holds}};
  while (!events.empty()) {
    const taking::Event event = events.back();
    events.pop_back();
    for (const taking::Effect& effect : taking.handle(event, Instant{})) {
      if (const auto* swap = std::get_if<ownership::Swap>(&effect)) {
        text += std::format("the record names {}, under term {}\n", swap->record.owner.node.str(), swap->record.term.value);
        events.emplace_back(ownership::SwapApplied{swap->request, 2});
      } else if (const auto* restore = std::get_if<taking::RestoreCopy>(&effect)) {
        text += std::format("restore {} there\n", restore->generation.number);
        if (restore->generation == damaged) {
          events.emplace_back(taking::RestoreFailed{"it is damaged"});
        } else {
          events.emplace_back(taking::Restored{});
        }
      } else if (std::holds_alternative<taking::ClaimedEmpty>(effect)) {
        text += "then as after a death there: what other nodes hold and what is durable, or a cold start\n";
      }
    }
  }
  return text.empty() ? "nothing\n" : text;
}

TEST(RecoveryTest, DecidesAsItsTableSays) {
  run_golden_file(
      PERDURE_POLICY_TESTDATA "/recovery.txt", [](const std::vector<std::string>& input) {
        const auto words = split(input.front(), ' ');
        if (words.front().starts_with("component-failed")) return decide_inside(words);
        if (words.front() == "node-died") return decide_elsewhere(words);
        RecoveryQuestion question;
        question.restore_window = std::chrono::minutes(1);
        question.failover_window = std::chrono::minutes(10);
        std::vector<GenerationInfo> generations;
        for (const std::string& word : words) {
          const auto equals = word.find('=');
          const std::string key = word.substr(0, equals);
          const std::string value = equals == std::string::npos ? "" : word.substr(equals + 1);
          if (key == "generations") {
            generations = parse_generations(value);
          } else {
            parse_word(key, value, question);
          }
        }
        question.generations = generations;
        return describe(decide_recovery(question));
      });
}

}  // namespace
}  // namespace perdure::policy
