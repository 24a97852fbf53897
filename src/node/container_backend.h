// What can be done to one container on this host: the seam between the shell that decides (on the loop's
// thread) and the kernel. LinuxBackend does it; tests have a double.
//
// Blocking calls run on pool threads, one at a time per container. The gate calls are single stores and may
// come from the loop's thread at any time.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/clock.h"
#include "base/ids.h"
#include "base/result.h"
#include "capsule/format/capsule.h"
#include "image/image.h"
#include "model/spec.h"
#include "network/gate.h"
#include "runtime/preflight.h"
#include "runtime/process_watch.h"

namespace perdure::node {

using ProgressFunction = std::function<void(std::string_view stage, std::string_view text)>;

// What the daemon must remember of a running container to find it again after its own death.
struct RuntimeFacts {
  runtime::ProcessId init;
  std::string stdout_key;  // "pipe:[N]", as CRIU's images will name them
  std::string stderr_key;
  bool operator==(const RuntimeFacts&) const = default;
};

// A life that has just begun. The process is watched from here on, so that its end is known however soon it
// comes; none: it had ended before anybody could look.
struct Life {
  RuntimeFacts facts;
  std::optional<runtime::ProcessWatch> process;
};
inline Life watched(RuntimeFacts facts) {
  auto process = runtime::ProcessWatch::open(facts.init);
  return {std::move(facts), process ? std::optional(*std::move(process)) : std::nullopt};
}

// Of a container of components: those whose death has to be kept from their peers, with all that descends from them.
struct StatefulProcesses {
  pid_t init = -1;
  std::vector<pid_t> pids;  // in the PID namespace of `init`
  bool operator==(const StatefulProcesses&) const = default;
};

struct Preparation {
  std::string image_digest;
  std::vector<runtime::Finding> findings;  // with a refusal among them the container must not start
};

struct RestoreResult {
  Life life;
  Duration killed{};     // until the last old process was gone
  Duration files{};      // roll-back of the writable layer and the volumes
  Duration processes{};  // CRIU
  Duration total{};
  std::uint64_t frames_before = 0;      // frames_passed() when the processes began to run
  std::uint32_t connections = 0;        // of the capsule
  std::uint32_t connections_reset = 0;  // whose peer had moved on
  std::uint32_t connections_spliced = 0;  // whose peer had moved on and was followed
};

struct Found {
  enum class State { kNothing, kAlive, kHalfRestored };
  State state = State::kNothing;
};

struct Captured {
  capsule::Capsule capsule;
  Instant thawed{};  // or, if the container stays frozen, from when on it would have run
};

// Set by the loop to end a capture that is in the way (the container died, an operator waits).
using CancelFlag = std::atomic<bool>;

// Until when the gate of a container is open, whatever else closes it. Any thread; lives as long as somebody has it.
class GateDeadline {
 public:
  virtual ~GateDeadline() = default;
  virtual void set(Instant deadline) = 0;  // of the gate that is there, and of those attached later; Instant::max(): none
  virtual Instant get() const = 0;
  // Of the gates attached from now on; one that is there stays as it is.
  virtual void begin_with(Instant deadline) = 0;
};

class ContainerBackend {
 public:
  virtual ~ContainerBackend() = default;

  // Image, overlay, bundle, network, cgroup; then the checks that need the image. Idempotent. kConflict: the
  // address is in use, its holder's MAC in the message (asked at the first start only).
  enum class AddressProbe { kNo, kYes };
  virtual Result<Preparation> prepare(AddressProbe probe, const ProgressFunction& progress) = 0;

  // Cold: the command from the beginning over the files as they are. A failure leaves no process behind.
  virtual Result<Life> start() = 0;

  // The container runs on whatever happens (but see kTimeout of capsule/criu/engine.h). kTransient, kTimeout,
  // kCancelled, kNoSpace, kUnsupported. kStayFrozen, for a move: after a success, and only then, the processes are
  // stopped and the gate is locked until resume() or kill_all().
  enum class AfterCapture { kRunOn, kStayFrozen };
  virtual Result<Captured> capture(const Generation& generation, const RuntimeFacts& facts, const CancelFlag& cancel,
                                   AfterCapture after) = 0;
  // Lets go on what capture(kStayFrozen) stopped; the gate stays as it is. Nothing is stopped: a success.
  virtual Status resume() = 0;

  // Kills what is left, rolls the files back, restores the processes, tells the peers. The gate is held at the
  // beginning; afterwards it lets everything out but the RST of the container until open_gate(). On failure no
  // process is left. kCorrupt: the capsule cannot be what was captured; kIo, kTimeout: CRIU.
  // kRolledBack: peers may have moved on since. kMovedHere: nobody has, for the container has been silent since
  // the capture; no connection is asked about or reset, and what may not have arrived is sent again at once.
  enum class RestoreKind { kRolledBack, kMovedHere };
  // `begun`, if it ran elsewhere: connections of which the capsule may know nothing. Those that are not in it are ended
  // after kRolledBack; they may have ended long ago.
  virtual Result<RestoreResult> restore(const capsule::Capsule& capsule, RestoreKind kind,
                                        const std::vector<network::TcpTuple>& begun) = 0;

  // On a node that is to stand by: everything that restore() needs and that can be had before, with the image that
  // is here under its digest. The gate is locked. Idempotent. kNotFound: no such image here, no such bridge.
  virtual Result<Preparation> prepare_standby(const std::string& image_digest) = 0;
  // Lays out the files of a generation, so that the restore of a later one writes only what differs, and lets a CRIU
  // wait. Nothing of the container runs here. Repeatable.
  virtual Status stage(const capsule::Capsule& capsule) = 0;
  // Tells the segment that the container's addresses are here now; once, the caller repeats it. The first call after
  // restore(kMovedHere), when the gate is open, also sends what the container had under way. Pool threads.
  virtual Status announce() = 0;

  // kNotFound: it is gone already.
  virtual Status terminate(int signal) = 0;
  // SIGKILL to everything inside and waits until nothing is left.
  virtual Status kill_all() = 0;
  // Removes processes, network, mounts, cgroups and home; capsules too unless they are kept. Repeatable.
  enum class Capsules { kDelete, kKeep };
  virtual Status release(Capsules capsules) = 0;

  // After a restart of the daemon: takes over mounts, network, gate and cgroup as they are. Repeatable: after an
  // error nothing has been done to a container that runs. kKeepFrozen: one that was stopped for a move stays so.
  enum class Frozen { kThaw, kKeepFrozen };
  virtual Result<Found> recover(const std::optional<RuntimeFacts>& facts, Frozen frozen) = 0;

  // No deadline unless somebody sets one; after prepare_standby() one that has passed.
  virtual std::shared_ptr<GateDeadline> gate_deadline() = 0;
  virtual void hold_gate() = 0;
  virtual void open_gate() = 0;
  // Whether the exit hook has closed the gate since the last open_gate().
  virtual bool gate_held_by_death() const = 0;
  // Which deaths by a signal close it, beside that of init; absent: every one. What start(), restore() and recover()
  // begin with is every one, and so it is where the hook cannot tell.
  virtual void hold_for(const std::optional<StatefulProcesses>& processes) = 0;

  // Frames of the container that the gate has let out.
  virtual std::uint64_t frames_passed() const = 0;
  // network::Gate::take_begun(). Any thread; nothing where there is no gate.
  virtual std::vector<network::TcpTuple> take_begun() = 0;
  // Absent: there is no gate.
  virtual std::optional<network::GateCounters> gate_traffic() const = 0;

  // Processes of the container that the kernel has killed for want of memory, since its cgroup was made.
  virtual std::uint64_t out_of_memory_kills() const = 0;

  // Where the agent of a container with components reports to (agent/report.h), while its surroundings are there;
  // each call makes a new one, one at a time. Empty: it has no components.
  virtual Result<UniqueFd> open_agent_socket() = 0;

  // Whether all of its processes are stopped: for a move, or by somebody beside perdured. Not while a checkpoint is taken.
  virtual bool frozen() const = 0;

  // Kernel's name of the cgroup (for the exit hook's reports); 0 before prepare().
  virtual std::uint64_t cgroup_id() const = 0;
  virtual std::string cgroup_directory() const = 0;
  virtual std::vector<pid_t> processes() const = 0;
};

}  // namespace perdure::node
