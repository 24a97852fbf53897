// What a real-time thread touches, locked in memory so that it never waits for a disk (realtime_thread.h says what, and why).
// Errors say how many bytes were to be locked, and what to do.
#pragma once

#include <cstddef>
#include <span>

#include "base/result.h"

namespace perdure::io {

// For a thread: with a guard page below. Unmapped with it, so not before the thread has ended.
class LockedStack {
 public:
  LockedStack() = default;
  LockedStack(const LockedStack&) = delete;
  LockedStack& operator=(const LockedStack&) = delete;
  ~LockedStack();

  Status map();   // once; kNoSpace, kIo
  Status lock();  // all of it, at once
  std::span<std::byte> usable() const { return usable_; }

 private:
  std::span<std::byte> mapping_;
  std::span<std::byte> usable_;
};

// The program and its libraries: code, constants and static data. They stay locked until the process ends.
Status lock_code();

// The part of the heap from which malloc serves the calling thread: what is touched of it, now and later. kUnsupported: that
// part is the whole process's.
Status lock_own_heap();

}  // namespace perdure::io
