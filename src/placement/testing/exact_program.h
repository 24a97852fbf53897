// A problem of placing as a mixed integer program in CPLEX's LP format. Private to exact.cc.
#pragma once

#include <cstddef>
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "placement/testing/exact.h"
#include "placement/topology.h"

namespace perdure::placement::testing {

using Terms = std::vector<std::pair<double, std::string>>;
struct Objective {
  Terms terms{};
  double constant = 0;
};

class ExactProgram {
 public:
  explicit ExactProgram(const PlacementProblem& problem);

  Objective objective(std::size_t level) const;
  // That minimises the level, which is at most `most`, with those before it no worse than `reached`.
  std::string text(std::size_t level, double most, const Levels& reached) const;
  // The fullest node's share with these places; not allowed, if they are not.
  std::string text_with(const Places& places) const;
  bool has_choices() const { return !binaries_.empty(); }  // else no container may be anywhere
  // `value`: of a variable, by its name; 0 where there is none of that name.
  Places places_of(const std::function<double(const std::string&)>& value) const;

 private:
  std::string text_of_all(std::size_t level, const std::string& more_rows) const;
  void add_places();
  void add_apart();
  void add_closeness();
  void add_takeovers();
  void add_capacities();
  void add_capacity(Terms terms, double most);
  void add_failures();
  void add_failure(std::size_t failed, std::size_t dependency);

  void add_row(const Terms& terms, std::string_view relation, double right);
  const std::string& binary(std::string name);
  Terms held(std::size_t container, std::size_t node) const;
  Terms after_failure(std::size_t container, std::size_t node, std::size_t failed) const;
  bool may_be(std::size_t container, std::size_t node) const;
  std::size_t nodes() const { return problem_.nodes.size(); }
  std::size_t containers() const { return problem_.containers.size(); }
  double scaled(std::uint64_t bytes) const { return static_cast<double>(bytes / unit_); }

  const PlacementProblem& problem_;
  const Topology topology_;
  const std::vector<std::size_t> urgencies_;
  std::vector<std::size_t> failing_;  // domains
  std::uint64_t unit_ = 0;            // the largest that divides all amounts of memory and disk
  std::string rows_{};
  std::size_t row_count_ = 0;
  std::vector<std::string> binaries_{};
  Terms broken_{};
};

}  // namespace perdure::placement::testing
