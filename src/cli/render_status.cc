// The list and one container.
#include <algorithm>
#include <format>

#include "cli/render.h"
#include "cli/render_parts.h"
#include "cli/words.h"

namespace perdure::cli {
namespace {

namespace v1 = control::v1;

std::string age_of(bool known, const v1::GenerationPoint& point) {
  return known ? short_duration(point.age_ns()) : std::string();
}

// Without the prefix length: the list is short of room.
std::string bare_address(const v1::ContainerStatus& status) {
  if (status.addresses().empty()) return "";
  const std::string address = clean(status.addresses(0));
  return address.substr(0, address.find('/'));
}

std::int64_t ready_standbys(const v1::ContainerStatus& status) {
  return std::ranges::count(status.standbys(), v1::STANDBY_READY, &v1::StandbyStatus::state);
}

bool lacks_standbys(const v1::ContainerStatus& status) {
  return ready_standbys(status) < static_cast<std::int64_t>(status.standbys_wanted());
}

// "1/2": ready and wanted.
Cell standbys_cell(const v1::ContainerStatus& status) {
  if (status.standbys_wanted() == 0 && status.standbys().empty()) return {};
  const auto ready = ready_standbys(status);
  return {std::format("{}/{}", ready, status.standbys_wanted()), !lacks_standbys(status)
                                                                     ? Colour::kGood
                                                                 : ready == 0 ? Colour::kBad
                                                                              : Colour::kDoubtful};
}

// The names of those that are ready, and of the others with what they do: "b, c (learning)".
std::string standby_names(const v1::ContainerStatus& status) {
  std::string names;
  for (const auto& standby : status.standbys()) {
    if (standby.state() == v1::STANDBY_REFUSED) continue;
    names += (names.empty() ? "" : ", ") + clean(standby.node());
    if (standby.state() != v1::STANDBY_READY) names += std::format(" ({})", word(standby.state()));
  }
  return names;
}

std::vector<Cell> list_row(const v1::ContainerStatus& status, bool in_cluster) {
  const auto protection = status.protection().state();
  const auto& interval = status.interval();
  std::vector<Cell> row{
      {clean(status.name()), Colour::kNone},
      {std::string(word(status.phase())), colour_of(status.phase())},
      {std::string(word(protection)), colour_of(protection)},
  };
  if (in_cluster) {
    row.push_back({clean(status.node())});
    row.push_back(standbys_cell(status));
  }
  const std::vector<Cell> rest{
      {age_of(status.has_newest_committed(), status.newest_committed()), Colour::kNone},
      {age_of(status.has_newest_durable(), status.newest_durable()), Colour::kNone},
      {interval.has_in_force_ns() ? short_duration(interval.in_force_ns()) : "", Colour::kNone},
      {status.has_last_capture() ? short_duration(status.last_capture().frozen_ns()) : "",
       Colour::kNone},
      {std::to_string(status.restores()), Colour::kNone},
      {bare_address(status), Colour::kNone},
  };
  row.insert(row.end(), rest.begin(), rest.end());
  if (in_cluster) row.push_back({standby_names(status)});
  return row;
}

std::vector<Column> list_columns(bool in_cluster) {
  std::vector<Column> columns{{.title = "NAME"}, {.title = "PHASE"}, {.title = "PROTECTION"}};
  if (in_cluster) {
    columns.push_back({.title = "NODE", .expendable = 1});
    columns.push_back({.title = "STANDBYS", .expendable = 2});
  }
  const std::vector<Column> rest{
      {.title = "COMMITTED", .align = Align::kRight, .expendable = 3},
      {.title = "DURABLE", .align = Align::kRight, .expendable = 6},
      {.title = "EVERY", .align = Align::kRight, .expendable = 7},
      {.title = "FROZEN", .align = Align::kRight, .expendable = 8},
      {.title = "RESTORES", .align = Align::kRight, .expendable = 5},
      {.title = "ADDRESS", .expendable = 4},
  };
  columns.insert(columns.end(), rest.begin(), rest.end());
  if (in_cluster) columns.push_back({.title = "HELD BY", .expendable = 9});
  return columns;
}

bool wants_a_remark(const v1::ContainerStatus& status) {
  return !status.waits_for().empty() ||
         (!is_safe(status.protection().state()) && !status.protection().reason().empty()) ||
         (status.phase() == v1::PHASE_FAILED && !status.phase_reason().empty()) ||
         (lacks_standbys(status) && !status.standbys_reason().empty());
}

std::string remark(const v1::ContainerStatus& status, const Style& style) {
  const std::string name = clean(status.name());
  std::string result;
  if (status.phase() == v1::PHASE_FAILED && !status.phase_reason().empty()) {
    result += wrap(std::format("{} failed: {}", name, clean(status.phase_reason())), style.width,
                   "", "  ");
  }
  if (!status.waits_for().empty()) {
    result += wrap(std::format("{}: {}", name, clean(status.waits_for())), style.width, "", "  ");
    if (!status.waits_remedy().empty())
      result += wrap("-> " + clean(status.waits_remedy()), style.width, "  ", "     ");
  }
  const auto& protection = status.protection();
  if (!is_safe(protection.state()) && !protection.reason().empty()) {
    result += wrap(
        std::format("{} is {}: {}", name, word(protection.state()), clean(protection.reason())),
        style.width, "", "  ");
    if (!protection.remedy().empty())
      result += wrap("-> " + clean(protection.remedy()), style.width, "  ", "     ");
  }
  if (lacks_standbys(status) && !status.standbys_reason().empty()) {
    result += wrap(std::format("{} has {} of {}: {}", name, ready_standbys(status),
                               count_text(status.standbys_wanted(), "standby"),
                               clean(status.standbys_reason())),
                   style.width, "", "  ");
  }
  return result;
}

std::string phase_fact(const v1::ContainerStatus& status) {
  std::string text(word(status.phase()));
  if (status.has_phase_since_unix_ms()) text += " since " + time_text(status.phase_since_unix_ms());
  if (status.has_init_pid()) text += std::format(", init is process {}", status.init_pid());
  if (!status.phase_reason().empty()) text += ": " + clean(status.phase_reason());
  if (status.has_exit_status()) text += std::format("; last exit status {}", status.exit_status());
  return text;
}

std::string protection_fact(const v1::Protection& protection) {
  std::string text(word(protection.state()));
  if (protection.has_since_unix_ms()) text += " since " + time_text(protection.since_unix_ms());
  if (!protection.reason().empty()) text += ": " + clean(protection.reason());
  return text;
}

std::string interval_fact(const v1::IntervalStatus& interval) {
  if (!interval.why().empty()) return clean(interval.why());
  std::string text = interval.has_in_force_ns() ? "every " + duration_text(interval.in_force_ns())
                                                : "none in force";
  if (interval.has_asked_ns() && interval.asked_ns() != interval.in_force_ns()) {
    text += std::format(", {} were asked for", duration_text(interval.asked_ns()));
  }
  return text;
}

std::string point_fact(bool known, const v1::GenerationPoint& point) {
  return known ? std::format("{}, {} old", clean(point.generation()), duration_text(point.age_ns()))
               : "none";
}

void add(std::vector<Fact>& facts, std::string_view title, std::string text,
         Colour colour = Colour::kNone) {
  if (!text.empty()) facts.push_back({std::string(title), std::move(text), colour});
}

void add_protection(std::vector<Fact>& facts, const v1::ContainerStatus& status) {
  const auto& protection = status.protection();
  add(facts, "protection", protection_fact(protection), colour_of(protection.state()));
  add(facts, "to do", clean(protection.remedy()));
  add(facts, "interval", interval_fact(status.interval()));
  add(facts, "committed", point_fact(status.has_newest_committed(), status.newest_committed()));
  add(facts, "durable", point_fact(status.has_newest_durable(), status.newest_durable()));
  if (status.has_last_capture()) add(facts, "last capture", capture_text(status.last_capture()));
  add(facts, "captures",
      std::format("{}, {} failed", status.captures(), status.capture_failures()));
  add(facts, "capsules",
      std::format("{} in memory, {} on disk", bytes_text(status.capsule_memory_bytes()),
                  bytes_text(status.capsule_disk_bytes())));
}

std::string gate_fact(const v1::GateStatus& gate) {
  const v1::GateTraffic& frames = gate.traffic();
  const std::uint64_t dropped = frames.dropped_deadline() + frames.dropped_locked() +
                                frames.dropped_held() + frames.dropped_guard() +
                                frames.dropped_arp_only();
  return std::format("{}; closed {} by perdured, {} by a death; {} out, {} dropped",
                     gate.open() ? "open" : "closed",
                     count_text(gate.closures_by_perdured(), "time"), gate.closures_by_death(),
                     count_text(frames.passed(), "frame"), dropped);
}

std::string component_fact(const v1::ComponentStatus& component) {
  std::string text = std::format("{}: {}, {}", clean(component.name()), word(component.state()),
                                 component.stateful() ? "stateful" : "stateless");
  if (component.has_passed_age_ns()) text += std::format("; passed its probe {} ago", duration_text(component.passed_age_ns()));
  if (component.failures() > 0) text += std::format("; failed it {} in a row", count_text(component.failures(), "time"));
  if (component.restarts() > 0) text += "; " + count_text(component.restarts(), "restart");
  if (!component.trouble().empty()) text += ": it " + clean(component.trouble());
  return text;
}

void add_components(std::vector<Fact>& facts, const v1::ContainerStatus& status) {
  for (const v1::ComponentStatus& component : status.components()) {
    add(facts, "component", component_fact(component), colour_of(component.state()));
  }
}

void add_recovery(std::vector<Fact>& facts, const v1::ContainerStatus& status) {
  add(facts, "failures", std::to_string(status.failures()));
  add(facts, "restores", std::to_string(status.restores()));
  if (status.has_last_restore()) add(facts, "last restore", restore_text(status.last_restore()));
  if (status.gate().has_traffic()) add(facts, "gate", gate_fact(status.gate()));
}

void add_place(std::vector<Fact>& facts, const v1::ContainerStatus& status) {
  add(facts, "address", list_text(status.addresses()));
  add(facts, "MAC", clean(status.mac_address()));
  add(facts, "bridge", clean(status.bridge()));
  add(facts, "ports", list_text(status.ports()));
  for (const v1::Volume& volume : status.volumes()) {
    add(facts, "volume",
        std::format("{}: {} at {} ({}{})", clean(volume.name()), clean(volume.host_path()),
                    clean(volume.container_path()), word(volume.kind()),
                    volume.read_only() ? ", read-only" : ""));
  }
  add(facts, "image", clean(status.image_name()));
  add(facts, "image digest", clean(status.image_digest()));
  add(facts, "spec digest", clean(status.spec_digest()));
  add(facts, "cgroup", clean(status.cgroup_path()));
  if (status.has_created_unix_ms()) add(facts, "created", time_text(status.created_unix_ms()));
}

std::string standby_fact(const v1::StandbyStatus& standby) {
  std::string text = std::format("{}: {}", clean(standby.node()), word(standby.state()));
  if (!standby.reason().empty()) text += ": " + clean(standby.reason());
  if (!standby.has_newest()) return text;
  text += std::format("; holds {}", clean(standby.newest().generation()));
  if (standby.has_behind() && standby.behind() > 0)
    text += ", " + count_text(standby.behind(), "generation") + " behind";
  if (standby.has_lag_ns()) text += std::format(", {} behind", duration_text(standby.lag_ns()));
  text += std::format("; {} {}", bytes_text(standby.held_bytes()),
                      standby.on_disk() ? "on its disk" : "in its memory");
  if (standby.has_acknowledged_ns())
    text +=
        std::format("; acknowledged {} after the thaw", duration_text(standby.acknowledged_ns()));
  if (standby.shipped_bytes() > 0)
    text += std::format("; {} shipped", bytes_text(standby.shipped_bytes()));
  return text;
}

void add_reachability(std::vector<Fact>& facts, const v1::ContainerStatus& status) {
  for (const v1::ReachabilityRow& row : status.reachability()) {
    const std::string address = clean(row.address());
    if (!row.has_answers()) {
      add(facts, "reaches", address + ": not known", Colour::kDoubtful);
    } else if (row.answers()) {
      add(facts, "reaches", address, Colour::kGood);
    } else {
      const std::string since = row.has_last_answer_age_ns()
                                    ? std::format("no answer for {}", duration_text(row.last_answer_age_ns()))
                                    : "no answer";
      add(facts, "reaches", std::format("{}: {}", address, since), Colour::kBad);
    }
  }
  if (!status.reachability_reason().empty()) {
    add(facts, "stays", clean(status.reachability_reason()), Colour::kBad);
  }
}

void add_nearness(std::vector<Fact>& facts, const v1::ContainerStatus& status) {
  for (const std::string& one : status.too_far()) add(facts, "too far", clean(one), Colour::kBad);
  if (!status.too_far_reason().empty()) add(facts, "stays", clean(status.too_far_reason()), Colour::kBad);
}

void add_ownership(std::vector<Fact>& facts, const v1::ContainerStatus& status) {
  if (status.node().empty()) return;
  add(facts, "owner", std::format("{}, term {}", clean(status.node()), status.term()));
  if (!status.waits_for().empty()) add(facts, "waits", clean(status.waits_for()), Colour::kBad);
  if (!status.waits_remedy().empty()) add(facts, "to do", clean(status.waits_remedy()));
  const bool none = status.standbys_wanted() == 0 && status.standbys().empty();
  std::string standbys =
      none ? "none wanted"
           : std::format("{} of {} ready", ready_standbys(status), status.standbys_wanted());
  if (!status.standbys_reason().empty()) standbys += ": " + clean(status.standbys_reason());
  add(facts, "standbys", standbys, standbys_cell(status).colour);
  for (const auto& standby : status.standbys())
    add(facts, "standby", standby_fact(standby), colour_of(standby.state()));
  add_reachability(facts, status);
  add_nearness(facts, status);
}

std::string criu_block(const v1::Protection& protection, const Style& style) {
  if (protection.criu_lines().empty()) return "";
  std::string result = "\n" + paint("CRIU's last words", Colour::kTitle, style) + "\n";
  for (const std::string& line : protection.criu_lines())
    result += wrap(clean(line), style.width, "  ", "    ");
  return result;
}

}  // namespace

std::string render_list(const v1::ListReply& reply, const Style& style) {
  if (reply.containers().empty()) return "no containers; 'perdure run SPEC' starts one\n";
  const bool in_cluster = std::ranges::any_of(
      reply.containers(), [](const auto& status) { return !status.node().empty(); });
  std::vector<std::vector<Cell>> rows;
  std::string remarks;
  for (const auto& status : reply.containers()) {
    rows.push_back(list_row(status, in_cluster));
    if (wants_a_remark(status)) remarks += remark(status, style);
  }
  return render_table(list_columns(in_cluster), rows, style) +
         (remarks.empty() ? "" : "\n" + remarks);
}

std::string render_inspect(const v1::InspectReply& reply, const Style& style) {
  const auto& status = reply.status();
  std::vector<Fact> facts;
  add(facts, "phase", phase_fact(status), colour_of(status.phase()));
  add_components(facts, status);
  add_ownership(facts, status);
  add_protection(facts, status);
  add_recovery(facts, status);
  add_place(facts, status);
  std::string result =
      paint(clean(status.name()), Colour::kTitle, style) + "\n" + render_facts(facts, style);
  result += criu_block(status.protection(), style);
  if (!reply.recent_events().empty())
    result += "\n" + paint("Lately", Colour::kTitle, style) + "\n";
  for (const auto& event : reply.recent_events()) result += render_event(event, style);
  return result;
}

}  // namespace perdure::cli
