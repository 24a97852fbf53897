// Proves: width, colour and questions of the real terminal, in a child process whose standard
// streams are a pseudo-terminal or a pipe.
#include "cli/terminal.h"

#include <gtest/gtest.h>
#include <pty.h>
#include <sys/ioctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cstdlib>
#include <format>
#include <functional>

#include "base/fd.h"

namespace perdure::cli {
namespace {

using namespace std::chrono_literals;

std::string describe(Terminal& terminal) {
  const Style style = terminal.style();
  return std::format("width {} colour {} ask {}", style.width, style.colour, terminal.can_ask());
}

std::string read_to_end(int fd) {
  std::string text;
  std::array<char, 256> buffer{};
  for (ssize_t count = 0; (count = ::read(fd, buffer.data(), buffer.size())) > 0;) {
    text.append(buffer.data(), static_cast<std::size_t>(count));
  }
  return text;
}

// What `body` returns in a child whose standard streams are the pseudo-terminal's slave; `typed` is
// what a person types meanwhile.
std::string on_pty(const std::function<std::string(Terminal&)>& body,
                   const std::string& typed = "") {
  int master = -1;
  int slave = -1;
  winsize size{.ws_row = 24, .ws_col = 57, .ws_xpixel = 0, .ws_ypixel = 0};
  EXPECT_EQ(::openpty(&master, &slave, nullptr, nullptr, &size), 0);
  const UniqueFd master_owner(master);
  UniqueFd slave_owner(slave);
  auto result = make_pipe();
  const pid_t child = ::fork();
  if (child == 0) {
    for (const int stream : {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO}) ::dup2(slave, stream);
    const std::string text = body(*make_process_terminal());
    (void)!::write(result->write_end.get(), text.data(), text.size());
    ::_exit(0);
  }
  slave_owner.reset();
  result->write_end.reset();
  EXPECT_EQ(::write(master, typed.data(), typed.size()), static_cast<ssize_t>(typed.size()));
  const std::string text = read_to_end(result->read_end.get());
  ::waitpid(child, nullptr, 0);
  return text;
}

// The same with standard output a pipe.
std::string on_pipe() {
  auto result = make_pipe();
  const pid_t child = ::fork();
  if (child == 0) {
    ::dup2(result->write_end.get(), STDOUT_FILENO);
    const auto terminal = make_process_terminal();
    (void)terminal->out(describe(*terminal).substr(0, sizeof "width 100 colour false" - 1));
    ::_exit(0);
  }
  result->write_end.reset();
  const std::string text = read_to_end(result->read_end.get());
  ::waitpid(child, nullptr, 0);
  return text;
}

struct TerminalTest : testing::Test {
  TerminalTest() {
    for (const char* name : {"NO_COLOR", "COLUMNS"}) ::unsetenv(name);
    ::setenv("TERM", "xterm", 1);
  }
};

TEST_F(TerminalTest, ATerminalTellsItsWidthAndHasColours) {
  EXPECT_EQ(on_pty(describe), "width 57 colour true ask true");
}

TEST_F(TerminalTest, NoColorIsHonouredUnlessEmpty) {
  ::setenv("NO_COLOR", "", 1);
  EXPECT_EQ(on_pty(describe), "width 57 colour true ask true");
  ::setenv("NO_COLOR", "1", 1);
  EXPECT_EQ(on_pty(describe), "width 57 colour false ask true");
  ::unsetenv("NO_COLOR");
  ::setenv("TERM", "dumb", 1);
  EXPECT_EQ(on_pty(describe), "width 57 colour false ask true");
}

TEST_F(TerminalTest, APipeIsEightyColumnsWithoutColourUnlessColumnsSays) {
  EXPECT_TRUE(on_pipe().starts_with("width 80 colour false")) << on_pipe();
  ::setenv("COLUMNS", "100", 1);
  EXPECT_TRUE(on_pipe().starts_with("width 100 colour false")) << on_pipe();
  ::setenv("COLUMNS", "wide", 1);
  EXPECT_TRUE(on_pipe().starts_with("width 80 colour false")) << on_pipe();
}

TEST_F(TerminalTest, AnAnswerIsALine) {
  const auto ask = [](Terminal& terminal) {
    return terminal.ask("? ", std::nullopt).value_or("none");
  };
  EXPECT_EQ(on_pty(ask, "yes\nno\n"), "yes");
  EXPECT_EQ(on_pty(ask, "\n"), "");
  EXPECT_EQ(on_pty(ask, "\x04"), "none") << "end of input";
}

TEST_F(TerminalTest, NoAnswerInTimeIsNone) {
  EXPECT_EQ(on_pty([](Terminal& terminal) {
              return terminal.ask("? ", Duration(50ms)).value_or("none");
            }),
            "none");
}

}  // namespace
}  // namespace perdure::cli
