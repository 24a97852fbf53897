// Proves: what each command of a cluster sends, asks, prints and which exit code it ends with,
// against a daemon in this process; that a token is taken from where it was said and never printed
// back; that nothing dangerous is sent before it was agreed to.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <format>
#include <fstream>

#include "base/fd.h"
#include "cli/cluster_test_support.h"

namespace perdure::cli {
namespace {

namespace v1 = control::v1;
using namespace std::chrono_literals;

std::string token_file(std::string_view content) {
  const auto path = test_directory() / "token";
  std::ofstream(path) << content;
  return path.string();
}

TEST_F(ClusterCommandsTest, EveryCommandPrintsItsAnswerAsTextAndAsJson) {
  const std::string file = token_file(kToken);
  for (const std::vector<std::string>& arguments : std::vector<std::vector<std::string>>{
           {"cluster", "init", "--yes"},
           {"cluster", "join", "192.0.2.1", "--token-file", file, "--yes"},
           {"cluster", "leave", "--yes"},
           {"cluster", "status"},
           {"cluster", "token"},
           {"cluster", "rotate-keys", "--yes"},
           {"cluster", "recover"},
           {"cluster", "timing"},
           {"cluster", "timing", "fast"},
           {"takeover", "web", "--yes"},
           {"node", "list"},
           {"node", "drain", "beta", "--yes"},
           {"node", "cordon", "beta"},
           {"node", "uncordon", "beta"},
           {"node", "label", "beta", "rack=r2"},
           {"move", "web", "beta"}}) {
    const std::string what = arguments[0] + " " + arguments[1];
    EXPECT_EQ(run(arguments), ExitCode::kOk) << what << err();
    EXPECT_NE(out(), "") << what;
    EXPECT_LE(widest_line(out()), 80) << what;
    EXPECT_EQ(err(), "") << what;
    auto with_json = arguments;
    with_json.push_back("--json");
    EXPECT_EQ(run(with_json), ExitCode::kOk) << what << err();
    EXPECT_TRUE(out().starts_with("{\n")) << what << out();
  }
}

TEST_F(ClusterCommandsTest, EveryCommandPassesOnTheErrorOfTheDaemon) {
  program.behaviour = [](const v1::Request&, int) {
    return std::vector{error_response(v1::ERROR_CONFLICT, "beta is reachable", "drain it first")};
  };
  for (const std::vector<std::string>& arguments : std::vector<std::vector<std::string>>{
           {"cluster", "init"},
           {"cluster", "init", "--yes"},
           {"cluster", "join", "192.0.2.1", "--token", kToken, "--yes"},
           {"cluster", "leave"},
           {"cluster", "leave", "--yes"},
           {"cluster", "status"},
           {"cluster", "token"},
           {"cluster", "rotate-keys", "--yes"},
           {"cluster", "recover"},
           {"cluster", "recover", "--apply"},
           {"cluster", "recover", "--apply", "--yes"},
           {"cluster", "timing"},
           {"cluster", "timing", "default"},
           {"takeover", "web"},
           {"takeover", "web", "--force", "--yes"},
           {"node", "list"},
           {"node", "drain", "beta"},
           {"node", "drain", "beta", "--yes"},
           {"node", "cordon", "beta"},
           {"node", "remove", "beta", "--yes"},
           {"node", "label", "beta", "rack=r2"},
           {"move", "web", "beta"}}) {
    EXPECT_EQ(run(arguments), ExitCode::kRefused) << arguments[1];
    EXPECT_EQ(err(), "perdure: beta is reachable\n  -> drain it first\n") << arguments[1];
    EXPECT_EQ(out(), "") << arguments[1];
  }
}

TEST_F(ClusterCommandsTest, DangerIsNotSentBeforeItIsAgreedTo) {
  const std::vector<std::pair<std::vector<std::string>, v1::Request::BodyCase>> dangers{
      {{"cluster", "init"}, v1::Request::kClusterInit},
      {{"cluster", "join", "192.0.2.1", "--token", kToken}, v1::Request::kClusterJoin},
      {{"cluster", "leave", "--force"}, v1::Request::kClusterLeave},
      {{"cluster", "rotate-keys"}, v1::Request::kClusterRotateKeys},
      {{"node", "drain", "beta"}, v1::Request::kNodeDrain},
      {{"node", "remove", "gamma", "--force"}, v1::Request::kNodeRemove}};
  for (const auto& [arguments, body] : dangers) {
    program.terminal.terminal = false;
    EXPECT_EQ(run(arguments), ExitCode::kRefused) << arguments[1];
    EXPECT_TRUE(err().contains("-> repeat the command with --yes")) << err();
    EXPECT_FALSE(sent(body)) << arguments[1];
    at_a_terminal("n");
    EXPECT_EQ(run(arguments), ExitCode::kRefused) << arguments[1];
    EXPECT_FALSE(sent(body)) << arguments[1];
    at_a_terminal("y");
    EXPECT_EQ(run(arguments), ExitCode::kOk) << err();
    EXPECT_TRUE(sent(body)) << arguments[1];
  }
}

// --- timing --------------------------------------------------------------------------------------

TEST_F(ClusterCommandsTest, TheTimingIsSentAsItWasSaid) {
  EXPECT_EQ(run({"cluster", "timing"}), ExitCode::kOk);
  EXPECT_TRUE(last_request().has_cluster_status()) << "nothing is changed";
  EXPECT_TRUE(unfolded(out()).contains("A dead node is noticed after 300 ms")) << out();
  EXPECT_EQ(run({"cluster", "timing", "100ms,500ms,50ms"}), ExitCode::kOk);
  EXPECT_EQ(last_request().cluster_timing().timing().grant_ns(), 500'000'000);
  EXPECT_EQ(run({"cluster", "init", "--timing", "fast", "--yes"}), ExitCode::kOk);
  EXPECT_EQ(last_request().cluster_init().timing().heartbeat_ns(), 20'000'000);
  EXPECT_EQ(run({"cluster", "init", "--yes"}), ExitCode::kOk);
  EXPECT_FALSE(last_request().cluster_init().has_timing());
}

TEST_F(ClusterCommandsTest, ATimingThatCannotWorkIsNotSent) {
  for (const char* timing : {"slow", "1s", "1ms,250ms,50ms", "50ms,60ms,50ms", "50ms,250ms,1s"}) {
    EXPECT_EQ(run({"cluster", "timing", timing}), ExitCode::kUsage) << timing;
    EXPECT_EQ(run({"cluster", "init", "--timing", timing, "--yes"}), ExitCode::kUsage) << timing;
  }
  EXPECT_TRUE(program.daemon.requests.empty());
}

// --- takeover ------------------------------------------------------------------------------------

TEST_F(ClusterCommandsTest, ATakeoverSaysWhatIsRiskedBeforeItIsConfirmed) {
  program.terminal.terminal = false;
  EXPECT_EQ(run({"takeover", "web"}), ExitCode::kRefused);
  EXPECT_TRUE(unfolded(err()).contains("its owner alpha cannot be reached")) << err();
  EXPECT_FALSE(last_request().takeover().confirmed());
  at_a_terminal("n");
  EXPECT_EQ(run({"takeover", "web", "--force"}), ExitCode::kRefused);
  EXPECT_FALSE(last_request().takeover().confirmed());
  at_a_terminal("y");
  EXPECT_EQ(run({"takeover", "web", "--to", "beta", "--force"}), ExitCode::kOk) << err();
  EXPECT_TRUE(last_request().takeover().confirmed());
  EXPECT_TRUE(last_request().takeover().force());
  EXPECT_EQ(last_request().takeover().node(), "beta");
  EXPECT_TRUE(unfolded(out()).contains("web runs on beta; it was on alpha")) << out();
  EXPECT_EQ(run({"takeover", "web", "--yes"}), ExitCode::kOk);
  EXPECT_FALSE(last_request().takeover().force());
}

TEST_F(ClusterCommandsTest, ATakeoverThatLeavesItUnprotectedSaysSo) {
  program.behaviour = [](const v1::Request& request, int fd) {
    auto frames = cluster_daemon(request, fd);
    if (frames[0].has_takeover()) {
      auto& protection = *frames[0].mutable_takeover()->mutable_status()->mutable_protection();
      protection.set_state(v1::PROTECTION_UNPROTECTED);
      protection.set_reason("no checkpoint works");
    }
    return frames;
  };
  EXPECT_EQ(run({"takeover", "web", "--yes"}), ExitCode::kUnprotected);
  EXPECT_TRUE(out().contains("no checkpoint works")) << out();
}

// --- init, join ----------------------------------------------------------------------------------

TEST_F(ClusterCommandsTest, InitSendsWhatWasSaid) {
  EXPECT_EQ(run({"cluster", "init", "--node-name", "alpha", "--listen", "192.0.2.1", "--listen",
                 "[2001:db8::1]:7400", "--label", "rack=r1", "--label=server=s=1",
                 "--durable-directory", "shared", "--standbys", "2", "-y"}),
            ExitCode::kOk)
      << err();
  const auto& init = last_request().cluster_init();
  EXPECT_EQ(init.node_name(), "alpha");
  ASSERT_EQ(init.listen_size(), 2);
  EXPECT_EQ(init.listen(1), "[2001:db8::1]:7400");
  EXPECT_EQ(init.labels().at("rack"), "r1");
  EXPECT_EQ(init.labels().at("server"), "s=1");
  EXPECT_EQ(init.durable_directory(), std::filesystem::absolute("shared").string());
  EXPECT_EQ(init.standbys(), 2U);
  EXPECT_TRUE(init.etcd_endpoints().empty());
  EXPECT_EQ(program.daemon.requests.size(), 1U);
  run({"cluster", "init", "--yes"});
  EXPECT_FALSE(last_request().cluster_init().has_standbys());
  EXPECT_EQ(last_request().cluster_init().durable_directory(), "");
}

TEST_F(ClusterCommandsTest, InitSaysWhatItWillDoAndHowTheNextNodeJoins) {
  program.behaviour = [](const v1::Request& request, int fd) {
    auto frames = cluster_daemon(request, fd);
    if (request.has_cluster_init()) frames[0].mutable_cluster()->set_token(kToken);
    return frames;
  };
  at_a_terminal("y");
  EXPECT_EQ(run({"cluster", "init"}), ExitCode::kOk);
  EXPECT_TRUE(unfolded(err()).contains("its containers (web) become the cluster's")) << err();
  EXPECT_TRUE(unfolded(err()).contains("the ports 7400 to 7402 are opened")) << err();
  EXPECT_TRUE(err().contains("starts etcd")) << err();
  EXPECT_TRUE(
      out().contains(std::format("perdure cluster join 192.0.2.1:7400 --token {}\n", kToken)))
      << out();
}

TEST_F(ClusterCommandsTest, AnotherEtcdNeedsItsFiles) {
  EXPECT_EQ(run({"cluster", "init", "--etcd", "https://192.0.2.9:2379", "--etcd-ca", "ca.pem"}),
            ExitCode::kUsage);
  EXPECT_TRUE(
      unfolded(err()).contains("needs all of --etcd, --etcd-ca, --etcd-cert and --etcd-key"))
      << err();
  EXPECT_EQ(run({"cluster", "init", "--etcd-key", "k.pem"}), ExitCode::kUsage);
  EXPECT_EQ(run({"cluster", "init", "--etcd-ca", "a", "--etcd-cert", "b", "--etcd-key", "c"}),
            ExitCode::kUsage);
  EXPECT_TRUE(program.daemon.requests.empty());
  EXPECT_EQ(run({"cluster", "init", "--etcd", "https://192.0.2.9:2379", "--etcd",
                 "https://192.0.2.8:2379", "--etcd-ca", "ca.pem", "--etcd-cert", "/etc/c.pem",
                 "--etcd-key", "k.pem", "--yes"}),
            ExitCode::kOk);
  const auto& init = last_request().cluster_init();
  EXPECT_EQ(init.etcd_endpoints_size(), 2);
  EXPECT_EQ(init.etcd_authority_file(), std::filesystem::absolute("ca.pem").string());
  EXPECT_EQ(init.etcd_certificate_file(), "/etc/c.pem");
  EXPECT_EQ(init.etcd_key_file(), std::filesystem::absolute("k.pem").string());
}

TEST_F(ClusterCommandsTest, WhoJoinsShowsTheClustersOwnEtcdItsCertificate) {
  EXPECT_EQ(run({"cluster", "join", "192.0.2.1", "--token", kToken, "--etcd-key", "k.pem"}), ExitCode::kUsage);
  EXPECT_TRUE(unfolded(err()).contains("needs all of --etcd-ca, --etcd-cert and --etcd-key")) << err();
  EXPECT_TRUE(program.daemon.requests.empty());
  EXPECT_EQ(run({"cluster", "join", "192.0.2.1", "--token", kToken, "--etcd-ca", "ca.pem", "--etcd-cert", "/etc/c.pem",
                 "--etcd-key", "k.pem", "--yes"}),
            ExitCode::kOk);
  const auto& join = last_request().cluster_join();
  EXPECT_EQ(join.etcd_authority_file(), std::filesystem::absolute("ca.pem").string());
  EXPECT_EQ(join.etcd_certificate_file(), "/etc/c.pem");
  EXPECT_EQ(join.etcd_key_file(), std::filesystem::absolute("k.pem").string());
}

TEST_F(ClusterCommandsTest, ALabelIsGivenOnce) {
  EXPECT_EQ(run({"cluster", "init", "--label", "rack=a", "--label", "rack=b", "--yes"}),
            ExitCode::kUsage);
  EXPECT_TRUE(err().contains("--label: 'rack' is given twice")) << err();
  EXPECT_EQ(run({"node", "label", "beta", "rack=a", "rack-"}), ExitCode::kUsage);
  EXPECT_TRUE(program.daemon.requests.empty());
}

TEST_F(ClusterCommandsTest, TheTokenComesFromTheOptionAFileOrTheTerminal) {
  EXPECT_EQ(run({"cluster", "join", "192.0.2.1", "--token", kToken, "--witness", "--yes"}),
            ExitCode::kOk);
  EXPECT_EQ(last_request().cluster_join().token(), kToken);
  EXPECT_EQ(last_request().cluster_join().address(), "192.0.2.1");
  EXPECT_TRUE(last_request().cluster_join().witness());

  const std::string file = token_file(std::string("  ") + kToken + " \r\n");
  EXPECT_EQ(run({"cluster", "join", "192.0.2.1", "--token-file", file, "--yes"}), ExitCode::kOk);
  EXPECT_EQ(last_request().cluster_join().token(), kToken) << "without what stands around it";
  EXPECT_FALSE(last_request().cluster_join().witness());

  at_a_terminal(kToken);  // which is also the answer to the question: no
  EXPECT_EQ(run({"cluster", "join", "192.0.2.1"}), ExitCode::kRefused);
  EXPECT_TRUE(err().starts_with("Token: ")) << err();
  EXPECT_EQ(run({"cluster", "join", "192.0.2.1", "--yes"}), ExitCode::kOk);
  EXPECT_EQ(last_request().cluster_join().token(), kToken);
  EXPECT_FALSE((out() + err()).contains("5ec4e7")) << "it is not said again";
}

// Standard input is this text as long as it lives.
class StandardInput {
 public:
  explicit StandardInput(std::string_view text) : saved_(::dup(STDIN_FILENO)) {
    int ends[2];
    EXPECT_EQ(::pipe2(ends, O_CLOEXEC), 0);
    EXPECT_EQ(::write(ends[1], text.data(), text.size()), static_cast<ssize_t>(text.size()));
    ::close(ends[1]);
    EXPECT_EQ(::dup2(ends[0], STDIN_FILENO), STDIN_FILENO);
    ::close(ends[0]);
  }
  ~StandardInput() {
    if (saved_.get() < 0)
      ::close(STDIN_FILENO);
    else
      ::dup2(saved_.get(), STDIN_FILENO);
  }
  StandardInput(const StandardInput&) = delete;
  StandardInput& operator=(const StandardInput&) = delete;

 private:
  UniqueFd saved_;
};

TEST_F(ClusterCommandsTest, TheTokenMayComeThroughAPipe) {
  const StandardInput input(std::string(kToken) + "\n");
  EXPECT_EQ(run({"cluster", "join", "192.0.2.1", "--token-file", "-", "--yes"}), ExitCode::kOk)
      << err();
  EXPECT_EQ(last_request().cluster_join().token(), kToken);
}

TEST_F(ClusterCommandsTest, WithoutATokenNothingIsSent) {
  EXPECT_EQ(run({"cluster", "join", "192.0.2.1", "--yes"}), ExitCode::kUsage);
  EXPECT_TRUE(unfolded(err()).contains("needs a token, and there is no terminal")) << err();
  EXPECT_EQ(run({"cluster", "join", "192.0.2.1", "--token", kToken, "--token-file", "-"}),
            ExitCode::kUsage);
  EXPECT_EQ(run({"cluster", "join", "192.0.2.1", "--token-file", token_file("\n"), "--yes"}),
            ExitCode::kInvalid);
  EXPECT_TRUE(err().contains("holds no token")) << err();
  EXPECT_EQ(run({"cluster", "join", "192.0.2.1", "--token-file", token_file("a b"), "--yes"}),
            ExitCode::kInvalid);
  EXPECT_EQ(run({"cluster", "join", "192.0.2.1", "--token-file", token_file(std::string(5000, 'x')),
                 "--yes"}),
            ExitCode::kInvalid);
  EXPECT_EQ(run({"cluster", "join", "192.0.2.1", "--token-file", "/nonexistent", "--yes"}),
            ExitCode::kNotFound);
  at_a_terminal(std::nullopt);  // end of input
  EXPECT_EQ(run({"cluster", "join", "192.0.2.1", "--yes"}), ExitCode::kInvalid);
  EXPECT_TRUE(program.daemon.requests.empty());
}

// --- status, token, leave ------------------------------------------------------------------------

TEST_F(ClusterCommandsTest, WithoutAQuorumStatusIsCodeEight) {
  program.behaviour = [](const v1::Request& request, int fd) {
    auto frames = cluster_daemon(request, fd);
    frames[0].mutable_cluster()->set_has_quorum(false);
    return frames;
  };
  EXPECT_EQ(run({"cluster", "status"}), ExitCode::kUnprotected);
  EXPECT_TRUE(out().contains("alpha *")) << out();
  EXPECT_EQ(run({"cluster", "status", "--json"}), ExitCode::kUnprotected);
}

TEST_F(ClusterCommandsTest, AHostInNoClusterIsSaidSo) {
  program.behaviour = [](const v1::Request&, int) {
    v1::Response response;
    response.mutable_cluster();
    return std::vector{response};
  };
  EXPECT_EQ(run({"cluster", "status"}), ExitCode::kNotFound);
  EXPECT_TRUE(err().contains("this host is in no cluster")) << err();
  EXPECT_EQ(run({"cluster", "leave"}), ExitCode::kNotFound);
}

TEST_F(ClusterCommandsTest, ATokenIsPrintedWithTheCommandThatUsesIt) {
  EXPECT_EQ(run({"cluster", "token", "--valid-for", "2h", "--uses", "3"}), ExitCode::kOk);
  EXPECT_EQ(program.daemon.requests[0].cluster_token().valid_for_ns(), Duration(2h).count());
  EXPECT_EQ(program.daemon.requests[0].cluster_token().uses(), 3U);
  EXPECT_TRUE(
      out().contains(std::format("perdure cluster join 192.0.2.1:7400 --token {}\n", kToken)))
      << out();
  EXPECT_EQ(run({"cluster", "token", "--uses", "0"}), ExitCode::kUsage);
  EXPECT_TRUE(program.daemon.requests.empty());
  EXPECT_EQ(run({"cluster", "token", "--json"}), ExitCode::kOk);
  EXPECT_EQ(program.daemon.requests.size(), 1U);
  EXPECT_FALSE(last_request().cluster_token().has_uses());
  EXPECT_FALSE(last_request().cluster_token().has_valid_for_ns());
}

TEST_F(ClusterCommandsTest, ATokenThatWasMadeIsPrintedAlsoWithoutAnAddress) {
  program.behaviour = [](const v1::Request& request, int fd) {
    if (request.has_cluster_status())
      return std::vector{error_response(v1::ERROR_TIMEOUT, "etcd does not answer")};
    return cluster_daemon(request, fd);
  };
  EXPECT_EQ(run({"cluster", "token"}), ExitCode::kOk);
  EXPECT_TRUE(out().contains(std::format("perdure cluster join ADDRESS --token {}\n", kToken)))
      << out();
}

TEST_F(ClusterCommandsTest, LeaveSaysWhatTheNodeStillOwns) {
  at_a_terminal("n");
  EXPECT_EQ(run({"cluster", "leave"}), ExitCode::kRefused);
  EXPECT_TRUE(unfolded(err()).contains("it owns 12 containers, and while it does perdured refuses"))
      << err();
  EXPECT_EQ(run({"cluster", "leave", "--force"}), ExitCode::kRefused);
  EXPECT_TRUE(unfolded(err()).contains("the 12 containers that it owns run on here, in no cluster"))
      << err();
  EXPECT_EQ(run({"cluster", "leave", "--force", "--yes"}), ExitCode::kOk);
  EXPECT_TRUE(last_request().cluster_leave().force());
}

TEST_F(ClusterCommandsTest, AnUnknownOutcomeNamesTheCommandThatShowsIt) {
  program.daemon.end_of_frames = Error(ErrorCode::kIo, "the connection was closed");
  program.behaviour = [](const v1::Request&, int) { return std::vector<v1::Response>{}; };
  EXPECT_EQ(run({"cluster", "leave", "--yes"}), ExitCode::kUnreachable);
  EXPECT_TRUE(unfolded(err()).contains("'perdure cluster status' shows how things are")) << err();
  EXPECT_EQ(run({"node", "drain", "beta", "--yes"}), ExitCode::kUnreachable);
  EXPECT_TRUE(unfolded(err()).contains("'perdure node list' shows how things are")) << err();
  EXPECT_EQ(run({"move", "web", "beta"}), ExitCode::kUnreachable);
  EXPECT_TRUE(unfolded(err()).contains("'perdure inspect web' shows how things are")) << err();
}

// --- recover -------------------------------------------------------------------------------------

TEST_F(ClusterCommandsTest, RecoverWithoutApplyChangesNothingAndAsksNothing) {
  EXPECT_EQ(run({"cluster", "recover", "--force-new-cluster"}), ExitCode::kOk);
  ASSERT_EQ(program.daemon.requests.size(), 1U);
  EXPECT_FALSE(last_request().cluster_recover().apply());
  EXPECT_TRUE(last_request().cluster_recover().force_new_cluster());
  EXPECT_TRUE(out().ends_with("nothing was changed; --apply does this\n")) << out();
  EXPECT_EQ(program.terminal.questions, 0);
}

TEST_F(ClusterCommandsTest, RecoverShowsTheReportBeforeItIsApplied) {
  at_a_terminal("n");
  EXPECT_EQ(run({"cluster", "recover", "--apply", "--from-snapshot", "etcd.db", "web", "db"}),
            ExitCode::kRefused);
  ASSERT_EQ(program.daemon.requests.size(), 1U);
  EXPECT_FALSE(last_request().cluster_recover().apply());
  EXPECT_TRUE(err().contains("web    restore")) << err();
  EXPECT_TRUE(err().contains("this cannot be taken back:")) << err();
  at_a_terminal("y");
  EXPECT_EQ(run({"cluster", "recover", "--apply", "--from-snapshot", "etcd.db", "web", "db"}),
            ExitCode::kOk);
  ASSERT_EQ(program.daemon.requests.size(), 2U);
  const auto& recovery = last_request().cluster_recover();
  EXPECT_TRUE(recovery.apply());
  EXPECT_EQ(recovery.snapshot_file(), std::filesystem::absolute("etcd.db").string());
  ASSERT_EQ(recovery.containers_size(), 2);
  EXPECT_EQ(recovery.containers(1), "db");
}

TEST_F(ClusterCommandsTest, ARecoveryThatFailedForAContainerIsAFailure) {
  program.behaviour = [](const v1::Request& request, int fd) {
    auto frames = cluster_daemon(request, fd);
    frames[0].mutable_cluster_recover()->mutable_rows(4)->set_done(false);
    return frames;
  };
  EXPECT_EQ(run({"cluster", "recover", "--apply", "--yes"}), ExitCode::kFailure);
  EXPECT_EQ(program.daemon.requests.size(), 1U);
  EXPECT_TRUE(out().contains("1 container did not come back\n")) << out();
  EXPECT_EQ(run({"cluster", "recover", "--apply", "--yes", "--json"}), ExitCode::kFailure);
}

TEST_F(ClusterCommandsTest, ASnapshotAndThisNodesMemberExcludeEachOther) {
  EXPECT_EQ(run({"cluster", "recover", "--force-new-cluster", "--from-snapshot", "etcd.db"}),
            ExitCode::kUsage);
  EXPECT_TRUE(program.daemon.requests.empty());
}

}  // namespace
}  // namespace perdure::cli
