// Which nodes fail together and which are close, as share_domain and are_close of problem.h say, in numbers: who asks for
// millions of pairs would spend most of its time on comparing names. Pure; holds nothing of the problem.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "placement/problem.h"

namespace perdure::placement {

class Topology {
 public:
  explicit Topology(const PlacementProblem& problem);

  bool fail_together(std::size_t one, std::size_t other) const { return share(one, other, apart_); }
  bool are_close(std::size_t one, std::size_t other, Closeness closeness) const;

  // failing_domains_of(), and of these all whose failure takes the node: one, unless labels are missing.
  const std::vector<std::size_t>& domains() const { return domains_; }
  const std::vector<std::size_t>& failures_of(std::size_t node) const { return failures_[node]; }

 private:
  static constexpr std::size_t kLabels = model::kDomainLabels.size();

  bool share(std::size_t one, std::size_t other, std::size_t label) const;

  void find_domains(const PlacementProblem& problem);

  std::size_t apart_;
  // By node: its labels, the widest first, then its name; equal numbers for equal texts, 0 for a label that is missing.
  std::vector<std::array<std::uint32_t, kLabels + 1>> numbers_;
  std::vector<std::size_t> domains_{};
  std::vector<std::vector<std::size_t>> failures_;
};

}  // namespace perdure::placement
