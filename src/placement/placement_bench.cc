// How long placing takes and how good it is: for bench/placement, which says what is measured. Prints a line for each measurement,
// and a JSON object at the end. Exit status 1: a rule was broken, or what had been placed was not found again.
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <format>
#include <optional>
#include <random>
#include <span>
#include <string>
#include <vector>

#include "placement/drain.h"
#include "placement/place.h"
#include "placement/replan.h"
#include "placement/testing/exact.h"

namespace perdure::placement {
namespace {

using Milliseconds = std::chrono::duration<double, std::milli>;

constexpr std::uint64_t kGiB = 1u << 30;
constexpr unsigned kSeeds = 3;
constexpr double kAcceptedGap = 0.01;  // to prove less takes CBC minutes already for ten containers
constexpr std::size_t kNodesOfARack = 20;
constexpr std::size_t kRacksOfADataCentre = 10;

struct Size {
  std::size_t nodes = 0;
  std::size_t containers = 0;
};
constexpr Size kSizes[] = {{5, 10}, {6, 12}, {8, 16}, {10, 20}, {20, 50}, {50, 100}, {100, 200}, {200, 500}, {500, 1000}, {1000, 2000}};

template <typename Action>
auto timed(Milliseconds& took, Action&& action) {
  const auto begin = std::chrono::steady_clock::now();
  auto result = action();
  took = std::chrono::steady_clock::now() - begin;
  return result;
}

double median(std::vector<double> values) {
  std::ranges::sort(values);
  return values[values.size() / 2];
}

// Small clusters have small racks, so that there are always several.
std::size_t rack_of(std::size_t node, std::size_t nodes) { return node / std::clamp<std::size_t>(nodes / 4, 1, kNodesOfARack); }

// Of 32 GiB and 16 processors each node; about two thirds are asked for. Of ten containers three are replicas of each other; each of
// the others depends on the one before it, which has to be in its host, its rack or its data centre.
PlacementProblem make_problem(const Size& size, unsigned seed) {
  std::mt19937 random(seed);
  PlacementProblem problem{.apart = size.nodes < kNodesOfARack ? model::FailureDomain::kServer : model::FailureDomain::kRack};
  for (std::size_t i = 0; i < size.nodes; ++i) {
    const std::size_t rack = rack_of(i, size.nodes);
    problem.nodes.push_back({.name = NodeName::parse(std::format("n{}", i)).value(),
                             .domains = {std::format("d{}", rack / kRacksOfADataCentre), std::format("r{}", rack), std::format("s{}", i)},
                             .capacity = {Bytes{32 * kGiB}, {16'000}, Bytes{1024 * kGiB}}});
  }
  for (std::size_t i = 0; i < size.containers; ++i) {
    PlaceContainer container{.name = ContainerName::parse(std::format("c{}", i)).value(),
                             .demand = {Bytes{(1 + random() % 8) * kGiB}, {static_cast<std::uint32_t>(250 * (1 + random() % 8))}, Bytes{kGiB}},
                             .standbys = static_cast<std::uint32_t>(1 + random() % 2)};
    if (i % 10 < 3) container.replica_group = i / 10;
    if (i % 10 >= 3) {
      const Closeness within = random() % 8 == 0 ? Closeness::kHost : random() % 2 == 0 ? Closeness::kRack : Closeness::kDataCentre;
      problem.dependencies.push_back({i, {i - 1}, within, {}});
    }
    problem.containers.push_back(std::move(container));
  }
  return problem;
}

void take(PlacementProblem& problem, const Places& places) {
  for (std::size_t i = 0; i < places.size(); ++i) {
    problem.containers[i].owner = places[i].owner;
    problem.containers[i].present = places[i].standbys;
  }
}

std::string text(const Score& score) {
  return std::format("{} left out, {} standbys missing, {} broken by a failure, {} moves, fullest node {:.1f} %", score.unplaced, score.missing_standbys,
                     score.broken_by_failures, score.moves, 100 * score.imbalance);
}

class Bench {
 public:
  int run() {
    for (const Size& size : kSizes) measure_size(size);
    decide_takeovers();
    std::printf("{\"n1000_c2000_s\": %.3f, \"replan_rack_ms\": %.1f, \"gap_vs_exact_max\": %s, \"takeover_decision_ms\": %.2f, \"compared_with_exact\": %zu}\n",
                largest_ms_ / 1000, replan_ms_, compared_ == 0 ? "null" : std::format("{:.4f}", worst_gap_).c_str(), decision_ms_, compared_);
    return wrong_ ? 1 : 0;
  }

 private:
  void measure_size(const Size& size) {
    std::vector<double> times;
    std::size_t finished = 0;
    for (unsigned seed = 0; seed < kSeeds; ++seed) {
      PlacementProblem problem = make_problem(size, seed);
      Milliseconds took{};
      const Placement placement = timed(took, [&] { return place(problem); });
      times.push_back(took.count());
      std::string line = std::format("{:>4} nodes {:>4} containers: {:8.1f} ms, {}", size.nodes, size.containers, took.count(), text(placement.score));
      if (compares_ && compare(problem, placement, line)) ++finished;
      std::puts(line.c_str());
      std::fflush(stdout);
      if (!violations_of(problem, placement.places).empty()) complain("a rule is broken");
      take(problem, placement.places);
      if (place(problem).places != placement.places) complain("what was placed is not found again");
      lose_racks(size, problem);
    }
    if (finished == 0) compares_ = false;
    largest_ms_ = median(times);
  }

  // Whether the exact solver has come to an end.
  bool compare(const PlacementProblem& problem, const Placement& placement, std::string& line) {
    if (!testing::has_exact_solver()) {
      line += "; no cbc to compare with";
      return false;
    }
    Milliseconds took{};
    const auto exact = timed(took, [&] { return testing::solve_exactly({.problem = problem, .found = placement.places, .accepted_gap = kAcceptedGap}); });
    if (!exact || !exact->flaw.empty()) {
      complain(exact ? exact->flaw : std::string(exact.error().message()));
      return false;
    }
    if (!exact->finished) {
      line += "; exact: not within 60 s";
      return false;
    }
    ++compared_;
    const bool beaten = exact->gap > 0;
    worst_gap_ = std::max(worst_gap_, beaten ? exact->gap : kAcceptedGap);
    line += std::format("; exact: {:.1f} s, ", took.count() / 1000);
    line += beaten ? std::format("better by {:.2f} %", 100 * exact->gap) : std::format("nothing better by more than {:.0f} %", 100 * kAcceptedGap);
    return true;
  }

  // One rack after the other, at most ten; the time of the largest size stays.
  void lose_racks(const Size& size, const PlacementProblem& problem) {
    std::vector<double> times;
    Score last;
    const std::size_t racks = rack_of(size.nodes - 1, size.nodes) + 1;
    for (std::size_t rack = 0; rack < std::min<std::size_t>(racks, 10); ++rack) {
      std::vector<bool> lost(size.nodes);
      for (std::size_t node = 0; node < size.nodes; ++node) lost[node] = rack_of(node, size.nodes) == rack;
      Milliseconds took{};
      std::optional<Remainder> left;
      const Placement placement = timed(took, [&] {
        left = remainder_of(problem, lost);
        return replan(left->problem);
      });
      times.push_back(took.count());
      last = placement.score;
      check_untouched(left->problem, placement);
    }
    replan_ms_ = median(times);
    std::printf("     a rack lost: %.1f ms, at most %.1f ms; the last: %s\n", replan_ms_, std::ranges::max(times), text(last).c_str());
  }

  void check_untouched(const PlacementProblem& problem, const Placement& placement) {
    if (!violations_of(problem, placement.places).empty()) complain("a rule is broken after a loss");
    // Who has to be close to one that goes elsewhere may have to follow it.
    std::vector<bool> may_move;
    for (const PlaceContainer& it : problem.containers) may_move.push_back(!it.owner || it.owner_is_gone);
    for (bool again = true; again;) {
      again = false;
      for (const ContainerDependency& it : problem.dependencies) {
        if (may_move[it.dependent] || std::ranges::none_of(it.sponsors, [&](std::size_t sponsor) { return may_move[sponsor]; })) continue;
        again = may_move[it.dependent] = true;
      }
    }
    for (std::size_t i = 0; i < placement.places.size(); ++i) {
      if (!may_move[i] && placement.places[i].owner != problem.containers[i].owner) complain("who runs has moved");
    }
  }

  // Who takes one container over, of 1,000 nodes.
  void decide_takeovers() {
    std::mt19937 random(1);
    MoveQuestion question{.container = {.nodes = {}, .owner = NodeName::parse("n0").value()}, .ready = {}};
    for (std::size_t i = 0; i < 1000; ++i) {
      NodeView view{.description = {.life = {.node = NodeName::parse(std::format("n{}", i)).value(), .incarnation = {}}}};
      view.description.labels = {{std::string(model::kDomainLabels[0]), std::format("d{}", i / 200)},
                                 {std::string(model::kDomainLabels[1]), std::format("r{}", i / 20)},
                                 {std::string(model::kDomainLabels[2]), std::format("s{}", i / 2)}};
      view.reachable = i >= 20;  // its rack is gone
      view.held_bytes = random() % 5 * kGiB;
      view.owned = static_cast<std::uint32_t>(random() % 5);
      question.container.nodes.push_back(std::move(view));
    }
    question.container.present = {NodeName::parse("n500").value(), NodeName::parse("n900").value()};
    question.ready = {NodeName::parse("n500").value()};
    std::vector<double> times;
    for (int i = 0; i < 100; ++i) {
      Milliseconds took{};
      const auto chosen = timed(took, [&] { return choose_move_target(question); });
      if (!chosen || chosen->str() != "n500") complain("not the standby that is ready takes over");
      times.push_back(took.count());
    }
    decision_ms_ = median(times);
    std::printf("1000 nodes, who takes over one container: %.2f ms, at most %.2f ms\n", decision_ms_, std::ranges::max(times));
  }

  void complain(const std::string& what) {
    std::printf("WRONG: %s\n", what.c_str());
    wrong_ = true;
  }

  bool compares_ = true;
  bool wrong_ = false;
  std::size_t compared_ = 0;
  double worst_gap_ = 0;
  double largest_ms_ = 0;
  double replan_ms_ = 0;
  double decision_ms_ = 0;
};

}  // namespace
}  // namespace perdure::placement

int main() { return perdure::placement::Bench().run(); }
