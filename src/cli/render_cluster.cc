// A cluster and its nodes.
#include "cli/render_cluster.h"

#include <algorithm>
#include <format>

#include "cli/render_parts.h"
#include "cli/words.h"
#include "policy/lease_timing.h"

namespace perdure::cli {
namespace {

namespace v1 = control::v1;

std::string roles_of(const v1::NodeRow& node) {
  std::string roles = node.manager() ? "manager" : "";
  if (node.etcd_member()) roles += roles.empty() ? "etcd" : ", etcd";
  return roles;
}

std::vector<Cell> node_cells(const v1::NodeRow& node) {
  return {
      {clean(node.name()) + (node.self() ? " *" : "")},
      {std::string(word(node.state())), colour_of(node.state())},
      {roles_of(node)},
      {std::to_string(node.owned())},
      {std::to_string(node.held())},
      {bytes_text(node.held_bytes())},
      {node.addresses().empty() ? "" : clean(node.addresses(0))},
      {labels_text(node.labels())},
      {node.has_round_trip_ns() ? short_duration(node.round_trip_ns()) : ""},
      {std::to_string(node.fenced())},
      {clean(node.version())},
  };
}

std::string node_table(const google::protobuf::RepeatedPtrField<v1::NodeRow>& nodes,
                       const Style& style) {
  const std::vector<Column> columns{
      {.title = "NODE"},
      {.title = "STATE"},
      {.title = "ROLES", .expendable = 4},
      {.title = "OWNS", .align = Align::kRight, .expendable = 1},
      {.title = "STANDS BY", .align = Align::kRight, .expendable = 2},
      {.title = "HELD", .align = Align::kRight, .expendable = 5},
      {.title = "ADDRESS", .expendable = 3},
      {.title = "LABELS", .expendable = 6},
      {.title = "ROUND TRIP", .align = Align::kRight, .expendable = 7},
      {.title = "FENCED", .align = Align::kRight, .expendable = 8},
      {.title = "VERSION", .expendable = 9},
  };
  std::vector<std::vector<Cell>> rows;
  std::string remarks;
  for (const v1::NodeRow& node : nodes) {
    rows.push_back(node_cells(node));
    const bool silent = node.state() == v1::NODE_UNREACHABLE && node.has_last_seen_unix_ms();
    if (node.reason().empty() && !silent) continue;
    std::string text = std::format("{} is {}", clean(node.name()), word(node.state()));
    if (silent) text += ", last seen " + time_text(node.last_seen_unix_ms());
    if (!node.reason().empty()) text += ": " + clean(node.reason());
    remarks += wrap(text, style.width, "", "  ");
  }
  return render_table(columns, rows, style) + (remarks.empty() ? "" : "\n" + remarks);
}

std::string warnings_of(const v1::ClusterReply& reply, const Style& style) {
  std::string result;
  for (const auto& warning : reply.warnings())
    result += wrap("warning: " + clean(warning), style.width, "", "  ");
  return result;
}

std::string etcd_fact(const v1::ClusterReply& reply) {
  std::string text = reply.external_etcd() ? "not run by perdured" : "run by perdured";
  if (!reply.etcd_version().empty()) text += ", version " + clean(reply.etcd_version());
  return text + ", " + count_text(reply.etcd_members(), "member");
}

std::string_view timing_name(const v1::LeaseTiming& timing) {
  return policy::lease::name_of({.heartbeat = Duration(timing.heartbeat_ns()),
                                 .grant = Duration(timing.grant_ns()),
                                 .margin = Duration(timing.margin_ns())});
}

// What a standby adds for the rates of clocks is left out: nobody set it.
std::int64_t notice_time(const v1::LeaseTiming& timing) {
  return timing.grant_ns() + timing.margin_ns();
}

std::vector<Fact> cluster_facts(const v1::ClusterReply& reply) {
  std::vector<Fact> facts;
  const auto add = [&](std::string_view title, std::string text, Colour colour = Colour::kNone) {
    if (!text.empty()) facts.push_back({std::string(title), std::move(text), colour});
  };
  if (reply.has_quorum()) {
    add("quorum", "yes", Colour::kGood);
  } else {
    add("quorum", "no" + (reply.etcd_error().empty() ? "" : ": " + clean(reply.etcd_error())),
        Colour::kBad);
    add("so", "containers go on running and being checkpointed; none can change its owner");
    add("to do", "if members of etcd are lost for good: 'perdure cluster recover'");
  }
  add("etcd", etcd_fact(reply));
  add("snapshot", reply.has_newest_snapshot_unix_ms() ? time_text(reply.newest_snapshot_unix_ms())
                                                      : "none yet");
  add("durable", reply.durable_directory().empty() ? "on each node's own disk"
                                                   : clean(reply.durable_directory()));
  if (reply.key_id() > 0) add("key", std::format("number {} in use", reply.key_id()));
  if (reply.has_timing()) {
    add("timing", std::format("{}: a dead node is noticed after {}", timing_name(reply.timing()),
                              duration_text(notice_time(reply.timing()))));
  }
  const v1::NodeRow* own = own_row(reply);
  if (own != nullptr && own->has_certificate_expires_unix_ms())
    add("certificate", std::format("of {}: valid until {}", clean(own->name()),
                                   time_text(own->certificate_expires_unix_ms())));
  return facts;
}

// In one piece, however narrow the terminal: somebody will copy it.
std::string join_command(std::string_view address, std::string_view token) {
  return std::format("  perdure cluster join {} --token {}\n",
                     address.empty() ? "ADDRESS" : clean(address), clean(token));
}

std::vector<Cell> recover_cells(const v1::RecoverRow& row, const v1::ClusterRecoverReply& reply) {
  std::vector<Cell> cells{
      {clean(row.name())},
      {std::string(word(row.action())), colour_of(row.action())},
      {clean(row.node())},
      {clean(row.generation())},
      {row.has_age_ns() ? short_duration(row.age_ns()) : ""},
  };
  if (!reply.applied()) return cells;
  const bool nothing = row.action() == v1::RECOVER_NOTHING;
  cells.push_back(row.done()                       ? Cell{"done", Colour::kGood}
                  : nothing && row.error().empty() ? Cell{}
                                                   : Cell{"not done", Colour::kBad});
  return cells;
}

}  // namespace

const v1::NodeRow* own_row(const v1::ClusterReply& reply) {
  const auto found = std::ranges::find(reply.nodes(), true, &v1::NodeRow::self);
  return found == reply.nodes().end() ? nullptr : &*found;
}

std::string render_node_list(const v1::NodeListReply& reply, const Style& style) {
  return node_table(reply.nodes(), style);
}

std::string render_cluster_status(const v1::ClusterReply& reply, const Style& style) {
  std::string result = paint("cluster " + clean(reply.id()), Colour::kTitle, style) + "\n" +
                       render_facts(cluster_facts(reply), style);
  result += "\n" + node_table(reply.nodes(), style);
  const std::string warnings = warnings_of(reply, style);
  return result + (warnings.empty() ? "" : "\n" + warnings);
}

std::string render_cluster_init(const v1::ClusterReply& reply, const Style& style) {
  const v1::NodeRow* own = own_row(reply);
  const std::string address = own == nullptr || own->addresses().empty() ? "" : own->addresses(0);
  std::string text = std::format("cluster {} is made", clean(reply.id()));
  if (own != nullptr) text += std::format("; this host is its node {}", clean(own->name()));
  if (!address.empty()) text += std::format(", at {}", clean(address));
  std::string result = wrap(text, style.width, "", "  ") + warnings_of(reply, style);
  if (reply.token().empty())
    return result +
           wrap("'perdure cluster token' makes the token for the next node", style.width, "", "  ");
  result += "\non the next node:\n" + join_command(address, reply.token());
  return result + wrap("The token is a secret: with it a host becomes a node of this cluster.",
                       style.width, "", "");
}

std::string render_cluster_join(const v1::ClusterReply& reply, const Style& style) {
  const v1::NodeRow* own = own_row(reply);
  std::string text = std::format("this host is in cluster {}", clean(reply.id()));
  if (own != nullptr) {
    text += std::format(" as {} {}", own->state() == v1::NODE_WITNESS ? "the witness" : "the node",
                        clean(own->name()));
    if (own->manager()) text += ", a manager";
  }
  text += std::format("; it has {} now",
                      count_text(static_cast<std::uint64_t>(reply.nodes_size()), "node"));
  return wrap(text, style.width, "", "  ") + warnings_of(reply, style);
}

std::string render_cluster_leave(const v1::ClusterReply& reply, const Style& style) {
  return wrap("this host is in no cluster any more", style.width, "", "  ") +
         warnings_of(reply, style);
}

std::string render_rotate_keys(const v1::ClusterReply& reply, const Style& style) {
  return wrap(std::format("generations are stored with key number {} from now on; what is stored "
                          "already stays readable",
                          reply.key_id()),
              style.width, "", "  ") +
         warnings_of(reply, style);
}

std::string render_timing(const v1::ClusterReply& reply, const Style& style) {
  if (!reply.has_timing())
    return wrap("etcd has not said yet which timing is in force", style.width, "", "  ");
  const v1::LeaseTiming& timing = reply.timing();
  const std::vector<Fact> facts{
      {"timing", std::string(timing_name(timing)), Colour::kNone},
      {"heartbeat", "every " + duration_text(timing.heartbeat_ns()), Colour::kNone},
      {"grant",
       duration_text(timing.grant_ns()) +
           ": for so long after a heartbeat that was answered a container may speak",
       Colour::kNone},
      {"margin",
       duration_text(timing.margin_ns()) + ": a standby waits for so long beyond its last grant",
       Colour::kNone}};
  return render_facts(facts, style) +
         wrap(std::format("A dead node is noticed after {} (grant and margin). A standby that does "
                          "not answer for {} (half a grant) is dropped.",
                          duration_text(notice_time(timing)), duration_text(timing.grant_ns() / 2)),
              style.width, "", "") +
         warnings_of(reply, style);
}

std::string render_token(const v1::ClusterTokenReply& reply, std::string_view address,
                         const Style& style) {
  return "on the node that is to join:\n" + join_command(address, reply.token()) +
         wrap(std::format("The token is a secret. It is good for {} and until {}.",
                          count_text(reply.uses(), "node"), time_text(reply.expires_unix_ms())),
              style.width, "", "");
}

std::string recover_report(const v1::ClusterRecoverReply& reply, const Style& style) {
  std::string result;
  if (!reply.etcd().empty()) result += wrap("etcd: " + clean(reply.etcd()), style.width, "", "  ");
  if (reply.rows().empty()) return result + "no containers\n";
  std::vector<Column> columns{{.title = "NAME"},
                              {.title = "ACTION"},
                              {.title = "NODE"},
                              {.title = "GENERATION", .expendable = 1},
                              {.title = "AGE", .align = Align::kRight}};
  if (reply.applied()) columns.push_back({.title = "RESULT"});
  std::vector<std::vector<Cell>> rows;
  std::string remarks;
  for (const v1::RecoverRow& row : reply.rows()) {
    rows.push_back(recover_cells(row, reply));
    const auto remark = [&](std::string_view what, const std::string& text) {
      if (!text.empty())
        remarks += wrap(std::format("{}: {}{}", clean(row.name()), what, clean(text)), style.width,
                        "", "  ");
    };
    remark("not done: ", row.error());
    remark("risk: ", row.risk());
    if (row.durable()) remark("", "its generation is read from the durable directory");
  }
  if (!result.empty()) result += "\n";
  result += render_table(columns, rows, style);
  return result + (remarks.empty() ? "" : "\n" + remarks);
}

std::string render_recover(const v1::ClusterRecoverReply& reply, const Style& style) {
  const std::string body = recover_report(reply, style);
  if (!reply.applied())
    return body + "\n" + wrap("nothing was changed; --apply does this", style.width, "", "");
  const auto failed = std::ranges::count_if(reply.rows(), [](const auto& row) {
    return !row.error().empty() || (!row.done() && row.action() != v1::RECOVER_NOTHING);
  });
  return failed == 0 ? body
                     : body + "\n" +
                           wrap(count_text(static_cast<std::uint64_t>(failed), "container") +
                                    " did not come back",
                                style.width, "", "");
}

std::string render_drain(const v1::NodeDrainReply& reply, const Style& style) {
  const std::string node = clean(reply.node());
  std::string text =
      reply.failures().empty()
          ? std::format("{} is drained", node)
          : std::format("{} is not drained: {} left on it", node,
                        reply.failures_size() == 1
                            ? "1 container is"
                            : std::format("{} containers are", reply.failures_size()));
  if (!reply.moved().empty()) text += std::format("; moved: {}", list_text(reply.moved()));
  std::string result = wrap(text, style.width, "", "  ");
  for (const auto& failure : reply.failures())
    result += wrap(clean(failure), style.width, "  ", "    ");
  return result +
         wrap(std::format("it takes nothing new; 'perdure node uncordon {}' ends that", node),
              style.width, "", "  ");
}

std::string render_cordon(const v1::NodeListReply& reply, const Style& style) {
  std::string result;
  for (const v1::NodeRow& node : reply.nodes()) {
    const std::string name = clean(node.name());
    const std::string text =
        node.state() == v1::NODE_CORDONED
            ? std::format("{} takes nothing new; the {} it owns and the {} it stands by for stay",
                          name, count_text(node.owned(), "container"), node.held())
            : std::format("{} may take containers and standbys; it is {}", name,
                          word(node.state()));
    result += wrap(text, style.width, "", "  ");
  }
  return result;
}

std::string render_node_remove(const v1::NodeListReply& reply, std::string_view removed,
                               const Style& style) {
  return wrap(std::format("{} is no node of the cluster any more; its certificates are revoked",
                          clean(removed)),
              style.width, "", "  ") +
         (reply.nodes().empty() ? "" : "\n" + node_table(reply.nodes(), style));
}

std::string render_node_labels(const v1::NodeListReply& reply, const Style& style) {
  std::string result;
  for (const v1::NodeRow& node : reply.nodes()) {
    result += wrap(std::format("{}: {}", clean(node.name()),
                               node.labels().empty() ? "no labels" : labels_text(node.labels())),
                   style.width, "", "  ");
  }
  return result;
}

std::string render_move(const v1::MoveReply& reply, const Style& style) {
  std::string text =
      std::format("{} runs on {}; it was on {}; it stood still for {}, {} were sent meanwhile",
                  clean(reply.status().name()), clean(reply.to()), clean(reply.from()),
                  duration_text(reply.frozen_ns()), bytes_text(reply.bytes()));
  if (!reply.generation().empty()) text += "; generation " + clean(reply.generation());
  return wrap(text, style.width, "", "  ") + (is_safe(reply.status().protection().state())
                                                  ? ""
                                                  : protection_phrase(reply.status(), style));
}

std::string render_takeover(const v1::TakeoverReply& reply, const Style& style) {
  std::string text = std::format("{} runs on {}; it was on {}; it came back from generation {}",
                                 clean(reply.status().name()), clean(reply.to()),
                                 clean(reply.from()), clean(reply.generation()));
  if (reply.durable()) text += ", of the durable directory";
  if (reply.has_age_ns())
    text += std::format("; what it did in the {} since is lost", short_duration(reply.age_ns()));
  std::string result = wrap(text, style.width, "", "  ");
  if (!reply.risk().empty()) result += wrap("risk: " + clean(reply.risk()), style.width, "", "  ");
  return result + (is_safe(reply.status().protection().state())
                       ? ""
                       : protection_phrase(reply.status(), style));
}

std::string manager_warning(const v1::NodeRow& node, const Style& style) {
  if (!node.manager()) return "";
  return wrap(
      std::format("warning: {} has held the key of the cluster's certificate authority, and "
                  "revoking its certificates does not take that away: if it may be in the "
                  "wrong hands, only a new cluster heals that",
                  clean(node.name())),
      style.width, "", "  ");
}

}  // namespace perdure::cli
