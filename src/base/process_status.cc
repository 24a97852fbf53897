#include "base/process_status.h"

#include <sys/stat.h>

#include <algorithm>
#include <charconv>
#include <csignal>
#include <filesystem>
#include <format>
#include <system_error>

#include "base/fd.h"

namespace perdure {
namespace {

// Counted from the field behind the name.
constexpr int kState = 0;
constexpr int kFlags = 6;
constexpr int kStartTicks = 19;
constexpr int kExitCode = 49;
constexpr std::uint64_t kExiting = 0x4;  // PF_EXITING of include/linux/sched.h

bool read_number(std::string_view text, std::uint64_t& value) {
  return std::from_chars(text.data(), text.data() + text.size(), value).ec == std::errc{};
}

// The whole process' exit code, as wait(2) has it: of a stopped one the signal that stopped it, of a traced one what its tracer is
// told, and of one that has ended its first thread's alone.
bool is_killed(char state, std::uint64_t exit_code) {
  if (state == 'T' || state == 't' || state == 'Z' || state == 'X') return false;
  const auto signal = static_cast<int>(exit_code & 0x7f);
  return signal != 0 && signal != SIGSTOP && signal != SIGTSTP && signal != SIGTTIN && signal != SIGTTOU;
}

}  // namespace

Result<std::string> process_status_word(pid_t pid, std::string_view field) {
  PERDURE_ASSIGN(const std::string status, read_file(std::format("/proc/{}/status", pid)));
  const auto at = status.find(std::format("\n{}:", field));
  if (at == std::string::npos) {
    return fail(ErrorCode::kUnsupported, std::format("status of process {} has no field {}", pid, field));
  }
  const std::string line = status.substr(at + 1, status.find('\n', at + 1) - at - 1);
  return line.substr(line.find_last_of(" \t") + 1);
}

Result<std::uint32_t> pid_namespace_of(pid_t pid) {
  struct stat info{};
  if (::stat(std::format("/proc/{}/ns/pid", pid).c_str(), &info) != 0) {
    return fail_errno(std::format("look up the PID namespace of process {}", pid));
  }
  return static_cast<std::uint32_t>(info.st_ino);
}

Result<ProcessStat> parse_process_stat(std::string_view text) {
  ProcessStat stat;
  std::uint64_t flags = 0;
  bool complete = false;
  std::string_view rest = text.substr(std::min(text.rfind(')'), text.size()));
  for (int field = kState; field <= kExitCode; ++field) {
    const auto space = rest.find(' ');
    if (space == std::string_view::npos || space + 1 == rest.size()) break;
    rest.remove_prefix(space + 1);
    if (field == kState) stat.state = rest.front();
    if (field == kFlags && !read_number(rest, flags)) break;
    if (field == kStartTicks) complete = read_number(rest, stat.start_ticks);
    std::uint64_t exit_code = 0;
    if (field == kExitCode && read_number(rest, exit_code)) stat.killed = is_killed(stat.state, exit_code);
  }
  if (!complete) {
    return fail(ErrorCode::kCorrupt, std::format("process status '{}' cannot be parsed", text.substr(0, 100)));
  }
  stat.ending = (flags & kExiting) != 0;
  return stat;
}

Result<ProcessStat> process_stat(pid_t pid) {
  const auto text = read_file(std::format("/proc/{}/stat", pid));
  // It may also have ended between open and read.
  if (!text && text.error().code() == ErrorCode::kNotFound) {
    return fail(ErrorCode::kNotFound, std::format("process {} does not exist", pid));
  }
  if (!text) return fail(text.error());
  return parse_process_stat(*text);
}

bool is_ending(pid_t pid) {
  const auto process = process_stat(pid);
  if (!process) return process.error().code() == ErrorCode::kNotFound;
  if (!process->ending || process->killed) return process->killed;
  std::error_code error;
  std::filesystem::directory_iterator entry(std::format("/proc/{}/task", pid), error);
  for (; entry != std::filesystem::directory_iterator(); entry.increment(error)) {
    pid_t thread = 0;
    const std::string name = entry->path().filename();
    std::from_chars(name.data(), name.data() + name.size(), thread);
    const auto stat = process_stat(thread);
    if (stat && !stat->ending && !stat->killed) return false;
  }
  return true;
}

}  // namespace perdure
