// Proves that the addresses of all containers are asked for link by link, that what comes of it reaches the right container, and that
// answers which come too late reach nobody.
//
// How: links, standbys and moves are made up; the loop, the pool and the rounds are real, and quick.
#include "node/cluster/reachability_watch.h"

#include <algorithm>
#include <iterator>
#include <map>
#include <memory>
#include <mutex>
#include <vector>

#include "gmock/gmock.h"
#include "io/test_support.h"

namespace perdure::node {
namespace {

namespace reach = policy::reachability;
using std::chrono_literals::operator""h;
using std::chrono_literals::operator""ms;
using ::testing::ElementsAre;

ContainerName name_of(std::string_view text) { return ContainerName::parse(text).value(); }
NodeName node_of(std::string_view text) { return NodeName::parse(text).value(); }
model::IpAddress ip(std::string_view text) { return model::IpAddress::parse(text).value(); }

model::NetworkSpec network(std::string bridge, std::vector<model::IpAddress> addresses) {
  model::NetworkSpec spec;
  spec.attachment = model::BridgeAttachment{std::move(bridge)};
  spec.reachability = std::move(addresses);
  return spec;
}

class ReachabilityWatchTest : public ::testing::Test {
 protected:
  ReachabilityWatchTest() {
    watch_ = std::make_unique<ReachabilityWatch>(
        ReachabilityWatch::Environment{
            .loop = *loop_,
            .pool = *pool_,
            .clock = clock_,
            .events = events_,
            .find_reachable = [this](const network::ReachQuery& query) { return find(query); },
            .candidates = [](const ContainerName&) { return std::vector{node_of("b")}; },
            .ask_standby =
                [this](const NodeName& node, const ContainerName& name, ReachabilityWatch::Reached answer) {
                  EXPECT_EQ(node, node_of("b"));
                  asked_.emplace_back(name, std::move(answer));
                },
            .hand_over =
                [this](const ContainerName& name, const NodeName&, ReachabilityWatch::Failed failed) {
                  moved_.emplace_back(name, std::move(failed));
                }},
        reach::Options{.probe_interval = 2ms, .silence = 10ms, .ask_again = 1h, .move_again = 1h});
  }
  ~ReachabilityWatchTest() override { pool_->stop(); }

  Result<ReachabilityWatch::Addresses> find(const network::ReachQuery& query) {
    const std::lock_guard lock(mutex_);
    ++rounds_;
    const auto there = links_.find(query.bridge);
    if (there == links_.end()) return fail(ErrorCode::kNotFound, "no bridge '" + query.bridge + "'");
    ReachabilityWatch::Addresses found;
    std::ranges::set_intersection(there->second, query.addresses, std::inserter(found, found.begin()));
    return found;
  }
  void set_link(const std::string& bridge, ReachabilityWatch::Addresses there) {
    const std::lock_guard lock(mutex_);
    links_[bridge] = std::move(there);
  }
  unsigned rounds() {
    const std::lock_guard lock(mutex_);
    return rounds_;
  }
  [[nodiscard]] bool until(const std::function<bool()>& condition) { return loop_->run_until(condition, io::kTestTime); }
  void pass_rounds(unsigned count) {
    const unsigned before = rounds();
    ASSERT_TRUE(until([&] { return rounds() >= before + count; }));
  }
  control::v1::ContainerStatus status(const std::string& name) {
    control::v1::ContainerStatus filled;
    watch_->fill(filled, name_of(name));
    return filled;
  }
  std::vector<std::string> kinds() {
    std::vector<std::string> told;
    for (const auto& event : events_.recent()) told.push_back(event.container() + " " + event.kind());
    return told;
  }

  const SystemClock clock_;
  std::unique_ptr<io::Loop> loop_ = io::Loop::create().value();
  std::unique_ptr<io::Pool> pool_ = io::Pool::create({}).value();
  EventLog events_ = EventLog::open({}, clock_).value();
  std::mutex mutex_;
  std::map<std::string, ReachabilityWatch::Addresses> links_{{"br0", {}}, {"br1", {}}};
  unsigned rounds_ = 0;
  std::vector<std::pair<ContainerName, ReachabilityWatch::Reached>> asked_;
  std::vector<std::pair<ContainerName, ReachabilityWatch::Failed>> moved_;
  std::unique_ptr<ReachabilityWatch> watch_;
};

TEST_F(ReachabilityWatchTest, OnlyTheContainerOfTheLinkThatIsCutIsHandedOver) {
  set_link("br0", {ip("10.1.0.1")});
  watch_->watch(name_of("web"), network("br0", {ip("10.1.0.1"), ip("10.1.0.2")}));
  watch_->watch(name_of("db"), network("br1", {ip("10.1.0.1")}));
  ASSERT_TRUE(until([&] { return !asked_.empty(); }));
  ASSERT_EQ(asked_.size(), 1U);
  EXPECT_EQ(asked_.front().first, name_of("db"));
  EXPECT_TRUE(status("web").reachability(0).answers());
  EXPECT_FALSE(status("web").reachability(1).answers());
  EXPECT_FALSE(status("db").reachability(0).answers());
  asked_.front().second(reach::Reaches::kYes);
  ASSERT_EQ(moved_.size(), 1U);
  EXPECT_EQ(moved_.front().first, name_of("db"));
  EXPECT_THAT(kinds(), ElementsAre("db unreachable", "db handed_over"));
}

TEST_F(ReachabilityWatchTest, AnAnswerForOneThatIsNotWatchedAnyMoreMovesNothing) {
  watch_->watch(name_of("web"), network("br0", {ip("10.1.0.1")}));
  ASSERT_TRUE(until([&] { return !asked_.empty(); }));
  watch_->forget(name_of("web"));
  watch_->watch(name_of("web"), network("br0", {ip("10.1.0.1")}));
  ASSERT_TRUE(until([&] { return asked_.size() == 2; }));
  asked_[0].second(reach::Reaches::kYes);
  EXPECT_TRUE(moved_.empty()) << "that was another one of the same name";
  asked_[1].second(reach::Reaches::kYes);
  EXPECT_EQ(moved_.size(), 1U);
}

TEST_F(ReachabilityWatchTest, AMoveThatFailedIsTold) {
  watch_->watch(name_of("web"), network("br0", {ip("10.1.0.1")}));
  ASSERT_TRUE(until([&] { return !asked_.empty(); }));
  asked_.front().second(reach::Reaches::kYes);
  ASSERT_EQ(moved_.size(), 1U);
  moved_.front().second("no room there");
  ASSERT_TRUE(until([&] { return !status("web").reachability_reason().empty(); }));
  EXPECT_THAT(status("web").reachability_reason(), ::testing::HasSubstr("no room there"));
}

TEST_F(ReachabilityWatchTest, ABridgeThatIsGoneSaysNothing) {
  watch_->watch(name_of("web"), network("br9", {ip("10.1.0.1")}));
  pass_rounds(20);
  EXPECT_TRUE(asked_.empty());
  EXPECT_FALSE(status("web").reachability(0).has_answers());
  EXPECT_THAT(status("web").reachability_reason(), ::testing::HasSubstr("br9"));
}

TEST_F(ReachabilityWatchTest, WithoutAddressesNothingIsAsked) {
  watch_->watch(name_of("web"), network("br0", {}));
  EXPECT_EQ(status("web").reachability_size(), 0);
  watch_->watch(name_of("db"), network("br1", {ip("10.1.0.1")}));
  pass_rounds(3);
  watch_->forget(name_of("db"));
  bool passed = false;
  const io::Timer later = loop_->after(50ms, [&] { passed = true; });
  ASSERT_TRUE(until([&] { return passed; }));
  const unsigned before = rounds();
  passed = false;
  const io::Timer again = loop_->after(50ms, [&] { passed = true; });
  ASSERT_TRUE(until([&] { return passed; }));
  EXPECT_EQ(rounds(), before);
}

TEST_F(ReachabilityWatchTest, AnOwnersQuestionIsAnsweredOnceAtATime) {
  set_link("br0", {ip("10.1.0.1")});
  std::vector<Result<ReachabilityWatch::Addresses>> answers;
  for (int i = 0; i < 2; ++i) {
    watch_->look(name_of("web"), network("br0", {ip("10.1.0.1"), ip("10.1.0.2")}),
                 [&](Result<ReachabilityWatch::Addresses> found) { answers.push_back(std::move(found)); });
  }
  ASSERT_TRUE(until([&] { return answers.size() == 2; }));
  EXPECT_EQ(answers[0].error().code(), ErrorCode::kConflict);
  EXPECT_EQ(*answers[1], ReachabilityWatch::Addresses{ip("10.1.0.1")});
}

}  // namespace
}  // namespace perdure::node
