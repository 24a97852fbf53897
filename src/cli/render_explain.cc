// `perdure explain`: what failed, what was seen before, what was done and why, how long it took, and what would follow now.
#include <algorithm>
#include <format>

#include "cli/render.h"
#include "cli/render_parts.h"
#include "cli/words.h"

namespace perdure::cli {
namespace {

namespace v1 = control::v1;

std::string_view what_failed(v1::RecoveryScope scope) {
  switch (scope) {
    case v1::RECOVERY_SCOPE_COMPONENT: return "a component";
    case v1::RECOVERY_SCOPE_CONTAINER: return "the container";
    case v1::RECOVERY_SCOPE_NODE: return "the node that owned it";
    case v1::RECOVERY_SCOPE_OPERATOR: return "nothing: an operator's word";
    default: return "not known";
  }
}

std::string outcome_of(const v1::Recovery& recovery) {
  const std::string generation = clean(recovery.generation());
  switch (recovery.outcome()) {
    case v1::RECOVERY_OUTCOME_UNDER_WAY: return "not known yet: it is under way";
    case v1::RECOVERY_OUTCOME_RESTARTED: return "its agent started it again, beside the others";
    case v1::RECOVERY_OUTCOME_RESTORED: return std::format("restored in place, from generation {}", generation);
    case v1::RECOVERY_OUTCOME_COLD_START: return "started without its state";
    case v1::RECOVERY_OUTCOME_TAKEN_OVER: return std::format("taken over by this node, from generation {}", generation);
    case v1::RECOVERY_OUTCOME_FAILED_OVER: return std::format("goes on here, on a standby, from generation {}", generation);
    case v1::RECOVERY_OUTCOME_GONE: return "another node goes on with it";
    case v1::RECOVERY_OUTCOME_GIVEN_UP: return "given up";
    case v1::RECOVERY_OUTCOME_WAITS: return "it waits";
    case v1::RECOVERY_OUTCOME_STOPPED: return "it was stopped";
    default: return "not known";
  }
}

// What a step before it has said already, which the JSON form repeats.
bool repeats_its_reason(const v1::Event& event) { return event.kind() == "passed_over" || event.kind() == "restored"; }

// "+43 ms  restored      restored from generation ..."; earlier ones have a minus.
std::string step_line(const v1::Event& event, std::int64_t began_unix_ms, std::size_t kind_width, const Style& style) {
  constexpr std::int64_t kNanoseconds = 1'000'000;
  const std::int64_t ms = event.time_unix_ms() - began_unix_ms;
  const std::string when = ms == 0 ? "0" : std::format("{}{}", ms < 0 ? "-" : "+", duration_text((ms < 0 ? -ms : ms) * kNanoseconds));
  std::string text = clean(event.text());
  if (!event.reason().empty() && !repeats_its_reason(event)) text += std::format("{}({})", text.empty() ? "" : " ", clean(event.reason()));
  const std::string head = std::format("  {:>9}  {:{}}  ", when, clean(event.kind()), kind_width);
  std::string lines = wrap(text.empty() ? "-" : text, style.width, head, std::string(head.size(), ' '));
  lines.pop_back();
  return paint(lines, colour_of(event.severity()), style) + "\n";
}

std::string steps_block(std::string_view title, const google::protobuf::RepeatedPtrField<v1::Event>& events,
                        std::int64_t began_unix_ms, const Style& style) {
  if (events.empty()) return "";
  std::size_t kind_width = 0;
  for (const v1::Event& event : events) kind_width = std::max(kind_width, clean(event.kind()).size());
  std::string result = "\n" + paint(title, Colour::kTitle, style) + "\n";
  for (const v1::Event& event : events) result += step_line(event, began_unix_ms, kind_width, style);
  return result;
}

std::string durations_of(const v1::Recovery& recovery) {
  std::string text;
  for (const auto& [name, duration] : in_order_of_time(recovery.durations_ns())) {
    text += std::format("{}{} {}", text.empty() ? "" : ", ", name, duration_text(duration));
  }
  return text;
}

std::string where(const v1::ExplainReply& reply) {
  return reply.node().empty() ? std::string() : std::format(" on {}", clean(reply.node()));
}

std::string hint(const v1::ExplainReply& reply) {
  const std::string command = std::format("perdure explain --here {}", clean(reply.name()));
  switch (reply.recovery().outcome()) {
    case v1::RECOVERY_OUTCOME_FAILED_OVER: return std::format("'{}' on that node tells what happened there before", command);
    case v1::RECOVERY_OUTCOME_GONE: return std::format("'perdure explain {}' tells how it went on there", clean(reply.name()));
    default: return "";
  }
}

}  // namespace

std::string render_explain(const v1::ExplainReply& reply, const Style& style) {
  const std::string name = paint(clean(reply.name()), Colour::kTitle, style);
  std::vector<Fact> facts;
  const auto add = [&](std::string_view title, std::string text, Colour colour = Colour::kNone) {
    if (!text.empty()) facts.push_back({std::string(title), std::move(text), colour});
  };
  std::string result;
  const v1::Recovery& recovery = reply.recovery();
  if (!reply.has_recovery()) {
    result = name + where(reply) + ": no recovery, as far back as the events here go\n";
  } else {
    result = std::format("{}{}: its last recovery, {}\n", name, where(reply), time_text(recovery.began_unix_ms()));
    add("failed", std::string(what_failed(recovery.scope())));
    add("outcome", outcome_of(recovery), colour_of(recovery.outcome()));
    add("why so", clean(recovery.decision()));
    if (recovery.took_ns() > 0) add("took", duration_text(recovery.took_ns()));
    add("measured", durations_of(recovery));
  }
  if (reply.has_status()) {
    add("now", phase_phrase(reply.status()), colour_of(reply.status().phase()));
    for (const v1::ComponentStatus& component : reply.status().components()) {
      add("component", std::format("{}: {}", clean(component.name()), word(component.state())), colour_of(component.state()));
    }
  }
  if (!reply.if_it_died().empty()) add("next time", clean(reply.if_it_died()));
  result += render_facts(facts, style);
  if (!reply.has_recovery()) return result;
  result += steps_block("Seen before", recovery.evidence(), recovery.began_unix_ms(), style);
  result += steps_block("What happened", recovery.steps(), recovery.began_unix_ms(), style);
  if (const std::string more = hint(reply); !more.empty()) result += "\n" + wrap(more, style.width, "", "");
  return result;
}

}  // namespace perdure::cli
