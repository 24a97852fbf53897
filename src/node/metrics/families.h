// Samples on their way to the scraper: metrics of the table with their values. A part of node/metrics, the only place that includes
// prometheus-cpp.
#pragma once

#include <array>
#include <cstdint>
#include <initializer_list>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/clock.h"
#include "node/metrics/metric_table.h"
#include "prometheus/metric_family.h"

namespace perdure::node {

class Families {
 public:
  using Label = std::pair<std::string_view, std::string_view>;
  using Labels = std::initializer_list<Label>;

  // Of a gauge or a counter.
  void add(Metric metric, Labels labels, double value);
  void add(Metric metric, Labels labels, std::uint64_t value) { add(metric, labels, static_cast<double>(value)); }
  void add_seconds(Metric metric, Labels labels, std::int64_t nanoseconds);
  void add_time(Metric metric, Labels labels, std::int64_t unix_ms);
  void add_flag(Metric metric, Labels labels, bool value) { add(metric, labels, value ? 1.0 : 0.0); }  // NOLINT: it is the sample

  // Those that have samples, in the order of the table. Leaves this empty.
  std::vector<prometheus::MetricFamily> take();

 private:
  std::array<std::vector<prometheus::ClientMetric>, kMetricTable.size()> samples_;
};

prometheus::MetricType type_of(MetricKind kind);
// What Prometheus' text format, version 0.0.4, makes of them.
std::string to_text(const std::vector<prometheus::MetricFamily>& families);

}  // namespace perdure::node
