#include "node/metrics/families.h"

#include "base/assert.h"
#include "prometheus/text_serializer.h"

namespace perdure::node {
namespace {

constexpr double kNanosecondsPerSecond = 1e9;
constexpr double kMillisecondsPerSecond = 1e3;

}  // namespace

prometheus::MetricType type_of(MetricKind kind) {
  switch (kind) {
    case MetricKind::kGauge: return prometheus::MetricType::Gauge;
    case MetricKind::kCounter: return prometheus::MetricType::Counter;
    case MetricKind::kHistogram: return prometheus::MetricType::Histogram;
  }
  return prometheus::MetricType::Untyped;
}

void Families::add(Metric metric, Labels labels, double value) {
  prometheus::ClientMetric& sample = samples_[metric.index()].emplace_back();
  for (const auto& [name, text] : labels) sample.label.push_back({std::string(name), std::string(text)});
  if (metric.row().kind == MetricKind::kCounter) {
    sample.counter.value = value;
  } else {
    PERDURE_ASSERT(metric.row().kind == MetricKind::kGauge);
    sample.gauge.value = value;
  }
}

void Families::add_seconds(Metric metric, Labels labels, std::int64_t nanoseconds) {
  add(metric, labels, static_cast<double>(nanoseconds) / kNanosecondsPerSecond);
}

void Families::add_time(Metric metric, Labels labels, std::int64_t unix_ms) {
  add(metric, labels, static_cast<double>(unix_ms) / kMillisecondsPerSecond);
}

std::vector<prometheus::MetricFamily> Families::take() {
  std::vector<prometheus::MetricFamily> families;
  for (std::size_t i = 0; i < kMetricTable.size(); ++i) {
    if (samples_[i].empty()) continue;
    const MetricRow& row = kMetricTable[i];
    families.push_back({std::string(row.name), std::string(row.help), type_of(row.kind), std::exchange(samples_[i], {})});
  }
  return families;
}

std::string to_text(const std::vector<prometheus::MetricFamily>& families) {
  return static_cast<const prometheus::Serializer&>(prometheus::TextSerializer()).Serialize(families);
}

}  // namespace perdure::node
