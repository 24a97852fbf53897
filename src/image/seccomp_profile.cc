#include "image/seccomp_profile.h"

#include <sched.h>
#include <sys/socket.h>

#include <cerrno>

namespace perdure::image {
namespace {

constexpr std::uint64_t kNamespaceFlags = CLONE_NEWNS | CLONE_NEWCGROUP | CLONE_NEWUTS |
                                          CLONE_NEWIPC | CLONE_NEWUSER | CLONE_NEWPID |
                                          CLONE_NEWNET;

constexpr SyscallArgument is(unsigned index, std::uint64_t value) {
  return {.index = index, .test = ArgumentTest::kEqual, .value = value};
}

// One rule per flag: libseccomp tests one value per rule, and any of them is enough.
std::vector<SyscallRule> clone_rules() {
  std::vector<SyscallRule> rules;
  for (std::uint64_t flag = 1; flag != 0 && flag <= kNamespaceFlags; flag <<= 1) {
    if ((kNamespaceFlags & flag) == 0) continue;
    rules.push_back({.names = {"clone"},
                     .error_number = EPERM,
                     .unless_capability = "CAP_SYS_ADMIN",
                     .argument = SyscallArgument{.index = 0,
                                                 .test = ArgumentTest::kMaskedEqual,
                                                 .value = flag,
                                                 .second_value = flag},
                     .why = "nested namespaces cannot be restored"});
  }
  return rules;
}

// CRIU knows UNIX, INET, INET6, NETLINK and PACKET sockets.
std::vector<SyscallRule> socket_rules() {
  std::vector<SyscallRule> rules;
  for (int family = 0; family <= AF_PACKET; ++family) {
    if (family == AF_UNIX || family == AF_INET || family == AF_INET6 || family == AF_NETLINK ||
        family == AF_PACKET) {
      continue;
    }
    rules.push_back({.names = {"socket", "socketpair"},
                     .error_number = EAFNOSUPPORT,
                     .unless_capability = {},
                     .argument = is(0, static_cast<std::uint64_t>(family)),
                     .why = "CRIU cannot dump sockets of this family"});
  }
  rules.push_back(
      {.names = {"socket", "socketpair"},
       .error_number = EAFNOSUPPORT,
       .unless_capability = {},
       .argument = SyscallArgument{.index = 0, .test = ArgumentTest::kGreater, .value = AF_PACKET},
       .why = "CRIU cannot dump sockets of this family"});
  return rules;
}

std::vector<SyscallRule> make_rules() {
  std::vector<SyscallRule> rules = {
      {.names = {"io_uring_setup", "io_uring_enter", "io_uring_register"},
       .error_number = ENOSYS,
       .unless_capability = {},
       .argument = {},
       .why = "CRIU cannot dump rings; programs fall back to epoll"},
      {.names = {"memfd_secret", "landlock_create_ruleset", "landlock_add_rule",
                 "landlock_restrict_self", "mseal", "pkey_alloc", "pkey_free", "pkey_mprotect"},
       .error_number = ENOSYS,
       .unless_capability = {},
       .argument = {},
       .why = "would silently be missing after a restore"},
      {.names = {"mq_open", "mq_unlink", "mq_timedsend", "mq_timedreceive", "mq_notify",
                 "mq_getsetattr"},
       .error_number = ENOSYS,
       .unless_capability = {},
       .argument = {},
       .why = "CRIU cannot dump POSIX message queues"},
      // glibc falls back to clone, whose flags the rules below can see.
      {.names = {"clone3"},
       .error_number = ENOSYS,
       .unless_capability = "CAP_SYS_ADMIN",
       .argument = {},
       .why = "its flags lie in memory, where no filter sees them"},
      {.names = {"unshare",      "setns",      "mount",       "umount",         "umount2",
                 "pivot_root",   "move_mount", "open_tree",   "open_tree_attr", "fsopen",
                 "fsconfig",     "fsmount",    "fspick",      "mount_setattr",  "swapon",
                 "swapoff",      "quotactl",   "quotactl_fd", "lookup_dcookie", "sethostname",
                 "setdomainname"},
       .error_number = EPERM,
       .unless_capability = "CAP_SYS_ADMIN",
       .argument = {},
       .why = "namespaces and mounts belong to perdure"},
      {.names = {"bpf", "perf_event_open", "userfaultfd"},
       .error_number = EPERM,
       .unless_capability = "CAP_SYS_ADMIN",
       .argument = {},
       .why = "the host's kernel, and nothing CRIU can dump"},
      {.names = {"add_key", "request_key", "keyctl"},
       .error_number = ENOSYS,
       .unless_capability = {},
       .argument = {},
       .why = "keyrings are not per container and cannot be dumped"},
      {.names = {"kexec_load", "kexec_file_load", "reboot"},
       .error_number = EPERM,
       .unless_capability = "CAP_SYS_BOOT",
       .argument = {},
       .why = "the host"},
      {.names = {"init_module", "finit_module", "delete_module", "create_module", "get_kernel_syms",
                 "query_module"},
       .error_number = EPERM,
       .unless_capability = "CAP_SYS_MODULE",
       .argument = {},
       .why = "the host"},
      {.names = {"settimeofday", "clock_settime", "clock_settime64", "stime"},
       .error_number = EPERM,
       .unless_capability = "CAP_SYS_TIME",
       .argument = {},
       .why = "the host's clock"},
      {.names = {"iopl", "ioperm"},
       .error_number = EPERM,
       .unless_capability = "CAP_SYS_RAWIO",
       .argument = {},
       .why = "the host's hardware"},
      {.names = {"acct"},
       .error_number = EPERM,
       .unless_capability = "CAP_SYS_PACCT",
       .argument = {},
       .why = "the host"},
      {.names = {"open_by_handle_at"},
       .error_number = EPERM,
       .unless_capability = "CAP_DAC_READ_SEARCH",
       .argument = {},
       .why = "leads out of the root"},
      {.names = {"syslog"},
       .error_number = EPERM,
       .unless_capability = "CAP_SYSLOG",
       .argument = {},
       .why = "the host's kernel log"},
      {.names = {"vhangup"},
       .error_number = EPERM,
       .unless_capability = "CAP_SYS_TTY_CONFIG",
       .argument = {},
       .why = "the host's terminals"},
      {.names = {"nfsservctl", "uselib", "ustat", "sysfs", "_sysctl", "vm86", "vm86old",
                 "modify_ldt"},
       .error_number = ENOSYS,
       .unless_capability = {},
       .argument = {},
       .why = "obsolete, only an attack surface"},
  };
  for (const SyscallRule& rule : clone_rules()) rules.push_back(rule);
  for (const SyscallRule& rule : socket_rules()) rules.push_back(rule);
  return rules;
}

}  // namespace

std::span<const SyscallRule> default_syscall_rules() {
  static const std::vector<SyscallRule> rules = make_rules();
  return rules;
}

std::vector<std::string> seccomp_architectures(std::string_view machine) {
  if (machine == "x86_64") return {"SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"};
  if (machine == "aarch64") return {"SCMP_ARCH_AARCH64", "SCMP_ARCH_ARM"};
  if (machine == "riscv64") return {"SCMP_ARCH_RISCV64"};
  if (machine == "ppc64le") return {"SCMP_ARCH_PPC64LE"};
  return {};
}

}  // namespace perdure::image
