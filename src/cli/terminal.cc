#include "cli/terminal.h"

#include <poll.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstdlib>
#include <cstring>
#include <span>

#include "base/fd.h"

namespace perdure::cli {
namespace {

constexpr int kDefaultWidth = 80;
// An answer is "yes" or "no"; more is not read.
constexpr std::size_t kMaxAnswerBytes = 256;
constexpr Duration kNoLimit = std::chrono::hours(24 * 365);

std::string_view environment(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? std::string_view() : std::string_view(value);
}

int columns_from_environment() {
  const std::string_view text = environment("COLUMNS");
  int columns = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), columns);
  return error == std::errc{} && end == text.data() + text.size() && columns > 0 ? columns
                                                                                 : kDefaultWidth;
}

int width_of(int fd) {
  winsize size{};
  if (::isatty(fd) == 1 && ::ioctl(fd, TIOCGWINSZ, &size) == 0 && size.ws_col > 0)
    return size.ws_col;
  return columns_from_environment();
}

// False when the deadline has passed.
bool wait_for_input(Instant deadline) {
  pollfd input{.fd = STDIN_FILENO, .events = POLLIN, .revents = 0};
  for (;;) {
    const auto left =
        std::chrono::ceil<std::chrono::milliseconds>(deadline - BootClock::now()).count();
    const int ready =
        ::poll(&input, 1, static_cast<int>(std::clamp<std::int64_t>(left, 0, 60'000)));
    if (ready > 0) return true;
    if (ready < 0 && errno != EINTR) return false;
    if (BootClock::now() >= deadline) return false;
  }
}

class ProcessTerminal final : public Terminal {
 public:
  Status out(std::string_view text) override {
    return write_all(STDOUT_FILENO, std::as_bytes(std::span(text)), "to standard output");
  }
  void err(std::string_view text) override {
    (void)write_all(STDERR_FILENO, std::as_bytes(std::span(text)), "to standard error");
  }
  bool out_is_terminal() const override { return ::isatty(STDOUT_FILENO) == 1; }
  bool err_is_terminal() const override { return ::isatty(STDERR_FILENO) == 1; }
  bool can_ask() const override { return ::isatty(STDIN_FILENO) == 1 && err_is_terminal(); }
  Style style() const override {
    const bool colour =
        out_is_terminal() && environment("NO_COLOR").empty() && environment("TERM") != "dumb";
    return Style{.width = width_of(STDOUT_FILENO), .colour = colour};
  }
  int err_width() const override { return width_of(STDERR_FILENO); }

  std::optional<std::string> ask(std::string_view question,
                                 std::optional<Duration> limit) override {
    err(question);
    const Instant deadline = BootClock::now() + limit.value_or(kNoLimit);
    std::string answer;
    char byte = 0;
    while (answer.size() < kMaxAnswerBytes) {
      if (!wait_for_input(deadline)) break;
      const ssize_t count = ::read(STDIN_FILENO, &byte, 1);
      if (count < 0 && errno == EINTR) continue;
      if (count <= 0) break;
      if (byte == '\n') return answer;
      answer += byte;
    }
    err("\n");  // the cursor is still behind the question
    return std::nullopt;
  }
};

}  // namespace

std::unique_ptr<Terminal> make_process_terminal() {
  return std::make_unique<ProcessTerminal>();
}

}  // namespace perdure::cli
