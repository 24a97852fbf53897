// A container without container: its life is a process that sleeps, its state a small capsule. What its steps
// answer can be scripted; by default all succeed.
#pragma once

#include <atomic>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "agent/report.h"
#include "node/container_backend.h"
#include "node/node.h"

namespace perdure::node::testing {

class FakeBackend final : public ContainerBackend {
 public:
  explicit FakeBackend(model::ContainerSpec spec) : spec_(std::move(spec)) {}
  ~FakeBackend() override;

  // Asked before a step; an error is what the step fails with. Set from the test's thread at any time; called on
  // pool threads, where it may block.
  using Step = std::function<Status()>;
  void on_prepare(Step step) { set(prepare_, std::move(step)); }
  void on_start(Step step) { set(start_, std::move(step)); }
  void on_capture(Step step) { set(capture_, std::move(step)); }
  void on_restore(Step step) { set(restore_, std::move(step)); }
  void on_recover(Step step) { set(recover_, std::move(step)); }
  void on_release(Step step) { set(release_, std::move(step)); }
  // Lives begun from now on do not end by SIGTERM.
  void ignore_sigterm() { deaf_ = true; }
  void set_found(Found::State state) { found_ = state; }
  void set_exit_code(int code) { exit_code_ = code; }  // how SIGTERM ends a life; -1: by the signal

  // What happened, as "prepare", "start", "capture 1.1.1", "restore 1.1.1", "terminate 15", "kill", "release keep".
  std::vector<std::string> calls() const;
  std::size_t count(const std::string& call) const;
  pid_t pid() const { return pid_; }
  void die();  // SIGKILL from outside

  Result<Preparation> prepare(AddressProbe probe, const ProgressFunction& progress) override;
  Result<Life> start() override;
  Result<Captured> capture(const Generation& generation, const RuntimeFacts& facts, const CancelFlag& cancel,
                           AfterCapture after) override;
  Status resume() override;
  Result<RestoreResult> restore(const capsule::Capsule& capsule, RestoreKind kind,
                                const std::vector<network::TcpTuple>& begun) override;
  Result<Preparation> prepare_standby(const std::string& image_digest) override;
  Status stage(const capsule::Capsule& capsule) override;
  Status announce() override;
  Status terminate(int signal) override;
  Status kill_all() override;
  Status release(Capsules capsules) override;
  Result<Found> recover(const std::optional<RuntimeFacts>& facts, Frozen frozen) override;
  std::shared_ptr<GateDeadline> gate_deadline() override { return deadline_; }
  void hold_gate() override { open_ = false; }
  void open_gate() override {
    open_ = true;
    held_by_death_ = false;
  }
  bool gate_held_by_death() const override { return held_by_death_; }
  void hold_for(const std::optional<StatefulProcesses>& processes) override;
  std::uint64_t frames_passed() const override { return frames_; }
  std::optional<network::GateCounters> gate_traffic() const override {
    return network::GateCounters{.passed = frames_, .dropped_locked = dropped_locked_};
  }
  std::vector<network::TcpTuple> take_begun() override;
  std::uint64_t out_of_memory_kills() const override { return memory_kills_; }
  void kill_for_memory() { ++memory_kills_; }
  Result<UniqueFd> open_agent_socket() override;
  // To whoever has that socket, as from the first process. kPermission without CAP_SYS_ADMIN.
  Status report(const agent::Report& report);
  bool frozen() const override { return false; }
  std::uint64_t cgroup_id() const override { return 1; }
  std::string cgroup_directory() const override { return "/nowhere"; }
  std::vector<pid_t> processes() const override;

  bool gate_is_open() const { return open_; }  // but for its deadline
  Instant deadline() const { return deadline_->get(); }
  void hold_by_death() { held_by_death_ = true; }  // as the exit hook does
  // As hold_for() was told, each time, as "7 8"; "all" for every death.
  std::vector<std::string> holds() const;
  void pass_frame() { ++frames_; }
  void begin_connection(const network::TcpTuple& connection);
  bool begun_taken() const;  // nothing waits to be taken
  std::vector<network::TcpTuple> begun_elsewhere() const;  // as the last restore was told
  void drop_locked_frame() { ++dropped_locked_; }

 private:
  void set(Step& target, Step step);
  Status ask(const Step& step, std::string call);
  Result<Life> spawn();

  const model::ContainerSpec spec_;
  UniqueFd agent_socket_;  // of the loop's thread
  mutable std::mutex mutex_;
  std::vector<std::string> calls_, holds_;
  std::vector<network::TcpTuple> begun_, begun_elsewhere_;
  Step prepare_, start_, capture_, restore_, release_, recover_;
  std::atomic<bool> deaf_ = false;
  std::atomic<int> exit_code_ = -1;
  std::atomic<pid_t> pid_ = -1;
  std::atomic<bool> open_ = false;
  std::atomic<std::uint64_t> frames_ = 0;
  std::atomic<std::uint64_t> memory_kills_ = 0;
  std::atomic<std::uint64_t> dropped_locked_ = 0;
  std::atomic<bool> held_by_death_ = false;
  std::atomic<Found::State> found_ = Found::State::kNothing;
  class Deadline final : public GateDeadline {
   public:
    void set(Instant deadline) override { deadline_ = deadline; }
    Instant get() const override { return deadline_; }
    void begin_with(Instant deadline) override { deadline_ = deadline; }

   private:
    std::atomic<Instant> deadline_ = Instant::max();
  };
  const std::shared_ptr<Deadline> deadline_ = std::make_shared<Deadline>();
};

// All backends that a node has made, by container; the last one of each name.
class FakeBackends {
 public:
  BackendFactory factory();
  // Called for each new backend before its first step: the place for scripts.
  std::function<void(FakeBackend&)> on_new;
  FakeBackend& at(const std::string& name);
  // Its container lives as long as somebody has it: through a restart of the daemon, say.
  std::shared_ptr<FakeBackend> share(const std::string& name) { return backends_.at(name); }

 private:
  std::map<std::string, std::shared_ptr<FakeBackend>> backends_;
};

}  // namespace perdure::node::testing
