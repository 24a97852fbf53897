// Proves: what the commands of single nodes, and move, send, ask, print and end with, against a
// daemon in this process.
#include <gtest/gtest.h>

#include "cli/cluster_test_support.h"

namespace perdure::cli {
namespace {

namespace v1 = control::v1;
using namespace std::chrono_literals;

using NodeCommandsTest = ClusterCommandsTest;

TEST_F(NodeCommandsTest, DrainShowsItsProgressAndWhatIsLeft) {
  program.behaviour = [](const v1::Request& request, int fd) {
    std::vector<v1::Response> frames(3, progress_response("move", "web to alpha, 1 of 2"));
    frames.push_back(cluster_daemon(request, fd).front());
    frames.back().mutable_node_drain()->add_failures("mail: no node may hold it");
    return frames;
  };
  program.daemon.per_frame = 200s;
  EXPECT_EQ(run({"node", "drain", "beta", "--yes"}), ExitCode::kFailure);
  EXPECT_TRUE(err().contains("node drain beta: web to alpha, 1 of 2, ")) << err();
  EXPECT_TRUE(out().contains("  mail: no node may hold it\n")) << out();
  EXPECT_EQ(last_request().node_drain().node(), "beta");
}

TEST_F(NodeCommandsTest, ANodeThatIsNotThereIsNotAskedAbout) {
  at_a_terminal("y");
  EXPECT_EQ(run({"node", "drain", "omega"}), ExitCode::kNotFound);
  EXPECT_TRUE(err().contains("there is no node 'omega'")) << err();
  EXPECT_EQ(run({"node", "remove", "omega", "--yes"}), ExitCode::kNotFound);
  EXPECT_EQ(program.terminal.questions, 0);
}

TEST_F(NodeCommandsTest, CordonAndUncordonDiffer) {
  EXPECT_EQ(run({"node", "cordon", "beta"}), ExitCode::kOk);
  EXPECT_TRUE(last_request().node_cordon().cordon());
  EXPECT_EQ(run({"node", "uncordon", "beta"}), ExitCode::kOk);
  EXPECT_FALSE(last_request().node_cordon().cordon());
  EXPECT_EQ(last_request().node_cordon().node(), "beta");
}

TEST_F(NodeCommandsTest, LabelsAreSetAndTakenAway) {
  EXPECT_EQ(run({"node", "label", "beta", "rack=r2", "server-", "data-centre=x"}), ExitCode::kOk);
  const auto& label = last_request().node_label();
  EXPECT_EQ(label.node(), "beta");
  EXPECT_EQ(label.labels().size(), 3U);
  EXPECT_EQ(label.labels().at("rack"), "r2");
  EXPECT_EQ(label.labels().at("server"), "");
}

TEST_F(NodeCommandsTest, WhoeverRemovesAManagerIsToldAboutTheKeyAlsoWithYes) {
  EXPECT_EQ(run({"node", "remove", "gamma", "--yes"}), ExitCode::kOk);
  EXPECT_TRUE(unfolded(err()).contains("only a new cluster heals that")) << err();
  EXPECT_FALSE(last_request().node_remove().force());
  EXPECT_TRUE(out().starts_with("gamma is no node of the cluster any more")) << out();
  EXPECT_EQ(run({"node", "remove", "gamma", "--yes", "--json"}), ExitCode::kOk);
  EXPECT_TRUE(out().starts_with("{"));
  at_a_terminal("y");
  EXPECT_EQ(run({"node", "remove", "gamma", "-f"}), ExitCode::kOk);
  EXPECT_TRUE(unfolded(err()).contains("make sure that it is switched off")) << err();
  EXPECT_TRUE(last_request().node_remove().force());
}

TEST_F(NodeCommandsTest, AMoveSendsWhereToAndTellsWhetherItIsProtectedThere) {
  EXPECT_EQ(run({"move", "web", "beta"}), ExitCode::kOk);
  EXPECT_EQ(last_request().move().name(), "web");
  EXPECT_EQ(last_request().move().node(), "beta");
  program.behaviour = [](const v1::Request&, int) {
    v1::Response response;
    *response.mutable_move()->mutable_status() = unprotected_db();
    return std::vector{response};
  };
  EXPECT_EQ(run({"move", "db", "beta"}), ExitCode::kUnprotected);
  EXPECT_TRUE(out().contains("db is unprotected: CRIU cannot dump")) << out();
}

TEST_F(NodeCommandsTest, NodesAreCompletedSilently) {
  EXPECT_EQ(run({"__complete", "nodes"}), ExitCode::kOk);
  EXPECT_EQ(out(), "alpha\nbeta\ngamma\n");
  program.daemon.connect_error = Error(ErrorCode::kNotFound, "x");
  run({"__complete", "nodes"});
  EXPECT_EQ(out() + err(), "");
}

}  // namespace
}  // namespace perdure::cli
