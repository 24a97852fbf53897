// The exit hook: closes a container's gate in the instant one of its processes is killed by a
// signal, before the kernel closes the sockets, so that no FIN or RST tells the peers of a death
// that a recovery is going to undo (docs/recovery.md). One BPF program on the raw tracepoint
// sched_process_exit per daemon.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/result.h"
#include "network/gate.h"

namespace perdure::network {

struct Death {
  std::uint64_t cgroup_id = 0;  // the protected cgroup, not a nested one
  Instant at;
  int process_id = 0;  // thread group, in the initial PID namespace
  int signal = 0;
  bool is_init = false;  // PID 1 of its PID namespace
  std::uint32_t pid_namespace = 0;  // that one's inode; 0: not told, by the hook of an older release
  bool held = false;     // this death closed the gate
  std::string command;   // as the kernel cuts it off; what is not printable is '?'
};

struct ExitHookOptions {
  // A directory on a bpffs, or one that a bpffs may be mounted at (/run/perdure/bpf).
  std::string pin_directory;
};

// Containers that one hook watches at most: the size of its map.
inline constexpr unsigned kMaxProtectedCgroups = 4096;
// Processes that it knows by their number, of all containers together, their first ones included.
inline constexpr unsigned kMaxListedProcesses = 16384;

// The id by which BPF knows a cgroup of the v2 hierarchy. kInvalid if the path is in a v1
// hierarchy.
Result<std::uint64_t> cgroup_id(const std::string& cgroup_path);

class ExitHook {
 public:
  // Takes over the hook pinned in the directory, with what it protects, or loads, attaches and pins
  // a new one. One that an older release has pinned, without a list or with less to report, is
  // replaced by one that protects the same; until that one acts the old one does. Where pinning is
  // impossible, the hook lives as long as this object and unpinned_reason() tells why. kUnsupported
  // with the kernel's reason if there can be no hook.
  static Result<ExitHook> install(const ExitHookOptions& options);
  // Detaches a pinned hook for good (uninstallation). Nothing there is success.
  static Status uninstall(const ExitHookOptions& options);

  ExitHook(ExitHook&&) noexcept;
  ExitHook& operator=(ExitHook&&) noexcept;
  ~ExitHook();

  // From now on a death in the cgroup (v2), or in one nested in it up to 16 levels below the root,
  // counts in the gate, and holds it if its flags say so. Replaces an earlier protection. Waits for
  // an RCU grace period (milliseconds). kNoSpace beyond kMaxProtectedCgroups.
  Status protect(std::uint64_t cgroup, const Gate& gate);
  Status unprotect(std::uint64_t cgroup);  // nothing there is success

  // Of a cgroup whose gate says kListedDeathsOnly: whose deaths hold it beside that of `init`, its
  // PID 1 as the caller numbers it. `processes` are their numbers in its PID namespace;
  // whoever descends from them, or is in their sessions, holds too. Replaces what was listed; called
  // before the flag is set, for until then every death holds. After an error too few may be listed:
  // clear the flag. kNotFound: init is gone; kNoSpace beyond kMaxListedProcesses.
  Status list(std::uint64_t cgroup, pid_t init, std::span<const pid_t> processes);
  Result<std::vector<std::uint64_t>> protected_cgroups() const;

  // Becomes readable when next_death() has something. Deaths are reported, in order, to the one
  // reader; when 4095 are unread, further ones only count in the gate.
  int event_fd() const;
  std::optional<Death> next_death();

  bool pinned() const;
  const std::string& unpinned_reason() const;

 private:
  struct Impl;
  explicit ExitHook(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace perdure::network
