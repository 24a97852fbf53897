// Control groups: version 2 to freeze, kill and watch a container; version 1 or 2 to limit it.
//
// On a hybrid host the v2 hierarchy (/sys/fs/cgroup/unified) carries no controllers, yet its core files
// work; limits then live in v1 directories, one per controller. A container has one directory, PATH, below
// each root in use. Calls are plain system calls on kernfs; the waits take a deadline. Nothing here mounts,
// unmounts or moves a hierarchy.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/fd.h"
#include "base/result.h"

namespace perdure::runtime {

struct CgroupLayout {
  struct V1Mount {
    std::vector<std::string> controllers;  // "memory", …; "name=systemd" for the named one
    std::string mount_point;
  };
  std::string v2_mount;                      // "/sys/fs/cgroup" or "/sys/fs/cgroup/unified"
  std::vector<std::string> v2_controllers;   // empty on hybrid hosts
  std::vector<V1Mount> v1;                   // empty on hosts with v2 only

  // From /proc/self/mountinfo. kUnsupported if cgroup2 is mounted nowhere.
  static Result<CgroupLayout> find();
  static Result<CgroupLayout> parse(std::string_view mountinfo);  // without v2_controllers
};

// A cgroup of the v2 hierarchy. The object holds the directory open; it does not remove it.
class Cgroup {
 public:
  // PATH is relative to the v2 mount: "perdure/web". create() makes the parents too and accepts an existing
  // one; open() fails with kNotFound.
  static Result<Cgroup> create(const CgroupLayout& layout, const std::string& path);
  static Result<Cgroup> open(const CgroupLayout& layout, const std::string& path);

  const std::string& directory() const { return directory_; }
  // What bpf_get_current_cgroup_id() gives for the processes inside: the kernfs inode number.
  std::uint64_t id() const { return id_; }

  Status add(pid_t pid) const;                 // with all its threads
  Result<std::vector<pid_t>> processes() const;  // of this cgroup and those below
  Result<bool> populated() const;
  Result<bool> frozen() const;

  // freeze() returns when every process has stopped (kTimeout otherwise, and it is thawed again). A process in
  // uninterruptible sleep (dead network file system) is what makes it time out.
  Status freeze(Duration deadline) const;
  Status thaw(Duration deadline) const;
  // SIGKILL to everything inside, frozen or not, new forks included; returns when nothing is left.
  Status kill_all(Duration deadline) const;

  // A descriptor on cgroup.events: poll() reports POLLPRI after each change of populated or frozen; read it
  // again from offset 0 to re-arm.
  Result<UniqueFd> open_events() const;

 private:
  Cgroup(std::string directory, UniqueFd handle, std::uint64_t id);
  std::string directory_;
  UniqueFd handle_;
  std::uint64_t id_ = 0;
};

// Parses the text of cgroup.events; nullopt if KEY is not in it.
std::optional<bool> parse_cgroup_event(std::string_view events, std::string_view key);

// What limits a container; empty members are unlimited.
struct CgroupLimits {
  std::optional<std::uint64_t> memory_bytes;
  std::optional<double> cpus;  // 1.5 = one and a half processors
  std::optional<std::uint64_t> processes;
};

// Makes PATH in the v2 hierarchy and in every v1 hierarchy that carries a limit, writes the limits, and returns
// the directories. The same directories that runc uses for cgroupsPath "/PATH"; needed before a restore
// on a host where runc never ran. Idempotent.
Result<std::vector<std::string>> create_limited(const CgroupLayout& layout, const std::string& path,
                                                const CgroupLimits& limits);

// The directories that hold PID, one per mounted hierarchy in which it is not at the root.
Result<std::vector<std::string>> cgroup_dirs_of(const CgroupLayout& layout, pid_t pid);
// The existing directories of PATH, in all hierarchies.
std::vector<std::string> cgroup_dirs_at(const CgroupLayout& layout, const std::string& path);

// Moves PID (and its threads) into all DIRECTORIES: a CRIU process that is to restore goes in before it gets
// its request, so that everything it forks is born under the container's limits.
Status enter_all(const std::vector<std::string>& directories, pid_t pid);

// Removes PATH and what is below it in every hierarchy. kConflict: processes are left (kill_all first).
// Waits for the kernel to finish with dead processes, up to the deadline. Missing ones are fine.
Status remove_everywhere(const CgroupLayout& layout, const std::string& path, Duration deadline);

}  // namespace perdure::runtime
