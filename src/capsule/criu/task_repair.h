// The part of image_repair.h that concerns one process: its timers, its signals, its interrupted system call.
// Private to the room.
#pragma once

#include <cstdint>

#include "criu_images.pb.h"

namespace perdure::capsule {

// `pending`: the process's signals at the end of the dump, bit N - 1 for signal N. Returns whether anything was
// changed.
bool mend_task(criu::CoreEntry& core, std::uint64_t pending);

}  // namespace perdure::capsule
