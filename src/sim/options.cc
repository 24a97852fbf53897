#include "sim/options.h"

#include <format>
#include <string>

namespace perdure::sim {

std::string_view to_string(Sabotage sabotage) {
  switch (sabotage) {
    case Sabotage::kNone:
      return "none";
    case Sabotage::kWait:
      return "wait";
    case Sabotage::kAbsoluteDeadline:
      return "absolute-deadline";
    case Sabotage::kTermCheck:
      return "term-check";
    case Sabotage::kSwap:
      return "swap";
    case Sabotage::kLearner:
      return "learner";
    case Sabotage::kResume:
      return "resume";
    case Sabotage::kIncarnation:
      return "incarnation";
    case Sabotage::kFormerCharge:
      return "former-charge";
  }
  return "?";
}

Result<Sabotage> parse_sabotage(std::string_view word) {
  std::string all(to_string(Sabotage::kNone));
  if (word == all) return Sabotage::kNone;
  for (const Sabotage sabotage : kSabotages) {
    if (word == to_string(sabotage)) return sabotage;
    all += std::format(", {}", to_string(sabotage));
  }
  return fail(ErrorCode::kInvalid, std::format("sabotage '{}': there are {}", word, all));
}

}  // namespace perdure::sim
