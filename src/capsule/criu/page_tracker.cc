#include "capsule/criu/page_tracker.h"

#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <format>
#include <functional>
#include <thread>

#include "base/log.h"
#include "base/process_status.h"
#include "capsule/criu/pagemap_scan.h"
#include "capsule/criu/remote_syscall.h"

#ifndef UFFD_USER_MODE_ONLY
#define UFFD_USER_MODE_ONLY 1
#endif

namespace perdure::capsule {
namespace {

constexpr std::uint64_t kAddressSpaceEnd = 0x7ffffffff000;
constexpr std::size_t kRegionsPerScan = 8192;
constexpr std::size_t kSegmentsPerRead = 512;  // below IOV_MAX (1024)

struct Region {
  std::uint64_t start;
  std::uint64_t end;
  bool written;
};

Status enable_write_tracking(int uffd) {
  uffdio_api api{};
  api.api = UFFD_API;
  api.features = PERDURE_UFFD_FEATURE_WP_ASYNC | PERDURE_UFFD_FEATURE_WP_UNPOPULATED;
  if (ioctl(uffd, UFFDIO_API, &api) != 0) return fail_errno("enable asynchronous write protection");
  return {};
}

// Whether a mapping of this memory is under asynchronous write protection: ours, and CRIU skips it.
Result<bool> is_protected(const UniqueFd& pagemap) {
  perdure_page_region found{};
  perdure_pm_scan_arg argument{};
  argument.size = sizeof argument;
  argument.end = kAddressSpaceEnd;
  argument.vec = reinterpret_cast<std::uint64_t>(&found);
  argument.vec_len = 1;
  argument.max_pages = 1;
  argument.category_mask = PERDURE_PAGE_IS_WPALLOWED;
  argument.return_mask = PERDURE_PAGE_IS_WPALLOWED;
  const int count = ioctl(pagemap.get(), PERDURE_PAGEMAP_SCAN, &argument);
  if (count < 0) return fail_errno("scan page map for write protection");
  return count > 0;
}

Result<bool> is_protected(pid_t pid) {
  PERDURE_ASSIGN(const UniqueFd pagemap, open_file(std::format("/proc/{}/pagemap", pid), O_RDONLY));
  return is_protected(pagemap);
}

// Of a stopped process: whether it is in the memory of its parent or of one that is tracked.
Result<bool> shares_memory(pid_t pid) {
  constexpr int kMemory = 1;  // KCMP_VM of linux/kcmp.h
  PERDURE_ASSIGN(const std::string word, process_status_word(pid, "PPid"));
  const pid_t parent = static_cast<pid_t>(std::strtol(word.c_str(), nullptr, 10));
  if (parent > 0 && syscall(SYS_kcmp, pid, parent, kMemory, 0, 0) == 0) return true;
  return is_protected(pid);
}

}  // namespace

struct PageTracker::Process {
  UniqueFd uffd;
  UniqueFd pagemap;  // of the memory that it had at the last look
  std::uint64_t start_ticks = 0;
  bool content_known = false;
  PagedObject content;

  Status look_at(pid_t pid) {
    PERDURE_ASSIGN(pagemap, open_file(std::format("/proc/{}/pagemap", pid), O_RDONLY));
    return {};
  }

  // Registers mappings that are private, writable and not executable. CRIU runs code of its own through
  // executable ones; text and read-only data stay with CRIU, which skips pages that the file still holds.
  Status register_mappings(pid_t pid) {
    PERDURE_ASSIGN(const std::string maps, read_file(std::format("/proc/{}/maps", pid), 64u << 20));
    std::size_t at = 0;
    while (at < maps.size()) {
      const std::size_t line_end = std::min(maps.find('\n', at), maps.size());
      const std::string line = maps.substr(at, line_end - at);
      at = line_end + 1;
      std::uint64_t start = 0;
      std::uint64_t end = 0;
      char mode[5] = "";
      if (std::sscanf(line.c_str(), "%lx-%lx %4s", &start, &end, mode) != 3) continue;
      if (std::strcmp(mode, "rw-p") != 0 || end > kAddressSpaceEnd) continue;
      uffdio_register request{};
      request.range.start = start;
      request.range.len = end - start;
      request.mode = UFFDIO_REGISTER_MODE_WP;
      if (ioctl(uffd.get(), UFFDIO_REGISTER, &request) == 0) continue;
      if (errno == ESRCH) return fail(ErrorCode::kNotFound, std::format("process {} is gone", pid));
      // Refused mappings (special ones, changed meanwhile) stay with CRIU.
    }
    return {};
  }

  // All existing pages of the write-protected mappings; re-arms them when `arm`.
  Result<std::vector<Region>> scan(bool arm) {
    std::vector<Region> regions;
    std::vector<perdure_page_region> found(kRegionsPerScan);
    perdure_pm_scan_arg argument{};
    argument.size = sizeof argument;
    argument.flags = arm ? PERDURE_PM_SCAN_WP_MATCHING : 0;
    argument.end = kAddressSpaceEnd;
    argument.vec = reinterpret_cast<std::uint64_t>(found.data());
    argument.vec_len = found.size();
    argument.category_inverted = PERDURE_PAGE_IS_PFNZERO | PERDURE_PAGE_IS_FILE;
    argument.category_mask =
        PERDURE_PAGE_IS_WPALLOWED | PERDURE_PAGE_IS_PFNZERO | PERDURE_PAGE_IS_FILE;
    argument.category_anyof_mask = PERDURE_PAGE_IS_PRESENT | PERDURE_PAGE_IS_SWAPPED;
    argument.return_mask = PERDURE_PAGE_IS_WRITTEN;
    // The kernel's walk_end is of no use: once its buffer of 512 regions has been full, it stays where that was
    // (do_pagemap_scan in fs/proc/task_mmu.c). Fewer regions than there is room for are all; else what follows the
    // last one is still to be seen.
    for (;;) {
      const int count = ioctl(pagemap.get(), PERDURE_PAGEMAP_SCAN, &argument);
      if (count < 0) {
        if (errno == EINTR) continue;
        return fail_errno("scan page map");
      }
      for (int i = 0; i < count; ++i) {
        const auto& region = found[static_cast<std::size_t>(i)];
        regions.push_back({region.start, region.end,
                           (region.categories & PERDURE_PAGE_IS_WRITTEN) != 0});
      }
      if (static_cast<std::size_t>(count) < found.size()) return regions;
      argument.start = regions.back().end;
    }
  }

  // Bytes of [address, address + length) into `to`. Mappings without read permission go through
  // /proc/PID/mem, which may.
  Status read(pid_t pid, const std::vector<iovec>& remote, std::byte* to) {
    std::size_t index = 0;
    while (index < remote.size()) {
      const std::size_t count = std::min(kSegmentsPerRead, remote.size() - index);
      std::size_t wanted = 0;
      for (std::size_t i = 0; i < count; ++i) wanted += remote[index + i].iov_len;
      iovec local{.iov_base = to, .iov_len = wanted};
      const ssize_t got = process_vm_readv(pid, &local, 1, &remote[index], count, 0);
      if (got != static_cast<ssize_t>(wanted)) PERDURE_TRY(read_slowly(pid, remote, index, count, to));
      to += wanted;
      index += count;
    }
    return {};
  }

  Status read_slowly(pid_t pid, const std::vector<iovec>& remote, std::size_t index,
                     std::size_t count, std::byte* to) {
    PERDURE_ASSIGN(const UniqueFd memory, open_file(std::format("/proc/{}/mem", pid), O_RDONLY));
    for (std::size_t i = index; i < index + count; ++i) {
      std::size_t done = 0;
      const auto address = reinterpret_cast<std::uint64_t>(remote[i].iov_base);
      while (done < remote[i].iov_len) {
        const ssize_t got = pread(memory.get(), to + done, remote[i].iov_len - done,
                                  static_cast<off_t>(address + done));
        if (got < 0 && errno == EINTR) continue;
        if (got <= 0) {
          return fail_errno(std::format("read memory of process {} at {:#x}", pid, address + done));
        }
        done += static_cast<std::size_t>(got);
      }
      to += remote[i].iov_len;
    }
    return {};
  }
};

namespace {

// Splits the existing pages into those whose bytes are known (runs of `known`) and those to be read.
struct Plan {
  struct Piece {
    std::uint64_t first_page;
    std::uint64_t page_count;
    const PageRun* known;  // nullptr: to be read
  };
  std::vector<Piece> pieces;
  std::uint64_t pages_to_read = 0;
};

void add_known(Plan& plan, const std::vector<PageRun>& runs, std::size_t& cursor,
               std::uint64_t first, std::uint64_t end) {
  const auto to_read = [&plan](std::uint64_t from, std::uint64_t to) {
    if (from >= to) return;
    plan.pieces.push_back({from, to - from, nullptr});
    plan.pages_to_read += to - from;
  };
  while (first < end) {
    while (cursor < runs.size() && runs[cursor].end_page() <= first) ++cursor;
    if (cursor == runs.size() || runs[cursor].first_page >= end) {
      to_read(first, end);
      return;
    }
    const PageRun& run = runs[cursor];
    to_read(first, std::max(first, run.first_page));
    const std::uint64_t from = std::max(first, run.first_page);
    const std::uint64_t to = std::min(end, run.end_page());
    plan.pieces.push_back({from, to - from, &run});
    first = to;
  }
}

Plan plan_collection(const std::vector<Region>& regions, const PagedObject& known) {
  Plan plan;
  std::size_t cursor = 0;
  for (const Region& region : regions) {
    const std::uint64_t first = region.start / kPageSize;
    const std::uint64_t end = region.end / kPageSize;
    if (region.written) {
      plan.pieces.push_back({first, end - first, nullptr});
      plan.pages_to_read += end - first;
    } else {
      add_known(plan, known.runs(), cursor, first, end);
    }
  }
  return plan;
}

}  // namespace

PageTracker::PageTracker() = default;
PageTracker::~PageTracker() = default;

Status PageTracker::probe() {
#if !defined(__x86_64__)
  return fail(ErrorCode::kUnsupported, "memory tracking needs x86-64");
#endif
  const long fd = syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK | UFFD_USER_MODE_ONLY);
  if (fd < 0) {
    return fail(ErrorCode::kUnsupported,
                std::format("userfaultfd is not available: {}", std::strerror(errno)));
  }
  const UniqueFd uffd(static_cast<int>(fd));
  if (const Status enabled = enable_write_tracking(uffd.get()); !enabled) {
    return fail(ErrorCode::kUnsupported,
                "the kernel has no asynchronous write protection (Linux 6.7 and later have it)");
  }
  PERDURE_ASSIGN(const UniqueFd pagemap, open_file("/proc/self/pagemap", O_RDONLY));
  perdure_pm_scan_arg argument{};
  argument.size = sizeof argument;
  if (ioctl(pagemap.get(), PERDURE_PAGEMAP_SCAN, &argument) != 0) {
    return fail(ErrorCode::kUnsupported,
                "the kernel has no PAGEMAP_SCAN (Linux 6.7 and later have it)");
  }
  if (const pid_t self = getpid(); syscall(SYS_kcmp, self, self, 0, 0, 0) != 0) {
    return fail(ErrorCode::kUnsupported, "the kernel has no kcmp (CONFIG_KCMP), or forbids it");
  }
  return {};
}

namespace {

// Made in the process, taken over from it, and closed there: CRIU cannot dump one, so the last step is not given
// up as soon as the first.
Result<UniqueFd> make_userfaultfd(pid_t pid, int pidfd, Instant deadline) {
  constexpr Duration kCloseTime = std::chrono::seconds(5);
  PERDURE_ASSIGN(auto process, StoppedProcess::stop(pid, deadline));
  PERDURE_ASSIGN(const bool shared, shares_memory(pid));
  if (shared) return fail(ErrorCode::kUnsupported, std::format("process {} is in the memory of another one", pid));
  PERDURE_ASSIGN(const std::int64_t remote_fd,
                 process.call(SYS_userfaultfd, {O_CLOEXEC | O_NONBLOCK | UFFD_USER_MODE_ONLY}, deadline));
  const long copy = syscall(SYS_pidfd_getfd, pidfd, remote_fd, 0);
  const int copy_error = errno;
  UniqueFd ours(static_cast<int>(copy));
  PERDURE_TRY(process.call(SYS_close, {static_cast<std::uint64_t>(remote_fd)}, BootClock::now() + kCloseTime)
                  .transform([](std::int64_t) {}));
  if (copy < 0) {
    return fail(Error::from_errno(std::format("take descriptor of process {}", pid), copy_error));
  }
  return ours;
}

}  // namespace

Status PageTracker::adopt(pid_t pid, Instant deadline) {
  auto process = std::make_unique<Process>();
  PERDURE_ASSIGN(const ProcessStat stat, process_stat(pid));
  // It would have to be waited for, and may be the parent of a child that is in its memory.
  if (stat.state == 'D') return fail(ErrorCode::kTransient, std::format("process {} cannot be stopped now", pid));
  process->start_ticks = stat.start_ticks;
  PERDURE_ASSIGN(const UniqueFd pidfd, open_pidfd(pid));
  PERDURE_ASSIGN(process->uffd, make_userfaultfd(pid, pidfd.get(), deadline));
  PERDURE_TRY(enable_write_tracking(process->uffd.get()));
  PERDURE_TRY(process->register_mappings(pid));
  PERDURE_TRY(process->look_at(pid));
  processes_[pid] = std::move(process);
  return {};
}

void PageTracker::prepare(const std::vector<pid_t>& pids, Instant deadline) {
  untracked_.clear();
  std::erase_if(processes_, [&pids](const auto& entry) {
    return std::ranges::find(pids, entry.first) == pids.end();
  });
  // A pid that was used again, or a process that has executed another program and has a new memory, is adopted anew.
  const auto is_as_known = [](pid_t pid, Process& process) {
    const auto stat = process_stat(pid);
    return stat && process.start_ticks == stat->start_ticks && process.register_mappings(pid).has_value() &&
           process.look_at(pid).has_value() && is_protected(process.pagemap).value_or(false);
  };
  std::vector<pid_t> unknown;
  for (const pid_t pid : pids) {
    const auto known = processes_.find(pid);
    if (known != processes_.end() && is_as_known(pid, *known->second)) continue;
    if (known != processes_.end()) processes_.erase(known);
    unknown.push_back(pid);
  }
  if (unknown.empty()) return;
  // A process that does not stop in time is let go by the end of the thread that waited for it.
  std::thread(&PageTracker::adopt_all, this, std::cref(unknown), deadline).join();
}

void PageTracker::adopt_all(const std::vector<pid_t>& pids, Instant deadline) {
  for (const pid_t pid : pids) {
    if (const Status adopted = adopt(pid, deadline); !adopted) untracked_[pid] = adopted.error().message();
  }
}

Status PageTracker::collect_process(pid_t pid, Process& process) {
  PERDURE_TRY(process.look_at(pid));
  PERDURE_ASSIGN(const std::vector<Region> regions, process.scan(true));
  const PagedObject known = process.content_known ? std::move(process.content) : PagedObject{};
  process.content_known = false;  // until the read has succeeded
  process.content = PagedObject{};
  const Plan plan = plan_collection(regions, known);

  std::vector<iovec> remote;
  std::shared_ptr<Slab> slab;
  if (plan.pages_to_read > 0) {
    PERDURE_ASSIGN(slab, Slab::allocate(plan.pages_to_read * kPageSize, Slab::Prefault::kNo));
    for (const auto& piece : plan.pieces) {
      if (piece.known != nullptr) continue;
      remote.push_back({.iov_base = reinterpret_cast<void*>(piece.first_page * kPageSize),
                        .iov_len = piece.page_count * kPageSize});
    }
    PERDURE_TRY(process.read(pid, remote, slab->writable().data()));
    bytes_read_ += plan.pages_to_read * kPageSize;
  }
  PagedObject content;
  std::uint64_t slab_offset = 0;
  for (const auto& piece : plan.pieces) {
    PageRun run{piece.first_page, piece.page_count, slab, slab_offset};
    if (piece.known != nullptr) {
      run.slab = piece.known->slab;
      run.slab_offset = piece.known->slab_offset +
                        (piece.first_page - piece.known->first_page) * kPageSize;
    } else {
      slab_offset += piece.page_count * kPageSize;
    }
    PERDURE_TRY(content.append(std::move(run)));
  }
  process.content = std::move(content);
  process.content_known = true;
  return {};
}

Status PageTracker::collect() {
  PERDURE_TRY(read_changes());
  for (const auto& [pid, why] : untracked_) {
    const auto left_out = is_protected(pid);
    if (!left_out && left_out.error().code() != ErrorCode::kNotFound) return fail(left_out.error());
    if (left_out && *left_out) {
      return fail(ErrorCode::kTransient, std::format("another process has followed the memory of process {} ({})", pid, why));
    }
  }
  return {};
}

Status PageTracker::read_changes() {
  bytes_read_ = 0;
  ended_.clear();
  for (auto entry = processes_.begin(); entry != processes_.end();) {
    const Status collected = collect_process(entry->first, *entry->second);
    if (!collected && collected.error().code() != ErrorCode::kNotFound) return collected;
    // Asked last: what is read of one that ends meanwhile is worth nothing.
    const auto stat = process_stat(entry->first);
    const bool ended = !stat || stat->ending;
    if (ended) ended_.insert(entry->first);
    entry = collected && !ended ? std::next(entry) : processes_.erase(entry);
  }
  return {};
}

Status PageTracker::precopy() { return read_changes(); }

std::uint64_t PageTracker::written_bytes() {
  std::uint64_t bytes = 0;
  for (auto& [pid, process] : processes_) {
    const auto regions = process->scan(false);
    if (!regions) continue;
    for (const Region& region : *regions) {
      if (region.written || !process->content_known) bytes += region.end - region.start;
    }
  }
  return bytes;
}

const PagedObject* PageTracker::memory_of(pid_t pid) const {
  const auto found = processes_.find(pid);
  if (found == processes_.end() || !found->second->content_known) return nullptr;
  return &found->second->content;
}

void PageTracker::reset() {
  processes_.clear();
  untracked_.clear();
}

}  // namespace perdure::capsule
