#include "node/metrics/operation_metrics.h"

#include <map>
#include <string>

#include "node/metrics/families.h"
#include "prometheus/counter.h"
#include "prometheus/histogram.h"
#include "prometheus/registry.h"

namespace perdure::node {
namespace {

namespace v1 = control::v1;

using Buckets = prometheus::Histogram::BucketBoundaries;

// Seconds. A container stands still for milliseconds; a second is felt by everybody.
const Buckets kFrozenBuckets{0.001, 0.0025, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2.5, 5};
// A recovery in place takes tens of milliseconds, a takeover some hundreds; fine where the goal of half a second is decided.
const Buckets kRecoveryBuckets{0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1, 2, 5, 10, 30};

constexpr std::array kRestoreSteps{"noticed", "restored", "first_packet"};
constexpr const char* kMoved = "moved";
constexpr const char* kFailed = "failed";

double seconds(Duration duration) { return std::chrono::duration<double>(duration).count(); }

std::string_view severity_word(v1::Severity severity) {
  switch (severity) {
    case v1::SEVERITY_INFO: return "info";
    case v1::SEVERITY_WARNING: return "warning";
    case v1::SEVERITY_ERROR: return "error";
    default: return "unknown";
  }
}

prometheus::Family<prometheus::Counter>& counters(prometheus::Registry& registry, Metric metric) {
  return prometheus::BuildCounter().Name(std::string(metric.row().name)).Help(std::string(metric.row().help)).Register(registry);
}

prometheus::Family<prometheus::Histogram>& histograms(prometheus::Registry& registry, Metric metric) {
  return prometheus::BuildHistogram().Name(std::string(metric.row().name)).Help(std::string(metric.row().help)).Register(registry);
}

}  // namespace

// Everything that may happen has its sample from the beginning: that it has not happened is known.
struct OperationMetrics::Parts {
  Parts() {
    for (const char* step : kRestoreSteps) restores.Add({{"step", step}}, kRecoveryBuckets);
    for (const auto step : TakeoverMeter::kSteps) takeover_steps.Add({{"step", std::string(word(step))}}, kRecoveryBuckets);
    for (const auto end : TakeoverMeter::kEnds) takeovers.Add({{"result", std::string(word(end))}});
    for (const char* result : {kMoved, kFailed}) moves.Add({{"result", result}});
  }

  prometheus::Registry registry;
  prometheus::Family<prometheus::Counter>& events = counters(registry, "perdure_events_total");
  prometheus::Histogram& frozen = histograms(registry, "perdure_capture_frozen_seconds").Add({}, kFrozenBuckets);
  prometheus::Family<prometheus::Histogram>& restores = histograms(registry, "perdure_restore_seconds");
  prometheus::Family<prometheus::Counter>& takeovers = counters(registry, "perdure_takeovers_total");
  prometheus::Family<prometheus::Histogram>& takeover_steps = histograms(registry, "perdure_takeover_seconds");
  prometheus::Family<prometheus::Counter>& moves = counters(registry, "perdure_moves_total");
  prometheus::Histogram& move_frozen = histograms(registry, "perdure_move_frozen_seconds").Add({}, kFrozenBuckets);
};

OperationMetrics::OperationMetrics() : parts_(std::make_unique<Parts>()) {}
OperationMetrics::~OperationMetrics() = default;

void OperationMetrics::captured(const CaptureReport& report) { parts_->frozen.Observe(seconds(report.stats.frozen)); }

void OperationMetrics::happened(const v1::Event& event) {
  parts_->events.Add({{"kind", event.kind()}, {"severity", std::string(severity_word(event.severity()))}}).Increment();
  const bool measured = event.kind() == "restored" || event.kind() == "first_packet";
  if (!measured || event.durations_ns().contains("swapped")) return;  // a takeover is measured by its TakeoverMeter
  for (const char* step : kRestoreSteps) {
    const auto found = event.durations_ns().find(step);
    if (found == event.durations_ns().end()) continue;
    parts_->restores.Add({{"step", step}}, kRecoveryBuckets).Observe(seconds(Duration(found->second)));
  }
}

void OperationMetrics::takeover_step(TakeoverMeter::Step step, Duration since_silence) {
  parts_->takeover_steps.Add({{"step", std::string(word(step))}}, kRecoveryBuckets).Observe(seconds(since_silence));
}

void OperationMetrics::takeover_ended(TakeoverMeter::End end) {
  parts_->takeovers.Add({{"result", std::string(word(end))}}).Increment();
}

void OperationMetrics::moved(const MoveResult& result) {
  parts_->moves.Add({{"result", result.failure.empty() ? kMoved : kFailed}}).Increment();
  // Of a move that a perdured before this one began, the freeze was not seen.
  if (result.failure.empty() && result.generation) parts_->move_frozen.Observe(seconds(result.frozen));
}

std::vector<prometheus::MetricFamily> OperationMetrics::collect() const { return parts_->registry.Collect(); }

}  // namespace perdure::node
