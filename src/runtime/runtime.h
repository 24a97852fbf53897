// The life of a container up to its first instruction: the seam to OCI runtimes.
//
// Perdure uses a runtime for create and start only. After start() the runtime has forgotten the
// container: its state directory is removed, so that nothing it does later (delete --force, its
// idea of a pid) can touch a process that CRIU has restored meanwhile. From then on a container is
// its cgroup and its first process (cgroup.h, process_watch.h).
#pragma once

#include <chrono>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/ids.h"
#include "base/result.h"
#include "runtime/cgroup.h"
#include "runtime/process_watch.h"

namespace perdure::runtime {

struct CreateOptions {
  std::string bundle_dir;
  std::string cgroup_path;  // v2, relative to its mount: "perdure/web"; made when missing
  int stdout_fd = -1;       // LoggerPipes; the container gets duplicates. stdin is /dev/null
  int stderr_fd = -1;
  Duration deadline =
      std::chrono::seconds(30);  // runc create takes 40-80 ms; a loaded host 10 times that
};

class Runtime {
 public:
  virtual ~Runtime() = default;

  // Makes the namespaces and the first process, which waits for start(), already in its v2 cgroup.
  // kExists: NAME is created already (discard it). kConflict: processes run in that cgroup. After a
  // failure nothing is left behind.
  virtual Result<ProcessId> create(const ContainerName& name, const CreateOptions& options) = 0;
  // Lets it run and forgets it.
  virtual Status start(const ContainerName& name, Duration deadline) = 0;
  // Ends a container that was created and never started; forgets one that was started (and never
  // touches its processes). What a restarted daemon calls first for every container. Unknown names
  // are fine.
  virtual Status discard(const ContainerName& name, Duration deadline) = 0;
};

struct RuncOptions {
  std::string program = "runc";
  std::string
      root_dir;  // runc --root: state between create and start only; at least two levels deep
  CgroupLayout cgroups;
};

class RuncRuntime final : public Runtime {
 public:
  explicit RuncRuntime(RuncOptions options);
  Result<ProcessId> create(const ContainerName& name, const CreateOptions& options) override;
  Status start(const ContainerName& name, Duration deadline) override;
  Status discard(const ContainerName& name, Duration deadline) override;

 private:
  std::string state_dir(const ContainerName& name) const;
  std::string log_path(const ContainerName& name) const;
  Status run(const ContainerName& name, const std::vector<std::string>& arguments, int stdout_fd,
             int stderr_fd, Instant deadline);
  Result<ProcessId> create_guarded(const ContainerName& name, const CreateOptions& options,
                                   Instant deadline);

  RuncOptions options_;
};

}  // namespace perdure::runtime
