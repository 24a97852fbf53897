// What perdured finds or makes on disk before it begins: directories, lock, incarnation, scratch tmpfs.
#pragma once

#include "base/ids.h"
#include "base/result.h"
#include "io/atomic_file.h"
#include "node/paths.h"

namespace perdure::node {

// Directories, and the right to be the only perdured with this state directory (kConflict: another one is).
Result<io::FileLock> claim_directories(const Paths& paths);

// The number of this life of the daemon: one more than the last, durable when it returns. kCorrupt: the file
// holds no number; it must not begin at 1 again while capsules exist.
Result<Incarnation> next_incarnation(const Paths& paths);

// Temporary files of a daemon that died while it gave a record, a specification or another file its content. What
// cannot be removed is told in the log. Blocking.
void remove_left_over(const Paths& paths);

// Half of the host's memory: the images of one CRIU call pass through it, which is the memory of one container
// where page tracking is off, and some 100 kB per process where it is on.
inline constexpr const char* kScratchSize = "50%";
// A tmpfs of our own at paths.scratch(); one that is mounted already is used again. Emptied: what is in it was
// left by a daemon that died. Blocking.
Status prepare_scratch(const Paths& paths);

}  // namespace perdure::node
