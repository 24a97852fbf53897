// For the tests of a cluster's commands: sample messages, and a daemon in a cluster of three nodes.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <optional>
#include <string>
#include <vector>

#include "cli/test_support.h"

namespace perdure::cli {

inline constexpr const char* kToken = "0123456789ab.5ec4e7.f1f1";

// Three nodes: alpha, which answers, beta, and gamma, which is silent.
control::v1::ClusterReply three_node_cluster();
// web on alpha, with a standby that is ready, one that learns and one that is refused.
control::v1::ContainerStatus replicated_web();
// One row of each action.
control::v1::ClusterRecoverReply recovery_report();
// Brought back from the durable directory; and what is known of it before that.
control::v1::TakeoverReply taken_back();
control::v1::ContainerStatus waiting_web();

// A daemon in that cluster, which does what it is asked to.
std::vector<control::v1::Response> cluster_daemon(const control::v1::Request& request, int fd);

struct ClusterCommandsTest : testing::Test {
  ClusterCommandsTest() { program.behaviour = cluster_daemon; }
  ExitCode run(const std::vector<std::string>& arguments) {
    program.terminal.out_text.clear();
    program.terminal.err_text.clear();
    program.daemon.requests.clear();
    return program.run(arguments);
  }
  void at_a_terminal(std::optional<std::string> answer) {
    program.terminal.terminal = true;
    program.terminal.answer = std::move(answer);
  }
  const control::v1::Request& last_request() const { return program.daemon.requests.back(); }
  bool sent(control::v1::Request::BodyCase body) const {
    return std::ranges::contains(program.daemon.requests, body, &control::v1::Request::body_case);
  }
  std::string& out() { return program.terminal.out_text; }
  std::string& err() { return program.terminal.err_text; }

  ProgramRun program;
};

}  // namespace perdure::cli
