// One container on the loop's thread: feeds what happens to policy::ContainerPolicy and performs what it
// answers through backend, store and generation table.
//
// All calls and callbacks on the loop's thread. Destroying a service stops nothing: the container runs on;
// blocking work that is under way finishes on the pool and its result is dropped.
#pragma once

#include <array>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/ids.h"
#include "io/loop.h"
#include "io/pool.h"
#include "model/spec.h"
#include "node/capture_job.h"
#include "node/container_backend.h"
#include "node/container_record.h"
#include "node/event_log.h"
#include "node/kept_generations.h"
#include "node/paths.h"
#include "node/recovery_meter.h"
#include "node/step_runner.h"
#include "policy/container_policy.h"
#include "replica/capsule_store.h"
#include "replica/generation_table.h"

namespace perdure::node {

struct ServiceEnvironment {
  io::Loop& loop;
  io::Pool& pool;
  const Clock& clock;
  EventLog& events;
  Term term;
  Incarnation incarnation;
};

class ContainerService {
 public:
  ContainerService(ServiceEnvironment environment, model::ContainerSpec spec, const ContainerPaths& paths,
                   std::shared_ptr<ContainerBackend> backend,
                   std::shared_ptr<replica::CapsuleStore> store, ContainerRecord record);
  ~ContainerService();
  ContainerService(const ContainerService&) = delete;
  ContainerService& operator=(const ContainerService&) = delete;

  // Exactly one of these three comes first.
  void begin_new();
  void begin_after_restart(std::function<void()> recovered);
  void begin_stopped();  // imported: a container that is stopped and has generations

  // Operator's wishes; refused ones say why and what to do.
  Status ask(const policy::Event& operator_event);
  // With `remove`: what becomes of the capsules.
  void keep_capsules(ContainerBackend::Capsules capsules) { capsules_at_release_ = capsules; }
  void set_stop_deadline_passed(bool killed) { stop_was_kill_ = killed; }
  // Whether the last stop took SIGKILL.
  bool stop_was_kill() const { return stop_was_kill_; }

  // From the exit hook: a process was killed by a signal, at this instant.
  void process_killed(pid_t pid, int signal, bool is_init, Instant at);

  // Called after every change; used by requests that wait. Called also when `removed()`.
  using Listener = std::function<void()>;
  std::uint64_t add_listener(Listener listener);
  void remove_listener(std::uint64_t id);
  // Text of the step that is under way, for progress lines.
  const std::string& progress_stage() const { return progress_stage_; }
  const std::string& progress_text() const { return progress_text_; }

  const model::ContainerSpec& spec() const { return spec_; }
  const ContainerPaths& paths() const { return paths_; }
  const ContainerRecord& record() const { return record_; }
  policy::ContainerStatus status() const { return policy_.status(); }
  const std::vector<policy::GenerationInfo>& generations() const { return policy_.generations(); }
  const replica::GenerationTable& table() const { return *generations_.table(); }
  replica::CapsuleStore& store() const { return *generations_.store(); }
  std::shared_ptr<replica::GenerationTable> shared_table() const { return generations_.table(); }
  std::shared_ptr<replica::CapsuleStore> shared_store() const { return generations_.store(); }
  const ContainerBackend& backend() const { return *backend_; }
  const std::optional<CaptureReport>& last_capture() const { return last_capture_; }
  const std::optional<RestoreReport>& last_restore() const { return meter_.last(); }
  std::uint64_t captures() const { return captures_; }
  std::uint64_t capture_failures() const { return capture_failures_; }
  // Of the last preparation or start that failed: its kind, for who asked for it.
  std::optional<ErrorCode> start_error() const { return start_error_; }
  const std::string& last_capture_error() const { return last_capture_error_; }
  // Why generations are marked, for `perdure generations`.
  std::string mark_reason(const Generation& generation) const {
    return generations_.mark_reason(generation);
  }
  bool removed() const { return removed_; }
  const std::string& release_error() const { return release_error_; }

 private:
  void handle(const policy::Event& event);
  void perform(const policy::Effect& effect);
  void do_record(const policy::Record& effect);
  void do_prepare();
  void do_start();
  void do_capture(const policy::Capture& effect);
  void do_restore(const policy::Restore& effect);
  void do_terminate();
  void do_kill();
  void do_timer(const policy::SetTimer& effect);
  void do_release();
  void emit(const policy::Emit& effect);
  void recover_later(const Error& error);
  Status ask_before_takeover(const policy::Event& operator_event);
  void finish_recovery(const Found& found, std::vector<policy::GenerationInfo> generations);
  void watch_init(std::optional<runtime::ProcessWatch> process);
  void init_ended();
  std::optional<Instant> captured_at(const Generation& generation) const;
  void save_record();
  void notify();

  ServiceEnvironment environment_;
  const model::ContainerSpec spec_;
  const ContainerPaths paths_;
  std::shared_ptr<ContainerBackend> backend_;
  StepRunner runner_;
  KeptGenerations generations_;
  ContainerRecord record_;
  policy::ContainerPolicy policy_;

  std::array<io::Timer, policy::kTimerCount> timers_;
  std::optional<runtime::ProcessWatch> process_;
  io::Watch process_watch_;
  std::shared_ptr<CancelFlag> cancel_;
  std::optional<Generation> parent_;  // what the next delta builds on
  bool in_handle_ = false;
  std::vector<policy::Event> pending_;

  std::map<std::uint64_t, Listener> listeners_;
  std::uint64_t next_listener_ = 1;
  std::string progress_stage_;
  std::string progress_text_;

  RecoveryMeter meter_;
  std::optional<CaptureReport> last_capture_;
  std::uint64_t captures_ = 0;
  std::uint64_t capture_failures_ = 0;
  std::string last_capture_error_;
  std::optional<ErrorCode> start_error_;
  std::string takeover_error_;  // of the last attempt, as long as none succeeds
  bool removal_waits_ = false;  // for the end of an attempt
  io::Timer takeover_retry_;
  double store_bandwidth_ = 0;  // bytes per second of the last writes
  ContainerBackend::Capsules capsules_at_release_ = ContainerBackend::Capsules::kDelete;
  bool stop_was_kill_ = false;
  bool removed_ = false;
  std::string release_error_;
  io::Lifetime lifetime_;
};

}  // namespace perdure::node
