// Capture and restore of a container's processes through stock CRIU.
//
// Capture: a warm `criu swrk` in the container's network namespace writes its images to a tmpfs; memory
// under write tracking is read by Perdure itself (page_tracker.h). Restore: `criu restore --stream` takes
// every image, the pages included, from this process through pipes.
//
// One engine per container, one call at a time, from any thread. Blocking, with deadlines.
#pragma once

#include <sys/types.h>

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/clock.h"
#include "base/fd.h"
#include "base/result.h"
#include "capsule/criu/criu_rpc.h"
#include "capsule/criu/criu_standby.h"
#include "capsule/criu/image_set.h"
#include "capsule/criu/page_tracker.h"
#include "capsule/format/capsule.h"

namespace perdure::capsule {

enum class MemoryTracking { kOff, kOn };

struct EngineOptions {
  CriuProgram criu;
  std::string scratch_dir;  // on a tmpfs; a directory per call is made in it and removed
  MemoryTracking tracking = MemoryTracking::kOn;
  int criu_log_level = 2;
  // More than this written since the last look is copied once before the freeze, so that the freeze copies
  // only what was written meanwhile. Below it, copying twice costs more CPU than it saves frozen time.
  std::uint64_t precopy_threshold_bytes = 8u << 20;
};

// A bind mount of the container: path inside, and the key under which images name it.
struct ExternalMount {
  std::string inside_path;
  std::string key;
  std::string host_path;  // what restore puts there
};

struct CaptureTarget {
  // Something else than CRIU holds the processes after the capture (before_thaw has seen to it): what has to be done
  // to running ones waits for resumed().
  bool stays_frozen = false;
  pid_t init_pid = -1;
  std::vector<pid_t> pids;     // all processes, as the cgroup lists them
  std::string root;            // merged overlay
  std::vector<ExternalMount> mounts;
};

struct CaptureHooks {
  // All processes are stopped: lock the gate, start the snapshot of the files, return at once.
  std::function<Status()> frozen;
  // CRIU is done; they are still stopped: wait for the snapshot. An error gives the capture up.
  std::function<Status()> before_thaw;
};

struct CapturedProcesses {
  std::vector<Image> images;
  std::map<std::string, PagedObject> memory;
  Duration frozen{};
  Instant thawed{};
  Duration wall{};
  Duration criu_cpu{};
  std::uint64_t pages_read = 0;
  std::map<pid_t, std::string> untracked;  // processes whose memory CRIU dumped in full, and why
};

// Where a container lives, over all its lives.
struct Surroundings {
  std::string root;  // merged overlay
  std::vector<ExternalMount> mounts;
  int network_namespace_fd = -1;
  std::vector<std::string> v1_cgroups;  // directories; the restored tree is born in all of them
};

struct RestoreTarget {
  Surroundings surroundings;  // files rolled back already, addresses up
  // The directory in which it is born; one in which nothing was ever killed by cgroup.kill (runtime/cgroup.h:
  // make_leaf). Empty: ours.
  std::string v2_cgroup;
  // "pipe:[N]" as the images name it -> descriptor that takes its place.
  std::vector<std::pair<std::string, int>> inherited;
  std::vector<Image> changed;  // instead of the capsule's of the same names
  LateImages late;
};

struct RestoredProcesses {
  pid_t init_pid = -1;
  Duration wall{};
};

class Engine {
 public:
  Engine(std::string container, EngineOptions options);
  ~Engine();
  Engine(const Engine&) = delete;
  Engine& operator=(const Engine&) = delete;

  // Spawns the CRIU that will serve the next capture, and one for the next restore, which is a member of the v1
  // cgroups from then on. Call it off the hot path, after start and restore.
  Status warm_up(const Surroundings& surroundings);
  // Ends both: the container's cgroups are empty but for its own processes.
  void cool_down();

  // kTransient: something was in motion (a connection in its handshake, a process that came and went); try
  // again. kTimeout; kNoSpace; kUnsupported for what CRIU refuses for good. The message carries CRIU's own
  // last error lines; the error of a hook comes back as it is. Except after kTimeout the container runs as
  // before.
  Result<CapturedProcesses> capture(const CaptureTarget& target, const CaptureHooks& hooks,
                                    Instant deadline);

  // The capsule must have been verified. On failure the processes that CRIU has made so far may be left: kill
  // what is in the cgroups. kTransient: CRIU was killed, or a process ended before CRIU had let go of it; kTimeout; kIo:
  // it could not do it.
  Result<RestoredProcesses> restore(const Capsule& capsule, const RestoreTarget& target,
                                    Instant deadline);

  // After a capture with stays_frozen: the processes run again.
  void resumed();

  // After the container's processes are gone.
  void forget_processes();

 private:
  Result<std::string> make_scratch();
  Status warm_worker();
  Result<CriuWorker> take_worker();
  std::string restore_scratch() const;
  std::vector<std::string> restore_arguments(const Surroundings& surroundings) const;
  Result<io::ChildProcess> start_criu(const RestoreTarget& target, const std::string& scratch);

  std::string container_;
  EngineOptions options_;
  PageTracker tracker_;
  std::optional<CriuWorker> worker_;
  std::optional<CriuStandby> standby_;
  UniqueFd network_namespace_;
  std::vector<pid_t> interrupted_;  // while frozen: those whose call a signal has ended
  std::uint64_t calls_ = 0;
};

}  // namespace perdure::capsule
