// The part of image_repair.h that concerns one process: its timers, its signals, its interrupted system call.
// Private to the room.
#pragma once

#include <chrono>
#include <cstdint>

#include "criu_images.pb.h"

namespace perdure::capsule {

// Whether the process, dumped in a system call that a handler ends, will make that call again although a signal
// of `pending`, or of a timer that had no more than `until` left, has its handler run.
bool waits_past_its_signal(const criu::CoreEntry& core, std::uint64_t pending, std::chrono::microseconds until);

// `pending`: the process's signals at the end of the dump, bit N - 1 for signal N. Returns whether anything was
// changed.
// `soonest`, below one second: no one-shot timer is left to expire earlier.
bool mend_task(criu::CoreEntry& core, std::uint64_t pending, std::chrono::microseconds soonest);

}  // namespace perdure::capsule
