// Proves: what each command sends, what it prints and which exit code it ends with, against a
// daemon in this process and a clock that only moves when somebody waits. Every exit code is
// produced here or in archive_test.cc.
#include "cli/commands.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "cli/help.h"
#include "cli/test_support.h"

namespace perdure::cli {
namespace {

namespace v1 = control::v1;
using namespace std::chrono_literals;

// A daemon that knows web, and does what it is asked to.
std::vector<v1::Response> web_daemon(const v1::Request& request, int) {
  v1::Response response;
  switch (request.body_case()) {
    case v1::Request::kList:
      *response.mutable_list()->add_containers() = protected_web();
      break;
    case v1::Request::kInspect:
      *response.mutable_inspect()->mutable_status() = protected_web();
      break;
    case v1::Request::kGenerations:
      *response.mutable_generations() = web_generations();
      break;
    case v1::Request::kRun:
      *response.mutable_run()->mutable_status() = protected_web();
      break;
    case v1::Request::kStart:
      *response.mutable_start()->mutable_status() = protected_web();
      break;
    case v1::Request::kStop:
      *response.mutable_stop()->mutable_status() = protected_web();
      break;
    case v1::Request::kRemove:
      response.mutable_remove()->set_name("web");
      break;
    case v1::Request::kRestore:
      *response.mutable_restore()->mutable_status() = protected_web();
      response.mutable_restore()->mutable_restore()->set_generation("1.2f.41");
      break;
    case v1::Request::kCheckpoint:
      response.mutable_checkpoint()->set_name("web");
      break;
    case v1::Request::kDoctor:
      response.mutable_doctor()->add_lines()->set_state(v1::CHECK_OK);
      break;
    case v1::Request::kVersion:
      response.mutable_version()->set_version("9.9.9");
      break;
    default:
      response.mutable_done();
      break;
  }
  return {response};
}

struct CommandsTest : testing::Test {
  CommandsTest() { program.behaviour = web_daemon; }
  ExitCode run(const std::vector<std::string>& arguments) { return program.run(arguments); }
  void answer_with(v1::Response response) {
    program.behaviour = [response](const v1::Request&, int) { return std::vector{response}; };
  }
  const v1::Request& last_request() const { return program.daemon.requests.back(); }
  std::string& out() { return program.terminal.out_text; }
  std::string& err() { return program.terminal.err_text; }

  ProgramRun program;
};

TEST_F(CommandsTest, ReadingCommandsPrintTheAnswer) {
  for (const std::vector<std::string>& arguments : std::vector<std::vector<std::string>>{
           {"list"}, {"inspect", "web"}, {"generations", "web"}, {"doctor"}, {"version"}}) {
    for (const bool json : {false, true}) {
      out().clear();
      auto with_json = arguments;
      if (json) with_json.push_back("--json");
      EXPECT_EQ(run(with_json), ExitCode::kOk) << arguments[0] << err();
      EXPECT_EQ(out().starts_with("{"), json) << arguments[0];
      EXPECT_NE(last_request().id(), 0U);
    }
  }
  EXPECT_EQ(err(), "");
}

TEST_F(CommandsTest, ErrorsOfTheDaemonBecomeExitCodes) {
  const std::vector<std::pair<v1::ErrorCode, ExitCode>> expected{
      {v1::ERROR_UNSPECIFIED, ExitCode::kFailure},
      {v1::ERROR_INVALID, ExitCode::kInvalid},
      {v1::ERROR_NOT_FOUND, ExitCode::kNotFound},
      {v1::ERROR_EXISTS, ExitCode::kRefused},
      {v1::ERROR_CONFLICT, ExitCode::kRefused},
      {v1::ERROR_UNSUPPORTED, ExitCode::kFailure},
      {v1::ERROR_CORRUPT, ExitCode::kCorrupt},
      {v1::ERROR_NO_SPACE, ExitCode::kFailure},
      {v1::ERROR_TIMEOUT, ExitCode::kTimeout},
      {v1::ERROR_TRANSIENT, ExitCode::kFailure},
      {v1::ERROR_PERMISSION, ExitCode::kPermission},
      {v1::ERROR_CANCELLED, ExitCode::kFailure},
      {v1::ERROR_IO, ExitCode::kFailure},
      {v1::ERROR_FENCED, ExitCode::kRefused}};
  for (const auto& [code, exit_code] : expected) {
    answer_with(error_response(code, "it went wrong with 'web'", "do this"));
    err().clear();
    EXPECT_EQ(run({"inspect", "web"}), exit_code) << v1::ErrorCode_Name(code);
    EXPECT_EQ(err(), "perdure: it went wrong with 'web'\n  -> do this\n");
  }
  EXPECT_EQ(out(), "");
}

TEST_F(CommandsTest, WithJsonAnErrorIsOneLineOnStandardError) {
  answer_with(error_response(v1::ERROR_NOT_FOUND, "no 'web'"));
  EXPECT_EQ(run({"inspect", "web", "--json"}), ExitCode::kNotFound);
  EXPECT_EQ(out(), "");
  EXPECT_TRUE(err().starts_with("{\"error\":{\"code\":\"not_found\",\"exit_code\":4,")) << err();
}

TEST_F(CommandsTest, AUsageErrorIsCodeTwoAndNothingIsSent) {
  EXPECT_EQ(run({"inspect"}), ExitCode::kUsage);
  EXPECT_EQ(err(), "perdure: inspect needs NAME\n  -> 'perdure help inspect' explains it\n");
  EXPECT_TRUE(program.daemon.requests.empty());
}

TEST_F(CommandsTest, ADaemonThatDoesNotRunIsSaidWithHowToStartIt) {
  program.daemon.connect_error = Error(ErrorCode::kNotFound, "x");
  EXPECT_EQ(run({"list"}), ExitCode::kUnreachable);
  EXPECT_EQ(err(),
            "perdure: perdured does not run: no socket at /run/test.sock\n"
            "  -> start it: 'systemctl start perdured', or 'perdured' as root; another\n"
            "     socket: --socket PATH\n");
  program.daemon.connect_error = Error(ErrorCode::kPermission, "x");
  EXPECT_EQ(run({"list"}), ExitCode::kPermission);
}

TEST_F(CommandsTest, TheSocketComesFromTheOptionTheEnvironmentOrTheDefault) {
  ::unsetenv("PERDURE_SOCKET");
  run({"list"});
  EXPECT_EQ(program.socket, kDefaultSocket);
  ::setenv("PERDURE_SOCKET", "/tmp/env.sock", 1);
  run({"list"});
  EXPECT_EQ(program.socket, "/tmp/env.sock");
  run({"list", "--socket", "/tmp/option.sock"});
  EXPECT_EQ(program.socket, "/tmp/option.sock");
  ::unsetenv("PERDURE_SOCKET");
}

TEST_F(CommandsTest, SilenceEndsAtTheTimeout) {
  program.behaviour = [](const v1::Request&, int) { return std::vector<v1::Response>{}; };
  EXPECT_EQ(run({"stop", "web", "--timeout", "3s"}), ExitCode::kTimeout);
  EXPECT_EQ(program.clock.now().time_since_epoch(), 3s);
  EXPECT_TRUE(err().contains("has not answered for 3 s")) << err();
  EXPECT_TRUE(unfolded(err()).contains("'perdure inspect web' shows how things are")) << err();
}

TEST_F(CommandsTest, AStopMayTakeAsLongAsItsDeadline) {
  program.behaviour = [](const v1::Request&, int) { return std::vector<v1::Response>{}; };
  EXPECT_EQ(run({"stop", "web", "--deadline", "10min"}), ExitCode::kTimeout);
  EXPECT_EQ(program.clock.now().time_since_epoch(), 15min);
  EXPECT_EQ(last_request().stop().deadline_ns(), Duration(10min).count());
}

TEST_F(CommandsTest, ProgressKeepsALongCommandAlive) {
  program.behaviour = [](const v1::Request& request, int fd) {
    std::vector<v1::Response> frames(5, progress_response("unpack", "unpack the image"));
    frames.push_back(web_daemon(request, fd).front());
    return frames;
  };
  program.daemon.per_frame = 250s;  // less than the longest silence, many times
  EXPECT_EQ(run({"checkpoint", "web"}), ExitCode::kOk) << err();
}

TEST_F(CommandsTest, ProgressIsALinePerStageWithoutATerminal) {
  program.behaviour = [](const v1::Request& request, int fd) {
    std::vector<v1::Response> frames{progress_response("capture", "freeze"),
                                     progress_response("capture", "thaw"),
                                     progress_response("commit", "wait for the disk")};
    frames.push_back(web_daemon(request, fd).front());
    return frames;
  };
  program.daemon.per_frame = 700ms;
  EXPECT_EQ(run({"checkpoint", "web"}), ExitCode::kOk);
  EXPECT_EQ(err(), "checkpoint web: freeze, 1 s\ncheckpoint web: wait for the disk, 2 s\n");
}

TEST_F(CommandsTest, ProgressIsOneRewrittenLineOnATerminalAndIsRemoved) {
  program.terminal.terminal = true;
  program.daemon.per_frame = 1500ms;
  EXPECT_EQ(run({"checkpoint", "web"}), ExitCode::kOk);
  EXPECT_TRUE(err().starts_with("\rcheckpoint web: waiting for perdured, 1 s\x1b[K\r")) << err();
  EXPECT_TRUE(err().ends_with("\r\x1b[K")) << err();
  EXPECT_FALSE(err().contains('\n'));
}

TEST_F(CommandsTest, AQuickCommandSaysNothingOnTheWay) {
  program.terminal.terminal = true;
  program.daemon.per_frame = 900ms;
  EXPECT_EQ(run({"list"}), ExitCode::kOk);
  EXPECT_EQ(err(), "");
}

TEST_F(CommandsTest, ALostConnectionSaysThatTheOutcomeIsUnknown) {
  program.behaviour = [](const v1::Request&, int) { return std::vector<v1::Response>{}; };
  program.daemon.end_of_frames = Error(ErrorCode::kIo, "the connection was closed");
  EXPECT_EQ(run({"stop", "web"}), ExitCode::kUnreachable);
  EXPECT_TRUE(unfolded(err()).contains("closed the connection before it answered")) << err();
  EXPECT_TRUE(unfolded(err()).contains("whether it was done is not known")) << err();
}

TEST_F(CommandsTest, AnswersThatDoNotFitAreNotTaken) {
  v1::Response other;
  other.mutable_version();
  answer_with(other);
  EXPECT_EQ(run({"list"}), ExitCode::kUnreachable);
  v1::Response stranger = web_daemon({}, -1).front();
  stranger.set_id(99);
  answer_with(stranger);
  EXPECT_EQ(run({"list"}), ExitCode::kUnreachable);
  answer_with(v1::Response());
  EXPECT_EQ(run({"list"}), ExitCode::kUnreachable);
  EXPECT_EQ(out(), "");
}

TEST_F(CommandsTest, OutputThatCannotBeWrittenIsAFailure) {
  program.terminal.out_error =
      Error(ErrorCode::kNoSpace, "write to standard output: No space left on device");
  EXPECT_EQ(run({"list"}), ExitCode::kFailure);
  EXPECT_EQ(run({"help"}), ExitCode::kFailure);
  v1::Response log;
  log.mutable_log()->set_data("line\n");
  answer_with(log);
  EXPECT_EQ(run({"logs", "web"}), ExitCode::kFailure);
}

// --- Questions -----------------------------------------------------------------------------------

TEST_F(CommandsTest, RemoveAsksOnATerminalAndTakesNoForAnAnswer) {
  program.terminal.terminal = true;
  program.terminal.answer = "n";
  EXPECT_EQ(run({"rm", "web"}), ExitCode::kRefused);
  EXPECT_TRUE(unfolded(err()).contains("its processes will be killed; its files will be deleted"))
      << err();
  EXPECT_TRUE(last_request().has_inspect()) << "nothing was removed";

  program.terminal.answer = std::nullopt;  // end of input
  EXPECT_EQ(run({"rm", "web"}), ExitCode::kRefused);
  program.terminal.answer = "y";
  EXPECT_EQ(run({"rm", "web", "--force"}), ExitCode::kOk);
  EXPECT_TRUE(last_request().remove().force());
  EXPECT_FALSE(last_request().remove().keep_capsules());
}

TEST_F(CommandsTest, WithoutATerminalDangerNeedsYes) {
  EXPECT_EQ(run({"rm", "web"}), ExitCode::kRefused);
  EXPECT_TRUE(err().contains("-> repeat the command with --yes")) << err();
  EXPECT_EQ(run({"restore", "web"}), ExitCode::kRefused);
  EXPECT_EQ(program.terminal.questions, 0);
  for (const v1::Request& request : program.daemon.requests)
    EXPECT_FALSE(request.has_remove() || request.has_restore());
  EXPECT_EQ(run({"rm", "web", "--yes", "--keep-capsules"}), ExitCode::kOk);
  EXPECT_TRUE(last_request().remove().keep_capsules());
}

TEST_F(CommandsTest, RestoreSaysWhatIsLostAndSendsTheGenerationAskedFor) {
  program.terminal.terminal = true;
  program.terminal.answer = "yes";
  EXPECT_EQ(run({"restore", "web", "-g", "1.2f.41"}), ExitCode::kOk) << err();
  EXPECT_TRUE(unfolded(err()).contains("go back to generation 1.2f.41 of")) << err();
  EXPECT_EQ(last_request().restore().generation(), "1.2f.41");

  err().clear();
  EXPECT_EQ(run({"restore", "web"}), ExitCode::kOk);
  EXPECT_TRUE(unfolded(err()).contains("generation 1.2f.41 of"))
      << "42 is not committed: " << err();
  EXPECT_FALSE(last_request().restore().has_generation()) << "perdured chooses when it does it";

  EXPECT_EQ(run({"restore", "web", "-g", "1.2f.7"}), ExitCode::kNotFound);
  EXPECT_TRUE(err().contains("web has no generation 1.2f.7")) << err();
}

std::string spec_file() {
  const auto path = test_directory() / "web.yaml";
  std::ofstream(path) << "name: web\n";
  return path.string();
}

TEST_F(CommandsTest, RunSendsTheFileAndWhereRelativePathsStart) {
  const std::string file = spec_file();
  EXPECT_EQ(run({"run", file}), ExitCode::kOk) << err();
  EXPECT_EQ(last_request().run().spec_yaml(), "name: web\n");
  EXPECT_EQ(last_request().run().file_name(), file);
  EXPECT_EQ(last_request().run().base_directory() + "/web.yaml", file);
  EXPECT_FALSE(last_request().run().confirm_nic());
  EXPECT_EQ(run({"run", "/nonexistent/web.yaml"}), ExitCode::kNotFound);
}

TEST_F(CommandsTest, RunOfWhatCannotBeProtectedIsCodeEightWithTheRemedy) {
  v1::Response response;
  *response.mutable_run()->mutable_status() = unprotected_db();
  answer_with(response);
  EXPECT_EQ(run({"run", spec_file()}), ExitCode::kUnprotected);
  EXPECT_TRUE(out().contains("db is unprotected: CRIU cannot dump")) << out();
  EXPECT_TRUE(out().contains("-> run the container as user 0:0")) << out();
  EXPECT_EQ(run({"run", spec_file(), "--json"}), ExitCode::kUnprotected);
}

// A daemon that wants the interface confirmed before, and the reachability after.
std::vector<v1::Response> nic_daemon(const v1::Request& request, int) {
  if (request.has_run() && !request.run().confirm_nic()) {
    return {error_response(v1::ERROR_CONFIRMATION_REQUIRED, "eth1 would become a port of perdure0",
                           "")};
  }
  v1::Response response;
  if (request.has_run()) {
    response.mutable_question()->set_question(1);
    response.mutable_question()->set_text(
        "eth1 is a port of perdure0 now: is this host still reachable?");
    response.mutable_question()->set_deadline_ns(Duration(30s).count());
  } else if (request.answer().yes()) {
    *response.mutable_run()->mutable_status() = protected_web();
  } else {
    response = error_response(v1::ERROR_CANCELLED, "eth1 is what it was before");
  }
  return {response};
}

TEST_F(CommandsTest, TakingAnInterfaceIsAskedBeforeAndAfter) {
  program.behaviour = nic_daemon;
  program.terminal.terminal = true;
  program.terminal.answer = "y";
  EXPECT_EQ(run({"run", spec_file()}), ExitCode::kOk) << err();
  EXPECT_EQ(program.terminal.questions, 2);
  EXPECT_EQ(program.daemon.requests.size(), 3U);
  EXPECT_EQ(last_request().answer().request_id(), program.daemon.requests[1].id());

  program.terminal.answer = "n";
  EXPECT_EQ(run({"run", spec_file()}), ExitCode::kRefused);
  EXPECT_FALSE(last_request().run().confirm_nic());
}

TEST_F(CommandsTest, WithoutATerminalAnInterfaceIsTakenOnlyWithYes) {
  program.behaviour = nic_daemon;
  EXPECT_EQ(run({"run", spec_file()}), ExitCode::kRefused);
  EXPECT_TRUE(err().contains("eth1 would become a port")) << err();
  EXPECT_EQ(run({"run", spec_file(), "--yes"}), ExitCode::kOk) << err();
  EXPECT_EQ(program.terminal.questions, 0);
}

// --- Streams -------------------------------------------------------------------------------------

TEST_F(CommandsTest, LogsKeepTheStreamsApartByteForByte) {
  program.behaviour = [](const v1::Request&, int) {
    std::vector<v1::Response> frames(3);
    frames[0].mutable_log()->set_stream(v1::LOG_STREAM_STDOUT);
    frames[0].mutable_log()->set_data("out\xFF\x1b[0m");
    frames[1].mutable_log()->set_stream(v1::LOG_STREAM_STDERR);
    frames[1].mutable_log()->set_data("err\n");
    frames[2].mutable_done();
    return frames;
  };
  EXPECT_EQ(run({"logs", "-f", "--tail", "5", "--since", "1h", "web"}), ExitCode::kOk);
  EXPECT_EQ(out(), "out\xFF\x1b[0m");
  EXPECT_EQ(err(), "err\n");
  EXPECT_TRUE(last_request().logs().follow());
  EXPECT_EQ(last_request().logs().tail_lines(), 5U);
  EXPECT_TRUE(last_request().logs().has_since_unix_ms());

  out().clear();
  EXPECT_EQ(run({"logs", "web", "--json"}), ExitCode::kOk);
  EXPECT_EQ(out(),
            "{\"time\":null,\"stream\":\"stderr\",\"text\":\"err\",\"complete\":true}\n"
            "{\"time\":null,\"stream\":\"stdout\",\"text\":\"out\xEF\xBF\xBD\\u001b[0m\","
            "\"complete\":false}\n");
}

TEST_F(CommandsTest, FollowedEventsWaitForeverAndEndWithTheDaemon) {
  program.behaviour = [](const v1::Request&, int) {
    std::vector<v1::Response> frames(1);
    *frames[0].mutable_event() = restored_event();
    return frames;
  };
  program.daemon.per_frame = 20h;
  program.daemon.end_of_frames = Error(ErrorCode::kIo, "the connection was closed");
  EXPECT_EQ(run({"events", "-f", "--json", "web"}), ExitCode::kUnreachable);
  EXPECT_TRUE(out().starts_with("{\"sequence\":77,")) << out();
  EXPECT_EQ(last_request().events().name(), "web");
}

// --- doctor, version, completion, local commands -------------------------------------------------

TEST_F(CommandsTest, DoctorWithoutADaemonChecksWhatItCan) {
  program.daemon.connect_error = Error(ErrorCode::kTransient, "x");
  auto& line = *program.host.add_lines();
  line.set_check("criu");
  line.set_state(v1::CHECK_OK);
  line.set_found("4.2.1 at /usr/sbin/criu");
  EXPECT_EQ(run({"doctor"}), ExitCode::kUnreachable);
  EXPECT_TRUE(out().contains("missing  perdured  perdured does not run: nobody listens")) << out();
  EXPECT_TRUE(out().contains("ok       criu      4.2.1")) << out();
  out().clear();
  EXPECT_EQ(run({"doctor", "--json"}), ExitCode::kUnreachable);
  EXPECT_TRUE(out().contains("\"daemon_reached\": false")) << out();
}

TEST_F(CommandsTest, DoctorWithSomethingMissingIsCodeEight) {
  v1::Response response;
  response.mutable_doctor()->add_lines()->set_state(v1::CHECK_MISSING);
  answer_with(response);
  EXPECT_EQ(run({"doctor"}), ExitCode::kUnprotected);
}

TEST_F(CommandsTest, VersionWithoutADaemonPrintsItsOwnAndIsCodeThree) {
  program.daemon.connect_error = Error(ErrorCode::kNotFound, "x");
  EXPECT_EQ(run({"version", "--json"}), ExitCode::kUnreachable);
  EXPECT_TRUE(out().contains("\"daemon\": null")) << out();
}

TEST_F(CommandsTest, CompletionAsksForNamesAndIsSilentOnFailure) {
  EXPECT_EQ(run({"__complete", "containers"}), ExitCode::kOk);
  EXPECT_EQ(run({"__complete", "generations", "web"}), ExitCode::kOk);
  EXPECT_EQ(out(), "web\n1.2f.42\n1.2f.41\n1.2f.40\n1.2e.39\n");
  program.daemon.connect_error = Error(ErrorCode::kNotFound, "x");
  out().clear();
  run({"__complete", "containers"});
  EXPECT_EQ(out() + err(), "");
}

TEST_F(CommandsTest, SpecCheckNeedsNoDaemon) {
  program.daemon.connect_error = Error(ErrorCode::kNotFound, "x");
  EXPECT_EQ(run({"spec"}), ExitCode::kOk);
  EXPECT_TRUE(out().contains("root-filesystem.")) << out();
  const std::string file = spec_file();
  std::ofstream(file) << "nmae: web\n";
  EXPECT_EQ(run({"spec", "--check", file}), ExitCode::kInvalid);
  EXPECT_TRUE(err().contains(file + ":1:1")) << err();
}

TEST_F(CommandsTest, EveryCommandHasHelpWithinTheTerminal) {
  EXPECT_EQ(run({"--help"}), ExitCode::kOk);
  EXPECT_LE(widest_line(out()), 80);
  for (const Command& command : command_table()) {
    if (command.hidden) continue;
    EXPECT_TRUE(program_help({}).contains("\n  " + std::string(command.name)));
    out().clear();
    std::vector<std::string> help{"help"};
    if (const CommandGroup* group = group_of(command)) help.emplace_back(group->name);
    help.emplace_back(last_word(command));
    EXPECT_EQ(run(help), ExitCode::kOk);
    EXPECT_TRUE(out().contains("Usage: " + usage_of(command) + "\n"));
    if (command.id != CommandId::kGenerations &&
        command.id != CommandId::kCompletion) {  // long examples
      EXPECT_LE(widest_line(out()), 80) << out();
    }
  }
}

TEST_F(CommandsTest, AGroupListsItsCommands) {
  for (const CommandGroup& group : command_groups()) {
    const std::string name(group.name);
    out().clear();
    EXPECT_EQ(run({name}), ExitCode::kOk);
    EXPECT_LE(widest_line(out()), 80) << out();
    for (const Command& command : command_table())
      EXPECT_EQ(out().contains("\n  " + std::string(command.name)), group_of(command) == &group)
          << command.name;
    const std::string alone = out();
    out().clear();
    EXPECT_EQ(run({"help", name}), ExitCode::kOk);
    EXPECT_EQ(out(), alone);
  }
  EXPECT_TRUE(program.daemon.requests.empty());
  EXPECT_EQ(run({"node", "lsit"}), ExitCode::kUsage);
  EXPECT_EQ(err(),
            "perdure: 'lsit' is no command of node; did you mean 'node list'?\n"
            "  -> 'perdure help node' lists its commands\n");
}

}  // namespace
}  // namespace perdure::cli
