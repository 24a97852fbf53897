// A network interface becomes a port, is confirmed, refused, or forgotten by a client that vanished. One end of a
// veth pair stands for the interface, in a network namespace of the test's own.
#include "node/nic_change.h"

#include <sched.h>
#include <unistd.h>

#include "network/link.h"
#include "node/bridge_name.h"
#include "node/testing/control_fixture.h"

namespace perdure::node::testing {
namespace {

class NicChangeTest : public ControlFixture {
 protected:
  void SetUp() override {
    if (::geteuid() != 0) GTEST_SKIP() << "network namespaces need root";
    // The pool's threads began before: a pool of threads that are born inside.
    ASSERT_EQ(::unshare(CLONE_NEWNET), 0);
    end_node();
    pool_ = io::Pool::create({.threads = 2}).value();
    make_node(1);
    serve();
    links_.emplace(network::LinkControl::open().value());
    network::VethRequest veth;
    veth.host_name = "nic0";
    veth.peer_name = "segment";
    ASSERT_TRUE(links_->create_veth(veth));
    ASSERT_TRUE(links_->set_up("nic0"));
    ASSERT_TRUE(links_->set_up("segment"));
  }

  static v1::Request request(bool confirm) {
    v1::Request request = run_request(
        spec("web", "network:\n  nic: nic0\n  ipv4: 10.7.0.5/24\ncheckpoint:\n  interval: 1h\n"));
    request.mutable_run()->set_confirm_nic(confirm);
    return request;
  }
  // Sends a confirmed request and waits for the question about it.
  v1::Response ask(TestClient& one) {
    one.send(request(true));
    while (auto response = one.next()) {
      if (response->has_progress()) continue;
      EXPECT_TRUE(response->has_question()) << response->error().message();
      return *response;
    }
    ADD_FAILURE() << "no question";
    return {};
  }
  static v1::Request answer(const v1::Response& question, bool yes) {
    v1::Request request;
    request.mutable_answer()->set_request_id(question.id());
    request.mutable_answer()->set_question(question.question().question());
    request.mutable_answer()->set_yes(yes);
    return request;
  }
  bool is_port() {
    const auto nic = links_->find("nic0");
    return nic && *nic && (*nic)->bridge_index != 0;
  }
  std::string state_file() const { return directory_ / "state/containers/web/nic.json"; }

  std::optional<network::LinkControl> links_;
};

TEST_F(NicChangeTest, NothingHappensWithoutConsent) {
  TestClient one = client();
  const v1::Response response = one.call(request(false));
  EXPECT_EQ(response.error().code(), v1::ERROR_CONFIRMATION_REQUIRED);
  EXPECT_NE(response.error().message().find("'pb-nic0'"), std::string::npos);
  EXPECT_FALSE(is_port());
}

TEST_F(NicChangeTest, AYesKeepsThePortAndTheContainerStarts) {
  TestClient one = client();
  const v1::Response question = ask(one);
  EXPECT_TRUE(is_port());
  EXPECT_EQ(::access(state_file().c_str(), F_OK), 0);
  EXPECT_GT(question.question().deadline_ns(), 0);
  one.send(answer(question, true));
  const v1::Response done = one.final();
  ASSERT_TRUE(done.has_run()) << done.error().message();
  EXPECT_EQ(done.run().status().bridge(), "pb-nic0");
  EXPECT_TRUE(is_port());
  EXPECT_NE(::access(state_file().c_str(), F_OK), 0);
  // The next container on this interface is asked nothing.
  const v1::Response other =
      one.call(run_request(spec("other", "network:\n  nic: nic0\n  ipv4: 10.7.0.6/24\n")));
  EXPECT_TRUE(other.has_run()) << other.error().message();
}

TEST_F(NicChangeTest, ANoGivesItBack) {
  TestClient one = client();
  one.send(answer(ask(one), false));
  const v1::Response done = one.final();
  EXPECT_EQ(done.error().code(), v1::ERROR_CANCELLED);
  EXPECT_FALSE(is_port());
  EXPECT_TRUE(node_->containers().empty());
}

TEST_F(NicChangeTest, AClientThatIsCutOffGetsItBack) {
  {
    TestClient one = client();
    ask(one);
    EXPECT_TRUE(is_port());
  }
  // The pool gives it back, which the loop does not notice: a timer makes it look.
  io::Timer timer;
  std::function<void()> look = [&] { timer = loop_->after(std::chrono::milliseconds(5), look); };
  look();
  EXPECT_TRUE(until([&] { return !is_port(); }));
  EXPECT_TRUE(node_->containers().empty());
}

TEST_F(NicChangeTest, AnInterfaceThatIsNotThereIsAnError) {
  TestClient one = client();
  v1::Request wrong = run_request(spec("web", "network:\n  nic: nic9\n  ipv4: 10.7.0.5/24\n"));
  wrong.mutable_run()->set_confirm_nic(true);
  const v1::Response response = one.call(wrong);
  ASSERT_TRUE(response.has_error());
  EXPECT_NE(response.error().message().find("nic9"), std::string::npos);
  EXPECT_NE(::access((directory_ / "state/containers/web").c_str(), F_OK), 0) << "nothing is left of the attempt";
}

}  // namespace
}  // namespace perdure::node::testing
