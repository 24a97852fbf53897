#include "node/daemon.h"

#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <filesystem>
#include <format>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <utility>

#include "base/clock.h"
#include "base/log.h"
#include "capsule/criu/criu_rpc.h"
#include "io/loop.h"
#include "io/pool.h"
#include "io/unix_socket.h"
#include "network/enslave.h"
#include "network/exit_hook.h"
#include "node/cluster/cluster.h"
#include "node/cluster/forwarding.h"
#include "node/control_service.h"
#include "node/daemon_directories.h"
#include "node/event_log.h"
#include "node/image_collector.h"
#include "node/metrics/metrics_service.h"
#include "node/node.h"
#include "node/service_manager.h"
#include "runtime/preflight.h"
#include "runtime/process_watch.h"

namespace perdure::node {
namespace {

namespace v1 = control::v1;

// Work that waits for a thread. Containers ask again later when it is full.
constexpr std::size_t kPoolQueue = 256;
constexpr Duration kCriuCheckTime = std::chrono::seconds(30);

void report(EventLog& events, v1::Severity severity, std::string_view kind, std::string text, std::string reason) {
  if (severity == v1::SEVERITY_INFO) {
    log::info("{}", text);
  } else {
    log::warning("{}{}{}", text, reason.empty() ? "" : ": ", reason);
  }
  v1::Event event;
  event.set_severity(severity);
  event.set_kind(std::string(kind));
  event.set_text(std::move(text));
  event.set_reason(std::move(reason));
  events.append(std::move(event));
}

// The system's; its wall clock shifted by what the command line says.
class DaemonClock final : public Clock {
 public:
  explicit DaemonClock(Duration offset) : offset_(std::chrono::duration_cast<WallTime::duration>(offset)) {}
  Instant now() const override { return system_.now(); }
  WallTime wall() const override { return system_.wall() + offset_; }

 private:
  const SystemClock system_;
  const WallTime::duration offset_;
};

// A pool full of restores would leave no thread for anything else.
std::size_t parallel_restores(const DaemonOptions& options) {
  return std::clamp<std::size_t>(options.parallel_restores, 1, std::max<std::size_t>(options.pool_threads, 2) - 1);
}

class Daemon {
 public:
  explicit Daemon(const DaemonOptions& options) : options_(options), clock_(options.wall_clock_offset) {}
  ~Daemon() { stop_pools(); }
  Daemon(const Daemon&) = delete;
  Daemon& operator=(const Daemon&) = delete;
  Status start();
  void run();

 private:
  Status find_group();
  Status find_host();
  Status open_events();
  void install_exit_hook();
  Status watch_signals();
  void recover_interfaces();
  void tell_findings();
  void learn_kernel_features();
  Status join_cluster();
  void note_first_packet(const v1::Event& event);
  void serve_metrics();
  void collect_images();
  void stop_pools();
  void stop(const char* signal);

  const DaemonOptions& options_;
  const DaemonClock clock_;
  ServiceManager manager_;
  std::optional<io::FileLock> lock_;
  std::optional<gid_t> group_;
  NodeIdentity identity_;
  HostServices host_;
  std::unique_ptr<runtime::RuncRuntime> runtime_;
  std::optional<network::ExitHook> exit_hook_;
  std::string no_exit_hook_;
  std::optional<EventLog> events_;
  OperationMetrics operations_;
  TakeoverTracker takeovers_{
      {.on_step = [this](TakeoverMeter::Step step, Duration since) { operations_.takeover_step(step, since); },
       .on_end = [this](TakeoverMeter::End end) { operations_.takeover_ended(end); }}};
  std::unique_ptr<io::Loop> loop_;
  io::SignalHandler terminate_;
  io::SignalHandler interrupt_;
  std::unique_ptr<io::Pool> pool_;
  std::unique_ptr<io::Pool> store_pool_;
  std::unique_ptr<Node> node_;
  std::unique_ptr<Cluster> cluster_;
  Cluster* cluster_of_requests_ = nullptr;
  bool stopping_ = false;
  std::unique_ptr<ForwardedRequests> forwarded_;
  std::unique_ptr<ControlService> control_;
  std::optional<WatchdogFeeder> watchdog_;
  std::optional<ImageCollector> image_collector_;
  std::optional<MetricsService> metrics_;
  io::Lifetime lifetime_;
};

Status Daemon::find_group() {
  auto group = io::find_group(options_.group.empty() ? std::string(kDefaultGroup) : options_.group);
  if (group) {
    group_ = *group;
  } else if (!options_.group.empty()) {
    return fail(group.error().context("--group"));
  }
  return {};
}

Status Daemon::find_host() {
  PERDURE_ASSIGN(host_.facts, runtime::read_host_facts(options_.programs));
  if (!host_.facts.cgroups) {
    return fail(ErrorCode::kUnsupported,
                "no cgroup2 file system is mounted; mount one: 'mount -t cgroup2 none /sys/fs/cgroup/unified'");
  }
  host_.paths = options_.paths;
  host_.cgroups = *host_.facts.cgroups;
  host_.tracking = options_.tracking;
  runtime_ = std::make_unique<runtime::RuncRuntime>(runtime::RuncOptions{
      .program = host_.facts.runc.path.empty() ? options_.programs.runc : host_.facts.runc.path,
      .root_dir = options_.paths.runc_root(),
      .cgroups = host_.cgroups,
  });
  host_.runtime = runtime_.get();
  return {};
}

Status Daemon::open_events() {
  auto opened = EventLog::open({.path = options_.paths.events()}, clock_);
  if (!opened) {
    log::error("{}; events are kept in memory only", opened.error().message());
    opened = EventLog::open({.path = {}}, clock_);
  }
  PERDURE_ASSIGN(events_, std::move(opened));
  events_->subscribe([this](const v1::Event& event) {
    operations_.happened(event);
    note_first_packet(event);
  });
  return {};
}

// Of a container that was taken over; its RecoveryMeter sees it.
void Daemon::note_first_packet(const v1::Event& event) {
  const auto swapped = event.durations_ns().find("swapped");
  const auto first = event.durations_ns().find("first_packet");
  const auto name = ContainerName::parse(event.container());
  if (!name || swapped == event.durations_ns().end() || first == event.durations_ns().end()) return;
  takeovers_.reached(*name, TakeoverMeter::Step::kFirstPacket, Duration(first->second));
}

void Daemon::install_exit_hook() {
  auto hook = network::ExitHook::install({options_.paths.bpf()});
  if (!hook) {
    no_exit_hook_ = hook.error().message();
    return;
  }
  exit_hook_.emplace(*std::move(hook));
  host_.exit_hook = &*exit_hook_;
}

Status Daemon::watch_signals() {
  std::signal(SIGPIPE, SIG_IGN);
  PERDURE_ASSIGN(terminate_, loop_->on_signal(SIGTERM, [this] { stop("SIGTERM"); }));
  PERDURE_ASSIGN(interrupt_, loop_->on_signal(SIGINT, [this] { stop("SIGINT"); }));
  return {};
}

// In a cluster nobody is to take this for a failure; a second signal does not wait for that.
void Daemon::stop(const char* signal) {
  if (std::exchange(stopping_, true)) return loop_->stop();
  log::info("{}: stopping; containers run on, unprotected until perdured runs again", signal);
  manager_.notify("STOPPING=1");
  if (!cluster_->member()) return loop_->stop();
  // Whoever runs here is taken over sooner if nobody waits for a host that goes down.
  const Duration grant = manager_.host_goes_down() ? Duration::zero() : options_.restart_grant;
  cluster_->prepare_end(grant, [this] { loop_->stop(); });
}

// What a daemon that died had changed and nobody had confirmed.
void Daemon::recover_interfaces() {
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator(options_.paths.containers(), error)) {
    const std::string state_file = entry.path().string() + "/nic.json";
    if (!std::filesystem::exists(state_file, error)) continue;
    const Status recovered = network::recover_enslavement(state_file);
    report(*events_, recovered ? v1::SEVERITY_INFO : v1::SEVERITY_ERROR, "interface_given_back",
           recovered ? "a network interface whose change nobody had confirmed is as it was"
                     : std::format("a network interface could not be given back what it had; see '{}'", state_file),
           recovered ? std::string() : recovered.error().message());
    if (recovered) std::filesystem::remove(entry.path(), error);  // if nothing else was made of that container
  }
}

void Daemon::tell_findings() {
  if (!exit_hook_) {
    report(*events_, v1::SEVERITY_WARNING, "no_exit_hook",
           "a dying container may close its connections before its recovery begins: this kernel offers no exit hook",
           no_exit_hook_);
  } else if (!exit_hook_->pinned()) {
    report(*events_, v1::SEVERITY_WARNING, "exit_hook_unpinned",
           "while perdured does not run, a dying container closes its connections: the exit hook cannot be pinned",
           exit_hook_->unpinned_reason());
  }
  for (const runtime::Finding& finding : runtime::check_host(host_.facts)) {
    report(*events_, v1::SEVERITY_WARNING, "host", std::format("{}; {}", finding.what, finding.remedy), {});
  }
}

// The first restore on this host may be a takeover. Not before what runs here is looked after again: that is in more of a hurry.
void Daemon::learn_kernel_features() {
  if (host_.facts.criu.path.empty()) return;
  const Status submitted = pool_->submit(
      *loop_, lifetime_,
      [path = host_.facts.criu.path] { return capsule::learn_kernel_features(path, BootClock::now() + kCriuCheckTime); },
      [](const Status& learnt) {
        if (!learnt) log::warning("the first restore here will take longer: {}", learnt.error().message());
      });
  if (!submitted) log::warning("the first restore here will take longer: {}", submitted.error().message());
}

Status Daemon::join_cluster() {
  StandbyService::remove_left_over(host_, node_->backend_factory());
  forwarded_ = std::make_unique<ForwardedRequests>(*node_, cluster_of_requests_);
  node_->serve_peers(forwarded_->table());
  cluster_ = std::make_unique<Cluster>(ClusterOptions{.loop = *loop_,
                                                      .pool = *pool_,
                                                      .clock = clock_,
                                                      .events = *events_,
                                                      .host = host_,
                                                      .node = *node_,
                                                      .incarnation = identity_.incarnation,
                                                      .version = PERDURE_VERSION,
                                                      .standby_memory = options_.standby_memory,
                                                      .parallel_restores = parallel_restores(options_),
                                                      .key_life = options_.key_life,
                                                      .takeovers = &takeovers_,
                                                      .on_moved = [this](const MoveResult& result) { operations_.moved(result); }});
  cluster_of_requests_ = cluster_.get();
  node_->use(*cluster_);
  return cluster_->open();
}

Status Daemon::start() {
  PERDURE_TRY(find_group());
  PERDURE_ASSIGN(lock_, claim_directories(options_.paths));
  PERDURE_ASSIGN(identity_.incarnation, next_incarnation(options_.paths));
  identity_.started = clock_.wall();
  PERDURE_TRY(prepare_scratch(options_.paths));
  remove_left_over(options_.paths);
  PERDURE_TRY(runtime::become_subreaper());
  PERDURE_TRY(find_host());
  PERDURE_TRY(open_events());
  install_exit_hook();
  PERDURE_ASSIGN(loop_, io::Loop::create());
  PERDURE_TRY(watch_signals());
  PERDURE_ASSIGN(pool_, io::Pool::create(
                            {.name = "perdure-pool", .threads = options_.pool_threads, .queue_limit = kPoolQueue}));
  PERDURE_ASSIGN(store_pool_, io::Pool::create({.name = "perdure-store", .threads = options_.pool_threads,
                                                .queue_limit = kPoolQueue}));
  node_ = std::make_unique<Node>(NodeOptions{.loop = *loop_,
                                             .pool = *pool_,
                                             .store_pool = *store_pool_,
                                             .clock = clock_,
                                             .events = *events_,
                                             .host = host_,
                                             .identity = identity_,
                                             .make_backend = {},
                                             .on_captured = [this](const CaptureReport& report) { operations_.captured(report); }});
  PERDURE_TRY(join_cluster());
  PERDURE_ASSIGN(control_, ControlService::listen(*node_, {options_.paths.socket(), group_, cluster_.get()}));
  report(*events_, v1::SEVERITY_INFO, "daemon_started",
         std::format("perdured {} began its life number {:x} as process {}", PERDURE_VERSION,
                     identity_.incarnation.value, ::getpid()),
         {});
  tell_findings();
  recover_interfaces();
  serve_metrics();
  watchdog_.emplace(manager_, *loop_, *pool_, clock_);
  node_->recover([this] {
    control_->containers_known();
    manager_.notify("READY=1");
    log::info("ready: {} containers, control socket {}", node_->containers().size(), options_.paths.socket());
    collect_images();
    learn_kernel_features();
  });
  return {};
}

void Daemon::serve_metrics() {
  if (options_.metrics.empty()) return;
  metrics_.emplace(MetricsServiceOptions{.node = *node_,
                                         .cluster = cluster_.get(),
                                         .operations = operations_,
                                         .address = options_.metrics,
                                         .standby_memory = options_.standby_memory});
  metrics_->start();
}

void Daemon::collect_images() {
  image_collector_.emplace(ImageCollectorOptions{.loop = *loop_,
                                                 .pool = *pool_,
                                                 .clock = clock_,
                                                 .images_dir = options_.paths.images(),
                                                 .life = options_.image_life},
                           [this] {
                             std::set<std::string> used = cluster_->images_in_use();
                             for (const ContainerService* service : node_->containers()) used.insert(service->record().image_digest);
                             return used;
                           });
}

void Daemon::run() {
  loop_->run();
  // No answer is half sent, no new work begins; what blocks is finished, then everything goes in the reverse
  // order of its making.
  control_.reset();
  metrics_.reset();
  forwarded_.reset();
  watchdog_.reset();
  image_collector_.reset();
  // What is on the pools uses files through the cluster, and keeps what gives work to them when it goes.
  stop_pools();
  cluster_.reset();
  node_.reset();
  loop_.reset();
}

void Daemon::stop_pools() {
  if (pool_) pool_->stop();
  if (store_pool_) store_pool_->stop();
}

}  // namespace

Status run_daemon(const DaemonOptions& options) {
  Daemon daemon(options);
  PERDURE_TRY(daemon.start());
  daemon.run();
  return {};
}

}  // namespace perdure::node
