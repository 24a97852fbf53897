#include "coord/etcd_server.h"

#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <format>
#include <utility>

#include "base/log.h"
#include "coord/etcd_process.h"

namespace perdure::coord {
namespace {

// Lived so long: what killed it is not what kills it at its start.
constexpr Duration kStableLife = std::chrono::minutes(1);
constexpr Duration kLogLook = std::chrono::minutes(10);
constexpr Duration kKillTime = std::chrono::seconds(5);  // for the kernel to end a killed process
// Suites of TLS 1.2 that need RSA certificates, of which there are none here: what is left is TLS 1.3. etcd before 3.4.25 and
// 3.5.8 has no option for it, and one suite of this kind is what Go's HTTP/2 insists on.
constexpr const char* kNoOlderSuites = "--cipher-suites=TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256";

std::string joined(const std::string& first, const std::vector<std::string>& more) {
  std::string all = first;
  for (const std::string& one : more) all += "," + one;
  return all;
}

void add_tls(const EtcdTlsFiles& tls, std::vector<std::string>& words) {
  words.insert(words.end(), {"--client-cert-auth", "--trusted-ca-file=" + tls.authority, "--cert-file=" + tls.certificate,
                             "--key-file=" + tls.key, "--peer-client-cert-auth", "--peer-trusted-ca-file=" + tls.authority,
                             "--peer-cert-file=" + tls.certificate, "--peer-key-file=" + tls.key, kNoOlderSuites});
  if (tls.revocation_list.empty()) return;
  words.push_back("--client-crl-file=" + tls.revocation_list);
  words.push_back("--peer-crl-file=" + tls.revocation_list);
}

}  // namespace

std::vector<std::string> EtcdServer::command_line(const EtcdServerOptions& options, const EtcdStartRequest& request) {
  std::vector<std::string> words{
      options.program,
      "--name=" + options.name,
      "--data-dir=" + options.data_directory,
      "--listen-client-urls=" + joined(options.client_url, options.more_client_urls),
      "--advertise-client-urls=" + options.client_url,
      "--listen-peer-urls=" + options.peer_url,
      std::format("--heartbeat-interval={}", options.heartbeat.count()),
      std::format("--election-timeout={}", options.election.count()),
      "--pre-vote",
      std::format("--quota-backend-bytes={}", options.quota_bytes),
      "--auto-compaction-mode=periodic",
      std::format("--auto-compaction-retention={}m", options.compaction_retention.count()),
      "--logger=zap",
      "--log-outputs=stderr",
      "--log-level=warn",
  };
  if (options.tls) add_tls(*options.tls, words);
  if (request.how == EtcdStart::kForceNewCluster) words.push_back("--force-new-cluster");
  // Only so does an etcd whose data is not there end, rather than found a cluster of its own.
  if (request.how == EtcdStart::kRestart) words.push_back("--initial-cluster-state=existing");
  if (request.how == EtcdStart::kNew || request.how == EtcdStart::kJoin) {
    const std::string alone = options.name + "=" + options.peer_url;
    words.push_back("--initial-advertise-peer-urls=" + options.peer_url);
    words.push_back("--initial-cluster=" + (request.initial_cluster.empty() ? alone : request.initial_cluster));
    words.push_back(std::string("--initial-cluster-state=") + (request.how == EtcdStart::kNew ? "new" : "existing"));
    words.push_back("--initial-cluster-token=" + request.token);
  }
  return words;
}

struct EtcdServer::State {
  State(io::Loop& loop_, EtcdServerOptions options_) : loop(loop_), options(std::move(options_)) {}

  io::Loop& loop;
  const EtcdServerOptions options;
  EtcdStartRequest request;
  std::optional<EtcdProcess> process;
  Instant started{};
  bool found = false;
  bool wanted = false;  // start() was called and stop() was not
  bool stopping = false;
  std::uint32_t deaths = 0;
  Duration pause{};
  std::vector<std::function<void()>> stopped;
  io::Watch end_watch;
  io::Timer restart_timer;
  io::Timer kill_timer;
  io::Timer log_timer;

  Status check(const EtcdStartRequest& asked) const {
    const bool begins = asked.how == EtcdStart::kNew || asked.how == EtcdStart::kJoin;
    const bool data = has_member_data(options);
    if (begins && data) {
      return fail(ErrorCode::kConflict, std::format("etcd '{}': '{}' holds the data of a member already; remove it, or start with it",
                                                    options.name, options.data_directory));
    }
    if (!begins && !data) {
      return fail(ErrorCode::kNotFound, std::format("etcd '{}': no member's data in '{}'", options.name, options.data_directory));
    }
    if (asked.how == EtcdStart::kJoin && asked.initial_cluster.empty()) {
      return fail(ErrorCode::kInvalid, std::format("etcd '{}': to join, the members of the cluster must be given", options.name));
    }
    if (begins && asked.token.empty()) {
      return fail(ErrorCode::kInvalid, std::format("etcd '{}': a new cluster needs a token of its own", options.name));
    }
    return {};
  }

  Status spawn() {
    PERDURE_ASSIGN(process, EtcdProcess::spawn(options, EtcdServer::command_line(options, request)));
    found = false;
    return watch_end();
  }

  Status watch_end() {
    started = BootClock::now();
    PERDURE_ASSIGN(end_watch, loop.watch_readable(process->pidfd(), [this] { ended(); }));
    look_at_log();
    return {};
  }

  void ended() {
    end_watch.reset();
    kill_timer.reset();
    const std::string how = process->reap();
    process.reset();
    if (std::exchange(stopping, false)) {
      (void)::unlink(pid_file_of(options).c_str());
      if (wanted) start_again(Duration::zero());  // it was another one's, with another command line
      // Last: they may end this server.
      for (const auto& done : std::exchange(stopped, {})) done();
      return;
    }
    ++deaths;
    if (BootClock::now() - started >= kStableLife) pause = Duration::zero();
    pause = pause == Duration::zero() ? options.restart_first : std::min(2 * pause, options.restart_last);
    log::warning("etcd '{}': {}; started again in {} (its words are in '{}')", options.name, how, format_duration(pause),
                 options.log_file);
    start_again(pause);
    if (options.on_death) options.on_death(how, pause);
  }

  void start_again(Duration after) {
    if (has_member_data(options) && may_restart_plainly()) request.how = EtcdStart::kRestart;
    restart_timer = loop.after(after, [this] {
      // Without its data it would begin as another cluster, which knows nothing.
      const bool begins = request.how == EtcdStart::kNew || request.how == EtcdStart::kJoin;
      if (const Status again = begins ? spawn() : check(request).and_then([this] { return spawn(); }); !again) {
        log::error("{}", again.error().message());
        pause = std::min(std::max(2 * pause, options.restart_first), options.restart_last);
        start_again(pause);
      }
    });
  }

  // A forced start that has not run yet (another etcd was stopped first) stays forced.
  bool may_restart_plainly() const { return deaths > 0 || request.how != EtcdStart::kForceNewCluster; }

  void terminate() {
    if (std::exchange(stopping, true)) return;
    process->signal(SIGTERM);
    kill_timer = loop.after(options.stop_time, [this] {
      log::warning("etcd '{}': does not end; killed", options.name);
      process->signal(SIGKILL);
    });
  }

  // At the level `warn` it grows slowly; a slow disk may make it talk.
  void look_at_log() {
    log_timer = loop.after(kLogLook, [this] {
      struct stat size{};
      if (::stat(options.log_file.c_str(), &size) == 0 && static_cast<std::uint64_t>(size.st_size) >= kMaxEtcdLogBytes &&
          ::truncate(options.log_file.c_str(), 0) == 0) {
        log::warning("etcd '{}': '{}' had {} bytes and is begun anew", options.name, options.log_file, size.st_size);
      }
      look_at_log();
    });
  }
};

EtcdServer::EtcdServer(io::Loop& loop, EtcdServerOptions options)
    : state_(std::make_unique<State>(loop, std::move(options))) {}

EtcdServer::~EtcdServer() {
  State& state = *state_;
  if (!state.process) return;
  state.end_watch.reset();
  state.process->signal(SIGTERM);
  if (!state.process->wait(BootClock::now() + state.options.stop_time)) {
    state.process->signal(SIGKILL);
    (void)state.process->wait(BootClock::now() + kKillTime);
  }
  (void)::unlink(pid_file_of(state.options).c_str());
}

Status EtcdServer::start(const EtcdStartRequest& request) {
  State& state = *state_;
  if (state.wanted) return fail(ErrorCode::kExists, std::format("etcd '{}' is started already", state.options.name));
  state.process = EtcdProcess::find(state.options);
  state.found = state.process.has_value();
  state.deaths = 0;
  state.pause = Duration::zero();
  if (state.found) {
    const bool same = request.how != EtcdStart::kForceNewCluster &&
                      same_service(state.process->command(), command_line(state.options, request));
    log::info("etcd '{}': process {} runs already; {}", state.options.name, state.process->pid(),
              same ? "taken over" : "stopped, since it is to run otherwise");
    state.request = request;
    if (has_member_data(state.options) && request.how != EtcdStart::kForceNewCluster) state.request.how = EtcdStart::kRestart;
    state.wanted = true;
    PERDURE_TRY(state.watch_end());
    if (!same) state.terminate();
    return {};
  }
  PERDURE_TRY(state.check(request));
  state.request = request;
  PERDURE_TRY(state.spawn());
  state.wanted = true;
  return {};
}

void EtcdServer::stop(std::function<void()> done) {
  State& state = *state_;
  state.wanted = false;
  state.restart_timer.reset();
  if (!state.process) {
    state.loop.post(std::move(done));
    return;
  }
  state.stopped.push_back(std::move(done));
  state.terminate();
}

void EtcdServer::release() {
  State& state = *state_;
  state.wanted = false;
  state.restart_timer.reset();
  state.kill_timer.reset();
  state.log_timer.reset();
  state.end_watch.reset();
  if (state.process) state.process->release();
  state.process.reset();
}

bool EtcdServer::running() const { return state_->process.has_value(); }
bool EtcdServer::has_data() const { return has_member_data(state_->options); }
pid_t EtcdServer::pid() const { return state_->process ? state_->process->pid() : -1; }
bool EtcdServer::taken_over() const { return state_->found; }
std::uint32_t EtcdServer::deaths() const { return state_->deaths; }
const EtcdServerOptions& EtcdServer::options() const { return state_->options; }

}  // namespace perdure::coord
