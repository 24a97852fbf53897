// A daemon without a host: real loop, pool, node, stores and control socket in a directory of their own, fake
// backends; and clients that speak the control protocol.
#pragma once

#include <poll.h>

#include <format>
#include <memory>
#include <string>
#include <vector>

#include "control.pb.h"
#include "gtest/gtest.h"
#include "io/test_support.h"
#include "io/unix_socket.h"
#include "node/control_service.h"
#include "node/testing/fake_backend.h"

namespace perdure::node::testing {

namespace v1 = control::v1;

// One connection. Answers are waited for with the loop running.
class TestClient {
 public:
  TestClient(io::Loop& loop, const std::string& path)
      : loop_(loop), client_(io::FramedClient::connect(path, BootClock::now() + io::kTestTime).value()) {}

  std::uint64_t send(v1::Request request, int fd = -1) {
    if (request.id() == 0) request.set_id(++last_id_);
    EXPECT_TRUE(client_.send(request.SerializeAsString(), BootClock::now() + io::kTestTime, fd));
    return request.id();
  }
  void send_raw(const std::string& payload) {
    EXPECT_TRUE(client_.send(payload, BootClock::now() + io::kTestTime));
  }

  // The next frame of any kind; nothing: the daemon closed the connection, or none came in time.
  std::optional<v1::Response> next() {
    const Instant deadline = BootClock::now() + io::kTestTime;
    while (BootClock::now() < deadline) {
      loop_.run_until([this] { return readable(); }, io::kTestTime);
      auto frame = client_.receive(BootClock::now() + std::chrono::milliseconds(1));
      if (!frame && frame.error().code() == ErrorCode::kTimeout) continue;
      if (!frame || !*frame) return std::nullopt;
      v1::Response response;
      EXPECT_TRUE(response.ParseFromString((*frame)->payload));
      return response;
    }
    ADD_FAILURE() << "no answer";
    return std::nullopt;
  }
  // The final answer; what came before it is in `before`.
  v1::Response final() {
    before.clear();
    while (auto response = next()) {
      if (!response->has_progress() && !response->has_log() && !response->has_event() && !response->has_question()) {
        return *response;
      }
      before.push_back(*std::move(response));
    }
    ADD_FAILURE() << "the connection was closed";
    return {};
  }
  v1::Response call(const v1::Request& request, int fd = -1) {
    send(request, fd);
    return final();
  }

  std::vector<v1::Response> before;

 private:
  // The loop turns only for its own events: a socket that becomes readable by what the loop sent is seen after
  // that callback.
  bool readable() const {
    pollfd entry{.fd = client_.fd(), .events = POLLIN, .revents = 0};
    return ::poll(&entry, 1, 0) > 0;
  }

  io::Loop& loop_;
  io::FramedClient client_;
  std::uint64_t last_id_ = 0;
};

class ControlFixture : public ::testing::Test {
 protected:
  ControlFixture() : events_(EventLog::open({.path = {}}, clock_).value()) {
    host_.paths.run_dir = directory_ / "run";
    host_.paths.state_dir = directory_ / "state";
    EXPECT_TRUE(io::make_directories(host_.paths.run_dir, 0755));
    EXPECT_TRUE(io::make_directories(host_.paths.containers(), 0700));
    host_.facts.kernel_release = "6.18.0";
    loop_ = io::make_loop();
    pool_ = io::Pool::create({}).value();
    make_node(1);
  }
  ~ControlFixture() override { end_node(); }

  void make_node(std::uint64_t incarnation) {
    node_ = std::make_unique<Node>(NodeOptions{.loop = *loop_,
                                               .pool = *pool_,
                                               .store_pool = *pool_,
                                               .clock = clock_,
                                               .events = events_,
                                               .host = host_,
                                               .identity = {Incarnation{incarnation}, clock_.wall()},
                                               .make_backend = backends_.factory()});
  }
  void end_node() {
    control_.reset();
    node_.reset();
  }
  void listen(std::optional<gid_t> group = std::nullopt) {
    auto control = ControlService::listen(*node_, {socket(), group});
    ASSERT_TRUE(control) << control.error().message();
    control_ = *std::move(control);
  }
  void serve() {
    listen();
    control_->containers_known();
  }

  std::string socket() const { return host_.paths.socket(); }
  TestClient client() { return TestClient(*loop_, socket()); }
  template <typename Condition>
  bool until(Condition condition) {
    return loop_->run_until(condition, io::kTestTime);
  }

  static std::string spec(const std::string& name, const std::string& more = "") {
    return std::format("name: {}\nroot-filesystem:\n  directory: /nowhere\ncommand: [/bin/true]\n{}", name, more);
  }
  static v1::Request run_request(const std::string& yaml) {
    v1::Request request;
    request.mutable_run()->set_spec_yaml(yaml);
    request.mutable_run()->set_file_name("test.yaml");
    request.mutable_run()->set_base_directory("/");
    return request;
  }
  // A container that is protected.
  v1::ContainerStatus run(TestClient& client, const std::string& name, const std::string& more = "") {
    const v1::Response response = client.call(run_request(spec(name, more)));
    EXPECT_TRUE(response.has_run()) << response.error().message();
    return response.run().status();
  }
  FakeBackend& backend(const std::string& name) { return backends_.at(name); }
  ContainerService& service(const std::string& name) {
    ContainerService* found = node_->find(ContainerName::parse(name).value());
    EXPECT_NE(found, nullptr);
    return *found;
  }

  const SystemClock clock_;
  io::TemporaryDirectory directory_;
  HostServices host_;
  EventLog events_;
  FakeBackends backends_;
  std::unique_ptr<io::Loop> loop_;
  std::unique_ptr<io::Pool> pool_;
  std::unique_ptr<Node> node_;
  std::unique_ptr<ControlService> control_;
};

}  // namespace perdure::node::testing
