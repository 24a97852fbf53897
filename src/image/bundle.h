// An OCI bundle (runtime spec 1.0.2) that CRIU can dump and restore cheaply.
//
// What differs from other engines' bundles, and why:
// - few mounts: proc, sysfs (read-only) and the volumes. No tmpfs: each costs a spawned `tar` per
// dump.
//   /dev, /dev/shm, /tmp and /run are plain directories of the writable layer.
// - no terminal: a pty's other end is outside and does not survive the host.
// - no user or cgroup namespace; the network namespace is made by the network room and given by
// path.
// - io_uring answers ENOSYS: CRIU cannot dump a ring, and programs fall back to epoll.
// - /etc/hosts, /etc/hostname and /etc/resolv.conf are files of the writable layer, not bind
// mounts, so that
//   they travel with the capsule.
// Which options CRIU needs for such a bundle is written in docs/containers.md.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "image/image.h"
#include "model/spec.h"

namespace perdure::image {

// A volume: SOURCE of the host appears at DESTINATION in the container (both absolute).
struct BindMount {
  std::string source;
  std::string destination;
  model::Access access = model::Access::kReadWrite;

  // The key under which CRIU knows it as external, at dump and at restore: DESTINATION, which is
  // unique. dump: --external mnt[DESTINATION]:DESTINATION; restore: --external
  // mnt[DESTINATION]:SOURCE.
  std::string criu_key() const { return destination; }
};

// The container's first process, when it consists of components. Program and configuration lie in the
// writable layer, so that they travel with the capsule and are always of one release.
struct AgentFiles {
  std::string program;        // on the host
  std::string configuration;  // its text
};
inline constexpr std::string_view kAgentDirectory = "/.perdure";
inline constexpr std::string_view kAgentProgram = "/.perdure/agent";
inline constexpr std::size_t kMaxAgentBytes = std::size_t{16} << 20;  // of that program
inline constexpr std::string_view kAgentConfiguration = "/.perdure/agent.conf";

struct BundleOptions {
  std::string bundle_dir;  // config.json is written here, atomically
  std::string root_dir;    // OverlayPaths::merged, mounted
  std::string
      network_namespace{};   // path of a pinned network namespace; empty: a new one without devices
  std::string cgroups_path;  // linux.cgroupsPath: "/perdure/NAME", below every hierarchy's root
  std::vector<BindMount> volumes{};
  std::optional<AgentFiles> agent{};  // what runs, as root, in place of a command
  // RLIMIT_NOFILE of the container, soft and hard; never more than this process's own hard limit,
  // which only CAP_SYS_RESOURCE could raise. 65536: above what servers ask for, low enough that
  // programs which close every possible descriptor do so in milliseconds.
  std::uint64_t open_files = 65536;
  std::string machine{};  // uname -m, chooses the seccomp architectures; empty: this host's
};

// What the process in the container will be, after the image's defaults and its passwd have been
// applied.
struct ProcessIdentity {
  std::uint32_t uid = 0;
  std::uint32_t gid = 0;
  std::vector<std::uint32_t> additional_gids;
  std::string home;  // for HOME, when the environment does not set it
};

// USER is "", "name", "uid", "name:group", "uid:gid"… resolved in ROOT_DIR/etc/passwd and group, as
// runtimes do: an unknown number is allowed, an unknown name is kNotFound.
Result<ProcessIdentity> resolve_user(const std::string& user, const std::string& root_dir);

// The command that runs: the spec's, else entrypoint + command of the image. kInvalid if there is
// none, kUnsupported if the spec has components.
Result<std::vector<std::string>> resolve_command(const model::ContainerSpec& spec,
                                                 const ImageDefaults& defaults);

// The spec's, else the image's; user as written (empty: root), directory "/" if neither names one.
std::string effective_user(const model::ContainerSpec& spec, const ImageDefaults& defaults);
std::string effective_working_directory(const model::ContainerSpec& spec,
                                        const ImageDefaults& defaults);

// "NAME=value" of a program in the container: the image's variables, the spec's over them, `own` over
// both, and the two that every program expects.
std::vector<std::string> effective_environment(const model::ContainerSpec& spec, const ImageDefaults& defaults,
                                               const ProcessIdentity& identity,
                                               const std::map<std::string, std::string>& own);

// The text of config.json; touches nothing but ROOT_DIR/etc/passwd and group.
Result<std::string> make_config(const model::ContainerSpec& spec, const PreparedImage& image,
                                const BundleOptions& options);

// Puts directories and /etc files into the mounted root, then writes config.json. Never follows a
// link of the image out of the root. Repeating it with the same arguments changes nothing.
// /etc/hostname and /etc/hosts are always the spec's; /etc/resolv.conf is when the spec names DNS
// servers or the image has none. kNotFound: the source of a volume.
Status write_bundle(const model::ContainerSpec& spec, const PreparedImage& image,
                    const BundleOptions& options);

}  // namespace perdure::image
