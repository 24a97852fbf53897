// Generations, events, doctor, and what commands say when they are done.
#include <algorithm>
#include <array>
#include <format>

#include "base/ids.h"
#include "cli/render.h"
#include "cli/render_parts.h"
#include "cli/words.h"

namespace perdure::cli {
namespace {

namespace v1 = control::v1;

// A parent of the same term and incarnation is told by its number alone.
std::string short_parent(const v1::GenerationRow& row) {
  const auto own = parse_generation(row.generation());
  const auto parent = parse_generation(row.parent());
  if (!own || !parent || own->term != parent->term || own->incarnation != parent->incarnation)
    return clean(row.parent());
  return std::to_string(parent->number);
}

Cell state_of(const v1::GenerationRow& row) {
  if (!row.bad().empty()) return {"bad", Colour::kBad};
  std::string text = row.committed() ? "committed" : "not committed";
  if (row.durable()) text += ", durable";
  return {std::move(text), row.committed() ? Colour::kGood : Colour::kDoubtful};
}

std::string address_phrase(const v1::ContainerStatus& status) {
  return status.addresses().empty() ? std::string()
                                    : std::format(" at {}", clean(status.addresses(0)));
}

std::string started(const v1::ContainerStatus& status, const Style& style) {
  return wrap(phase_phrase(status) + address_phrase(status), style.width, "", "  ") +
         protection_phrase(status, style);
}

std::string summary_of(const v1::DoctorReport& report) {
  const auto count = [&](v1::CheckState state) {
    return std::ranges::count_if(report.lines(),
                                 [&](const auto& line) { return line.state() == state; });
  };
  const auto missing = count(v1::CHECK_MISSING);
  const auto limited = count(v1::CHECK_LIMITED);
  if (missing > 0)
    return std::format("{} missing, {} limited: containers cannot be protected here\n", missing,
                       limited);
  if (limited > 0)
    return std::format("{} limited: containers can be protected, with the limits above\n", limited);
  return "all is well\n";
}

}  // namespace

std::string phase_phrase(const v1::ContainerStatus& status) {
  const bool done = status.phase() == v1::PHASE_FAILED || status.phase() == v1::PHASE_EXITED;
  return std::format("{} {} {}", clean(status.name()), done ? "has" : "is", word(status.phase()));
}

std::string protection_phrase(const v1::ContainerStatus& status, const Style& style) {
  const auto& protection = status.protection();
  const std::string name = clean(status.name());
  if (protection.state() == v1::PROTECTION_PROTECTED) {
    std::string text = std::format("{} is protected", name);
    if (status.interval().has_in_force_ns()) {
      text +=
          std::format(": a generation every {}", duration_text(status.interval().in_force_ns()));
    }
    if (status.has_newest_committed()) {
      text += std::format(", the newest is {}", clean(status.newest_committed().generation()));
    }
    return wrap(text, style.width, "", "  ");
  }
  if (protection.state() == v1::PROTECTION_STATELESS) {
    return wrap(std::format("{} is stateless: it is restarted, its memory is not kept", name),
                style.width, "", "  ");
  }
  std::string text = std::format("{} is {}", name, word(protection.state()));
  if (!protection.reason().empty()) text += ": " + clean(protection.reason());
  std::string result = wrap(text, style.width, "", "  ");
  if (!protection.remedy().empty())
    result += wrap("-> " + clean(protection.remedy()), style.width, "  ", "     ");
  for (const auto& line : protection.criu_lines())
    result += wrap(clean(line), style.width, "  criu: ", "        ");
  return result;
}

std::string capture_text(const v1::Capture& capture) {
  std::string text = std::format(
      "{} frozen, {} in all, {} of CPU; {} in full, {} kept", duration_text(capture.frozen_ns()),
      duration_text(capture.wall_ns()), duration_text(capture.cpu_ns()),
      bytes_text(capture.full_bytes()), bytes_text(capture.kept_bytes()));
  if (capture.total_pages() > 0) {
    text += std::format("; {} of {} pages dirty", capture.dirty_pages(), capture.total_pages());
  }
  return text;
}

std::string restore_durations(const v1::RestoreRecord& record) {
  std::string text;
  const auto add = [&](bool known, std::string_view what, std::int64_t duration) {
    if (known)
      text += std::format("{}{} {}", text.empty() ? "; " : ", ", what, duration_text(duration));
  };
  add(record.has_noticed_ns(), "noticed after", record.noticed_ns());
  add(record.has_swapped_ns(), "owned after", record.swapped_ns());
  add(record.has_restored_ns(), "running after", record.restored_ns());
  add(record.has_first_packet_ns(), "first packet after", record.first_packet_ns());
  add(record.has_lost_ns(), "lost", record.lost_ns());
  return text;
}

std::string restore_text(const v1::RestoreRecord& record) {
  std::string text = time_text(record.time_unix_ms());
  if (!record.reason().empty()) text += ", " + clean(record.reason());
  text +=
      record.generation().empty() ? ": started afresh" : ": back to " + clean(record.generation());
  return text + restore_durations(record);
}

std::string render_generations(const v1::GenerationsReply& reply, const Style& style) {
  if (reply.generations().empty())
    return std::format("{} has no generations\n", clean(reply.name()));
  const std::vector<Column> columns{
      {.title = "GENERATION"},
      {.title = "AGE", .align = Align::kRight},
      {.title = "STATE"},
      {.title = "KIND", .expendable = 3},
      {.title = "PARENT", .expendable = 4},
      {.title = "FULL", .align = Align::kRight, .expendable = 2},
      {.title = "KEPT", .align = Align::kRight, .expendable = 1},
      {.title = "FROZEN", .align = Align::kRight, .expendable = 5},
  };
  std::vector<std::vector<Cell>> rows;
  for (const auto& row : reply.generations()) {
    rows.push_back({{clean(row.generation())},
                    {short_duration(row.age_ns())},
                    state_of(row),
                    {std::string(word(row.kind()))},
                    {short_parent(row)},
                    {bytes_text(row.full_bytes())},
                    {bytes_text(row.kept_bytes())},
                    {short_duration(row.frozen_ns())}});
  }
  std::string remarks;
  for (const auto& row : reply.generations()) {
    if (row.bad().empty()) continue;
    remarks += wrap(std::format("{} is bad and will not be restored: {}", clean(row.generation()),
                                clean(row.bad())),
                    style.width, "", "  ");
  }
  return render_table(columns, rows, style) + (remarks.empty() ? "" : "\n" + remarks);
}

std::string render_event(const v1::Event& event, const Style& style) {
  const std::string head =
      std::format("{} {:7} ", time_text(event.time_unix_ms()), word(event.severity()));
  std::string text;
  if (!event.container().empty()) text += clean(event.container()) + " ";
  text += clean(event.kind());
  if (!event.text().empty()) text += ": " + clean(event.text());
  if (!event.reason().empty()) text += std::format(" ({})", clean(event.reason()));
  std::string numbers = clean(event.generation());
  for (const auto& [name, duration] : in_order_of_time(event.durations_ns())) {
    numbers += std::format("{}{} {}", numbers.empty() ? "" : ", ", name, duration_text(duration));
  }
  if (!numbers.empty()) text += std::format(" [{}]", numbers);
  std::string lines = wrap(text, style.width, head, "    ");
  lines.pop_back();
  return paint(lines, colour_of(event.severity()), style) + "\n";
}

std::string render_doctor(const v1::DoctorReport& report, const Style& style) {
  int check_width = 0;
  for (const auto& line : report.lines())
    check_width = std::max(check_width, display_width(clean(line.check())));
  constexpr int kStateWidth = 7;  // "missing"
  const std::string indent(static_cast<std::size_t>(kStateWidth + 2 + check_width + 2), ' ');
  std::string result;
  for (const auto& line : report.lines()) {
    const std::string state(word(line.state()));
    const std::string check = clean(line.check());
    result += paint(state, colour_of(line.state()), style) +
              std::string(kStateWidth + 2 - state.size(), ' ') + check;
    result += std::string(static_cast<std::size_t>(check_width - display_width(check)) + 2, ' ');
    std::string found =
        wrap(line.found().empty() ? "-" : clean(line.found()), style.width, indent, indent);
    result += found.substr(indent.size());
    if (!line.follows().empty())
      result += wrap("so: " + clean(line.follows()), style.width, indent, indent + "    ");
    if (!line.remedy().empty())
      result += wrap("-> " + clean(line.remedy()), style.width, indent, indent + "   ");
  }
  return result + "\n" + summary_of(report);
}

std::string render_version(std::string_view own_version, const v1::VersionReply* daemon,
                           const Style& style) {
  std::vector<Fact> facts{{"perdure", std::string(own_version)}};
  const auto add = [&](std::string_view title, std::string text) {
    if (!text.empty()) facts.push_back({std::string(title), std::move(text)});
  };
  if (daemon != nullptr) {
    std::string running = clean(daemon->version());
    if (!daemon->build().empty()) running += std::format(" ({})", clean(daemon->build()));
    if (daemon->pid() > 0) running += std::format(", process {}", daemon->pid());
    if (daemon->started_unix_ms() > 0) running += ", since " + time_text(daemon->started_unix_ms());
    add("perdured", running);
    add("node", clean(daemon->node()));
    add("incarnation", clean(daemon->incarnation()));
    add("kernel", clean(daemon->kernel()));
    add("CRIU", clean(daemon->criu()));
    add("runtime", clean(daemon->runtime()));
  }
  return render_facts(facts, style);
}

std::string render_run(const v1::RunReply& reply, const Style& style) {
  std::string result;
  for (const auto& warning : reply.warnings())
    result += wrap("warning: " + clean(warning), style.width, "", "  ");
  return result + started(reply.status(), style);
}

std::string render_start(const v1::StartReply& reply, const Style& style) {
  return started(reply.status(), style);
}

std::string render_checkpoint(const v1::CheckpointReply& reply, const Style& style) {
  const auto& row = reply.generation();
  return wrap(std::format("{}: generation {} is {}{}; {}", clean(reply.name()),
                          clean(row.generation()), row.committed() ? "committed" : "not committed",
                          row.durable() ? " and durable" : "", capture_text(reply.capture())),
              style.width, "", "  ");
}

std::string render_restore(const v1::RestoreReply& reply, const Style& style) {
  const auto& restore = reply.restore();
  const std::string back = restore.generation().empty()
                               ? "was started afresh, without its memory"
                               : "is back at generation " + clean(restore.generation());
  return wrap(std::format("{} {}{}{}", clean(reply.status().name()), back,
                          address_phrase(reply.status()), restore_durations(restore)),
              style.width, "", "  ") +
         (is_safe(reply.status().protection().state()) ? ""
                                                       : protection_phrase(reply.status(), style));
}

std::string render_export(const v1::ExportReply& reply, std::string_view file, const Style& style) {
  return wrap(std::format("{}: generation {} is in {}, {}", clean(reply.name()),
                          clean(reply.generation()), clean(file), bytes_text(reply.bytes())),
              style.width, "", "  ") +
         (reply.digest().empty() ? "" : clean(reply.digest()) + "\n");
}

std::string render_import(const v1::ImportReply& reply, const Style& style) {
  const std::string name = clean(reply.status().name());
  std::string text = std::format("{} was imported, generation {}, {}", name,
                                 clean(reply.generation()), bytes_text(reply.bytes()));
  if (!reply.original_name().empty() && reply.original_name() != reply.status().name()) {
    text += std::format("; it was {}", clean(reply.original_name()));
  }
  return wrap(text, style.width, "", "  ") +
         wrap(std::format("'perdure restore {0}' brings it to life with its memory, 'perdure start "
                          "{0}' starts it afresh",
                          name),
              style.width, "", "  ");
}

std::string render_stop(const v1::StopReply& reply, const Style& style) {
  const auto& status = reply.status();
  std::string text = phase_phrase(status);
  if (reply.killed()) text += "; it did not end by itself before the deadline and was killed";
  if (status.has_newest_committed()) {
    text +=
        std::format("; newest generation {}, {} old", clean(status.newest_committed().generation()),
                    duration_text(status.newest_committed().age_ns()));
  }
  return wrap(text, style.width, "", "  ");
}

std::string render_remove(const v1::RemoveReply& reply, const Style& style) {
  std::string text = std::format("{} is removed", clean(reply.name()));
  if (reply.was_running()) text += "; it was running and was killed";
  if (reply.freed_bytes() > 0) text += std::format("; {} freed", bytes_text(reply.freed_bytes()));
  if (!reply.kept_capsules().empty())
    text += "; its generations are kept in " + clean(reply.kept_capsules());
  if (reply.still_claimed()) {
    text += "; its name and addresses are not free before its standbys have confirmed, or have been dropped";
  }
  return wrap(text, style.width, "", "  ");
}

std::string describe_remove(const v1::ContainerStatus& status, bool keep_capsules,
                            const Style& style) {
  std::string text = phase_phrase(status);
  if (status.has_init_pid()) text += "; its processes will be killed";
  text += "; its files will be deleted";
  text += keep_capsules ? "; its generations stay"
                        : std::format(", and so will its generations ({} in memory, {} on disk)",
                                      bytes_text(status.capsule_memory_bytes()),
                                      bytes_text(status.capsule_disk_bytes()));
  return wrap(text, style.width, "", "  ");
}

std::string describe_restore(const v1::ContainerStatus& status, const v1::GenerationRow& target,
                             const Style& style) {
  std::string text = phase_phrase(status);
  if (status.has_init_pid()) text += "; its processes will be killed";
  text += std::format(
      "; memory and files go back to generation {} of {}, {} ago; what happened since then is lost",
      clean(target.generation()), time_text(target.created_unix_ms()),
      duration_text(target.age_ns()));
  return wrap(text, style.width, "", "  ");
}

std::string render_failure(const Failure& failure, const Style& style) {
  std::string message = clean_block(failure.message);
  std::string result;
  if (message.contains('\n')) {  // a list of findings: each line stays as it is
    result = "perdure: " + message + (message.ends_with('\n') ? "" : "\n");
  } else {
    result = wrap("perdure: " + message, style.width, "", "  ");
  }
  for (const auto& line : failure.detail) result += wrap(clean(line), style.width, "  ", "    ");
  if (!failure.remedy.empty())
    result += wrap("-> " + clean(failure.remedy), style.width, "  ", "     ");
  return result;
}

}  // namespace perdure::cli
