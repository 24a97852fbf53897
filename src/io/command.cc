// run_command(): a child with its output drained until it ends, or is ended.
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <format>

#include "io/poll.h"
#include "io/process.h"

namespace perdure::io {

namespace {

constexpr std::size_t kReadBytes = 64 * 1024;  // a pipe's capacity
// A killed command is given this long to be reaped; then it is left behind.
constexpr Duration kKillTime = std::chrono::seconds(5);
constexpr std::size_t kShownCommandBytes = 200;
constexpr std::size_t kShownOutputBytes = 600;

std::string describe(const std::vector<std::string>& argv) {
  std::string text;
  for (const std::string& argument : argv) {
    if (!text.empty()) text += ' ';
    text += argument;
    if (text.size() > kShownCommandBytes) {
      text.resize(kShownCommandBytes);
      text += "…";
      return text;
    }
  }
  return text;
}

// The last lines, on one line, as an end of a message; empty if there is nothing.
std::string describe_output(std::string_view text) {
  while (!text.empty() && (text.back() == '\n' || text.back() == ' ')) text.remove_suffix(1);
  if (text.empty()) return {};
  const bool cut = text.size() > kShownOutputBytes;
  if (cut) text.remove_prefix(text.size() - kShownOutputBytes);
  std::string line(cut ? ": …" : ": ");
  for (const char character : text) {
    if (character == '\n') {
      line += "; ";
    } else {
      line += character;
    }
  }
  return line;
}

// One stream of the child.
class Drain {
 public:
  Drain(UniqueFd fd, std::size_t limit) : fd_(std::move(fd)), limit_(limit) {
    ::fcntl(fd_.get(), F_SETFL, O_NONBLOCK);
  }
  int fd() const { return fd_.get(); }  // -1, which poll() skips, at the end

  // One read of what is there. False: nothing for now.
  bool read_some() {
    if (!fd_) return false;
    std::array<char, kReadBytes> buffer;
    const ssize_t got = ::read(fd_.get(), buffer.data(), buffer.size());
    if (got > 0) {
      text_.append(buffer.data(), static_cast<std::size_t>(got));
      return true;
    }
    if (got < 0 && errno == EINTR) return true;
    if (got == 0 || errno != EAGAIN) fd_.reset();
    return false;
  }
  bool beyond_limit() const { return text_.size() > limit_; }
  void keep_tail() {
    if (text_.size() > 2 * limit_) trim();
  }
  std::string take() && {
    trim();
    return std::move(text_);
  }

 private:
  void trim() {
    if (text_.size() > limit_) text_.erase(0, text_.size() - limit_);
  }
  UniqueFd fd_;
  std::size_t limit_;
  std::string text_;
};

// Input in a memory file: no pipe to feed, no SIGPIPE, and the child may read it or not.
Result<UniqueFd> input_file(const std::string& input) {
  UniqueFd file(::memfd_create("input", MFD_CLOEXEC));
  if (!file) return fail_errno("create memory file for standard input");
  PERDURE_TRY(write_all(file.get(), std::as_bytes(std::span(input)), "standard input"));
  if (::lseek(file.get(), 0, SEEK_SET) != 0) return fail_errno("rewind standard input");
  return file;
}

enum class Outcome { kEnded, kTimeout, kTooMuchOutput };

Result<Outcome> drain_until_end(const ChildProcess& child, Instant deadline, Drain& output,
                                Drain& errors) {
  for (;;) {
    std::array<pollfd, 3> ready = {
        {{child.pidfd(), POLLIN, 0}, {output.fd(), POLLIN, 0}, {errors.fd(), POLLIN, 0}}};
    PERDURE_ASSIGN(const bool any, poll_until(ready, deadline));
    if (!any || BootClock::now() >= deadline) {
      // Ended just in time counts.
      return ready[0].revents != 0 ? Outcome::kEnded : Outcome::kTimeout;
    }
    if (ready[1].revents != 0) output.read_some();
    if (ready[2].revents != 0) errors.read_some();
    errors.keep_tail();
    if (output.beyond_limit()) return Outcome::kTooMuchOutput;
    if (ready[0].revents != 0) return Outcome::kEnded;
  }
}

// After the end: what is left in the pipes, and no more (a helper that lives on may hold them open
// and write).
void drain_rest(Drain& drain) {
  constexpr int kRounds = 64;  // 4 MiB: more than a pipe may hold without privilege (1 MiB)
  for (int i = 0; i < kRounds && drain.read_some(); ++i) drain.keep_tail();
}

}  // namespace

Result<CommandResult> run_command(const std::vector<std::string>& argv,
                                  const CommandOptions& options) {
  ProcessOptions process = options.process;
  process.standard_input = Stdio::kNull;
  process.standard_output = Stdio::kPipe;
  process.standard_error = Stdio::kPipe;
  UniqueFd input;
  if (!options.input.empty()) {
    PERDURE_ASSIGN(input, input_file(options.input));
    process.inherited.push_back({input.get(), STDIN_FILENO});
  }
  PERDURE_ASSIGN(ChildProcess child, ChildProcess::spawn(argv, process));
  Drain output(std::move(child.standard_output), options.output_limit_bytes);
  Drain errors(std::move(child.standard_error), options.output_limit_bytes);
  const Instant start = BootClock::now();
  PERDURE_ASSIGN(const Outcome outcome, drain_until_end(child, options.deadline, output, errors));
  if (outcome != Outcome::kEnded) child.kill();
  const Result<ExitStatus> status = child.wait(BootClock::now() + kKillTime);
  if (outcome == Outcome::kEnded) drain_rest(output);
  drain_rest(errors);

  if (outcome == Outcome::kTooMuchOutput || output.beyond_limit()) {
    return fail(ErrorCode::kInvalid, std::format("run '{}': wrote more than {} bytes",
                                                 describe(argv), options.output_limit_bytes));
  }
  CommandResult result;
  result.standard_output = std::move(output).take();
  result.standard_error = std::move(errors).take();
  if (outcome == Outcome::kTimeout) {
    return fail(ErrorCode::kTimeout,
                std::format("run '{}': killed after {}, at its deadline{}", describe(argv),
                            format_duration(BootClock::now() - start),
                            describe_output(result.standard_error)));
  }
  if (!status) return fail(status.error());
  result.status = *status;
  return result;
}

Result<std::string> command_output(const std::vector<std::string>& argv,
                                   const CommandOptions& options) {
  PERDURE_ASSIGN(CommandResult result, run_command(argv, options));
  if (!result.status.success()) {
    return fail(ErrorCode::kIo,
                std::format("run '{}': {}{}", describe(argv), to_string(result.status),
                            describe_output(result.standard_error)));
  }
  return std::move(result.standard_output);
}

}  // namespace perdure::io
