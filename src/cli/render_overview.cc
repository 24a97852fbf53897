#include "cli/render_overview.h"

#include <algorithm>
#include <chrono>
#include <format>

#include "cli/words.h"

namespace perdure::cli {
namespace {

namespace v1 = control::v1;

Cell state_cell(const v1::ContainerStatus& status) {
  const bool runs = status.phase() == v1::PHASE_RUNNING;
  if (!runs) return {std::string(word(status.phase())), colour_of(status.phase())};
  if (status.protection().cause() == "moving") return {"moving", Colour::kDoubtful};
  const auto protection = status.protection().state();
  if (protection == v1::PROTECTION_UNSPECIFIED) return {"running", Colour::kDoubtful};
  return {std::string(word(protection)), colour_of(protection)};
}

// Who brings it back after a failure.
Cell protector_cell(const v1::ContainerStatus& status) {
  if (!should_run(status)) return {};
  if (!is_protected(status)) return {"nobody", Colour::kBad};
  std::string names;
  for (const v1::StandbyStatus& standby : status.standbys()) {
    if (standby.state() != v1::STANDBY_READY) continue;
    names += (names.empty() ? "" : ", ") + clean(standby.node());
  }
  if (names.empty()) names = "its host";
  const bool complete =
      ready_standbys(status) >= static_cast<std::int64_t>(status.standbys_wanted());
  return {names, complete ? Colour::kGood : Colour::kDoubtful};
}

std::string ago(std::int64_t unix_ms, std::int64_t now_unix_ms) {
  // The clock of another node may be ahead.
  const auto age = std::chrono::milliseconds(now_unix_ms - unix_ms);
  if (age < std::chrono::seconds(1)) return "just now";
  return short_duration(std::chrono::nanoseconds(age).count()) + " ago";
}

// "44 ms, 3 min ago". Until its processes ran again: a container that nobody asks sends its first
// packet late.
std::string recovery_text(const v1::ContainerStatus& status, std::int64_t now_unix_ms) {
  if (!status.has_last_restore()) return "";
  const v1::RestoreRecord& last = status.last_restore();
  const std::string_view kind = !last.taken_from().empty()  ? "takeover "
                                : last.generation().empty() ? "afresh "
                                                            : "";
  const std::string took = last.has_restored_ns() ? short_duration(last.restored_ns()) + ", " : "";
  return std::format("{}{}{}", kind, took, ago(last.time_unix_ms(), now_unix_ms));
}

std::string container_table(const Overview& overview, const Style& style) {
  const bool in_cluster = !overview.cluster.id().empty();
  std::vector<Column> columns{{.title = "NAME"}};
  if (in_cluster) columns.push_back({.title = "NODE", .expendable = 1});
  const std::vector<Column> rest{
      {.title = "STATE"},
      {.title = "BY"},
      {.title = "COMMITTED", .align = Align::kRight, .expendable = 2},
      {.title = "DURABLE", .align = Align::kRight, .expendable = 4},
      {.title = "LAST RECOVERY", .expendable = 3},
  };
  columns.insert(columns.end(), rest.begin(), rest.end());
  std::vector<std::vector<Cell>> rows;
  for (const v1::ContainerStatus& status : overview.list.containers()) {
    std::vector<Cell>& row = rows.emplace_back();
    row.push_back({clean(status.name())});
    if (in_cluster) row.push_back({clean(status.node())});
    row.push_back(state_cell(status));
    row.push_back(protector_cell(status));
    row.push_back(
        {status.has_newest_committed() ? short_duration(status.newest_committed().age_ns()) : ""});
    row.push_back(
        {status.has_newest_durable() ? short_duration(status.newest_durable().age_ns()) : ""});
    row.push_back({recovery_text(status, overview.now_unix_ms)});
  }
  return render_table(columns, rows, style);
}

Fact cluster_fact(const v1::ClusterReply& cluster) {
  if (cluster.id().empty())
    return {"cluster", "none: the loss of this host takes its containers with it"};
  const auto up = cluster.nodes_size() -
                  std::ranges::count(cluster.nodes(), v1::NODE_UNREACHABLE, &v1::NodeRow::state);
  const std::string etcd = cluster.external_etcd()
                               ? "etcd not run by perdured"
                               : "etcd with " + count_text(cluster.etcd_members(), "member");
  const bool well = cluster.has_quorum() && up == cluster.nodes_size();
  return {"cluster",
          std::format("{} of {} up, {}, {}", up,
                      count_text(static_cast<std::uint64_t>(cluster.nodes_size()), "node"),
                      cluster.has_quorum() ? "quorum" : "no quorum", etcd),
          well                   ? Colour::kGood
          : cluster.has_quorum() ? Colour::kDoubtful
                                 : Colour::kBad};
}

Fact containers_fact(const v1::ListReply& list) {
  const auto wanted = std::ranges::count_if(list.containers(), should_run);
  const auto safe = std::ranges::count_if(list.containers(), [](const auto& status) {
    return should_run(status) && is_protected(status);
  });
  if (list.containers().empty()) return {"containers", "none; 'perdure run SPEC' starts one"};
  std::string text = std::format("{} of {} protected", safe, wanted);
  if (wanted < list.containers_size())
    text += std::format(", {} that should not run", list.containers_size() - wanted);
  return {"containers", text, safe == wanted ? Colour::kGood : Colour::kBad};
}

std::vector<Fact> facts_of(const Overview& overview) {
  const v1::VersionReply& daemon = overview.daemon;
  const auto self = std::ranges::find(overview.cluster.nodes(), true, &v1::NodeRow::self);
  const std::string& name = self == overview.cluster.nodes().end() ? daemon.node() : self->name();
  std::vector<Fact> facts{
      {"here", std::format("{}, perdured {} since {}", clean(name), clean(daemon.version()),
                           time_text(daemon.started_unix_ms()))},
      cluster_fact(overview.cluster),
      containers_fact(overview.list)};
  if (daemon.metrics_address().empty()) {
    facts.push_back({"metrics", "switched off"});
  } else if (daemon.metrics_error().empty()) {
    facts.push_back({"metrics", std::format("http://{}/metrics", clean(daemon.metrics_address()))});
  } else {
    facts.push_back({"metrics", "not served", Colour::kDoubtful});
  }
  return facts;
}

std::string headline(const std::vector<Problem>& problems, const Style& style) {
  return problems.empty() ? paint("all is well", Colour::kGood, style)
                          : paint(count_text(problems.size(), "problem"), Colour::kBad, style);
}

// A line for each component; what its container shares with the others stands in the first.
std::string component_table(const Overview& overview, const Style& style) {
  const std::vector<Column> columns{{.title = "COMPONENT"},
                                    {.title = "HEALTH"},
                                    {.title = "CONTAINER"},
                                    {.title = "NODE"},
                                    {.title = "STATE"},
                                    {.title = "BY"},
                                    {.title = "COMMITTED", .align = Align::kRight, .expendable = 1}};
  std::vector<std::vector<Cell>> rows;
  for (const v1::ContainerStatus& status : overview.list.containers()) {
    std::vector<Cell> shared{{clean(status.name())},
                             {clean(status.node())},
                             state_cell(status),
                             protector_cell(status),
                             {status.has_newest_committed() ? short_duration(status.newest_committed().age_ns()) : ""}};
    if (status.components().empty()) {
      rows.push_back({{}, {}});
      rows.back().insert(rows.back().end(), shared.begin(), shared.end());
    }
    for (const v1::ComponentStatus& component : status.components()) {
      rows.push_back({{clean(component.name())}, {std::string(word(component.state())), colour_of(component.state())}});
      rows.back().insert(rows.back().end(), shared.begin(), shared.end());
      for (Cell& cell : shared) cell = {" "};
    }
  }
  return render_table(columns, rows, style);
}

std::string problem_text(const Problem& problem, const Style& style) {
  std::string text =
      wrap(clean(problem.object) + ": " + clean(problem.what), style.width, "", "  ");
  if (!problem.remedy.empty())
    text += wrap("-> " + clean(problem.remedy), style.width, "  ", "     ");
  return text;
}

}  // namespace

std::string render_overview(const Overview& overview, const Style& style) {
  const std::vector<Problem> problems = problems_of(overview);
  std::string text = headline(problems, style);
  text += "\n" + render_facts(facts_of(overview), style);
  if (!overview.list.containers().empty()) text += "\n" + container_table(overview, style);
  if (!problems.empty()) text += "\n";
  for (const Problem& problem : problems) text += problem_text(problem, style);
  const std::vector<std::string> advice = advice_of(overview);
  if (!advice.empty()) text += "\n";
  for (const std::string& line : advice)
    text += wrap("advice: " + clean(line), style.width, "", "  ");
  return text;
}

std::string render_application(const std::string& application, const Overview& overview, const Style& style) {
  const std::vector<Problem> problems = problems_of(overview);
  std::string text = clean(application) + ": " + headline(problems, style) + "\n\n" + component_table(overview, style);
  if (!problems.empty()) text += "\n";
  for (const Problem& problem : problems) text += problem_text(problem, style);
  return text;
}

}  // namespace perdure::cli
