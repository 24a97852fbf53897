// Inside of the pre-flight check: whether a command can be executed in an image.
#pragma once

#include <string>
#include <vector>

#include "base/result.h"

namespace perdure::runtime {

struct ExecutableProblem {
  std::string what;
  std::string remedy;
};

struct CommandLookup {
  std::string root_dir;  // the image's lower directory
  std::string command;   // argv[0]
  std::string path;      // PATH of the container
  std::string working_directory;
  std::vector<std::string> volume_paths;  // what lies there is not in the image and is not judged
  std::string machine;                    // uname -m
};

// Empty: it is there, may be executed, is for this machine, and its loader or interpreter exists.
// Also empty where it cannot be known (in a volume, unreadable).
std::vector<ExecutableProblem> check_executable(const CommandLookup& lookup);

}  // namespace perdure::runtime
