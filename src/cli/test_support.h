// For the tests of this room: a terminal made of strings, a daemon in this process, sample
// messages, golden files.
#pragma once

#include <gtest/gtest.h>
#include <stdlib.h>

#include <deque>
#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <system_error>
#include <vector>

#include "base/fd.h"
#include "cli/commands.h"

namespace perdure::cli {

// Of this process: several run at the same time.
inline std::filesystem::path test_directory() {
  struct Directory {
    Directory() {
      std::string pattern = testing::TempDir() + "perdure-cli-XXXXXX";
      path = ::mkdtemp(pattern.data());
    }
    ~Directory() {
      std::error_code ignored;
      std::filesystem::remove_all(path, ignored);
    }
    std::filesystem::path path;
  };
  static const Directory directory;
  return directory.path;
}

class FakeTerminal final : public Terminal {
 public:
  Status out(std::string_view text) override {
    if (out_error) return fail(*out_error);
    out_text += text;
    return {};
  }
  void err(std::string_view text) override { err_text += text; }
  bool out_is_terminal() const override { return terminal; }
  bool err_is_terminal() const override { return terminal; }
  bool can_ask() const override { return terminal; }
  Style style() const override { return Style{.width = 80, .colour = false}; }
  int err_width() const override { return 80; }
  std::optional<std::string> ask(std::string_view question, std::optional<Duration>) override {
    err_text += question;
    ++questions;
    return answer;
  }

  bool terminal = false;
  std::optional<std::string> answer;
  std::optional<Error> out_error;
  int questions = 0;
  std::string out_text;
  std::string err_text;
};

// What the daemon does with one request: it returns its frames. `fd` is a copy of what came with
// it.
using DaemonBehaviour =
    std::function<std::vector<control::v1::Response>(const control::v1::Request&, int fd)>;

// A daemon in this process. An exhausted list of frames is silence: receive() takes its time on the
// clock.
class FakeDaemon final : public Connector {
 public:
  FakeDaemon(ManualClock& clock, DaemonBehaviour behaviour)
      : clock_(clock), behaviour_(std::move(behaviour)) {}

  Result<std::unique_ptr<Connection>> connect(Duration timeout) override;
  std::string where() const override { return "/run/test.sock"; }

  std::vector<control::v1::Request> requests;  // all that came, in order
  std::optional<Error> connect_error;
  Error end_of_frames{ErrorCode::kTimeout, ""};  // what receive() says when there are no frames
  Duration per_frame{};                          // time each frame takes

 private:
  friend class FakeConnection;
  ManualClock& clock_;
  DaemonBehaviour behaviour_;
};

// One run of the program against a daemon.
struct ProgramRun {
  FakeTerminal terminal;
  ManualClock clock;
  control::v1::DoctorReport host;
  DaemonBehaviour behaviour;
  FakeDaemon daemon{clock, [this](const control::v1::Request& request, int fd) {
                      return behaviour(request, fd);
                    }};
  std::string socket;  // that the program chose
  std::vector<std::string> lab_arguments;
  std::vector<image::Recipe> built;  // images that were asked for
  model::ComposeOptions compose;     // what Compose files find here

  ExitCode run(const std::vector<std::string>& arguments);
};

// Builds responses; the id is filled in by the FakeDaemon.
control::v1::Response error_response(control::v1::ErrorCode code, std::string message,
                                     std::string remedy = "");
control::v1::Response progress_response(std::string stage, std::string text);

control::v1::ContainerStatus protected_web();
control::v1::ContainerStatus unprotected_db();
control::v1::ContainerStatus stopped_job();
control::v1::GenerationsReply web_generations();
control::v1::Event restored_event();

// Text as if the terminal were endlessly wide: folded lines are joined.
std::string unfolded(std::string_view text);

// Compares with testdata/NAME; with PERDURE_UPDATE_GOLDEN in the environment, writes it.
void expect_golden(const std::string& name, const std::string& text);
int widest_line(std::string_view text);

}  // namespace perdure::cli
