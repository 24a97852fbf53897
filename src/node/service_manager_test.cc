// What a service manager hears: a real datagram socket stands for it.
#include "node/service_manager.h"

#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <atomic>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <future>

#include "base/fd.h"
#include "gtest/gtest.h"
#include "io/test_support.h"

namespace perdure::node {
namespace {

class Manager {
 public:
  Manager() : path_(directory_ / "notify") {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    std::strncpy(address.sun_path, path_.c_str(), sizeof address.sun_path - 1);
    EXPECT_EQ(::bind(socket_.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address), 0);
    ::setenv("NOTIFY_SOCKET", path_.c_str(), 1);
  }
  ~Manager() { ::unsetenv("NOTIFY_SOCKET"); }
  bool heard() const {
    pollfd entry{.fd = socket_.get(), .events = POLLIN, .revents = 0};
    return ::poll(&entry, 1, 0) == 1;
  }
  std::string next() const {
    char text[256];
    const ssize_t got = ::recv(socket_.get(), text, sizeof text, 0);
    return got > 0 ? std::string(text, static_cast<std::size_t>(got)) : "";
  }

 private:
  io::TemporaryDirectory directory_;
  std::string path_;
  UniqueFd socket_{::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0)};
};

TEST(ServiceManagerTest, IsToldAndItsVariablesAreNotInherited) {
  const Manager manager;
  ::setenv("WATCHDOG_USEC", "3000000", 1);
  ::setenv("WATCHDOG_PID", std::to_string(::getpid()).c_str(), 1);
  const ServiceManager us;
  EXPECT_EQ(::getenv("NOTIFY_SOCKET"), nullptr);
  EXPECT_EQ(::getenv("WATCHDOG_USEC"), nullptr);
  EXPECT_EQ(::getenv("WATCHDOG_PID"), nullptr);
  EXPECT_EQ(us.watchdog(), std::chrono::seconds(3));
  us.notify("READY=1");
  EXPECT_EQ(manager.next(), "READY=1");
}

TEST(ServiceManagerTest, WithoutOneNothingHappens) {
  ::unsetenv("NOTIFY_SOCKET");
  ::setenv("WATCHDOG_USEC", "1000", 1);
  const ServiceManager us;
  EXPECT_FALSE(us.watchdog());
  us.notify("READY=1");
}

TEST(ServiceManagerTest, AWatchdogForAnotherProcessOrNonsenseIsNone) {
  for (const auto& [usec, pid] : {std::pair("1000", "1"), {"0", ""}, {"x", ""}, {"-5", ""}}) {
    const Manager manager;
    ::setenv("WATCHDOG_USEC", usec, 1);
    ::setenv("WATCHDOG_PID", pid, 1);
    EXPECT_FALSE(ServiceManager().watchdog()) << usec;
  }
}

// A systemctl(1) of the test's, found before any other.
class HostGoesDownTest : public ::testing::Test {
 protected:
  HostGoesDownTest() : path_(::getenv("PATH")) {
    ::setenv("PATH", (directory_ / "").append(":" + path_).c_str(), 1);
  }
  ~HostGoesDownTest() override { ::setenv("PATH", path_.c_str(), 1); }
  void answers(const std::string& script) {
    const std::string program = directory_ / "systemctl";
    std::ofstream(program) << "#!/bin/sh\n[ \"$1\" = is-system-running ] || exit 2\n" << script << "\n";
    ASSERT_EQ(::chmod(program.c_str(), 0700), 0);
  }
  io::TemporaryDirectory directory_;
  const std::string path_;
};

TEST_F(HostGoesDownTest, IsWhatTheServiceManagerSays) {
  const Manager manager;
  const ServiceManager us;
  answers("echo stopping; exit 1");
  EXPECT_TRUE(us.host_goes_down());
  answers("echo running");
  EXPECT_FALSE(us.host_goes_down());
  answers("echo degraded; exit 1");
  EXPECT_FALSE(us.host_goes_down());
}

TEST_F(HostGoesDownTest, WhoeverDoesNotAnswerIsNotWaitedFor) {
  const Manager manager;
  const ServiceManager us;
  answers("exec sleep 60");
  const Instant before = BootClock::now();
  EXPECT_FALSE(us.host_goes_down());
  EXPECT_LT(BootClock::now() - before, io::kTestTime / 2);
}

TEST_F(HostGoesDownTest, WithoutAServiceManagerNobodyIsAsked) {
  ::unsetenv("NOTIFY_SOCKET");
  const ServiceManager us;
  answers("echo stopping");
  EXPECT_FALSE(us.host_goes_down());
}

class WatchdogTest : public ::testing::Test {
 protected:
  WatchdogTest() {
    ::setenv("WATCHDOG_USEC", "30000", 1);
    us_.emplace();
  }
  const Manager manager_;
  std::optional<ServiceManager> us_;
  ManualClock clock_;
  std::unique_ptr<io::Loop> loop_ = io::make_loop();
  std::unique_ptr<io::Pool> pool_ = io::Pool::create({.threads = 1}).value();
};

TEST_F(WatchdogTest, IsFedWhileLoopAndPoolWork) {
  const WatchdogFeeder feeder(*us_, *loop_, *pool_, clock_);
  for (int i = 0; i < 5; ++i) {
    ASSERT_TRUE(loop_->run_until([&] { return manager_.heard(); }, io::kTestTime));
    EXPECT_EQ(manager_.next(), "WATCHDOG=1");
    clock_.advance(kPoolSilence - std::chrono::seconds(1));
    io::settle(*loop_);
    ASSERT_TRUE(loop_->run_until([&] { return manager_.heard(); }, io::kTestTime));
    EXPECT_EQ(manager_.next(), "WATCHDOG=1");
  }
}

TEST_F(WatchdogTest, IsNotFedWhenThePoolHangs) {
  std::promise<void> release;
  const io::Lifetime owner;
  ASSERT_TRUE(pool_->submit(*loop_, owner, [gate = release.get_future()]() mutable { gate.wait(); }, [] {}));
  const WatchdogFeeder feeder(*us_, *loop_, *pool_, clock_);
  ASSERT_TRUE(manager_.heard());
  manager_.next();
  clock_.advance(kPoolSilence);
  int turns = 0;
  io::Timer timer;
  std::function<void()> turn = [&] {
    ++turns;
    timer = loop_->after(std::chrono::milliseconds(10), turn);
  };
  turn();
  ASSERT_TRUE(loop_->run_until([&] { return turns > 10; }, io::kTestTime));
  EXPECT_FALSE(manager_.heard());
  release.set_value();
  ASSERT_TRUE(loop_->run_until([&] { return manager_.heard(); }, io::kTestTime)) << "it has recovered";
}

}  // namespace
}  // namespace perdure::node
