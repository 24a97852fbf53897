// Proves that the numbers of a topology say what the names say, on random nodes with labels that are missing, equal or equal
// only below other wider ones.
#include "placement/topology.h"

#include <gtest/gtest.h>

#include <random>

namespace perdure::placement {
namespace {

TEST(Topology, SaysWhatTheNamesSay) {
  std::mt19937 random(1);
  const auto draw = [&](std::size_t most) { return std::uniform_int_distribution<std::size_t>(0, most)(random); };
  for (int round = 0; round < 200; ++round) {
    PlacementProblem problem{.apart = static_cast<model::FailureDomain>(round % 4)};
    for (std::size_t i = 0; i < 12; ++i) {
      PlaceNode node{.name = NodeName::parse("n" + std::to_string(i)).value()};
      for (std::string& label : node.domains) label = draw(2) == 0 ? "" : "x" + std::to_string(draw(2));
      problem.nodes.push_back(std::move(node));
    }
    const Topology topology(problem);
    for (std::size_t a = 0; a < problem.nodes.size(); ++a) {
      for (std::size_t b = 0; b < problem.nodes.size(); ++b) {
        EXPECT_EQ(topology.fail_together(a, b), share_domain(problem.nodes[a], problem.nodes[b], problem.apart));
        for (const Closeness closeness :
             {Closeness::kContainer, Closeness::kHost, Closeness::kRack, Closeness::kDataCentre, Closeness::kAnywhere}) {
          EXPECT_EQ(topology.are_close(a, b, closeness), are_close(problem.nodes[a], problem.nodes[b], closeness));
        }
      }
    }
  }
}

}  // namespace
}  // namespace perdure::placement
