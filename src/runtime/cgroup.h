// Control groups: version 2 to freeze, kill and watch a container; version 1 or 2 to limit it
// (cgroup-v2.rst and cgroup-v1/ of the kernel's admin guide).
//
// On a hybrid host the v2 hierarchy (/sys/fs/cgroup/unified) carries no controllers, yet its core
// files work; limits then live in v1 directories, one per controller. A container has one
// directory, PATH, below each root in use. Calls are plain system calls on kernfs; the waits take a
// deadline. Nothing here mounts, unmounts or moves a hierarchy.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/clock.h"
#include "base/fd.h"
#include "base/result.h"
#include "model/spec.h"

namespace perdure::runtime {

struct CgroupLayout {
  struct V1Mount {
    std::vector<std::string> controllers;  // "memory", …; "name=systemd" for the named one
    std::string mount_point;
    std::string root;  // the cgroup that is mounted there: "/" but in containers
  };
  std::string v2_mount;                     // "/sys/fs/cgroup" or "/sys/fs/cgroup/unified"
  std::string v2_root;                      // as V1Mount::root
  std::vector<std::string> v2_controllers;  // empty on hybrid hosts
  std::vector<V1Mount> v1;                  // empty on hosts with v2 only

  // Whether limits of this kind ("memory", "cpu", "pids") can be enforced here.
  bool has_controller(std::string_view controller) const;

  // From /proc/self/mountinfo. kUnsupported if cgroup2 is mounted nowhere.
  static Result<CgroupLayout> find();
  static Result<CgroupLayout> parse(std::string_view mountinfo);  // without v2_controllers
};

// A cgroup of the v2 hierarchy: a name for it, not its owner.
class Cgroup {
 public:
  // PATH is relative to the v2 mount: "perdure/web". create() makes the parents too and accepts an
  // existing one; open() fails with kNotFound.
  static Result<Cgroup> create(const CgroupLayout& layout, const std::string& path);
  static Result<Cgroup> open(const CgroupLayout& layout, const std::string& path);

  const std::string& directory() const { return directory_; }
  // What bpf_get_current_cgroup_id() gives for the processes inside: the kernfs inode number.
  std::uint64_t id() const { return id_; }

  // A new cgroup below this one, in which a process can be born; empty ones of earlier calls are removed. From
  // Linux 6.14 on (and 6.12.14), who is born with CLONE_INTO_CGROUP where cgroup.kill was ever written is killed at
  // once: cgroup_css_set_fork() compares the count of kills with that of the parent's cgroup. A new one has none.
  Result<std::string> make_leaf() const;

  Status add(pid_t pid) const;                   // with all its threads
  Result<std::vector<pid_t>> processes() const;  // of this cgroup and those below
  Result<bool> populated() const;
  Result<bool> frozen() const;

  // freeze() returns when every process has stopped (kTimeout otherwise, and it is thawed again). A
  // process in uninterruptible sleep (dead network file system) is what makes it time out.
  Status freeze(Duration deadline) const;
  Status thaw(Duration deadline) const;
  // SIGKILL to everything inside, frozen or not, new forks included; returns when nothing is left,
  // and leaves the cgroup thawed, so that what is restored into it runs. A removed cgroup is a
  // success. kUnsupported: kernel below 5.14.
  Status kill_all(Duration deadline) const;

  // A descriptor on cgroup.events: poll() reports POLLPRI after each change of populated or frozen;
  // read it again from offset 0 to re-arm.
  Result<UniqueFd> open_events() const;

 private:
  Cgroup(std::string directory, std::uint64_t id) : directory_(std::move(directory)), id_(id) {}
  Status write(std::string_view file, std::string_view text) const;
  Status wait_for_event(std::string_view key, bool value, Instant deadline) const;
  Result<bool> event(std::string_view key) const;

  std::string directory_;
  std::uint64_t id_ = 0;
};

// What follows "KEY " on its line of a cgroup's file (cgroup.events, memory.events); nullopt if KEY is
// not in it. Part of `text`.
std::optional<std::string_view> cgroup_value(std::string_view text, std::string_view key);
// Parses the text of cgroup.events; nullopt if KEY is not in it.
std::optional<bool> parse_cgroup_event(std::string_view events, std::string_view key);

// Makes PATH in the v2 hierarchy and in the v1 hierarchies of memory, cpu, pids and devices, writes
// the limits and the standard device rules, and returns the directories that exist for PATH. The
// same directories that runc uses for cgroupsPath "/PATH"; needed before a restore on a host where
// runc never ran. Idempotent. kUnsupported: a limit whose controller this host lacks. Device rules
// are written in v1 only: on a v2-only host runc's (a BPF program) last as long as the directory,
// and a container without CAP_MKNOD cannot make device nodes anyway.
Result<std::vector<std::string>> create_limited(const CgroupLayout& layout, const std::string& path,
                                                const model::ResourcesSpec& limits);

// How many processes of PATH the kernel has killed for want of memory since it was made: oom_kill of memory.events
// (v2, everything below PATH) and of memory.oom_control (v1). 0 also where no controller counts them.
std::uint64_t out_of_memory_kills(const CgroupLayout& layout, const std::string& path);

// The directories that hold PID, one per mounted hierarchy in which it is not at the root.
Result<std::vector<std::string>> cgroup_dirs_of(const CgroupLayout& layout, pid_t pid);
// The existing directories of PATH, in all hierarchies.
std::vector<std::string> cgroup_dirs_at(const CgroupLayout& layout, const std::string& path);

// Moves PID (and its threads) into all DIRECTORIES: a CRIU process that is to restore goes in
// before it gets its request, so that everything it forks is born under the container's limits.
Status enter_all(const std::vector<std::string>& directories, pid_t pid);

// Removes PATH and what is below it in every hierarchy. kConflict: processes are left (kill_all
// first). The kernel takes a moment to finish with dead processes: tries again up to the deadline.
// Missing ones are fine.
Status remove_everywhere(const CgroupLayout& layout, const std::string& path, Duration deadline);

}  // namespace perdure::runtime
