// Proves what a scrape of a daemon says before and after a failure, and that an address which is taken keeps it neither from working
// nor from serving there later. Real loop, node, control socket and TCP; fake containers.
#include "node/metrics/metrics_service.h"

#include <sys/socket.h>

#include <cerrno>
#include <csignal>
#include <format>

#include "base/fd.h"
#include "node/testing/control_fixture.h"

namespace perdure::node::testing {
namespace {

using std::chrono_literals::operator""ms;

constexpr const char* kSeldom = "checkpoint:\n  interval: 1h\n";

class MetricsServiceTest : public ControlFixture {
 protected:
  void SetUp() override { serve(); }
  void TearDown() override { metrics_.reset(); }

  void serve_metrics(const std::string& address = "127.0.0.1:0", Duration retry = kMetricsRetryTime) {
    metrics_.emplace(MetricsServiceOptions{
        .node = *node_, .operations = operations_, .address = address, .standby_memory = {}, .retry = retry});
    metrics_->start();
  }
  const MetricsState& state() const { return node_->metrics_state(); }

  std::string get(const std::string& path) {
    const io::Endpoint endpoint = io::Endpoint::parse(state().address).value();
    UniqueFd socket(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    EXPECT_EQ(::connect(socket.get(), endpoint.address(), endpoint.size()), 0);
    const std::string request = std::format("GET {} HTTP/1.1\r\nHost: x\r\n\r\n", path);
    EXPECT_EQ(::send(socket.get(), request.data(), request.size(), 0), static_cast<ssize_t>(request.size()));
    std::string text;
    EXPECT_TRUE(until_polled([&] {
      char buffer[65536];
      ssize_t count = 0;
      while ((count = ::recv(socket.get(), buffer, sizeof buffer, MSG_DONTWAIT)) > 0) text.append(buffer, static_cast<std::size_t>(count));
      return count == 0;
    }));
    return text;
  }
  // For what is no event of the loop.
  template <typename Condition>
  bool until_polled(Condition condition) {
    const Instant deadline = BootClock::now() + io::kTestTime;
    while (!condition()) {
      if (BootClock::now() > deadline) return false;
      bool passed = false;
      io::Timer timer = loop_->after(1ms, [&] { passed = true; });
      loop_->run_until([&] { return passed; }, io::kTestTime);
    }
    return true;
  }
  static bool has_line(const std::string& text, const std::string& line) { return ("\n" + text).contains("\n" + line + "\n"); }

  OperationMetrics operations_;
  std::optional<MetricsService> metrics_;
};

TEST_F(MetricsServiceTest, AScrapeSaysWhatIsProtected) {
  serve_metrics();
  TestClient one = client();
  run(one, "web", kSeldom);
  const std::string answer = get("/metrics");
  EXPECT_TRUE(answer.starts_with("HTTP/1.1 200 OK\r\nContent-Type: text/plain; version=0.0.4; charset=utf-8\r\n")) << answer;
  EXPECT_TRUE(has_line(answer, "perdure_container_protected{container=\"web\"} 1")) << answer;
  EXPECT_TRUE(has_line(answer, "perdure_container_captures_total{container=\"web\"} 1"));
  EXPECT_TRUE(has_line(answer, "perdure_container_restores_total{container=\"web\"} 0"));
  EXPECT_TRUE(has_line(answer, "perdure_containers{phase=\"running\"} 1"));
  EXPECT_TRUE(has_line(answer, "perdure_cluster_member 0"));
  EXPECT_TRUE(has_line(answer, "perdure_daemon_starts_total 1"));
  EXPECT_TRUE(has_line(answer, "perdure_gate_open{container=\"web\"} 1"));
  EXPECT_TRUE(answer.contains("\nprocess_resident_memory_bytes "));
  EXPECT_FALSE(answer.contains("perdure_container_last_restore"));
  EXPECT_FALSE(answer.contains("perdure_cluster_quorum"));
}

TEST_F(MetricsServiceTest, AScrapeSaysThatAContainerFailedAndCameBack) {
  serve_metrics();
  events_.subscribe([this](const v1::Event& event) { operations_.happened(event); });
  TestClient one = client();
  run(one, "web", kSeldom);
  backend("web").drop_locked_frame();
  backend("web").die();
  ASSERT_TRUE(until([&] { return service("web").record().restores == 1; }));
  backend("web").pass_frame();
  ASSERT_TRUE(until([&] { return service("web").last_restore() && service("web").last_restore()->first_packet; }));
  const std::string answer = get("/metrics");
  EXPECT_TRUE(has_line(answer, "perdure_container_restores_total{container=\"web\"} 1")) << answer;
  EXPECT_TRUE(has_line(answer, "perdure_container_failures_total{container=\"web\"} 1"));
  EXPECT_TRUE(has_line(answer, "perdure_gate_closures_total{container=\"web\",cause=\"perdured\"} 1"));
  EXPECT_TRUE(has_line(answer, "perdure_gate_frames_dropped_total{container=\"web\",reason=\"locked\"} 1"));
  EXPECT_TRUE(has_line(answer, "perdure_gate_frames_passed_total{container=\"web\"} 1"));
  EXPECT_TRUE(has_line(answer, "perdure_restore_seconds_count{step=\"restored\"} 1"));
  EXPECT_TRUE(has_line(answer, "perdure_restore_seconds_count{step=\"first_packet\"} 1"));
  EXPECT_TRUE(answer.contains("\nperdure_container_last_restore_seconds{container=\"web\",step=\"restored\"} 0."));
}

TEST_F(MetricsServiceTest, OfSeveralDeathsTheFirstClosesTheGate) {
  serve_metrics();
  TestClient one = client();
  run(one, "web", kSeldom);
  const auto killed = [&](pid_t pid) {
    service("web").process_killed({.at = BootClock::now(),
                                   .process_id = pid,
                                   .signal = SIGKILL,
                                   .held = backend("web").gate_held_by_death(),
                                   .command = {}});
  };
  killed(4001);
  EXPECT_TRUE(has_line(metrics_->collect(), "perdure_gate_closures_total{container=\"web\",cause=\"death\"} 0")) << "it was not held";
  ASSERT_TRUE(until([&] { return backend("web").gate_is_open(); }));
  backend("web").hold_by_death();
  killed(4002);
  killed(4003);
  EXPECT_TRUE(has_line(metrics_->collect(), "perdure_gate_closures_total{container=\"web\",cause=\"death\"} 1"));
  ASSERT_TRUE(until([&] { return !backend("web").gate_held_by_death(); })) << "init lives on: it is opened";
  backend("web").hold_by_death();
  killed(4004);
  EXPECT_TRUE(has_line(metrics_->collect(), "perdure_gate_closures_total{container=\"web\",cause=\"death\"} 2"));
}

TEST_F(MetricsServiceTest, AContainerThatWasGivenUpSaysSo) {
  serve_metrics();
  TestClient one = client();
  run(one, "web", std::string(kSeldom) + "restart:\n  cold-start: never\n");
  backend("web").on_restore([] { return Status(fail(ErrorCode::kIo, "it does not go")); });
  backend("web").die();
  ASSERT_TRUE(until([&] { return service("web").status().phase == policy::Phase::kFailed; }));
  const std::string answer = get("/metrics");
  EXPECT_TRUE(has_line(answer, "perdure_container_protected{container=\"web\"} 0")) << answer;
  EXPECT_TRUE(has_line(answer, "perdure_container_unprotected{container=\"web\",reason=\"failed\"} 1"));
  EXPECT_TRUE(has_line(answer, "perdure_gate_open{container=\"web\"} 0"));
}

TEST_F(MetricsServiceTest, ACaptureThatFailsIsCountedAndItsReasonIsAClass) {
  serve_metrics();
  backends_.on_new = [](FakeBackend& made) {
    made.on_capture([] { return Status(fail(ErrorCode::kUnsupported, "a kind of descriptor that CRIU does not know")); });
  };
  TestClient one = client();
  run(one, "web", kSeldom);
  const std::string answer = get("/metrics");
  EXPECT_TRUE(has_line(answer, "perdure_container_unprotected{container=\"web\",reason=\"captures_fail\"} 1")) << answer;
  EXPECT_TRUE(answer.contains("\nperdure_container_capture_failures_total{container=\"web\"} "));
  EXPECT_FALSE(answer.contains("descriptor that CRIU"));
  EXPECT_FALSE(answer.contains("perdure_container_committed_age_seconds{"));
}

TEST_F(MetricsServiceTest, OtherPathsSayWhereTheMetricsAre) {
  serve_metrics();
  EXPECT_TRUE(get("/").contains("/metrics"));
  EXPECT_TRUE(get("/favicon.ico").starts_with("HTTP/1.1 404 Not Found\r\n"));
}

TEST_F(MetricsServiceTest, AnAddressThatIsTakenIsSaidAndTriedAgain) {
  auto other = io::HttpServer::listen(*loop_, {.listen = io::Endpoint::parse("127.0.0.1:0", 1).value()},
                                      [](const std::string&) { return io::HttpResponse{}; });
  ASSERT_TRUE(other);
  const std::string address = to_string((*other)->endpoint());
  serve_metrics(address, 5ms);
  EXPECT_EQ(state().address, address);
  EXPECT_TRUE(state().trouble.contains("another program listens there")) << state().trouble;
  TestClient one = client();
  v1::Request version;
  version.mutable_version();
  EXPECT_EQ(one.call(version).version().metrics_error(), state().trouble);
  run(one, "web", kSeldom);
  other->reset();
  ASSERT_TRUE(until_polled([&] { return state().trouble.empty(); }));
  EXPECT_TRUE(has_line(get("/metrics"), "perdure_container_protected{container=\"web\"} 1"));
  EXPECT_EQ(one.call(version).version().metrics_address(), address);
  std::size_t told = 0;
  for (const v1::Event& event : events_.recent()) told += event.kind() == "metrics_not_served" ? 1 : 0;
  EXPECT_EQ(told, 1u) << "once, however often it is tried";
}

// On the loop nothing else happens meanwhile; heartbeats of a cluster are sent every 50 ms.
TEST_F(MetricsServiceTest, TheCollectionOfManyContainersIsShort) {
  serve_metrics();
  TestClient one = client();
  constexpr int kContainers = 30;
  for (int i = 0; i < kContainers; ++i) run(one, std::format("c{}", i), kSeldom);
  Duration best = Duration::max();
  for (int i = 0; i < 5; ++i) {
    const Instant begun = BootClock::now();
    EXPECT_TRUE(metrics_->collect().contains("perdure_container_protected{container=\"c29\"} 1"));
    best = std::min(best, Duration(BootClock::now() - begun));
  }
  RecordProperty("microseconds_per_container", static_cast<int>(best.count() / 1000 / kContainers));
  EXPECT_LT(best, 50ms);
}

}  // namespace
}  // namespace perdure::node::testing
