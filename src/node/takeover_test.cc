// Proves that a new daemon leaves a container alone until it knows what has become of it.
#include <atomic>

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

  fails = false;  // the next attempt
  ASSERT_TRUE(until([&] { return was_told("restored"); }));
  EXPECT_EQ(backend.count("recover"), 2u);
}

}  // namespace
}  // namespace perdure::node::testing
