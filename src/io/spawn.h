// Inside of process.cc: the way from clone to exec. Not for other rooms.
#pragma once

#include <sys/types.h>

#include <string>
#include <vector>

#include "base/fd.h"
#include "base/result.h"

namespace perdure::io {

// Everything resolved: the child only makes system calls.
struct SpawnRequest {
  const char* name = nullptr;     // for messages
  const char* program = nullptr;  // a path
  char* const* argv = nullptr;    // null-terminated
  char* const* environment = nullptr;
  const char* working_directory = nullptr;  // null: ours
  std::vector<int> namespaces;
  struct Mapping {
    int fd;
    int target;
  };
  std::vector<Mapping> descriptors;  // distinct targets
  std::vector<int> staging;          // as long as `descriptors`, filled by the child
  int cgroup_fd = -1;
};

struct SpawnedProcess {
  pid_t pid;
  UniqueFd pidfd;
};

// Returns once the program runs (or the child was killed on the way there). A step that failed in
// the child is reported as an error that names it; that child is reaped.
Result<SpawnedProcess> spawn_process(SpawnRequest& request);

}  // namespace perdure::io
