// Proves what is made of an agent's reports: which changes are told, when a probe counts as begun, and that no
// generation is let go before everything in it has proved healthy; and that only its agent is heard.
#include "node/component_table.h"

#include <sys/socket.h>
#include <unistd.h>

#include <format>

#include "agent/abstract_address.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "node/agent_link.h"
#include "node/health_gate.h"

namespace perdure::node {
namespace {

using namespace std::chrono_literals;
using agent::ComponentState;
using ::testing::ElementsAre;
using ::testing::IsEmpty;
using Change = ComponentTable::Change;

const WallTime kWall = WallTime(1'700'000'000s);
const Instant kNow = Instant(5000s);

agent::ComponentReport row(std::string name, ComponentState state) { return {.name = std::move(name), .state = state, .probed = true}; }

agent::Report report(std::uint64_t sequence, std::vector<agent::ComponentReport> rows) {
  return {.life = 7, .sequence = sequence, .components = std::move(rows)};
}

// That has passed a probe which began so long ago.
agent::ComponentReport passed(std::string name, Duration by_wall, Duration by_age, ComponentState state = ComponentState::kRunning) {
  agent::ComponentReport it = row(std::move(name), state);
  it.passed_realtime_ns = (kWall.time_since_epoch() - by_wall) / 1ns;
  it.passed_age_ns = by_age.count();
  return it;
}

TEST(ComponentTableTest, ChangesAreToldOnce) {
  ComponentTable table;
  EXPECT_THAT(table.take(report(1, {row("db", ComponentState::kRunning)}), kNow, kWall), IsEmpty());
  agent::ComponentReport db = row("db", ComponentState::kFailing);
  db.trouble = "no answer";
  EXPECT_THAT(table.take(report(2, {db}), kNow, kWall), ElementsAre(Change{Change::Kind::kFailing, "db", "no answer"}));
  EXPECT_THAT(table.take(report(3, {db}), kNow, kWall), IsEmpty());
  db.state = ComponentState::kRunning;
  EXPECT_THAT(table.take(report(4, {db}), kNow, kWall), ElementsAre(Change{Change::Kind::kHealthy, "db", "no answer"}));
  db.restarts = 1;
  db.trouble = "exited with code 1";
  EXPECT_THAT(table.take(report(5, {db}), kNow, kWall), ElementsAre(Change{Change::Kind::kRestarted, "db", "exited with code 1"}));
  db.state = ComponentState::kFailed;
  EXPECT_THAT(table.take(report(6, {db}), kNow, kWall), ElementsAre(Change{Change::Kind::kFailed, "db", "exited with code 1"}));
}

TEST(ComponentTableTest, TheFirstReportOfAStartTellsWhatHasHappenedSince) {
  ComponentTable table;
  table.take(report(9, {row("db", ComponentState::kRunning)}), kNow, kWall);
  table.ended();
  table.started();
  agent::Report first = report(4, {row("db", ComponentState::kRunning)});
  first.life = 8;
  first.components[0].restarts = 1;
  EXPECT_EQ(table.take(first, kNow, kWall).size(), 1U);
  first.sequence = 5;
  EXPECT_THAT(table.take(first, kNow, kWall), IsEmpty());
}

TEST(ComponentTableTest, ARestoredAgentFallsBackAndItsRestartsAreNotToldAgain) {
  ComponentTable table;
  agent::ComponentReport db = row("db", ComponentState::kRunning);
  db.restarts = 2;
  table.take(report(90, {db}), kNow, kWall);
  table.ended();
  EXPECT_FALSE(table.current());
  db.restarts = 1;
  EXPECT_THAT(table.take(report(40, {db}), kNow, kWall), IsEmpty()) << "it went back";
  db.restarts = 2;
  EXPECT_EQ(table.take(report(41, {db}), kNow, kWall).size(), 1U);
  agent::Report another = report(1, {db});
  another.life = 8;
  EXPECT_THAT(table.take(another, kNow, kWall), IsEmpty()) << "another life, which this daemon has not seen begin";
}

TEST(ComponentTableTest, AProbeBeganAtTheEarlierOfBothClocks) {
  ComponentTable table;
  table.take(report(1, {passed("late", 300ms, 200ms), passed("set", 10ms, 200ms), passed("ahead", -5s, 1ms), row("none", ComponentState::kRunning)}),
             kNow, kWall);
  EXPECT_EQ(table.passed("late"), kNow - 300ms) << "the report was under way for 100 ms";
  EXPECT_EQ(table.passed("set"), kNow - 200ms) << "somebody has set the clock back";
  EXPECT_EQ(table.passed("ahead"), kNow - 1ms);
  EXPECT_EQ(table.passed("none"), std::nullopt);
}

// ---- Generations that wait ----

model::ContainerSpec spec_of_two() {
  model::ContainerSpec spec{.name = *ContainerName::parse("web")};
  for (const char* name : {"db", "cache"}) {
    spec.components.push_back({.name = name, .command = {"/x"}, .probe = model::ProbeSpec{.kind = model::TcpProbe{80}}});
  }
  spec.components.push_back({.name = "web", .command = {"/x"}, .state = model::StateKind::kStateless, .probe = model::ProbeSpec{.kind = model::TcpProbe{81}}});
  spec.components.push_back({.name = "quiet", .command = {"/x"}});
  return spec;
}

HealthGate::Waiting waiting(std::uint64_t number, Instant thawed) {
  auto capsule = std::make_shared<capsule::Capsule>();
  capsule->manifest.generation = {Term{1}, Incarnation{1}, number};
  return {capsule, nullptr, thawed};
}

std::vector<std::uint64_t> numbers(const std::vector<HealthGate::Waiting>& some) {
  std::vector<std::uint64_t> list;
  for (const auto& it : some) list.push_back(it.generation().number);
  return list;
}

class HealthGateTest : public ::testing::Test {
 protected:
  // Of both stateful components that are probed: how long ago the success began.
  void hear(Duration db, Duration cache, ComponentState state = ComponentState::kRunning) {
    table_.take(report(++sequence_, {passed("db", db, db), passed("cache", cache, cache, state), row("web", ComponentState::kBackOff)}), kNow, kWall);
  }
  ComponentTable table_;
  HealthGate gate_{spec_of_two()};
  std::uint64_t sequence_ = 0;
};

TEST_F(HealthGateTest, AllThatHaveStateMustPassAfterTheCapture) {
  EXPECT_TRUE(gate_.needed());
  gate_.add(waiting(1, kNow - 100ms));
  EXPECT_THAT(gate_.take_proved(table_), IsEmpty()) << "nobody was heard";
  hear(150ms, 50ms);
  EXPECT_THAT(gate_.take_proved(table_), IsEmpty());
  EXPECT_EQ(gate_.waits_for(table_), "component 'db' has passed its probe");
  hear(99ms, 50ms);
  EXPECT_THAT(numbers(gate_.take_proved(table_)), ElementsAre(1));
  EXPECT_EQ(gate_.waits_for(table_), "");
}

TEST(HealthGateOfUnprobedTest, ItsAgentMustHaveBeenHeardSince) {
  model::ContainerSpec spec{.name = *ContainerName::parse("web")};
  spec.components.push_back({.name = "quiet", .command = {"/x"}});
  HealthGate gate(spec);
  EXPECT_FALSE(gate.needed()) << "nobody could ever say so";
  gate.hear_agent();
  EXPECT_TRUE(gate.needed());
  ComponentTable table;
  table.take(report(1, {row("quiet", ComponentState::kRunning)}), kNow, kWall);
  HealthGate::Waiting first = waiting(1, kNow);
  first.heard = table.heard();
  gate.add(first);
  EXPECT_THAT(gate.take_proved(table), IsEmpty());
  EXPECT_EQ(gate.waits_for(table), "its agent has reported");
  table.take(report(2, {row("quiet", ComponentState::kRunning)}), kNow, kWall);
  EXPECT_THAT(numbers(gate.take_proved(table)), ElementsAre(1));
}

TEST_F(HealthGateTest, WhatCameLaterProvesWhatWasBefore) {
  for (const int number : {1, 2, 3}) gate_.add(waiting(static_cast<std::uint64_t>(number), kNow - 100ms + number * 10ms));
  hear(75ms, 75ms);
  EXPECT_THAT(numbers(gate_.take_proved(table_)), ElementsAre(1, 2));
  gate_.discard({Term{1}, Incarnation{1}, 3});
  hear(1ms, 1ms);
  EXPECT_THAT(gate_.take_proved(table_), IsEmpty());
}

TEST_F(HealthGateTest, OneThatFailsOrHasEndedProvesNothing) {
  gate_.add(waiting(1, kNow - 100ms));
  hear(1ms, 1ms, ComponentState::kFailing);
  EXPECT_THAT(gate_.take_proved(table_), IsEmpty());
  hear(1ms, 1ms);
  table_.ended();
  EXPECT_THAT(gate_.take_proved(table_), IsEmpty());
  EXPECT_THAT(numbers(gate_.take_all()), ElementsAre(1)) << "it is handed over";
}

TEST(HealthGateUseTest, NothingWaitsWhereNothingThatHasStateIsProbed) {
  model::ContainerSpec spec = spec_of_two();
  spec.components.erase(spec.components.begin(), spec.components.begin() + 2);
  EXPECT_FALSE(HealthGate(spec).needed());
}

// ---- Who is heard ----

TEST(AgentLinkTest, OnlyTheAgentIsHeard) {
  const std::string name = std::format("perdure-agent-link-test-{}", ::getpid());
  const agent::AbstractAddress address(name);
  UniqueFd socket(::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  const int on = 1;
  ASSERT_EQ(::setsockopt(socket.get(), SOL_SOCKET, SO_PASSCRED, &on, sizeof on), 0);
  ASSERT_EQ(::bind(socket.get(), address.get(), address.size()), 0);
  const UniqueFd sender(::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  const auto send = [&](const std::string& text) {
    EXPECT_EQ(::sendto(sender.get(), text.data(), text.size(), 0, address.get(), address.size()),
              static_cast<ssize_t>(text.size()));
  };

  auto loop = io::Loop::create().value();
  std::vector<std::uint64_t> heard;
  auto link = AgentLink::open(*loop, std::move(socket), [&](const agent::Report& it) { heard.push_back(it.sequence); });
  ASSERT_TRUE(link) << link.error().message();
  send(agent::to_text(report(1, {})));
  link->drain();
  EXPECT_FALSE(loop->run_until([&] { return !heard.empty(); }, 20ms)) << "nobody's reports count yet";
  link->listen_to(::getpid());
  send("what is no report");
  send(std::string(agent::kMaxReportBytes + 10, 'x'));
  send(agent::to_text(report(2, {})));
  EXPECT_TRUE(loop->run_until([&] { return heard.size() == 2; }, 20s));
  EXPECT_THAT(heard, ElementsAre(1, 2)) << "also what came before its host knew its number";
  link->listen_to(::getppid());
  send(agent::to_text(report(3, {})));
  link->drain();
  EXPECT_THAT(heard, ElementsAre(1, 2)) << "another process of the container has sent it";
  link->stop_listening();
  send(agent::to_text(report(4, {})));
  link->drain();
  link->listen_to(::getpid());
  link->drain();
  EXPECT_THAT(heard, ElementsAre(1, 2, 4)) << "a life that had reported before it was known";
}

}  // namespace
}  // namespace perdure::node
