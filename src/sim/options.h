// What one run of the simulation is made of: everything else follows from the seed.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>

#include "base/result.h"
#include "sim/trace.h"

namespace perdure::sim {

// A guard of the protocol that is switched off, where the simulation touches the machines: it has to
// find out what the guard is for.
enum class Sabotage {
  kNone,
  kWait,              // a standby believes its grants to end when it has given them
  kAbsoluteDeadline,  // the gate gets "now + grant" whenever a grant comes in
  kTermCheck,         // whatever carries a lower term is taken all the same
  kSwap,              // the store writes without comparing
  kLearner,           // a swap that adds a standby goes out before its grants are needed
  kResume,            // a standby goes on granting while its swap is under way
  kIncarnation,       // what an earlier life has said or held counts for the present one
  kFormerCharge,      // who has taken a container over goes on answering its former owner until its view shows the swap
};
inline constexpr std::array kSabotages{Sabotage::kWait,      Sabotage::kAbsoluteDeadline,
                                       Sabotage::kTermCheck, Sabotage::kSwap,
                                       Sabotage::kLearner,   Sabotage::kResume,
                                       Sabotage::kIncarnation, Sabotage::kFormerCharge};
std::string_view to_string(Sabotage sabotage);
Result<Sabotage> parse_sabotage(std::string_view word);  // kInvalid: names those there are

// Whether operators ask for planned moves amid the trouble.
enum class Moves { kNone, kSome };

struct SimulationOptions {
  std::uint64_t seed = 1;
  Sabotage sabotage = Sabotage::kNone;
  Tracing tracing = Tracing::kOff;
  std::optional<Moves> moves = {};  // absent: in every other seed
  // Instead of what the seed draws.
  std::optional<std::size_t> nodes = {};
  std::optional<std::size_t> containers = {};
};

}  // namespace perdure::sim
