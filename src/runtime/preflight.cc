#include "runtime/preflight.h"

#include <linux/capability.h>
#include <sys/stat.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <format>
#include <optional>
#include <string_view>
#include <variant>

#include "image/bundle.h"
#include "runtime/executable.h"

namespace perdure::runtime {
namespace {

constexpr std::string_view kDefaultPath =
    "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
// Below this a runtime cannot even start the process (runc init needs about 6 MB by itself).
constexpr std::uint64_t kMinMemoryBytes = std::uint64_t{8} << 20;

constexpr std::array<std::string_view, 41> kCapabilityNames = {"CAP_CHOWN",
                                                               "CAP_DAC_OVERRIDE",
                                                               "CAP_DAC_READ_SEARCH",
                                                               "CAP_FOWNER",
                                                               "CAP_FSETID",
                                                               "CAP_KILL",
                                                               "CAP_SETGID",
                                                               "CAP_SETUID",
                                                               "CAP_SETPCAP",
                                                               "CAP_LINUX_IMMUTABLE",
                                                               "CAP_NET_BIND_SERVICE",
                                                               "CAP_NET_BROADCAST",
                                                               "CAP_NET_ADMIN",
                                                               "CAP_NET_RAW",
                                                               "CAP_IPC_LOCK",
                                                               "CAP_IPC_OWNER",
                                                               "CAP_SYS_MODULE",
                                                               "CAP_SYS_RAWIO",
                                                               "CAP_SYS_CHROOT",
                                                               "CAP_SYS_PTRACE",
                                                               "CAP_SYS_PACCT",
                                                               "CAP_SYS_ADMIN",
                                                               "CAP_SYS_BOOT",
                                                               "CAP_SYS_NICE",
                                                               "CAP_SYS_RESOURCE",
                                                               "CAP_SYS_TIME",
                                                               "CAP_SYS_TTY_CONFIG",
                                                               "CAP_MKNOD",
                                                               "CAP_LEASE",
                                                               "CAP_AUDIT_WRITE",
                                                               "CAP_AUDIT_CONTROL",
                                                               "CAP_SETFCAP",
                                                               "CAP_MAC_OVERRIDE",
                                                               "CAP_MAC_ADMIN",
                                                               "CAP_SYSLOG",
                                                               "CAP_WAKE_ALARM",
                                                               "CAP_BLOCK_SUSPEND",
                                                               "CAP_AUDIT_READ",
                                                               "CAP_PERFMON",
                                                               "CAP_BPF",
                                                               "CAP_CHECKPOINT_RESTORE"};

// What the daemon itself needs: namespaces and mounts, other processes' memory, network, cgroups.
constexpr int kNeededCapabilities[] = {CAP_SYS_ADMIN,    CAP_SYS_PTRACE, CAP_NET_ADMIN, CAP_CHOWN,
                                       CAP_DAC_OVERRIDE, CAP_FOWNER,     CAP_SETUID,    CAP_SETGID,
                                       CAP_SYS_CHROOT,   CAP_KILL,       CAP_MKNOD};

// Rights that let a container make what CRIU cannot restore, or reach around its image.
struct RiskyCapability {
  std::string_view name;
  std::string_view risk;
};
constexpr RiskyCapability kRiskyCapabilities[] = {
    {"CAP_SYS_ADMIN", "it may mount and make namespaces, which cannot be restored"},
    {"CAP_NET_RAW", "raw sockets of some protocols cannot be restored"},
    {"CAP_NET_ADMIN", "changes it makes to its network are not part of a capsule"},
    {"CAP_MKNOD", "device nodes lead around the image"},
    {"CAP_SYS_MODULE", "kernel modules are not part of a capsule"},
    {"CAP_SYS_TIME", "it would set the host's clock"},
};

// CRIU 3.17 and older cannot start on kernels from 6.13 on (vDSO), those before 4.2 cannot dump
// inet sockets from 6.16 on (SO_PASSCRED).
constexpr Version kNeedsCriu41{6, 13, 0};
constexpr Version kNeedsCriu42{6, 16, 0};
constexpr Version kCriu42{4, 2, 0};
constexpr Version kCriu41{4, 1, 0};
constexpr Version kOldestCriu{3, 17, 0};
constexpr Version kOldestRunc{1, 1, 0};
constexpr Version kOldestKernel{5, 14, 0};  // cgroup.kill

class Findings {
 public:
  void refuse(std::string what, std::string remedy) {
    refusals_.push_back({Finding::Severity::kRefusal, std::move(what), std::move(remedy)});
  }
  void warn(std::string what, std::string remedy) {
    warnings_.push_back({Finding::Severity::kWarning, std::move(what), std::move(remedy)});
  }
  std::vector<Finding> take() && {
    refusals_.insert(refusals_.end(), warnings_.begin(), warnings_.end());
    return std::move(refusals_);
  }

 private:
  std::vector<Finding> refusals_;
  std::vector<Finding> warnings_;
};

std::string in_container(const model::ContainerSpec& spec, std::string_view what) {
  return std::format("container '{}': {}", spec.name.str(), what);
}

// What runs in a container: its command, or one of its components.
struct Started {
  std::string owner;  // "component 'web': " or nothing
  std::string command;
  std::string user;
  std::string path;
  std::string working_directory;
};

void check_user(const model::ContainerSpec& spec, const image::PreparedImage& image, const Started& program,
                const HostFacts& facts, Findings& findings) {
  const auto identity = image::resolve_user(program.user, image.lower_dir);
  if (!identity) {
    findings.refuse(in_container(spec, program.owner + identity.error().message()),
                    "set 'user' to a user of the image or to numbers");
    return;
  }
  if (!program.owner.empty() && (identity->uid != 0 || identity->gid != 0)) {
    for (const std::string_view right : {"CAP_SETUID", "CAP_SETGID", "CAP_KILL"}) {
      if (std::ranges::contains(spec.security.capabilities, right)) continue;
      findings.refuse(in_container(spec, std::format("{}it runs as {}:{}, which the container's agent can neither become nor signal "
                                                     "without {}",
                                                     program.owner, identity->uid, identity->gid, right)),
                      std::format("add {} to 'security.capabilities'", right));
    }
  }
  // prlimit(2) on a process with other ids needs it, and CRIU reads and sets limits that way.
  if ((identity->uid != 0 || identity->gid != 0) && !facts.has_capability(CAP_SYS_RESOURCE)) {
    findings.refuse(
        in_container(spec, std::format("{}it runs as {}:{}, and this host lacks CAP_SYS_RESOURCE, "
                                       "without which CRIU can dump processes of 0:0 only",
                                       program.owner, identity->uid, identity->gid)),
        "give perdured CAP_SYS_RESOURCE (its bounding set lacks it), or set 'user: 0:0'");
  }
}

std::string path_of(const model::ContainerSpec& spec, const image::ImageDefaults& defaults) {
  if (const auto found = spec.environment.find("PATH"); found != spec.environment.end()) {
    return found->second;
  }
  for (const std::string& variable : defaults.environment) {
    if (variable.starts_with("PATH=")) return variable.substr(5);
  }
  return std::string(kDefaultPath);
}

std::vector<Started> what_starts(const model::ContainerSpec& spec, const image::PreparedImage& image, Findings& findings) {
  const std::string user = image::effective_user(spec, image.defaults);
  const std::string path = path_of(spec, image.defaults);
  const std::string directory = image::effective_working_directory(spec, image.defaults);
  std::vector<Started> programs;
  for (const model::ComponentSpec& it : spec.components) {
    const auto own_path = it.environment.find("PATH");
    programs.push_back({.owner = std::format("component '{}': ", it.name),
                        .command = it.command.front(),
                        .user = it.user.value_or(user),
                        .path = own_path != it.environment.end() ? own_path->second : path,
                        .working_directory = it.working_directory.value_or(directory)});
  }
  if (!programs.empty()) return programs;
  if (const auto command = image::resolve_command(spec, image.defaults)) {
    programs.push_back({{}, command->front(), user, path, directory});
  } else {
    findings.refuse(command.error().message(), "set 'command' in the spec");
    programs.push_back({{}, {}, user, path, directory});
  }
  return programs;
}

void check_started(const model::ContainerSpec& spec, const image::PreparedImage& image, const Started& program,
                   const HostFacts& facts, Findings& findings) {
  check_user(spec, image, program, facts, findings);
  if (program.command.empty()) return;
  CommandLookup lookup{
      .root_dir = image.lower_dir,
      .command = program.command,
      .path = program.path,
      .working_directory = program.working_directory,
      .volume_paths = {},
      .machine = facts.machine};
  for (const model::VolumeSpec& volume : spec.volumes) {
    lookup.volume_paths.push_back(volume.mount_path);
  }
  for (ExecutableProblem& problem : check_executable(lookup)) {
    findings.refuse(in_container(spec, program.owner + problem.what), std::move(problem.remedy));
  }
}

// A process may lower its limits, and raise none.
void check_component_limits(const model::ContainerSpec& spec, Findings& findings) {
  constexpr std::uint64_t kOpenFiles = image::BundleOptions{}.open_files;
  for (const model::ComponentSpec& it : spec.components) {
    if (it.limits.open_files.value_or(0) <= kOpenFiles) continue;
    findings.refuse(in_container(spec, std::format("component '{}': limits.open-files is {}, and the container has {}", it.name,
                                                   *it.limits.open_files, kOpenFiles)),
                    "choose less, or leave it out");
  }
}

void check_rights(const model::ContainerSpec& spec, const HostFacts& facts, Findings& findings) {
  for (const std::string& name : spec.security.capabilities) {
    const auto found = std::ranges::find(kCapabilityNames, name);
    if (found == kCapabilityNames.end()) {
      findings.refuse(in_container(spec, std::format("capability '{}' is not known", name)),
                      "see capabilities(7) for the names");
    } else if (!facts.has_capability(static_cast<int>(found - kCapabilityNames.begin()))) {
      findings.refuse(in_container(spec, std::format("this host cannot give it {}", name)),
                      "remove it from 'capabilities', or give it to perdured");
    }
  }
  for (const RiskyCapability& risky : kRiskyCapabilities) {
    if (!std::ranges::contains(spec.security.capabilities, risky.name)) continue;
    findings.warn(
        in_container(spec, std::format("with {} {}", risky.name, risky.risk)),
        std::format("remove {} from 'capabilities' if the program does without", risky.name));
  }
  if (spec.security.seccomp == model::Seccomp::kUnconfined) {
    findings.warn(in_container(spec,
                               "without the seccomp profile it may use io_uring and other things "
                               "that CRIU cannot dump"),
                  "use 'seccomp: default'");
  }
}

void check_volumes(const model::ContainerSpec& spec, Findings& findings) {
  constexpr std::string_view kOurs[] = {"/proc", "/sys", "/dev", "/"};
  for (const model::VolumeSpec& volume : spec.volumes) {
    const bool covers = std::ranges::any_of(kOurs, [&](std::string_view path) {
      return volume.mount_path == path ||
             (path != "/" && volume.mount_path.starts_with(std::format("{}/", path)));
    });
    if (covers) {
      findings.refuse(in_container(spec, std::format("volume '{}' would cover '{}', which perdure "
                                                     "makes itself",
                                                     volume.name, volume.mount_path)),
                      "mount it elsewhere");
    }
    struct stat info{};
    if (volume.host_path && ::stat(volume.host_path->c_str(), &info) != 0) {
      findings.refuse(in_container(spec, std::format("'{}' of volume '{}' does not exist",
                                                     *volume.host_path, volume.name)),
                      std::format("make it: mkdir -p '{}'", *volume.host_path));
    }
  }
}

// An empty directory made here would be another one than the owner's.
void check_standby_volume(const model::ContainerSpec& spec, const model::VolumeSpec& volume, Findings& findings) {
  struct stat info{};
  if (::stat(volume.host_path->c_str(), &info) == 0) return;
  findings.refuse(in_container(spec, std::format("'{}' of shared volume '{}' is not on this host: {}", *volume.host_path,
                                                 volume.name, std::strerror(errno))),
                  std::format("mount at '{}' what the other hosts have there", *volume.host_path));
}

void check_limits(const model::ContainerSpec& spec, const HostFacts& facts, Findings& findings) {
  const auto check = [&](bool wanted, std::string_view key, std::string_view controller) {
    if (!wanted || !facts.cgroups || facts.cgroups->has_controller(controller)) return;
    findings.refuse(
        in_container(spec, std::format("this host has no cgroup controller '{}', so the "
                                       "limit '{}' cannot be kept",
                                       controller, key)),
        std::format("remove 'resources.{}', or boot with the controller", key));
  };
  check(spec.resources.memory.has_value(), "memory", "memory");
  check(spec.resources.cpu.has_value(), "cpu", "cpu");
  check(spec.resources.pids.has_value(), "pids", "pids");
  if (spec.resources.memory && spec.resources.memory->count < kMinMemoryBytes) {
    findings.refuse(in_container(spec, std::format("{} of memory are too little to start in",
                                                   format_bytes(*spec.resources.memory))),
                    "give it 8 MiB at least");
  }
}

void check_program(const Program& program, std::string_view name, const Version& oldest,
                   std::string_view remedy, Findings& findings) {
  if (program.path.empty()) {
    findings.refuse(std::format("{} is not installed", name), std::string(remedy));
  } else if (!program.version) {
    findings.refuse(std::format("'{} --version' does not answer", program.path),
                    std::string(remedy));
  } else if (*program.version < oldest) {
    findings.refuse(std::format("{} {} at '{}' is too old: {} or later is needed here", name,
                                to_string(*program.version), program.path, to_string(oldest)),
                    std::string(remedy));
  }
}

Version oldest_criu(const Version& kernel) {
  if (kernel >= kNeedsCriu42) return kCriu42;
  return kernel >= kNeedsCriu41 ? kCriu41 : kOldestCriu;
}

}  // namespace

std::vector<Finding> check_spec(const model::ContainerSpec& spec, const image::PreparedImage& image,
                                const HostFacts& facts) {
  Findings findings;
  for (const Started& program : what_starts(spec, image, findings)) check_started(spec, image, program, facts, findings);
  check_component_limits(spec, findings);
  check_rights(spec, facts, findings);
  check_volumes(spec, findings);
  check_limits(spec, facts, findings);
  return std::move(findings).take();
}

std::vector<Finding> check_host(const HostFacts& facts) {
  Findings findings;
  if (facts.kernel < kOldestKernel) {
    findings.refuse(std::format("kernel {} is too old: 5.14 or later is needed (cgroup.kill)",
                                facts.kernel_release),
                    "boot a later kernel");
  }
  if (!facts.cgroups) {
    findings.refuse("no cgroup2 hierarchy is mounted",
                    "mount -t cgroup2 cgroup2 /sys/fs/cgroup/unified");
  }
  if (!facts.has_overlay)
    findings.refuse("the kernel has no overlayfs", "load it: modprobe overlay");
  for (const int capability : kNeededCapabilities) {
    if ((facts.capability_effective >> capability) & 1) continue;
    findings.refuse(
        std::format("perdured lacks {}", kCapabilityNames[static_cast<std::size_t>(capability)]),
        "run perdured as root with its full capabilities");
  }
  check_program(facts.runc, "runc", kOldestRunc, "apt install runc", findings);
  check_program(facts.criu, "criu", oldest_criu(facts.kernel), "run scripts/setup", findings);
  if (!facts.has_capability(CAP_SYS_RESOURCE)) {
    findings.warn("CAP_SYS_RESOURCE is missing: only containers of user 0:0 can be protected",
                  "add it to perdured's bounding set where the host allows it");
  }
  if (!facts.run_is_tmpfs()) {
    findings.warn(
        std::format("/run is {}, not tmpfs: CRIU keeps no feature cache there and each call "
                    "takes 60-100 ms longer",
                    facts.run_filesystem),
        "mount -t tmpfs tmpfs /run in perdured's mount namespace");
  }
  return std::move(findings).take();
}

std::vector<Finding> check_standby(const model::ContainerSpec& spec, const HostFacts& facts) {
  Findings findings;
  if (const auto* nic = std::get_if<model::NicAttachment>(&spec.network.attachment)) {
    findings.refuse(
        in_container(spec, std::format("'network.nic: {}' changes an interface of the host, which nobody has confirmed for "
                                       "this one",
                                       nic->nic)),
        "make a bridge of the same name on every host and name it with 'network.bridge'");
  }
  for (const model::VolumeSpec& volume : spec.volumes) {
    if (volume.host_path) check_standby_volume(spec, volume, findings);
  }
  // On the owner the operator has been told; nobody looks here before it is too late.
  for (Finding& finding : check_host(facts)) {
    if (finding.severity == Finding::Severity::kRefusal) findings.refuse(std::move(finding.what), std::move(finding.remedy));
  }
  if (spec.resources.memory && facts.memory_bytes != 0 && spec.resources.memory->count > facts.memory_bytes) {
    findings.warn(in_container(spec, std::format("it may use {} of memory, and this host has {}",
                                                 format_bytes(*spec.resources.memory),
                                                 format_bytes(Bytes{facts.memory_bytes}))),
                  "lower 'resources.memory', or cordon this node");
  }
  return std::move(findings).take();
}

}  // namespace perdure::runtime
