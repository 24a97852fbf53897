// What this host can do, for `perdure doctor` and for pre-flight checks. Reading it costs two
// spawned processes (runc, criu --version): read it once.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "model/cluster.h"
#include "runtime/cgroup.h"

namespace perdure::runtime {

struct Version {
  int major = 0;
  int minor = 0;
  int patch = 0;
  auto operator<=>(const Version&) const = default;
};
std::string to_string(const Version& version);
// The first "N.N[.N]" in the text.
std::optional<Version> find_version(std::string_view text);

struct Program {
  std::string path;  // absolute; empty: not installed
  std::optional<Version> version;
};

struct HostFacts {
  std::string kernel_release;
  Version kernel;
  std::uint64_t capability_bounding = 0;  // bit n is capability n (linux/capability.h)
  std::uint64_t capability_effective = 0;
  std::optional<CgroupLayout> cgroups;  // empty: no cgroup2 mount
  bool has_overlay = false;             // the kernel knows overlayfs
  std::string run_filesystem;           // type of /run's file system, "tmpfs" on most hosts
  std::string machine;                  // x86_64, …
  Program runc;
  Program criu;
  // What every processor of this host offers to programs: "flags" (x86) or "Features" (ARM) of /proc/cpuinfo, sorted.
  std::vector<std::string> cpu_features = {};
  std::uint64_t memory_bytes = 0;
  std::uint32_t processors = 0;  // online

  bool has_capability(int capability) const { return (capability_bounding >> capability) & 1; }
  bool run_is_tmpfs() const { return run_filesystem == "tmpfs"; }
};

struct ProgramPaths {
  std::string runc = "runc";  // absolute, or looked up in PATH and the sbin directories
  std::string criu = "criu";
};
Result<HostFacts> read_host_facts(const ProgramPaths& paths);

// What the other nodes of a cluster need to know of this host.
model::HostFacts cluster_facts(const HostFacts& facts);

// The features that all processors in the text of /proc/cpuinfo have, sorted; empty: it names none.
std::vector<std::string> find_cpu_features(std::string_view cpuinfo);

// Absolute path of NAME; kNotFound.
Result<std::string> find_program(const std::string& name);

}  // namespace perdure::runtime
