#include "node/recovery_meter.h"

#include <algorithm>
#include <chrono>
#include <format>
#include <utility>

namespace perdure::node {
namespace {

constexpr Duration kFirstPacketStep = std::chrono::milliseconds(1);
constexpr Duration kFirstPacketTime =
    std::chrono::seconds(5);  // a silent container sends nothing by itself

}  // namespace

RecoveryMeter::RecoveryMeter(Environment environment, const ContainerName& name,
                             std::shared_ptr<ContainerBackend> backend,
                             std::function<void()> changed)
    : environment_(environment),
      name_(name),
      backend_(std::move(backend)),
      changed_(std::move(changed)) {}

void RecoveryMeter::failed(Instant at) {
  if (!failed_at_ || at < *failed_at_) failed_at_ = at;
}

void RecoveryMeter::noticed() {
  if (noticed_at_) return;
  noticed_at_ = environment_.clock.now();
  if (!failed_at_) failed_at_ = noticed_at_;
}

void RecoveryMeter::begin_for_operator() {
  noticed();
  reason_ = "operator";
}

RestoreReport RecoveryMeter::report_now() const {
  RestoreReport report;
  report.at = environment_.clock.wall();
  report.reason = reason_;
  report.noticed = *noticed_at_ - *failed_at_;
  report.restored = environment_.clock.now() - *failed_at_;
  return report;
}

void RecoveryMeter::started_afresh() {
  last_ = report_now();
  forget();
}

void RecoveryMeter::restored(const Generation& generation, std::optional<Instant> captured_at,
                             const RestoreResult& result) {
  RestoreReport report = report_now();
  report.generation = generation;
  report.connections_reset = result.connections_reset;
  if (captured_at) report.lost = std::max(Duration::zero(), Duration(*failed_at_ - *captured_at));
  keep_details(report, result);
  frames_before_ = result.frames_before;
  watch_first_packet(*failed_at_, environment_.clock.now() + kFirstPacketTime);
  last_ = std::move(report);
  forget();
}

void RecoveryMeter::taken_over(const TakeoverTimes& times, const Generation& generation, Instant captured_at,
                               const RestoreResult& result) {
  failed_at_ = times.last_heard;
  noticed_at_ = times.noticed;
  const bool ordered = !times.ordered_by.empty();
  reason_ = ordered ? times.ordered_by : std::format("'{}' is silent", times.from.str());
  restored(generation, captured_at, result);
  last_->taken_from = times.from;
  last_->swapped = times.swapped - times.last_heard;
  last_->restored = times.restored - times.last_heard;
  const std::string silence = ordered ? std::string()
                                      : std::format("silent for {}, named the owner {} later, ",
                                                    format_duration(times.noticed - times.last_heard),
                                                    format_duration(times.swapped - times.noticed));
  details_->set_text(std::format("; {}restored in {}; {} of {} connections were reset", silence,
                                 format_duration(times.restored - times.swapped), result.connections_reset,
                                 result.connections));
  auto& durations = *details_->mutable_durations_ns();
  durations["swapped"] = (times.swapped - times.last_heard).count();
  durations["begun"] = (times.begun - times.last_heard).count();
  durations["restored"] = (times.restored - times.last_heard).count();
}

void RecoveryMeter::failed_over(Instant failed, Instant noticed, std::string reason) {
  failed_at_ = failed;
  noticed_at_ = std::max(failed, noticed);
  reason_ = std::move(reason);
}

void RecoveryMeter::keep_details(const RestoreReport& report, const RestoreResult& result) {
  control::v1::Event& details = details_.emplace();
  details.set_text(std::format("; {} after the failure; {} of {} connections were reset",
                               format_duration(*report.restored), result.connections_reset,
                               result.connections) +
                   (result.connections_spliced == 0 ? "" : std::format(", {} spliced", result.connections_spliced)));
  details.set_reason(report.reason);
  details.set_generation(to_string(*report.generation));
  auto& durations = *details.mutable_durations_ns();
  durations["noticed"] = report.noticed->count();
  durations["restored"] = report.restored->count();
  durations["killed"] = result.killed.count();
  durations["files"] = result.files.count();
  durations["processes"] = result.processes.count();
  if (report.lost) durations["lost"] = report.lost->count();
}

void RecoveryMeter::add_details(control::v1::Event& event) const {
  if (!details_) return;
  const std::string text = event.text() + details_->text();
  event.MergeFrom(*details_);
  event.set_text(text);
}

// The first frame that passes the gate after a restore is what the clients wait for. The kernel
// counts frames, it does not report them: the count is looked at every millisecond until it rises.
void RecoveryMeter::watch_first_packet(Instant failed_at, Instant give_up) {
  first_packet_timer_ = environment_.loop.after(kFirstPacketStep, [this, failed_at, give_up] {
    const Instant now = environment_.clock.now();
    if (backend_->frames_passed() == frames_before_) {
      if (now < give_up) watch_first_packet(failed_at, give_up);
      return;
    }
    last_->first_packet = now - failed_at;
    control::v1::Event event;
    event.set_severity(control::v1::SEVERITY_INFO);
    event.set_container(name_.str());
    event.set_kind("first_packet");
    event.set_text(
        std::format("first packet {} after the failure", format_duration(now - failed_at)));
    (*event.mutable_durations_ns())["first_packet"] = (now - failed_at).count();
    if (last_->swapped) (*event.mutable_durations_ns())["swapped"] = last_->swapped->count();  // it was a takeover
    environment_.events.append(std::move(event));
    changed_();
  });
}

}  // namespace perdure::node
