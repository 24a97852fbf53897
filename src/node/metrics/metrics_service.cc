#include "node/metrics/metrics_service.h"

#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <format>
#include <utility>

#include "base/fd.h"
#include "base/log.h"
#include "node/status_codec.h"

namespace perdure::node {
namespace {

namespace v1 = control::v1;

constexpr const char* kMetricsPath = "/metrics";
constexpr const char* kTextFormat = "text/plain; version=0.0.4; charset=utf-8";
constexpr unsigned kNotFound = 404;

Duration duration_of(const timeval& time) {
  return std::chrono::seconds(time.tv_sec) + std::chrono::microseconds(time.tv_usec);
}

std::optional<std::uint64_t> resident_bytes() {
  const Result<std::string> text = read_file("/proc/self/statm");  // pages: all, resident, ...
  if (!text) return std::nullopt;
  const std::size_t second = text->find(' ') + 1;
  std::uint64_t pages = 0;
  if (std::from_chars(text->data() + second, text->data() + text->size(), pages).ec != std::errc()) return std::nullopt;
  return pages * static_cast<std::uint64_t>(::sysconf(_SC_PAGESIZE));
}

std::optional<ProcessUse> process_use() {
  rusage use{};
  const auto resident = resident_bytes();
  if (!resident || ::getrusage(RUSAGE_SELF, &use) != 0) return std::nullopt;
  return ProcessUse{.cpu = duration_of(use.ru_utime) + duration_of(use.ru_stime), .resident_bytes = *resident};
}

HeldForOthers held_by(const replica::StandbyTable& table, Bytes limit) {
  HeldForOthers held{.memory_limit_bytes = limit.count};
  for (const replica::HeldContainer& container : table.all()) {
    if (!container.newest) continue;
    ++held.containers;
    held.disk_bytes += container.disk.count;
  }
  held.memory_bytes = table.memory().count;
  return held;
}

}  // namespace

MetricsService::MetricsService(MetricsServiceOptions options) : options_(std::move(options)) {}

void MetricsService::start() { listen(); }

void MetricsService::listen() {
  const auto endpoint = io::Endpoint::parse(options_.address);
  if (!endpoint) return not_listening(endpoint.error());
  auto server = io::HttpServer::listen(options_.node.loop(), {.listen = *endpoint},
                                       [this](const std::string& path) { return answer(path); });
  if (!server) return not_listening(server.error());
  server_ = *std::move(server);
  const std::string address = to_string(server_->endpoint());
  log::info("metrics are served at http://{}{}", address, kMetricsPath);
  options_.node.set_metrics_state({.address = address, .trouble = {}});
}

void MetricsService::not_listening(const Error& error) {
  options_.node.set_metrics_state({.address = options_.address, .trouble = error.message()});
  retry_ = options_.node.loop().after(options_.retry, [this] { listen(); });
  if (std::exchange(told_, true)) return;
  const std::string text = std::format("metrics are not served at {}: give --metrics another address, or end what holds this one; it is "
                                       "tried again and again",
                                       options_.address);
  log::warning("{}: {}", text, error.message());
  v1::Event event;
  event.set_severity(v1::SEVERITY_WARNING);
  event.set_kind("metrics_not_served");
  event.set_text(text);
  event.set_reason(error.message());
  options_.node.events().append(std::move(event));
}

io::HttpResponse MetricsService::answer(const std::string& path) {
  if (path == kMetricsPath) return {.content_type = kTextFormat, .body = collect()};
  if (path == "/") return {.body = std::format("perdured {}: the metrics are at {}\n", PERDURE_VERSION, kMetricsPath)};
  return {.status = kNotFound, .body = std::format("there is only {}\n", kMetricsPath)};
}

NodeState MetricsService::state() const {
  Node& node = options_.node;
  NodeState state;
  state.daemon = daemon_version(node);
  state.starts = node.identity().incarnation.value;
  state.process = process_use();
  state.collect = last_collect_;
  for (const ContainerService* service : node.containers()) state.containers.push_back(status_of(*service, node.clock()));
  Cluster* cluster = options_.cluster;
  if (cluster == nullptr || !cluster->member()) return state;
  state.cluster = cluster->status();
  if (cluster->standbys() != nullptr) state.held = held_by(cluster->standbys()->table(), options_.standby_memory);
  const bool is_member = std::ranges::any_of(state.cluster.nodes(), [](const v1::NodeRow& row) { return row.self() && row.etcd_member(); });
  const EtcdKeeper* etcd = cluster->membership()->etcd();
  if (etcd != nullptr && is_member) state.etcd_runs = etcd->running();
  return state;
}

std::string MetricsService::collect() {
  const Instant begun = BootClock::now();
  Families families;
  add_state(families, state());
  std::vector<prometheus::MetricFamily> all = families.take();
  for (prometheus::MetricFamily& family : options_.operations.collect()) all.push_back(std::move(family));
  std::string text = to_text(all);
  last_collect_ = BootClock::now() - begun;
  return text;
}

}  // namespace perdure::node
