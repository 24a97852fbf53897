// Serves the metrics: http://ADDRESS/metrics, in Prometheus' text format. A scrape reads what the daemon knows already; it asks
// neither etcd nor another node.
//
// Loop thread only. An address that cannot be listened on is no reason not to look after containers: it is said, and tried again.
#pragma once

#include <chrono>
#include <memory>
#include <optional>
#include <string>

#include "base/clock.h"
#include "base/result.h"
#include "base/units.h"
#include "io/http_server.h"
#include "io/loop.h"
#include "node/cluster/cluster.h"
#include "node/metrics/operation_metrics.h"
#include "node/metrics/state_metrics.h"
#include "node/node.h"

namespace perdure::node {

// For another program to end, or an interface to come up; more often would help nobody.
inline constexpr Duration kMetricsRetryTime = std::chrono::seconds(30);

struct MetricsServiceOptions {
  Node& node;
  Cluster* cluster = nullptr;  // null in tests of a single host
  OperationMetrics& operations;
  std::string address;  // "127.0.0.1:7480"
  Bytes standby_memory;
  Duration retry = kMetricsRetryTime;
};

class MetricsService {
 public:
  explicit MetricsService(MetricsServiceOptions options);
  MetricsService(const MetricsService&) = delete;
  MetricsService& operator=(const MetricsService&) = delete;

  // Once. Node::metrics_state() says what came of it, from then on.
  void start();
  // What a scrape gets.
  std::string collect();

 private:
  void listen();
  void not_listening(const Error& error);
  NodeState state() const;
  io::HttpResponse answer(const std::string& path);

  const MetricsServiceOptions options_;
  std::optional<Duration> last_collect_;
  bool told_ = false;  // that the address cannot be listened on
  std::unique_ptr<io::HttpServer> server_;
  io::Timer retry_;
};

}  // namespace perdure::node
