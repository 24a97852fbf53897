#include "agent/report.h"

#include <csignal>
#include <limits>

#include "agent/text.h"

namespace perdure::agent {
namespace {

constexpr std::string_view kReportHeader = "perdure-agent-report";
constexpr std::int64_t kReportVersion = 1;
constexpr std::int64_t kMaxNumber = std::numeric_limits<std::int64_t>::max();
constexpr std::int64_t kMaxCount = std::numeric_limits<std::uint32_t>::max();
constexpr std::int64_t kMaxPid = std::int64_t{1} << 22;

std::string_view bounded(std::string_view reason) { return reason.substr(0, kMaxReasonBytes); }

ComponentReport read_component(Fields& fields) {
  ComponentReport it;
  it.name = fields.text(63);
  it.state = static_cast<ComponentState>(fields.number(0, static_cast<int>(ComponentState::kFailed)));
  it.stateful = fields.number(0, 1) != 0;
  it.probed = fields.number(0, 1) != 0;
  it.pid = static_cast<std::int32_t>(fields.number(0, kMaxPid));
  it.restarts = static_cast<std::uint32_t>(fields.number(0, kMaxCount));
  it.failures = static_cast<std::uint32_t>(fields.number(0, kMaxCount));
  it.passed_realtime_ns = fields.number(0, kMaxNumber);
  it.passed_age_ns = fields.number(0, kMaxNumber);
  it.trouble = fields.text(kMaxReasonBytes);
  return it;
}

}  // namespace

// Real-time signals are queued and mean nothing by themselves.
int probe_now_signal() { return SIGRTMIN + 7; }

std::string_view to_string(ComponentState state) {
  switch (state) {
    case ComponentState::kWaiting:
      return "waiting";
    case ComponentState::kStarting:
      return "starting";
    case ComponentState::kRunning:
      return "running";
    case ComponentState::kFailing:
      return "failing";
    case ComponentState::kBackOff:
      return "back-off";
    case ComponentState::kStopping:
      return "stopping";
    case ComponentState::kFinished:
      return "finished";
    case ComponentState::kStopped:
      return "stopped";
    case ComponentState::kFailed:
      return "failed";
  }
  return "?";
}

std::string to_text(const Report& report) {
  std::string text = Line(kReportHeader)
                         .add(kReportVersion)
                         .add(static_cast<std::int64_t>(report.life & static_cast<std::uint64_t>(kMaxNumber)))
                         .add(static_cast<std::int64_t>(report.sequence))
                         .text();
  for (const ComponentReport& it : report.components) {
    text += Line("component")
                .add(it.name)
                .add(static_cast<int>(it.state))
                .add(it.stateful ? 1 : 0)
                .add(it.probed ? 1 : 0)
                .add(it.pid)
                .add(it.restarts)
                .add(it.failures)
                .add(it.passed_realtime_ns)
                .add(it.passed_age_ns)
                .add(bounded(it.trouble))
                .text();
  }
  if (report.ending) {
    text += Line("ending").add(report.ending->code).add(report.ending->component).add(bounded(report.ending->reason)).text();
  }
  return text;
}

Parsed<Report> parse_report(std::string_view text) {
  if (text.size() > kMaxReportBytes) return {{}, "the report is too long"};
  const auto lines = lines_of(text);
  if (!lines || lines->empty()) return {{}, "the report is incomplete"};
  Report report;
  for (std::size_t i = 0; i < lines->size(); ++i) {
    Fields fields((*lines)[i]);
    if (i == 0) {
      if (fields.word() != kReportHeader || fields.number(kReportVersion, kReportVersion) != kReportVersion) fields.spoil();
      report.life = static_cast<std::uint64_t>(fields.number(0, kMaxNumber));
      report.sequence = static_cast<std::uint64_t>(fields.number(0, kMaxNumber));
    } else if (fields.word() == "component" && report.components.size() < kMaxComponents) {
      report.components.push_back(read_component(fields));
    } else if (fields.word() == "ending" && !report.ending) {
      Ending ending;
      ending.code = static_cast<int>(fields.number(0, 255));
      ending.component = fields.text(63);
      ending.reason = fields.text(kMaxReasonBytes);
      report.ending = std::move(ending);
    } else {
      fields.spoil();
    }
    if (fields.is_bad()) return {{}, "line " + to_text(static_cast<std::int64_t>(i) + 1) + " of the report is malformed"};
  }
  return {std::move(report), {}};
}

}  // namespace perdure::agent
