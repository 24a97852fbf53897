#include "image/debian_base.h"

#include <poll.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <filesystem>
#include <format>

#include "base/fd.h"
#include "io/poll.h"
#include "io/process.h"

namespace perdure::image {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t kMaxSourcesBytes = std::size_t{1} << 20;
// What nobody reads in a container; licences stay. A third of the whole.
constexpr std::array kWithoutDocumentation{"path-exclude=/usr/share/doc/*",    "path-include=/usr/share/doc/*/copyright",
                                           "path-exclude=/usr/share/man/*",    "path-exclude=/usr/share/info/*",
                                           "path-exclude=/usr/share/locale/*"};
constexpr std::size_t kKeptBytes = 4000;  // of its words
// What depends on the day, like the last change of a password, is of this one: 2020-01-01.
constexpr std::int64_t kFixedDay = 1577836800;

std::vector<std::string> words_of(std::string_view text) {
  std::vector<std::string> words;
  std::size_t at = 0;
  while ((at = text.find_first_not_of(" \t", at)) != std::string_view::npos) {
    const std::size_t end = std::min(text.find_first_of(" \t", at), text.size());
    words.emplace_back(text.substr(at, end - at));
    at = end;
  }
  return words;
}

// Files of package sources of this host that have the suite, sorted.
std::vector<std::string> host_sources(const std::string& suite) {
  std::vector<std::string> candidates{"/etc/apt/sources.list"};
  std::error_code ignored;
  for (const auto& entry : fs::directory_iterator("/etc/apt/sources.list.d", ignored)) {
    const std::string path = entry.path().string();
    if (path.ends_with(".list") || path.ends_with(".sources")) candidates.push_back(path);
  }
  std::ranges::sort(candidates);
  std::erase_if(candidates, [&](const std::string& path) {
    const auto text = read_file(path, kMaxSourcesBytes);
    return !text || !has_suite(*text, suite);
  });
  return candidates;
}

// Reads its words line by line until it ends; the last of them are kept.
class Words {
 public:
  explicit Words(const std::function<void(std::string_view)>& progress) : progress_(progress) {}

  Status read_all(int fd, Instant deadline) {
    for (;;) {
      PERDURE_ASSIGN(const bool there, io::wait_for_descriptor(fd, POLLIN, deadline));
      if (!there) return fail(ErrorCode::kTimeout, "the packages were not there in time");
      char buffer[4096];
      const ssize_t got = ::read(fd, buffer, sizeof buffer);
      if (got < 0 && errno == EINTR) continue;
      if (got < 0) return fail_errno("read what mmdebstrap says");
      if (got == 0) return {};
      take({buffer, static_cast<std::size_t>(got)});
    }
  }
  const std::string& last() const { return kept_; }

 private:
  void take(std::string_view text) {
    kept_ += text;
    if (kept_.size() > kKeptBytes) kept_.erase(0, kept_.size() - kKeptBytes);
    line_ += text;
    for (std::size_t end = line_.find('\n'); end != std::string::npos; end = line_.find('\n')) {
      constexpr std::string_view kStep = "I: ";
      if (progress_ && line_.starts_with(kStep)) progress_(std::string_view(line_).substr(kStep.size(), end - kStep.size()));
      line_.erase(0, end + 1);
    }
    if (line_.size() > kKeptBytes) line_.clear();
  }

  const std::function<void(std::string_view)>& progress_;
  std::string kept_;
  std::string line_;
};

// The lines with which it and apt give up, else the last one.
std::string trouble_in(std::string_view words) {
  std::string trouble;
  std::string last;
  for (std::size_t at = 0; at < words.size();) {
    const std::size_t end = std::min(words.find('\n', at), words.size());
    const std::string line(words.substr(at, end - at));
    at = end + 1;
    if (line.empty()) continue;
    last = line;
    if (line.starts_with("E: ") && !line.starts_with("E: apt-get ") && !line.contains("mmdebstrap failed to run")) {
      trouble += (trouble.empty() ? "" : "; ") + line.substr(3);
    }
  }
  return trouble.empty() ? last : trouble;
}

ErrorCode code_of_words(std::string_view words) {
  if (words.contains("No space left")) return ErrorCode::kNoSpace;
  return words.contains("Unable to locate package") || words.contains("was not found") ? ErrorCode::kInvalid : ErrorCode::kIo;
}

Status run(const std::vector<std::string>& argv, Instant deadline, const std::function<void(std::string_view)>& progress) {
  io::ProcessOptions options;
  options.environment = {"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C.UTF-8", "HOME=/root",
                         "DEBIAN_FRONTEND=noninteractive", std::format("SOURCE_DATE_EPOCH={}", kFixedDay)};
  options.standard_error = io::Stdio::kPipe;
  PERDURE_ASSIGN(io::ChildProcess child, io::ChildProcess::spawn(argv, options));
  Words words(progress);
  PERDURE_TRY(words.read_all(child.standard_error.get(), deadline));
  PERDURE_ASSIGN(const io::ExitStatus status, child.wait(deadline));
  if (status.success()) return {};
  return fail(code_of_words(words.last()), std::format("mmdebstrap: {}: {}", io::to_string(status), trouble_in(words.last())));
}

}  // namespace

bool has_suite(std::string_view sources, std::string_view suite) {
  for (std::size_t at = 0; at < sources.size();) {
    const std::size_t end = std::min(sources.find('\n', at), sources.size());
    const std::string_view line = sources.substr(at, end - at);
    at = end + 1;
    if (line.starts_with("#")) continue;
    const std::vector<std::string> words = words_of(line);
    if (words.empty() || (words.front() != "deb" && words.front() != "Suites:")) continue;
    if (std::ranges::find(words, suite) != words.end()) return true;
  }
  return false;
}

Status make_debian_base(const std::string& suite, const std::vector<std::string>& packages, const std::string& into, Instant deadline,
                        const std::function<void(std::string_view)>& progress) {
  std::string include;
  for (const std::string& package : packages) include += (include.empty() ? "" : ",") + package;
  // Namespaces of its own, of which the first process is killed with us: whatever becomes of it, no mount and no process is left.
  std::vector<std::string> argv{"setpriv",      "--pdeathsig",         "KILL",
                                "unshare",      "--mount",             "--pid",
                                "--fork",       "--kill-child",        "--mount-proc",
                                "mmdebstrap",   "--mode=root",         "--variant=essential",
                                "--format=directory", "--skip=output/dev", "--include=" + include};
  for (const char* choice : kWithoutDocumentation) argv.push_back(std::string("--dpkgopt=") + choice);
  argv.insert(argv.end(), {suite, into});
  const std::vector<std::string> sources = host_sources(suite);
  argv.insert(argv.end(), sources.begin(), sources.end());
  return run(argv, deadline, progress);
}

}  // namespace perdure::image
