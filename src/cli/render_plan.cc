#include "cli/render_plan.h"

#include <algorithm>
#include <cmath>
#include <format>

#include "deploy/what_if.h"
#include "model/text.h"

namespace perdure::cli {
namespace {

using deploy::Change;
using deploy::Consequence;

std::string node_name(const deploy::Plan& plan, std::size_t node) { return plan.problem.nodes[node].name.str(); }

std::string render_places(const model::Application& application, const deploy::Plan& plan, const Style& style) {
  const std::vector<Column> columns = {{"CONTAINER"}, {"STATE"}, {"RUNS ON"}, {"STANDBYS"}, {"ADDRESS", Align::kLeft, 2}, {"COMPONENTS", Align::kLeft, 1}};
  std::vector<std::vector<Cell>> rows;
  for (std::size_t i = 0; i < plan.grouping.containers.size(); ++i) {
    const placement::PlannedContainer& container = plan.grouping.containers[i];
    const placement::ContainerPlace& place = plan.placement.places[i];
    std::vector<std::string> standbys;
    for (const std::size_t node : place.standbys) standbys.push_back(node_name(plan, node));
    std::vector<std::string> components;
    for (const std::size_t component : container.components) components.push_back(application.components[component].name());
    rows.push_back({{container.name.str()},
                    {container.state == model::StateKind::kStateful ? "stateful" : "stateless"},
                    {place.owner ? node_name(plan, *place.owner) : ""},
                    {model::join(standbys)},
                    {plan.addresses[i] ? model::to_string(*plan.addresses[i]) : ""},
                    {model::join(components)}});
  }
  std::string text = render_table(columns, rows, style);
  text += "\nWhy there\n";
  for (std::size_t i = 0; i < plan.grouping.containers.size(); ++i) {
    text += wrap(std::format("{}: {}; {}", plan.grouping.containers[i].name.str(), plan.grouping.containers[i].why, plan.placement.why[i]),
                 style.width, "  ", "    ");
  }
  return text;
}

std::string per_year(double unavailability) {
  constexpr double kYear = 8766.0 * 3600 * 1e9;
  const auto missed = std::chrono::round<std::chrono::milliseconds>(std::chrono::duration<double, std::nano>(unavailability * kYear));
  return missed.count() == 0 ? "less than 1 ms" : format_duration(missed);
}

std::string render_availability(const model::Application& application, const deploy::Plan& plan, const Style& style) {
  const deploy::Assumptions assumed;
  const deploy::Availability all = deploy::availability_of(application, plan, assumed);
  std::string text = std::format("\nExpected availability: {} ({:.1f} nines), {} a year missed\n", percent_of(all.unavailability),
                                 deploy::nines_of(all.unavailability), per_year(all.unavailability));
  for (std::size_t i = 0; i < all.containers.size(); ++i) {
    const deploy::ContainerAvailability& container = all.containers[i];
    text += wrap(std::format("{}: {}{}", plan.grouping.containers[i].name.str(), percent_of(container.unavailability),
                             container.hidden ? ", not counted: whoever depends on it survives its outages"
                             : plan.problem.containers[i].replica_group ? ", counted only when all its replicas are missing" : ""),
                 style.width, "  ", "    ");
    for (const deploy::OutageShare& share : container.shares) {
      text += wrap(std::format("once in {}: {}: {} out", format_duration(share.every), share.cause, format_duration(share.lasts)), style.width,
                   "    ", "      ");
    }
  }
  text += wrap(std::format("Assumed: a node fails once in {} and is back after {}; a takeover lasts {}, a restore in place {}, a start afresh {} "
                           "where the model does not say.{}",
                           format_duration(assumed.node_mttf), format_duration(assumed.node_repair), format_duration(assumed.takeover),
                           format_duration(assumed.restore), format_duration(assumed.start),
                           all.mttf_missing ? " Of components without an mttf only the nodes' failures are counted." : ""),
               style.width, "  ", "  ");
  return text;
}

std::string render_failures(const deploy::Plan& plan, const Style& style) {
  std::string text = "\nIf one of these fails\n";
  for (const deploy::Failure& failure : deploy::failures_of(plan)) {
    std::vector<std::string> said;
    std::vector<std::string> gone;
    for (const Consequence& consequence : failure.consequences) {
      const std::string name = plan.grouping.containers[consequence.container].name.str();
      if (consequence.kind == Consequence::Kind::kGoesOn) {
        said.push_back(std::format("{} goes on at {}", name, node_name(plan, *consequence.node)));
      } else if (consequence.kind == Consequence::Kind::kServedByReplicas) {
        said.push_back(std::format("{} is missing, its other replicas serve", name));
      } else {
        gone.push_back(name);
      }
    }
    if (!gone.empty()) said.push_back(std::format("{} {} gone until it is back", model::join(gone), gone.size() == 1 ? "is" : "are"));
    for (const std::string& broken : failure.broken) said.push_back(broken);
    if (said.empty()) said.emplace_back("nothing runs there");
    if (failure.unprotected > 0) said.push_back(std::format("{} without a standby until then", failure.unprotected));
    std::string line;
    for (const std::string& one : said) line += (line.empty() ? "" : "; ") + one;
    text += wrap(std::format("{}: {}", failure.what, line), style.width, "  ", "    ");
  }
  return text;
}

std::string words_for(const Change& change) {
  const std::string name = change.name.str();
  const std::string from = change.from ? change.from->str() : "";
  const std::string to = change.to ? change.to->str() : "";
  switch (change.kind) {
    case Change::Kind::kKeep:
      return {};
    case Change::Kind::kCreate:
      return std::format("+ {}: start it on {}", name, to);
    case Change::Kind::kMove:
      return std::format("> {}: move it from {} to {}, with its memory and connections", name, from, to);
    case Change::Kind::kRemove:
      return std::format("- {}: remove it from {}, with its memory, its files and its generations", name, from);
    case Change::Kind::kReplace:
      return std::format("! {}: remove it from {}, with its memory, its files and its generations, and start it anew on {}; changed: {}", name,
                         from, to, model::join(change.differs));
  }
  return {};
}

}  // namespace

std::string percent_of(double unavailability) {
  const int digits = std::clamp(static_cast<int>(std::ceil(deploy::nines_of(unavailability))) - 1, 0, 10);
  // Never rounded up to what is not reached.
  const double scale = std::pow(10.0, digits);
  return std::format("{:.{}f} %", std::floor((1 - unavailability) * 100 * scale) / scale, digits);
}

std::string render_changes(const std::vector<Change>& changes, const Style& style) {
  std::string text;
  for (const Change& change : changes) {
    const std::string line = words_for(change);
    if (!line.empty()) text += wrap(line, style.width, "  ", "      ");
  }
  return text;
}

std::string render_plan(const model::Application& application, const deploy::Plan& plan, const Style& style) {
  std::string text = std::format("{}: {} containers on {} nodes\n\n", application.name.str(), plan.grouping.containers.size(),
                                 plan.problem.nodes.size());
  text += render_places(application, plan, style) + render_availability(application, plan, style) + render_failures(plan, style);
  if (!plan.warnings.empty()) text += "\nLess than the model asks for\n";
  for (const std::string& warning : plan.warnings) text += wrap(warning, style.width, "  ", "    ");
  return text;
}

}  // namespace perdure::cli
