// What happens on a node, counted and measured as it happens: captures, recoveries, takeovers, moves, events. Loop thread only.
#pragma once

#include <memory>
#include <vector>

#include "control.pb.h"
#include "node/capture_job.h"
#include "node/cluster/owned_container.h"
#include "node/takeover_meter.h"
#include "prometheus/metric_family.h"

namespace perdure::node {

class OperationMetrics {
 public:
  OperationMetrics();
  ~OperationMetrics();
  OperationMetrics(const OperationMetrics&) = delete;
  OperationMetrics& operator=(const OperationMetrics&) = delete;

  void captured(const CaptureReport& report);
  // From the event log; recoveries in place are measured by theirs.
  void happened(const control::v1::Event& event);
  void takeover_step(TakeoverMeter::Step step, Duration since_silence);
  void takeover_ended(TakeoverMeter::End end);
  void moved(const MoveResult& result);

  std::vector<prometheus::MetricFamily> collect() const;

 private:
  struct Parts;
  const std::unique_ptr<Parts> parts_;
};

}  // namespace perdure::node
