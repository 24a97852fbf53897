// The default seccomp profile: what a container's processes may not ask of the kernel.
//
// A list of what is refused, everything else is allowed. Two reasons to refuse: it reaches beyond
// the container, or CRIU cannot dump what it makes, so that the container would lose its protection
// without anybody noticing. The second kind answers ENOSYS (or EAFNOSUPPORT), as on a kernel
// without the feature: programs then fall back.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace perdure::image {

enum class ArgumentTest {
  kEqual,
  kGreater,
  kMaskedEqual,  // (argument & value) == second_value
};

struct SyscallArgument {
  unsigned index = 0;
  ArgumentTest test = ArgumentTest::kEqual;
  std::uint64_t value = 0;
  std::uint64_t second_value = 0;
};

struct SyscallRule {
  std::vector<std::string_view> names;
  int error_number = 0;  // what the call answers
  std::string_view
      unless_capability;  // the rule is left out for a container that has it; empty: never
  std::optional<SyscallArgument> argument;
  std::string_view why;
};

std::span<const SyscallRule> default_syscall_rules();

// The names libseccomp gives to the machine's instruction sets ("SCMP_ARCH_X86_64", …), so that a
// 32-bit call does not slip past the filter; empty for a machine that is not known.
std::vector<std::string> seccomp_architectures(std::string_view machine);

}  // namespace perdure::image
