#include "runtime/cgroup.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <filesystem>
#include <format>
#include <utility>

#include "io/atomic_file.h"
#include "io/poll.h"

namespace perdure::runtime {
namespace {

// A container with 100,000 processes lists 700 kB.
constexpr std::size_t kMaxProcessListBytes = std::size_t{16} << 20;

Status append_processes(const std::string& directory, std::vector<pid_t>& pids) {
  const auto text = read_file(directory + "/cgroup.procs", kMaxProcessListBytes);
  if (!text) return text.error().code() == ErrorCode::kNotFound ? Status{} : fail(text.error());
  const char* position = text->data();
  const char* const end = position + text->size();
  pid_t pid = 0;
  while (position < end) {
    const auto [next, error] = std::from_chars(position, end, pid);
    if (error != std::errc{}) break;
    pids.push_back(pid);
    position = next + 1;
  }
  std::error_code failed;
  for (std::filesystem::directory_iterator entry(directory, failed), last; !failed && entry != last;
       entry.increment(failed)) {
    std::error_code ignored;
    if (entry->is_directory(ignored)) PERDURE_TRY(append_processes(entry->path().string(), pids));
  }
  return {};  // a directory that went away meanwhile has no processes
}

}  // namespace

std::optional<std::string_view> cgroup_value(std::string_view text, std::string_view key) {
  while (!text.empty()) {
    const auto newline = text.find('\n');
    const std::string_view line = text.substr(0, newline);
    text = newline == std::string_view::npos ? std::string_view{} : text.substr(newline + 1);
    if (line.size() > key.size() && line.starts_with(key) && line[key.size()] == ' ') {
      return line.substr(key.size() + 1);
    }
  }
  return std::nullopt;
}

std::optional<bool> parse_cgroup_event(std::string_view events, std::string_view key) {
  const auto value = cgroup_value(events, key);
  if (!value || value->size() != 1) return std::nullopt;
  return *value == "1";
}

Result<Cgroup> Cgroup::create(const CgroupLayout& layout, const std::string& path) {
  PERDURE_TRY(io::make_directories(layout.v2_mount + "/" + path, 0755));
  return open(layout, path);
}

Result<Cgroup> Cgroup::open(const CgroupLayout& layout, const std::string& path) {
  std::string directory = layout.v2_mount + "/" + path;
  struct stat info{};
  if (::stat(directory.c_str(), &info) != 0) {
    return fail_errno(std::format("cgroup '{}'", directory));
  }
  // On 64-bit kernels the inode number of a kernfs directory is the cgroup's id.
  return Cgroup(std::move(directory), info.st_ino);
}

Status Cgroup::write(std::string_view file, std::string_view text) const {
  return write_control_file(std::format("{}/{}", directory_, file), text);
}

Result<std::string> Cgroup::make_leaf() const {
  constexpr std::string_view kPrefix = "life-";
  std::uint64_t newest = 0;
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator(directory_, error)) {
    const std::string name = entry.path().filename();
    if (!name.starts_with(kPrefix)) continue;
    std::uint64_t number = 0;
    std::from_chars(name.data() + kPrefix.size(), name.data() + name.size(), number);
    newest = std::max(newest, number);
    ::rmdir(entry.path().c_str());  // the kernel may not be done with its dead yet: then the next call
  }
  std::string leaf = std::format("{}/{}{}", directory_, kPrefix, newest + 1);
  if (::mkdir(leaf.c_str(), 0755) != 0) return fail_errno(std::format("make cgroup '{}'", leaf));
  return leaf;
}

Status Cgroup::add(pid_t pid) const {
  return write("cgroup.procs", std::to_string(pid));
}

Result<std::vector<pid_t>> Cgroup::processes() const {
  std::vector<pid_t> pids;
  PERDURE_TRY(append_processes(directory_, pids));
  return pids;
}

Result<bool> Cgroup::event(std::string_view key) const {
  PERDURE_ASSIGN(const std::string text, read_file(directory_ + "/cgroup.events"));
  const auto value = parse_cgroup_event(text, key);
  if (value) return *value;
  return fail(ErrorCode::kUnsupported,
              std::format("'{}/cgroup.events' has no '{}': kernel 5.2 or later is needed",
                          directory_, key));
}

Result<bool> Cgroup::populated() const {
  return event("populated");
}
Result<bool> Cgroup::frozen() const {
  return event("frozen");
}

Result<UniqueFd> Cgroup::open_events() const {
  return open_file(directory_ + "/cgroup.events", O_RDONLY);
}

Status Cgroup::wait_for_event(std::string_view key, bool value, Instant deadline) const {
  PERDURE_ASSIGN(const UniqueFd events, open_events());
  for (;;) {
    // Reading arms the descriptor: a change after this read wakes the poll below.
    char buffer[256];
    const ssize_t got = ::pread(events.get(), buffer, sizeof buffer, 0);
    if (got < 0 && errno != EINTR) {
      return fail_errno(std::format("read '{}/cgroup.events'", directory_));
    }
    if (got >= 0) {
      const auto now =
          parse_cgroup_event(std::string_view(buffer, static_cast<std::size_t>(got)), key);
      if (now == value) return {};
    }
    PERDURE_ASSIGN(const bool changed, io::wait_for_descriptor(events.get(), POLLPRI, deadline));
    if (changed) continue;
    PERDURE_ASSIGN(const bool last, event(key));
    if (last == value) return {};
    return fail(ErrorCode::kTimeout, std::format("cgroup '{}' did not become '{} {}' in time",
                                                 directory_, key, value ? 1 : 0));
  }
}

Status Cgroup::freeze(Duration deadline) const {
  const Instant end = BootClock::now() + deadline;
  PERDURE_TRY(write("cgroup.freeze", "1"));
  auto frozen = wait_for_event("frozen", true, end);
  if (frozen) return {};
  if (const auto thawed = write("cgroup.freeze", "0"); !thawed) {
    return fail(std::move(frozen).error().context(
        std::format("thawing failed too ({})", thawed.error().message())));
  }
  return fail(std::move(frozen).error().context(
      "freeze (a process in uninterruptible sleep, often on a dead network file system?)"));
}

Status Cgroup::thaw(Duration deadline) const {
  const Instant end = BootClock::now() + deadline;
  PERDURE_TRY(write("cgroup.freeze", "0"));
  return wait_for_event("frozen", false, end);
}

Status Cgroup::kill_all(Duration deadline) const {
  const Instant end = BootClock::now() + deadline;
  if (::access(directory_.c_str(), F_OK) != 0 && errno == ENOENT) return {};
  if (auto killed = write("cgroup.kill", "1"); !killed) {
    if (killed.error().code() != ErrorCode::kNotFound) return killed;
    if (::access(directory_.c_str(), F_OK) != 0) return {};
    return fail(
        ErrorCode::kUnsupported,
        std::format("cgroup '{}' has no cgroup.kill: kernel 5.14 or later is needed", directory_));
  }
  PERDURE_TRY(wait_for_event("populated", false, end));
  return write("cgroup.freeze", "0");
}

}  // namespace perdure::runtime
