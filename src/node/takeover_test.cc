// Proves that a new daemon leaves a container alone until it knows what has become of it.
#include <atomic>

#include "gmock/gmock.h"
#include "node/status_codec.h"
#include "node/testing/control_fixture.h"

namespace perdure::node::testing {
namespace {

class TakeoverTest : public ControlFixture {
 protected:
  bool was_told(const std::string& kind) {
    return std::ranges::any_of(events_.recent(), [&](const v1::Event& event) { return event.kind() == kind; });
  }
};

TEST_F(TakeoverTest, NothingIsDoneToAContainerThatCannotBeTakenOverYet) {
  serve();
  {
    TestClient one = client();
    run(one, "web", "checkpoint:\n  interval: 1h\n");
  }
  end_node();
  std::atomic<bool> fails = true;
  backends_.on_new = [&](FakeBackend& backend) {
    backend.set_found(Found::State::kNothing);
    backend.on_recover([&]() -> Status {
      if (fails) return fail(ErrorCode::kNotFound, "image '/nowhere' does not exist");
      return {};
    });
  };
  make_node(2);
  bool looked_at = false;
  node_->recover([&] { looked_at = true; });
  ASSERT_TRUE(until([&] { return looked_at && was_told("not_taken_over"); }));
  FakeBackend& backend = backends_.at("web");
  EXPECT_EQ(backend.calls(), std::vector<std::string>{"recover"});
  const v1::ContainerStatus shown = status_of(service("web"), clock_);
  EXPECT_EQ(shown.phase(), v1::PHASE_RECOVERING);
  EXPECT_THAT(shown.phase_reason(), ::testing::HasSubstr("image '/nowhere' does not exist"));
  EXPECT_EQ(shown.protection().state(), v1::PROTECTION_UNPROTECTED);

  fails = false;  // the next attempt
  ASSERT_TRUE(until([&] { return was_told("restored"); }));
  EXPECT_EQ(backend.count("recover"), 2u);
}

TEST_F(TakeoverTest, WhatCannotBeTakenOverCanBeRemoved) {
  serve();
  {
    TestClient one = client();
    run(one, "web", "checkpoint:\n  interval: 1h\n");
  }
  end_node();
  backends_.on_new = [](FakeBackend& backend) {
    backend.on_recover([]() -> Status { return fail(ErrorCode::kNotFound, "image '/nowhere' does not exist"); });
  };
  make_node(2);
  node_->recover([] {});
  ASSERT_TRUE(until([&] { return was_told("not_taken_over"); }));
  ContainerService& web = service("web");
  const Status checkpoint = web.ask(policy::OperatorCheckpoint{});
  ASSERT_FALSE(checkpoint);
  EXPECT_THAT(checkpoint.error().message(), ::testing::HasSubstr("image '/nowhere' does not exist"));
  ASSERT_TRUE(web.ask(policy::OperatorRemove{}));
  EXPECT_FALSE(web.ask(policy::OperatorRemove{}));
  ASSERT_TRUE(until([&] { return web.removed(); }));
  EXPECT_EQ(backends_.at("web").calls(), (std::vector<std::string>{"recover", "release delete"}));
}

TEST_F(TakeoverTest, ARemovalWaitsForTheAttemptThatIsUnderWay) {
  serve();
  {
    TestClient one = client();
    run(one, "web", "checkpoint:\n  interval: 1h\n");
  }
  end_node();
  std::atomic<int> attempts = 0;
  std::atomic<bool> goes_on = false;
  backends_.on_new = [&](FakeBackend& backend) {
    backend.on_recover([&]() -> Status {
      if (++attempts == 2) {
        loop_->post([] {});  // the condition below is asked again
        goes_on.wait(false);
      }
      return fail(ErrorCode::kNotFound, "image '/nowhere' does not exist");
    });
  };
  make_node(2);
  node_->recover([] {});
  ASSERT_TRUE(until([&] { return attempts == 2; }));
  ContainerService& web = service("web");
  ASSERT_TRUE(web.ask(policy::OperatorRemove{}));
  EXPECT_EQ(backends_.at("web").count("release delete"), 0u);
  goes_on = true;
  goes_on.notify_all();
  ASSERT_TRUE(until([&] { return web.removed(); }));
  EXPECT_EQ(backends_.at("web").calls(), (std::vector<std::string>{"recover", "recover", "release delete"}));
}

}  // namespace
}  // namespace perdure::node::testing
