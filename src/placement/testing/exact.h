// The best solution of a small problem, found by CBC, an exact solver (Debian package coinor-cbc): what place() is measured
// against. For tests and benches.
//
// The problem is written as a mixed integer program, whose variables say who owns what, which standby is the first, and which
// are further ones. The objectives of Score are solved one after the other: each is minimised with all before it held at what
// place() has reached, which is asked for to be beaten; where it cannot be, that is the best. What is read back is checked by
// problem.h, so that a program that allows too much is noticed; and the program has to allow what place() has found.
//
// Nodes have to fail together in groups: where labels are missing, so that a fails with b and b with c, but not a with c, there
// is no answer.
#pragma once

#include <array>
#include <chrono>
#include <cstddef>
#include <string>

#include "base/result.h"
#include "placement/problem.h"

namespace perdure::placement::testing {

inline constexpr std::size_t kLevels = 6;
using Levels = std::array<double, kLevels>;  // the members of Score, in their order
inline constexpr std::array kLevelNames{"unplaced", "urgency", "missing standbys", "broken by failures", "moves", "imbalance"};
Levels levels_of(const Score& score);

bool has_exact_solver();  // the program `cbc`

struct ExactQuestion {
  const PlacementProblem& problem;
  const Places& found;                // by place()
  double accepted_gap = 0;            // one that is not better by more than that is not looked for: 0.05 is 5 %
  std::chrono::seconds time_for_all{60};
};
struct Exact {
  // Up to the first level at which there is a better one; there and behind it as found, if there is none.
  Levels best{};
  double gap = 0;          // by how much of the best the one found is worse there; of a best of 0, the count itself
  bool finished = false;   // false: not within the time
  std::string flaw{};      // of the program: what it allows and must not, or the other way round. Empty: none was seen
};
Result<Exact> solve_exactly(const ExactQuestion& question);

}  // namespace perdure::placement::testing
