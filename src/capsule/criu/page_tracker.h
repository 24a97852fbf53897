// Knows which pages of a container's memory changed since it looked last, so that a capture reads only
// those (stock kernel >= 6.7, no soft-dirty bits).
//
// Every process of the container gets a userfaultfd with WP_ASYNC | WP_UNPOPULATED that Perdure holds and
// the process does not; its private writable mappings are registered for write protection. The kernel
// then keeps a "written" mark per page without telling anybody, and PAGEMAP_SCAN reads and re-arms the
// marks. CRIU is made to skip these mappings (pagemap_filter.c).
//
// The marks belong to a memory, not to a process: a child that executes another program stays in its parent's until
// then (vfork(2), posix_spawn(3)), and every look of it would take the parent's marks away. So only a memory that one
// process has is adopted, and each look opens anew what the process has now.
//
// Threads: one at a time. Blocking.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/fd.h"
#include "base/result.h"
#include "capsule/format/paged_object.h"

namespace perdure::capsule {

class PageTracker {
 public:
  // Whether this kernel can do it; kUnsupported says what is missing.
  static Status probe();

  PageTracker();
  ~PageTracker();
  PageTracker(const PageTracker&) = delete;
  PageTracker& operator=(const PageTracker&) = delete;

  // Before the freeze: adopts processes that are new and registers mappings that are new. A process that
  // cannot be adopted is left to CRIU, which then dumps its memory as always; the reason is in
  // untracked(). Forgets processes that are gone.
  void prepare(const std::vector<pid_t>& pids, Instant deadline);

  // While the processes run: reads and re-arms everything written so far, so that the next collect() has
  // little left. Worth it when written_bytes() is large.
  Status precopy();
  std::uint64_t written_bytes();

  // With all processes frozen: reads what was written since the last look and re-arms. Afterwards
  // memory_of() is the exact content of the mappings that CRIU does not see. On failure everything is read
  // anew next time. kTransient: an untracked process has pages that CRIU skips: reset() mends it.
  Status collect();

  // Pages of one process by address / 4096; nullptr when it is not tracked.
  const PagedObject* memory_of(pid_t pid) const;
  const std::map<pid_t, std::string>& untracked() const { return untracked_; }
  // Tracked ones that had ended when the last collect() was over. If CRIU has dumped one of them as a living process, it was
  // killed behind CRIU's back, and its pages are in nobody's hands.
  const std::set<pid_t>& ended() const { return ended_; }
  std::uint64_t bytes_read_by_last_collect() const { return bytes_read_; }

  // Lets go of all processes; the kernel drops the write protection.
  void reset();

 private:
  struct Process;
  Status adopt(pid_t pid, Instant deadline);
  void adopt_all(const std::vector<pid_t>& pids, Instant deadline);
  Status read_changes();
  Status collect_process(pid_t pid, Process& process);

  std::map<pid_t, std::unique_ptr<Process>> processes_;
  std::map<pid_t, std::string> untracked_;
  std::set<pid_t> ended_;
  std::uint64_t bytes_read_ = 0;
};

}  // namespace perdure::capsule
