// The control socket: who is served, what garbage costs, and how requests and connections end. Real sockets, node
// and stores; the containers' backends are doubles.
#include "node/control_service.h"

#include <grp.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <future>
#include <optional>
#include <thread>

#include "control_limits.h"
#include "node/testing/control_fixture.h"

namespace perdure::node::testing {
namespace {

constexpr uid_t kNobody = 65534;
constexpr gid_t kOperators = 54321;

class ControlServiceTest : public ControlFixture {
 protected:
  static v1::Request list() {
    v1::Request request;
    request.mutable_list();
    return request;
  }
  static v1::Request version() {
    v1::Request request;
    request.mutable_version();
    return request;
  }
};

TEST_F(ControlServiceTest, SaysWhatItIs) {
  serve();
  TestClient one = client();
  const v1::Response response = one.call(version());
  ASSERT_TRUE(response.has_version());
  EXPECT_FALSE(response.version().version().empty());
  EXPECT_EQ(response.version().incarnation(), "1");
  EXPECT_EQ(response.version().pid(), ::getpid());
  EXPECT_EQ(response.version().kernel(), "6.18.0");
}

TEST_F(ControlServiceTest, GarbageEndsTheConnectionAndNothingElse) {
  serve();
  TestClient other = client();
  TestClient bad = client();
  bad.send_raw("\xff\xff\xff no request");
  const auto refusal = bad.next();
  ASSERT_TRUE(refusal && refusal->has_error());
  EXPECT_EQ(refusal->id(), 0u);
  EXPECT_EQ(refusal->error().code(), v1::ERROR_INVALID);
  EXPECT_FALSE(bad.next()) << "closed";
  EXPECT_TRUE(other.call(list()).has_list());
}

TEST_F(ControlServiceTest, ARequestBeyondTheLimitIsRefused) {
  serve();
  TestClient bad = client();
  // More than a socket holds: it is sent while the loop runs.
  std::thread sender([&] { bad.send(run_request(std::string(control::kMaxRequestBytes, '#'))); });
  const auto refusal = bad.next();
  sender.join();
  ASSERT_TRUE(refusal && refusal->has_error());
  EXPECT_EQ(refusal->error().code(), v1::ERROR_INVALID);
  EXPECT_FALSE(bad.next());
}

TEST_F(ControlServiceTest, ANumberIsUsedOnceAtATime) {
  serve();
  TestClient one = client();
  one.send_raw([] {
    v1::Request request;  // without a number
    request.mutable_list();
    return request.SerializeAsString();
  }());
  EXPECT_EQ(one.final().error().code(), v1::ERROR_INVALID);
  v1::Request follow;
  follow.set_id(7);
  follow.mutable_events()->set_follow(true);
  one.send(follow);
  v1::Request again = list();
  again.set_id(7);
  const v1::Response refusal = one.call(again);
  EXPECT_EQ(refusal.error().code(), v1::ERROR_INVALID);
  EXPECT_TRUE(one.call(list()).has_list()) << "the connection is none the worse";
}

TEST_F(ControlServiceTest, OpenRequestsAreBounded) {
  serve();
  TestClient one = client();
  v1::Request follow;
  follow.mutable_events()->set_follow(true);
  for (std::size_t i = 0; i < kMaxOpenRequests; ++i) one.send(follow);
  EXPECT_EQ(one.call(list()).error().code(), v1::ERROR_TRANSIENT);
  TestClient other = client();
  EXPECT_TRUE(other.call(list()).has_list());
}

TEST_F(ControlServiceTest, AKindThatItDoesNotKnowIsUnsupported) {
  serve();
  TestClient one = client();
  EXPECT_EQ(one.call(v1::Request()).error().code(), v1::ERROR_UNSUPPORTED);
}

TEST_F(ControlServiceTest, RequestsWaitUntilTheContainersAreKnown) {
  listen();
  TestClient one = client();
  const std::uint64_t waiting = one.send(list());
  const v1::Response early = one.call(version());
  EXPECT_TRUE(early.has_version()) << "this one need not wait";
  control_->containers_known();
  const v1::Response late = one.final();
  EXPECT_EQ(late.id(), waiting);
  EXPECT_TRUE(late.has_list());
}

TEST_F(ControlServiceTest, AClientThatLeavesBeforeTheContainersAreKnownIsForgotten) {
  listen();
  {
    TestClient one = client();
    one.send(list());
    EXPECT_TRUE(one.call(version()).has_version());
  }
  TestClient other = client();
  EXPECT_TRUE(other.call(version()).has_version());
  control_->containers_known();
  EXPECT_TRUE(other.call(list()).has_list());
}

TEST_F(ControlServiceTest, AContainerOutlivesTheClientThatWaitsForIt) {
  std::promise<void> proceed;
  std::shared_future<void> may_proceed = proceed.get_future().share();
  backends_.on_new = [&](FakeBackend& backend) {
    backend.on_prepare([may_proceed] {
      may_proceed.wait();
      return Status();
    });
  };
  serve();
  {
    TestClient one = client();
    one.send(run_request(spec("web")));
    ASSERT_TRUE(until([&] { return node_->find(ContainerName::parse("web").value()) != nullptr; }));
  }
  proceed.set_value();
  EXPECT_TRUE(until([&] { return service("web").status().phase == policy::Phase::kProtected; }));
}

// ---- Permission ----

// SO_PEERCRED is a thread's: these system calls, unlike libc's, change the calling thread only.
class As {
 public:
  static std::optional<v1::Response> ask(ControlFixture&, io::Loop& loop, const std::string& path, uid_t uid, gid_t gid,
                                         std::vector<gid_t> groups) {
    std::optional<io::FramedClient> client;
    std::thread([&] {
      EXPECT_EQ(::syscall(SYS_setgroups, groups.size(), groups.data()), 0);
      EXPECT_EQ(::syscall(SYS_setresgid, gid, gid, gid), 0);
      EXPECT_EQ(::syscall(SYS_setresuid, uid, uid, uid), 0);
      auto connected = io::FramedClient::connect(path, BootClock::now() + io::kTestTime);
      if (connected) client.emplace(*std::move(connected));
    }).join();
    if (!client) return std::nullopt;
    v1::Request request;
    request.set_id(1);
    request.mutable_version();
    EXPECT_TRUE(client->send(request.SerializeAsString(), BootClock::now() + io::kTestTime));
    loop.run_until(
        [&] {
          pollfd entry{.fd = client->fd(), .events = POLLIN, .revents = 0};
          return ::poll(&entry, 1, 0) > 0;
        },
        io::kTestTime);
    auto frame = client->receive(BootClock::now() + io::kTestTime);
    v1::Response response;
    if (!frame || !*frame || !response.ParseFromString((*frame)->payload)) return std::nullopt;
    return response;
  }
};

class ControlPermissionTest : public ControlServiceTest {
 protected:
  void SetUp() override {
    if (::geteuid() != 0) GTEST_SKIP() << "other users can be tried by root only";
    ASSERT_EQ(::chmod(directory_.path().c_str(), 0755), 0);
    listen(kOperators);
    control_->containers_known();
  }
  std::optional<v1::Response> ask(uid_t uid, gid_t gid, std::vector<gid_t> groups) {
    return As::ask(*this, *loop_, socket(), uid, gid, std::move(groups));
  }
};

TEST_F(ControlPermissionTest, TheFileLetsRootAndTheGroupIn) {
  struct stat status{};
  ASSERT_EQ(::stat(socket().c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 07777, 0660u);
  EXPECT_EQ(status.st_gid, kOperators);
  EXPECT_FALSE(ask(kNobody, kNobody, {}));
}

TEST_F(ControlPermissionTest, MembersAreServedOthersAreNot) {
  // As if somebody had opened the file's mode: the kernel's word about the peer decides.
  ASSERT_EQ(::chmod(socket().c_str(), 0666), 0);
  const auto by_primary = ask(kNobody, kOperators, {});
  EXPECT_TRUE(by_primary && by_primary->has_version());
  const auto by_supplementary = ask(kNobody, kNobody, {1, kOperators});
  EXPECT_TRUE(by_supplementary && by_supplementary->has_version());
  const auto stranger = ask(kNobody, kNobody, {1});
  ASSERT_TRUE(stranger && stranger->has_error());
  EXPECT_EQ(stranger->error().code(), v1::ERROR_PERMISSION);
  EXPECT_EQ(stranger->id(), 0u);
}

}  // namespace
}  // namespace perdure::node::testing
