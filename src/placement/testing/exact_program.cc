#include "placement/testing/exact_program.h"

#include <algorithm>
#include <format>
#include <map>
#include <numeric>

namespace perdure::placement::testing {
namespace {

std::string owns(std::size_t container, std::size_t node) { return std::format("x_{}_{}", container, node); }
std::string first(std::size_t container, std::size_t node) { return std::format("s_{}_{}", container, node); }
std::string further(std::size_t container, std::size_t node) { return std::format("t_{}_{}", container, node); }
// The container's owner fails with the domain, and its first standby is the node.
std::string takes_over(std::size_t container, std::size_t node, std::size_t failed) {
  return std::format("f_{}_{}_{}", container, node, failed);
}
std::string broken(std::size_t dependency, std::size_t failed) { return std::format("b_{}_{}", dependency, failed); }

void append(Terms& to, const Terms& terms, double factor = 1) {
  for (const auto& [amount, name] : terms) to.emplace_back(factor * amount, name);
}

// Each variable once: that is what the format asks for.
std::string text_of(const Terms& terms) {
  std::map<std::string_view, double> factors;
  for (const auto& [factor, name] : terms) factors[name] += factor;
  std::string text;
  for (const auto& [name, factor] : factors) text += std::format("\n  {:+.17g} {}", factor, name);
  return text;
}

}  // namespace

ExactProgram::ExactProgram(const PlacementProblem& problem)
    : problem_(problem), topology_(problem), urgencies_(urgencies_of(problem)), failing_(topology_.domains()) {
  std::ranges::sort(failing_);
  const auto repeated = std::ranges::unique(failing_);
  failing_.erase(repeated.begin(), repeated.end());
  const auto divide = [&](const Demand& demand) {
    unit_ = std::gcd(unit_, demand.memory.count);
    unit_ = std::gcd(unit_, demand.disk.count);
  };
  for (const PlaceNode& node : problem.nodes) divide(node.capacity);
  for (const PlaceContainer& container : problem.containers) divide(container.demand);
  unit_ = std::max<std::uint64_t>(1, unit_);
  add_places();
  add_apart();
  add_closeness();
  add_takeovers();
  add_capacities();
  add_failures();
}

const std::string& ExactProgram::binary(std::string name) { return binaries_.emplace_back(std::move(name)); }

void ExactProgram::add_row(const Terms& terms, std::string_view relation, double right) {
  if (terms.empty()) return;
  rows_ += std::format(" r{}:{} {} {:.17g}\n", row_count_++, text_of(terms), relation, right);
}

bool ExactProgram::may_be(std::size_t container, std::size_t node) const {
  const PlaceContainer& it = problem_.containers[container];
  return problem_.nodes[node].takes_new || it.owner == node || std::ranges::contains(it.present, node);
}

Terms ExactProgram::held(std::size_t container, std::size_t node) const {
  if (!may_be(container, node)) return {};
  Terms terms{{1, owns(container, node)}};
  if (problem_.containers[container].standbys > 0) terms.emplace_back(1, first(container, node));
  if (problem_.containers[container].standbys > 1) terms.emplace_back(1, further(container, node));
  return terms;
}

// At most one owner; a first standby only with an owner, and further ones only with a first.
void ExactProgram::add_places() {
  for (std::size_t c = 0; c < containers(); ++c) {
    Terms owners;
    Terms standbys;
    Terms more;
    for (std::size_t n = 0; n < nodes(); ++n) {
      if (!may_be(c, n)) continue;
      owners.emplace_back(1, binary(owns(c, n)));
      if (problem_.containers[c].standbys > 0) standbys.emplace_back(1, binary(first(c, n)));
      if (problem_.containers[c].standbys > 1) more.emplace_back(1, binary(further(c, n)));
    }
    add_row(owners, "<=", 1);
    if (standbys.empty()) continue;
    Terms first_needs_owner = standbys;
    append(first_needs_owner, owners, -1);
    add_row(first_needs_owner, "<=", 0);
    if (more.empty()) continue;
    append(more, standbys, -static_cast<double>(problem_.containers[c].standbys - 1));
    add_row(more, "<=", 0);
  }
}

// In each domain: one place of a container, and one owner of a replica group.
void ExactProgram::add_apart() {
  std::vector<std::size_t> groups;
  for (const PlaceContainer& it : problem_.containers) {
    if (it.replica_group && !std::ranges::contains(groups, *it.replica_group)) groups.push_back(*it.replica_group);
  }
  for (const std::size_t domain : failing_) {
    for (std::size_t c = 0; c < containers(); ++c) {
      Terms here;
      for (std::size_t n = 0; n < nodes(); ++n) {
        if (topology_.domains()[n] == domain) append(here, held(c, n));
      }
      add_row(here, "<=", 1);
    }
    for (const std::size_t group : groups) {
      Terms here;
      for (std::size_t c = 0; c < containers(); ++c) {
        if (problem_.containers[c].replica_group != group) continue;
        for (std::size_t n = 0; n < nodes(); ++n) {
          if (topology_.domains()[n] == domain && may_be(c, n)) here.emplace_back(1, owns(c, n));
        }
      }
      add_row(here, "<=", 1);
    }
  }
}

// Of a dependent at a node, and any sponsor that is somewhere: one of the sponsors is close.
void ExactProgram::add_closeness() {
  for (const ContainerDependency& it : problem_.dependencies) {
    if (it.within == Closeness::kAnywhere) continue;
    for (std::size_t n = 0; n < nodes(); ++n) {
      if (!may_be(it.dependent, n)) continue;
      Terms near;
      for (const std::size_t sponsor : it.sponsors) {
        for (std::size_t m = 0; m < nodes(); ++m) {
          if (may_be(sponsor, m) && topology_.are_close(n, m, it.within)) near.emplace_back(-1, owns(sponsor, m));
        }
      }
      for (const std::size_t sponsor : it.sponsors) {
        Terms terms{{1, owns(it.dependent, n)}};
        for (std::size_t m = 0; m < nodes(); ++m) {
          if (may_be(sponsor, m)) terms.emplace_back(1, owns(sponsor, m));
        }
        append(terms, near);
        add_row(terms, "<=", 1);
      }
    }
  }
}

// takes_over(): the product of both.
void ExactProgram::add_takeovers() {
  for (std::size_t c = 0; c < containers(); ++c) {
    if (problem_.containers[c].standbys == 0) continue;
    for (const std::size_t failed : failing_) {
      Terms owned;
      for (std::size_t n = 0; n < nodes(); ++n) {
        if (topology_.domains()[n] == failed && may_be(c, n)) owned.emplace_back(1, owns(c, n));
      }
      for (std::size_t n = 0; n < nodes(); ++n) {
        if (topology_.domains()[n] == failed || !may_be(c, n)) continue;
        const Terms both{{1, binary(takes_over(c, n, failed))}};
        Terms not_without_standby = both;
        not_without_standby.emplace_back(-1, first(c, n));
        add_row(not_without_standby, "<=", 0);
        Terms not_without_owner = both;
        append(not_without_owner, owned, -1);
        add_row(not_without_owner, "<=", 0);
        Terms with_both{{1, first(c, n)}};
        append(with_both, owned);
        append(with_both, both, -1);
        add_row(with_both, "<=", 1);
      }
    }
  }
}

// Also how full it makes the node.
void ExactProgram::add_capacity(Terms terms, double most) {
  if (terms.empty()) return;
  add_row(terms, "<=", most);
  terms.emplace_back(-most, "imbalance");
  add_row(terms, "<=", 0);
}

void ExactProgram::add_capacities() {
  for (std::size_t n = 0; n < nodes(); ++n) {
    Terms memory;
    Terms disk;
    Terms cpu;
    for (std::size_t c = 0; c < containers(); ++c) {
      const Demand& demand = problem_.containers[c].demand;
      if (demand.memory.count > 0) append(memory, held(c, n), scaled(demand.memory.count));
      if (demand.disk.count > 0) append(disk, held(c, n), scaled(demand.disk.count));
      if (demand.cpu.count > 0 && may_be(c, n)) cpu.emplace_back(demand.cpu.count, owns(c, n));
    }
    const Demand& capacity = problem_.nodes[n].capacity;
    add_capacity(memory, scaled(capacity.memory.count));
    add_row(disk, "<=", scaled(capacity.disk.count));
    add_capacity(cpu, capacity.cpu.count);
    for (const std::size_t failed : failing_) {
      if (topology_.domains()[n] == failed) continue;
      Terms with_failure = cpu;
      for (std::size_t c = 0; c < containers(); ++c) {
        const PlaceContainer& it = problem_.containers[c];
        if (it.demand.cpu.count > 0 && it.standbys > 0 && may_be(c, n)) with_failure.emplace_back(it.demand.cpu.count, takes_over(c, n, failed));
      }
      if (with_failure.size() > cpu.size()) add_capacity(with_failure, capacity.cpu.count);
    }
  }
}

Terms ExactProgram::after_failure(std::size_t container, std::size_t node, std::size_t failed) const {
  if (topology_.domains()[node] == failed || !may_be(container, node)) return {};
  Terms terms{{1, owns(container, node)}};
  if (problem_.containers[container].standbys > 0) terms.emplace_back(1, takes_over(container, node, failed));
  return terms;
}

void ExactProgram::add_failures() {
  for (std::size_t i = 0; i < problem_.dependencies.size(); ++i) {
    if (problem_.dependencies[i].within == Closeness::kAnywhere) continue;
    for (const std::size_t failed : failing_) {
      broken_.emplace_back(1, binary(broken(i, failed)));
      add_failure(failed, i);
    }
  }
}

// As add_closeness(), with everybody where he is after the failure; or else it is broken.
void ExactProgram::add_failure(std::size_t failed, std::size_t dependency) {
  const ContainerDependency& it = problem_.dependencies[dependency];
  for (std::size_t n = 0; n < nodes(); ++n) {
    const Terms here = after_failure(it.dependent, n, failed);
    if (here.empty()) continue;
    Terms near;
    for (const std::size_t sponsor : it.sponsors) {
      for (std::size_t m = 0; m < nodes(); ++m) {
        if (topology_.are_close(n, m, it.within)) append(near, after_failure(sponsor, m, failed), -1);
      }
    }
    for (const std::size_t sponsor : it.sponsors) {
      Terms terms = here;
      for (std::size_t m = 0; m < nodes(); ++m) append(terms, after_failure(sponsor, m, failed));
      append(terms, near);
      terms.emplace_back(-1, broken(dependency, failed));
      add_row(terms, "<=", 1);
    }
  }
}

Objective ExactProgram::objective(std::size_t level) const {
  Objective objective;
  if (level == 3) objective.terms = broken_;
  if (level == 5) objective.terms = {{1, "imbalance"}};
  for (std::size_t c = 0; c < containers(); ++c) {
    const PlaceContainer& it = problem_.containers[c];
    const double urgency = static_cast<double>(urgencies_[c]);
    if (level == 0) objective.constant += 1;
    if (level == 1) objective.constant += urgency;
    if (level == 2) objective.constant += it.standbys;
    for (std::size_t n = 0; n < nodes(); ++n) {
      if (!may_be(c, n)) continue;
      const bool is_new = it.owner != n && !std::ranges::contains(it.present, n);
      if (level == 0) objective.terms.emplace_back(-1, owns(c, n));
      if (level == 1 && urgency > 0) objective.terms.emplace_back(-urgency, owns(c, n));
      if (level == 2 && it.standbys > 0) objective.terms.emplace_back(-1, first(c, n));
      if (level == 2 && it.standbys > 1) objective.terms.emplace_back(-1, further(c, n));
      if (level != 4 || !it.owner) continue;
      if (it.owner != n) objective.terms.emplace_back(1, owns(c, n));
      if (is_new) append(objective.terms, held(c, n));
    }
  }
  return objective;
}

std::string ExactProgram::text_of_all(std::size_t level, const std::string& more_rows) const {
  // With the variable that is 0, none of the parts is ever empty.
  std::string text = std::format("Minimize\n objective: 0 nothing{}\nSubject To\n none: nothing <= 0\n{}{}Binaries\n",
                                 text_of(objective(level).terms), rows_, more_rows);
  for (const std::string& name : binaries_) text += " " + name + "\n";
  return text + "End\n";
}

std::string ExactProgram::text(std::size_t level, double most, const Levels& reached) const {
  std::string rows;
  for (std::size_t at = 0; at <= level; ++at) {
    const auto [terms, constant] = objective(at);
    if (!terms.empty()) rows += std::format(" l{}:{} <= {:.17g}\n", at, text_of(terms), (at == level ? most : reached.at(at)) - constant);
  }
  return text_of_all(level, rows);
}

std::string ExactProgram::text_with(const Places& places) const {
  std::string rows;
  const auto fix = [&](const std::string& name, bool is) { rows += std::format(" {}_is: {} = {}\n", name, name, is ? 1 : 0); };
  for (std::size_t c = 0; c < containers(); ++c) {
    const std::vector<std::size_t>& standbys = places[c].standbys;
    for (std::size_t n = 0; n < nodes(); ++n) {
      const auto at = std::ranges::find(standbys, n);
      if (may_be(c, n)) fix(owns(c, n), places[c].owner == n);
      if (may_be(c, n) && problem_.containers[c].standbys > 0) fix(first(c, n), at == standbys.begin() && at != standbys.end());
      if (may_be(c, n) && problem_.containers[c].standbys > 1) fix(further(c, n), at > standbys.begin() && at != standbys.end());
    }
  }
  return text_of_all(kLevels - 1, rows);
}

Places ExactProgram::places_of(const std::function<double(const std::string&)>& value) const {
  Places places(containers());
  for (std::size_t c = 0; c < containers(); ++c) {
    std::vector<std::size_t> more;
    for (std::size_t n = 0; n < nodes(); ++n) {
      if (value(owns(c, n)) > 0.5) places[c].owner = n;
      if (value(first(c, n)) > 0.5) places[c].standbys.push_back(n);
      if (value(further(c, n)) > 0.5) more.push_back(n);
    }
    places[c].standbys.insert(places[c].standbys.end(), more.begin(), more.end());
  }
  return places;
}

}  // namespace perdure::placement::testing
