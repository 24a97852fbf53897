// Proves which deaths close the gate of a container of components, as its agent's reports say, and what follows of a death
// that has closed it and of one that has not: a real service and policy over the fake backend, whose reports are the test's.
#include <unistd.h>

#include <csignal>

#include "base/process_status.h"
#include "gmock/gmock.h"
#include "node/testing/control_fixture.h"

namespace perdure::node::testing {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using agent::ComponentState;

// What is run in place of containers is in the test's PID namespace.
const std::uint32_t kOwnNamespace = pid_namespace_of(::getpid()).value();
constexpr std::uint32_t kNotTold = 0;

class ComponentDeathsTest : public ControlFixture {
 protected:
  void SetUp() override {
    serve();
    client_.emplace(client());
    client_->send(run_request("name: shop\nroot-filesystem:\n  directory: /nowhere\ncheckpoint:\n  interval: 1h\n"
                              "components:\n  - {name: db, command: [/x]}\n  - {name: web, command: [/y], state: stateless}\n"));
    ASSERT_TRUE(until([&] { return node_->find(ContainerName::parse("shop").value()) != nullptr && shop().status().phase == policy::Phase::kTrial; }));
  }

  ContainerService& shop() { return service("shop"); }
  FakeBackend& fake() { return backend("shop"); }

  // Heard when this returns. Numbers of 0: it does not run.
  void report(std::int32_t db, std::int32_t web, std::uint32_t web_restarts = 0, std::uint32_t db_restarts = 0) {
    const auto row = [](std::string name, std::int32_t pid, std::uint32_t restarts) {
      return agent::ComponentReport{.name = std::move(name), .state = ComponentState::kRunning, .pid = pid, .restarts = restarts};
    };
    agent::Report report{.life = 7, .sequence = ++sequence_, .components = {row("db", db, db_restarts), row("web", web, web_restarts)}};
    report.components[1].stateful = false;
    const std::uint64_t heard = shop().components().heard();
    const Status sent = fake().report(report);
    if (!sent) {
      denied_ = sent.error().code() == ErrorCode::kPermission;
      ASSERT_TRUE(denied_) << sent.error().message();
      return;
    }
    ASSERT_TRUE(until([&] { return shop().components().heard() > heard; }));
  }
  // Reports until it is protected: one that was taken before the checkpoint proves nothing.
  void protect(std::int32_t db, std::int32_t web) {
    const Instant deadline = BootClock::now() + io::kTestTime;
    while (!denied_ && shop().status().phase != policy::Phase::kProtected) {
      ASSERT_LT(BootClock::now(), deadline);
      report(db, web);
    }
  }
  // As the exit hook closes the gate and tells of it.
  void killed(int pid, bool held, Instant at = BootClock::now(), std::optional<std::uint32_t> init_of = std::nullopt) {
    if (held) fake().hold_by_death();
    shop().process_killed({.cgroup_id = 1,
                           .at = at,
                           .process_id = pid,
                           .signal = SIGKILL,
                           .is_init = init_of.has_value(),
                           .pid_namespace = init_of.value_or(kOwnNamespace),
                           .held = held,
                           .command = "worker"});
  }
  std::vector<std::string> told_of_kills() {
    v1::Request request;
    request.mutable_events()->set_name("shop");
    TestClient asks = client();
    asks.call(request);
    std::vector<std::string> texts;
    for (const v1::Response& response : asks.before) {
      if (response.event().kind() == "process_killed") texts.push_back(response.event().text());
    }
    return texts;
  }

  std::optional<TestClient> client_;
  std::uint64_t sequence_ = 0;
  bool denied_ = false;
};

#define SKIP_WHERE_NOBODY_MAY_REPORT_FOR_ANOTHER() \
  if (denied_) GTEST_SKIP() << "no CAP_SYS_ADMIN: cannot report as another process"

TEST_F(ComponentDeathsTest, CloseTheGateForStatefulComponentsOnceTheyAreKnown) {
  EXPECT_THAT(fake().holds(), ElementsAre()) << "every death, as it was started";
  report(7, 8);
  SKIP_WHERE_NOBODY_MAY_REPORT_FOR_ANOTHER();
  EXPECT_THAT(fake().holds(), ElementsAre("7"));
  report(7, 8);
  report(7, 9, 1);
  EXPECT_THAT(fake().holds(), ElementsAre("7")) << "the stateful ones are the same";
  report(0, 9, 1);
  report(10, 9, 1);
  EXPECT_THAT(fake().holds(), ElementsAre("7", "", "10"));
}

TEST_F(ComponentDeathsTest, AreKnownAnewInEachLife) {
  protect(7, 8);
  SKIP_WHERE_NOBODY_MAY_REPORT_FOR_ANOTHER();
  fake().die();
  ASSERT_TRUE(until([&] { return shop().record().restores == 1 && shop().status().phase == policy::Phase::kProtected; }));
  report(7, 8);
  EXPECT_THAT(fake().holds(), ElementsAre("7", "7"));
}

TEST_F(ComponentDeathsTest, NothingFollowsOfOneThatHasNotClosedTheGate) {
  protect(7, 8);
  SKIP_WHERE_NOBODY_MAY_REPORT_FOR_ANOTHER();
  ASSERT_TRUE(until([&] { return fake().gate_is_open(); }));
  killed(4001, false, BootClock::now() - std::chrono::hours(1));
  killed(4002, true);
  ASSERT_TRUE(until([&] { return !fake().gate_held_by_death(); })) << "init lives on: it is opened";
  const auto told = told_of_kills();
  ASSERT_EQ(told.size(), 1u);
  EXPECT_TRUE(told[0].contains("4002")) << told[0];
  EXPECT_EQ(shop().gate_closures().by_death, 1u);

  killed(4003, false, BootClock::now() - std::chrono::hours(1));
  fake().die();
  ASSERT_TRUE(until([&] { return shop().record().restores == 1 && shop().last_restore(); }));
  EXPECT_LT(shop().last_restore()->restored.value(), std::chrono::minutes(1)) << "it is no part of the failure";
}

TEST_F(ComponentDeathsTest, OfTheFirstProcessOfANamespaceWithinIsLikeAnyOther) {
  protect(7, 8);
  SKIP_WHERE_NOBODY_MAY_REPORT_FOR_ANOTHER();
  ASSERT_TRUE(until([&] { return fake().gate_is_open(); }));
  for (const std::uint32_t within : {kOwnNamespace + 1, kNotTold}) {
    killed(4002, true, BootClock::now(), within);
    ASSERT_TRUE(until([&] { return !fake().gate_held_by_death(); })) << "the container's init lives on: it is opened";
  }
  EXPECT_THAT(told_of_kills(), ElementsAre(HasSubstr("4002 ('worker') was"), HasSubstr("4002 ('worker') was")));
}

// A thread of it is the first that ends; that its first one is ending does not show yet.
TEST_F(ComponentDeathsTest, OfTheContainersFirstProcessKeepsTheGateClosedHoweverLateItsEndShows) {
  protect(7, 8);
  SKIP_WHERE_NOBODY_MAY_REPORT_FOR_ANOTHER();
  ASSERT_TRUE(until([&] { return fake().gate_is_open(); }));
  killed(4002, true, BootClock::now(), kOwnNamespace);
  const Instant end = BootClock::now() + 5 * policy::ContainerOptions{}.exit_grace;
  ASSERT_TRUE(until([&] { return BootClock::now() > end || !fake().gate_held_by_death(); }));
  EXPECT_TRUE(fake().gate_held_by_death());
  fake().die();
  ASSERT_TRUE(until([&] { return shop().record().restores == 1 && shop().status().phase == policy::Phase::kProtected; }));
  EXPECT_THAT(told_of_kills(), ElementsAre());
}

TEST_F(ComponentDeathsTest, BeforeTheGateWasOpenedLastMeanNothingAnyMore) {
  const Instant before = BootClock::now();
  protect(7, 8);
  SKIP_WHERE_NOBODY_MAY_REPORT_FOR_ANOTHER();
  fake().die();
  ASSERT_TRUE(until([&] { return shop().record().restores == 1 && shop().status().phase == policy::Phase::kProtected; }));
  ASSERT_TRUE(until([&] { return fake().gate_is_open(); }));
  const Instant restored = BootClock::now();
  shop().process_killed({.at = before, .process_id = 4002, .signal = SIGTERM, .held = true, .command = "criu"});
  const Instant end = BootClock::now() + 5 * policy::ContainerOptions{}.exit_grace;
  ASSERT_TRUE(until([&] { return BootClock::now() > end; }));
  EXPECT_THAT(told_of_kills(), ElementsAre());
  killed(4003, true, restored);
  ASSERT_TRUE(until([&] { return !fake().gate_held_by_death(); }));
  EXPECT_THAT(told_of_kills(), ElementsAre(HasSubstr("4003")));
}

TEST_F(ComponentDeathsTest, OfAStatelessOneBeforeAnythingIsKnownEndsWithItsRestart) {
  killed(4001, true);
  report(7, 9, 1);
  SKIP_WHERE_NOBODY_MAY_REPORT_FOR_ANOTHER();
  EXPECT_FALSE(fake().gate_held_by_death());
  protect(7, 9);
  EXPECT_THAT(told_of_kills(), ElementsAre());
}

// The gate is closed for the other one, whose failure the agent has not told yet.
TEST_F(ComponentDeathsTest, ARestartOfAStatelessOneDoesNotOpenTheGate) {
  protect(7, 8);
  SKIP_WHERE_NOBODY_MAY_REPORT_FOR_ANOTHER();
  killed(4001, true);
  report(7, 9, 1);
  ASSERT_TRUE(until([&] { return !fake().gate_held_by_death(); })) << "after the exit grace";
  EXPECT_EQ(told_of_kills().size(), 1u);
}

TEST_F(ComponentDeathsTest, ARestartOfAStatefulOneOpensTheGate) {
  protect(7, 8);
  SKIP_WHERE_NOBODY_MAY_REPORT_FOR_ANOTHER();
  killed(4001, true);
  report(10, 8, 0, 1);
  ASSERT_TRUE(until([&] { return !fake().gate_held_by_death(); }));
  EXPECT_THAT(told_of_kills(), ElementsAre()) << "a component that it depends on was restarted, and it with it";
}

}  // namespace
}  // namespace perdure::node::testing
