// Proves that an end of perdured that is meant is not taken for a failure: the standbys of what it owns promise to wait, those it
// stands by for drop it at once, it ends soon whatever they do, and its next life goes on with the container and its standby.
//
// How: nodes with everything above the seams in one process (testing/cluster_world.h).
#include "node/cluster/planned_end.h"

#include <optional>
#include <vector>

#include "gmock/gmock.h"
#include "node/testing/cluster_world.h"

namespace perdure::node::testing {
namespace {

using std::chrono_literals::operator""s;
using std::chrono_literals::operator""ms;
using Missing = policy::lease::LeaseHolder::Missing;
using ::testing::ElementsAre;
using ::testing::IsEmpty;

class PlannedEndTest : public ClusterWorld {
 protected:
  // In a directory that two lives may have open at a time: what the former has under way on the pool goes on.
  PlannedEndTest() { shared_ = &storage_; }
  ~PlannedEndTest() override { end_all(); }
  void protect() {
    begin("a");
    begin("b");
    node("a").run("web");
    ASSERT_TRUE(until([&] { return runs_on("a", "web") && caught_up("a", "b", "web"); }));
  }
  // What was not granted, as soon as it is prepared; absent: never.
  std::optional<std::vector<Missing>> prepare(const std::string& name, Duration grant, Duration limit = io::kTestTime) {
    std::optional<std::vector<Missing>> ended;
    node(name).prepare_end(grant, limit, [&](std::vector<Missing> missing) { ended = std::move(missing); });
    EXPECT_FALSE(ended) << "never from within the call";
    EXPECT_TRUE(until([&] { return ended.has_value(); }));
    return ended;
  }
  SharedStorage storage_{files_, directory_ / "shared"};
  Instant gate() { return backend("a", "web").gate_deadline()->get(); }
};

TEST_F(PlannedEndTest, TheGateStaysOpenForAsLongAsItsStandbyHasPromised) {
  protect();
  const Instant before = clock_.now();
  EXPECT_THAT(prepare("a", 30s), ::testing::Optional(IsEmpty()));
  EXPECT_GE(gate(), before + 30s);
  EXPECT_LE(gate(), clock_.now() + 30s);
  ASSERT_TRUE(until([&] { return !node("b").long_grants_given().empty(); }));
  EXPECT_EQ(node("b").long_grants_given().front().grant, 30s);
  EXPECT_EQ(node("b").long_grants_given().front().owner, node("a").self());
}

TEST_F(PlannedEndTest, TheNextLifeGoesOnUnderTheSameTermWithTheSameStandby) {
  protect();
  const auto before = *node("a").record("web");
  ASSERT_TRUE(prepare("a", 30s));
  const std::shared_ptr<FakeBackend> lives_on = backends_["a"].share("web");
  backends_["a"].on_new = [&lives_on](FakeBackend& found) {
    found.set_found(Found::State::kAlive);
    found.gate_deadline()->set(lives_on->gate_deadline()->get());
  };
  end("a");
  const Instant left = lives_on->gate_deadline()->get();
  EXPECT_GE(left, clock_.now() + 20s) << "nobody has shut it";
  begin("a");
  node("a").node().recover([] {});
  ASSERT_TRUE(until([&] { return runs_on("a", "web") && caught_up("a", "b", "web"); }));
  ASSERT_TRUE(until([&] { return gate() < clock_.now() + 6s; })) << "grants of the usual length";
  const auto after = *node("a").record("web");
  EXPECT_EQ(after.term, before.term);
  EXPECT_EQ(after.standbys, before.standbys) << "it was never dropped";
  EXPECT_EQ(after.owner, node("a").self());
  ASSERT_TRUE(until([&] { return !node("b").leases().waits_long_until(container_name("web")); }))
      << "what was granted to the life before is given back";
}

TEST_F(PlannedEndTest, AStandbyThatEndsIsDroppedBeforeItDoes) {
  protect();
  EXPECT_THAT(prepare("b", 30s), ::testing::Optional(IsEmpty()));
  EXPECT_FALSE(stands_by("b", "web"));
  EXPECT_THAT(node("a").record("web")->standbys, IsEmpty());
  end("b");
  begin("b");
  ASSERT_TRUE(until([&] { return caught_up("a", "b", "web"); }));
}

TEST_F(PlannedEndTest, WhoDoesNotAnswerIsNotWaitedFor) {
  protect();
  node("b").leases().pause(true);
  EXPECT_THAT(prepare("a", 30s, 200ms), ::testing::Optional(ElementsAre(Missing{container_name("web"), node("b").self()})));
}

TEST_F(PlannedEndTest, AnOwnerThatDoesNotHearOfItIsNotWaitedFor) {
  protect();
  network_.lose = [](const NodeName&, const NodeName&, const peer::v1::Message& message) { return message.has_end(); };
  EXPECT_TRUE(prepare("b", Duration::zero(), 200ms));
  EXPECT_TRUE(stands_by("b", "web"));
}

TEST_F(PlannedEndTest, WhereNobodyIsConcernedItIsPreparedAtOnce) {
  begin("a");
  const Instant before = clock_.now();
  EXPECT_THAT(prepare("a", Duration::zero()), ::testing::Optional(IsEmpty()));
  EXPECT_THAT(prepare("a", 30s), ::testing::Optional(IsEmpty()));
  EXPECT_LT(clock_.now() - before, 1s);
}

}  // namespace
}  // namespace perdure::node::testing
