// /proc/PID/mountinfo as values (proc(5)).
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace perdure {

struct MountEntry {
  int id = 0;
  int parent_id = 0;
  std::string device;                    // "254:0"
  std::string root;                      // of the mount within its file system
  std::string mount_point;               // escapes resolved
  std::string options;                   // per mount: "rw,nosuid"
  std::vector<std::string> propagation;  // "shared:5", "master:2"; empty: private
  std::string type;                      // "overlay", "cgroup2"
  std::string source;
  std::string super_options;  // escapes resolved
};

// Lines that do not parse are kCorrupt: the kernel writes no such thing.
Result<std::vector<MountEntry>> parse_mountinfo(std::string_view text);
// Of this process. Later entries lie on top of earlier ones with the same mount point.
Result<std::vector<MountEntry>> read_mountinfo();

}  // namespace perdure
