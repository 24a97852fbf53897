// Proves that what the tracker knows of a process is that process's own memory, also while a child of it borrows its
// memory to execute another program (vfork, posix_spawn), whichever of the two is looked at first. Needs root.
#include "capsule/criu/page_tracker.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <linux/sched.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstring>
#include <format>
#include <optional>
#include <vector>

#include "base/assert.h"
#include "base/fd.h"
#include "capsule/criu/pagemap_scan.h"
#include "io/poll.h"

namespace perdure::capsule {
namespace {

constexpr Duration kLong = std::chrono::seconds(30);
constexpr Duration kAdoptTime = std::chrono::milliseconds(200);
constexpr std::size_t kPages = 16;
constexpr int kItsOwnChild = 0;

// In the parent's memory: says its number, waits for a byte, executes another program.
struct Borrower {
  int begin;
  int number;
};
int borrow_and_execute(void* raw) {
  char byte = 0;
  const auto* borrower = static_cast<const Borrower*>(raw);
  ::syscall(SYS_prctl, PR_SET_PDEATHSIG, SIGKILL);
  const auto number = static_cast<pid_t>(::syscall(SYS_getpid));
  ::syscall(SYS_write, borrower->number, &number, sizeof number);
  while (::syscall(SYS_read, borrower->begin, &byte, 1) != 1) {
  }
  static const char* const arguments[] = {"sleep", "1000", nullptr};
  static const char* const environment[] = {nullptr};
  ::syscall(SYS_execve, "/bin/sleep", arguments, environment);
  ::syscall(SYS_exit, 1);
  return 0;
}

// A process that writes its pages when it is told to, and whose number is higher than its children's.
class Parent {
 public:
  Parent() {
    PERDURE_ASSERT(::pipe(orders_) == 0 && ::pipe(answers_) == 0 && ::pipe(begin_) == 0 &&
                   ::pipe(numbers_) == 0);
    pages_ = static_cast<char*>(
        ::mmap(nullptr, kPages * kPageSize, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
    stack_ = static_cast<char*>(
        ::mmap(nullptr, kPages * kPageSize, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
    // From above: what is forked normally gets a number that comes in turn, and that is a lower one.
    for (pid_t wanted = 32'700; wanted > 30'000 && pid_ <= 0; --wanted) {
      clone_args arguments{};
      arguments.exit_signal = SIGCHLD;
      arguments.set_tid = reinterpret_cast<std::uintptr_t>(&wanted);
      arguments.set_tid_size = 1;
      pid_ = static_cast<pid_t>(::syscall(SYS_clone3, &arguments, sizeof arguments));
      if (pid_ == 0) live();
    }
    PERDURE_ASSERT(pid_ > 0);
  }
  ~Parent() {
    ::kill(pid_, SIGKILL);
    ::waitpid(pid_, nullptr, 0);
    if (child_ > 0) {
      ::kill(child_, SIGKILL);
      ::waitpid(child_, nullptr, 0);
    }
    for (const int* ends : {orders_, answers_, begin_, numbers_}) {
      ::close(ends[0]);
      ::close(ends[1]);
    }
    ::munmap(pages_, kPages * kPageSize);
    ::munmap(stack_, kPages * kPageSize);
  }

  pid_t pid() const { return pid_; }
  pid_t child() const { return child_; }

  void write(char value) {
    order('w', value);
    answer();
  }
  // Until lend_ended() the parent stands still and the child is in its memory.
  void lend(int flags) {
    order('v', flags == kItsOwnChild ? 0 : 1);
    PERDURE_ASSERT(io::wait_for_descriptor(numbers_[0], POLLIN, BootClock::now() + kLong).value());
    PERDURE_ASSERT(::read(numbers_[0], &child_, sizeof child_) == sizeof child_);
  }
  void lend_ended() {
    PERDURE_ASSERT(::write(begin_[1], "x", 1) == 1);
    answer();
  }

  void end() {
    siginfo_t info{};
    PERDURE_ASSERT(::kill(pid_, SIGKILL) == 0 && ::waitid(P_PID, pid_, &info, WEXITED | WNOWAIT) == 0);
  }

  // The first byte of a page as the process has it.
  char byte_of(std::size_t page) const {
    char byte = 0;
    iovec local{.iov_base = &byte, .iov_len = 1};
    iovec remote{.iov_base = pages_ + page * kPageSize, .iov_len = 1};
    PERDURE_ASSERT(::process_vm_readv(pid_, &local, 1, &remote, 1, 0) == 1);
    return byte;
  }
  std::uint64_t first_page() const { return reinterpret_cast<std::uint64_t>(pages_) / kPageSize; }

 private:
  [[noreturn]] void live() {
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    Borrower borrower{begin_[0], numbers_[1]};
    for (;;) {
      char order[2];
      if (::read(orders_[0], order, sizeof order) != sizeof order) ::_exit(0);
      if (order[0] == 'w') {
        for (std::size_t page = 0; page < kPages; ++page) pages_[page * kPageSize] = order[1];
      } else {
        const int parent = order[1] != 0 ? CLONE_PARENT : 0;
        ::clone(borrow_and_execute, stack_ + kPages * kPageSize, CLONE_VM | CLONE_VFORK | parent | SIGCHLD, &borrower);
      }
      if (::write(answers_[1], "a", 1) != 1) ::_exit(0);
    }
  }
  void order(char what, char value) {
    const char text[2] = {what, value};
    PERDURE_ASSERT(::write(orders_[1], text, sizeof text) == sizeof text);
  }
  void answer() {
    PERDURE_ASSERT(io::wait_for_descriptor(answers_[0], POLLIN, BootClock::now() + kLong).value());
    char byte = 0;
    PERDURE_ASSERT(::read(answers_[0], &byte, 1) == 1);
  }

  int orders_[2];
  int answers_[2];
  int begin_[2];
  int numbers_[2];
  char* pages_;
  char* stack_;
  pid_t pid_ = 0;
  pid_t child_ = 0;
};

class PageTrackerTest : public testing::Test {
 protected:
  void SetUp() override {
    if (::geteuid() != 0) GTEST_SKIP() << "needs root: a process is given a number of our choice";
    if (const Status possible = PageTracker::probe(); !possible) GTEST_SKIP() << possible.error().message();
    parent_.emplace();
  }

  void prepare(std::vector<pid_t> pids) { tracker_.prepare(pids, BootClock::now() + kAdoptTime); }
  void know_the_parent() {
    parent_->write('a');
    prepare({parent_->pid()});
    ASSERT_TRUE(tracker_.collect().has_value());
    ASSERT_NO_FATAL_FAILURE(expect_known('a'));
  }
  void expect_known(char value) {
    const PagedObject* memory = tracker_.memory_of(parent_->pid());
    ASSERT_NE(memory, nullptr);
    std::size_t seen = 0;
    for (const PageRun& run : memory->runs()) {
      for (std::uint64_t page = run.first_page; page < run.end_page(); ++page) {
        if (page < parent_->first_page() || page >= parent_->first_page() + kPages) continue;
        ++seen;
        const auto bytes = run.slab->bytes().subspan(run.slab_offset + (page - run.first_page) * kPageSize, 1);
        EXPECT_EQ(static_cast<char>(bytes[0]), value) << "page " << page - parent_->first_page();
      }
    }
    EXPECT_EQ(seen, kPages);
    EXPECT_EQ(parent_->byte_of(0), value);
  }
  // Pages that CRIU would leave to the tracker.
  static std::size_t left_to_tracker(pid_t pid) {
    const UniqueFd pagemap = open_file(std::format("/proc/{}/pagemap", pid), O_RDONLY).value();
    std::vector<perdure_page_region> found(512);
    perdure_pm_scan_arg argument{};
    argument.size = sizeof argument;
    argument.end = 0x7ffffffff000;
    argument.vec = reinterpret_cast<std::uint64_t>(found.data());
    argument.vec_len = found.size();
    argument.category_mask = PERDURE_PAGE_IS_WPALLOWED;
    argument.category_anyof_mask = PERDURE_PAGE_IS_PRESENT | PERDURE_PAGE_IS_SWAPPED;
    argument.return_mask = PERDURE_PAGE_IS_PRESENT;
    const int count = ::ioctl(pagemap.get(), PERDURE_PAGEMAP_SCAN, &argument);
    PERDURE_ASSERT(count >= 0);
    return static_cast<std::size_t>(count);
  }

  std::optional<Parent> parent_;
  PageTracker tracker_;
};

TEST_F(PageTrackerTest, AChildInItsParentsMemoryTakesNoMarksAway) {
  ASSERT_NO_FATAL_FAILURE(know_the_parent());
  EXPECT_TRUE(tracker_.ended().empty());
  parent_->write('b');
  parent_->lend(kItsOwnChild);
  ASSERT_LT(parent_->child(), parent_->pid());
  prepare({parent_->child(), parent_->pid()});
  EXPECT_TRUE(tracker_.untracked().contains(parent_->child()));
  EXPECT_FALSE(tracker_.untracked().contains(parent_->pid()));
  parent_->lend_ended();
  ASSERT_TRUE(tracker_.collect().has_value());
  expect_known('b');
}

TEST_F(PageTrackerTest, WhatAChildExecutesIsItsOwn) {
  ASSERT_NO_FATAL_FAILURE(know_the_parent());
  parent_->lend(kItsOwnChild);
  prepare({parent_->child(), parent_->pid()});
  parent_->lend_ended();
  ASSERT_TRUE(tracker_.collect().has_value());
  EXPECT_EQ(tracker_.memory_of(parent_->child()), nullptr);
  EXPECT_EQ(left_to_tracker(parent_->child()), 0U);

  prepare({parent_->child(), parent_->pid()});
  EXPECT_TRUE(tracker_.untracked().empty());
  ASSERT_TRUE(tracker_.collect().has_value());
  const PagedObject* memory = tracker_.memory_of(parent_->child());
  ASSERT_NE(memory, nullptr);
  EXPECT_GT(memory->page_count(), 0U);
  for (const PageRun& run : memory->runs()) {
    EXPECT_TRUE(run.end_page() <= parent_->first_page() || run.first_page >= parent_->first_page() + kPages);
  }
}

TEST_F(PageTrackerTest, AParentThatWasNotThereYetIsLeftToCriuAsAWhole) {
  parent_->write('a');
  parent_->lend(kItsOwnChild);
  prepare({parent_->child(), parent_->pid()});
  EXPECT_TRUE(tracker_.untracked().contains(parent_->child()));
  EXPECT_TRUE(tracker_.untracked().contains(parent_->pid()));
  parent_->lend_ended();
  ASSERT_TRUE(tracker_.collect().has_value());
  EXPECT_EQ(left_to_tracker(parent_->pid()), 0U);
  EXPECT_EQ(left_to_tracker(parent_->child()), 0U);
}

TEST_F(PageTrackerTest, AProcessThatHasEndedIsForgotten) {
  ASSERT_NO_FATAL_FAILURE(know_the_parent());
  parent_->end();  // nobody has waited for it yet
  ASSERT_TRUE(tracker_.collect().has_value());
  EXPECT_EQ(tracker_.memory_of(parent_->pid()), nullptr);
  EXPECT_TRUE(tracker_.ended().contains(parent_->pid())) << "CRIU may have taken it for alive";
  prepare({parent_->pid()});
  const Status collected = tracker_.collect();
  EXPECT_TRUE(collected.has_value()) << collected.error().message();
}

// A child that is not said to be one cannot be told from its parent. The parent's pages would be in nobody's hands.
TEST_F(PageTrackerTest, PagesThatNobodyReadsEndTheCapture) {
  parent_->write('a');
  parent_->lend(CLONE_PARENT);
  prepare({parent_->child(), parent_->pid()});
  EXPECT_TRUE(tracker_.untracked().contains(parent_->pid()));
  parent_->lend_ended();
  ASSERT_GT(left_to_tracker(parent_->pid()), 0U);
  const Status collected = tracker_.collect();
  ASSERT_FALSE(collected.has_value());
  EXPECT_EQ(collected.error().code(), ErrorCode::kTransient) << collected.error().message();
  tracker_.reset();
  prepare({parent_->child(), parent_->pid()});
  ASSERT_TRUE(tracker_.collect().has_value());
  expect_known('a');
}

}  // namespace
}  // namespace perdure::capsule
