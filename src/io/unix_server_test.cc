// Proves that the bounds of a server hold, that a client that floods, stalls, lies or vanishes is
// cut off without another one noticing, and that the socket file belongs to one live server. Real
// sockets in a temporary directory.
#include "io/unix_socket.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <atomic>
#include <thread>

#include "gmock/gmock.h"
#include "io/test_support.h"
#include "io/unix_socket_fixture.h"

namespace perdure::io {
namespace {

using std::chrono_literals::operator""ms;

class UnixServerTest : public UnixSocketTest {};

TEST_F(UnixServerTest, CutsOffOversizedFramesAndGarbage) {
  listen({.max_frame_bytes = 100});
  RawClient oversized(path_);
  RawClient garbage(path_);
  RawClient largest(path_);
  ASSERT_TRUE(opens(3));
  oversized.send(encode(std::string(101, 'x')));
  garbage.send("GET / HTTP/1.1\r\n\r\n");
  largest.send(encode(std::string(100, 'x')));
  ASSERT_TRUE(until([&] { return closed_.size() == 2; }));
  EXPECT_EQ(closed_.at(opened_[0]), ErrorCode::kInvalid);
  EXPECT_EQ(closed_.at(opened_[1]), ErrorCode::kInvalid);
  ASSERT_TRUE(frames(1));
  EXPECT_EQ(server_->connection_count(), 1);
  expect_service();
}

TEST_F(UnixServerTest, CutsOffAClientThatStopsWithinAFrameButNotAnIdleOne) {
  listen({.partial_frame_time = 50ms});
  RawClient idle(path_);
  RawClient in_header(path_);
  RawClient in_payload(path_);
  ASSERT_TRUE(opens(3));
  in_header.send("\x05");
  in_payload.send(encode("hello").substr(0, 6));
  ASSERT_TRUE(until([&] { return closed_.size() == 2; }));
  EXPECT_EQ(closed_.at(opened_[1]), ErrorCode::kTimeout);
  EXPECT_EQ(closed_.at(opened_[2]), ErrorCode::kTimeout);
  idle.send(encode("still here"));
  ASSERT_TRUE(frames(1));
  expect_service();
}

TEST_F(UnixServerTest, DisconnectsASlowReader) {
  listen({.max_send_queue_bytes = 100'000});
  FramedClient slow = connect();
  ASSERT_TRUE(opens(1));
  const ConnectionId id = opened_[0];
  Status sent;
  for (int i = 0; i < 10'000 && sent; ++i) {
    sent = server_->find(id)->send(std::string(1000, 'x'));
  }
  ASSERT_FALSE(sent);
  EXPECT_EQ(sent.error().code(), ErrorCode::kTransient);
  EXPECT_EQ(server_->find(id), nullptr);
  EXPECT_TRUE(closed_.empty()) << "told from the loop only";
  ASSERT_TRUE(until([&] { return closed_.size() == 1; }));
  EXPECT_EQ(closed_.at(id), ErrorCode::kTransient);
  expect_service();
}

TEST_F(UnixServerTest, TellsWhenAllHasBeenSent) {
  listen();
  FramedClient client = connect();
  ASSERT_TRUE(opens(1));
  Connection* connection = server_->find(opened_[0]);
  int frames = 0;
  while (connection->queued_bytes() == 0) {
    ASSERT_TRUE(connection->send(std::string(100'000, 'x')));
    ++frames;
  }
  EXPECT_TRUE(drained_.empty());
  std::thread reader([&] {
    for (int i = 0; i < frames; ++i) EXPECT_TRUE(client.receive(soon()));
  });
  EXPECT_TRUE(until([&] { return !drained_.empty(); }));
  reader.join();
  EXPECT_EQ(drained_, std::vector{opened_[0]});
  EXPECT_EQ(connection->queued_bytes(), 0u);
}

TEST_F(UnixServerTest, AFloodDoesNotStarveOthers) {
  listen();
  std::atomic<bool> stop = false;
  std::thread flood([&] {
    FramedClient client = connect();
    const std::string payload(100, 'f');
    while (!stop && client.send(payload, soon())) {
    }
  });
  ASSERT_TRUE(frames(1));
  FramedClient client = connect();
  ASSERT_TRUE(client.send("me too", soon()));
  bool served = false;
  on_frame_ = [&](Connection&, Frame frame) { served = served || frame.payload == "me too"; };
  EXPECT_TRUE(until([&] { return served; }));
  stop = true;
  server_.reset();
  flood.join();
}

TEST_F(UnixServerTest, ServesAHundredClientsAtOnce) {
  listen();
  echo();
  const int before = count_open_descriptors();
  std::vector<FramedClient> clients;
  for (int i = 0; i < 100; ++i) {
    clients.push_back(connect());
    ASSERT_TRUE(clients.back().send(std::to_string(i), soon()));
  }
  ASSERT_TRUE(frames(100));
  EXPECT_EQ(server_->connection_count(), 100);
  for (int i = 0; i < 100; ++i) {
    EXPECT_EQ(clients[static_cast<std::size_t>(i)].receive(soon()).value()->payload,
              std::to_string(i));
  }
  clients.clear();
  ASSERT_TRUE(until([&] { return closed_.size() == 100; }));
  EXPECT_EQ(server_->connection_count(), 0);
  EXPECT_EQ(count_open_descriptors(), before);
}

TEST_F(UnixServerTest, RefusesConnectionsBeyondItsBound) {
  listen({.max_connections = 2});
  RawClient first(path_);
  RawClient second(path_);
  FramedClient third = connect();
  ASSERT_TRUE(opens(2));
  settle(*loop_);
  EXPECT_FALSE(third.receive(soon()).value()) << "closed at once";
  EXPECT_EQ(opened_.size(), 2);
  first.close();
  ASSERT_TRUE(until([&] { return closed_.size() == 1; }));
  expect_service();
}

TEST_F(UnixServerTest, GoesOnWhenDescriptorsRunOut) {
#ifdef __SANITIZE_ADDRESS__
  GTEST_SKIP() << "UBSan, which is on with ASan, needs descriptors itself to check a type";
#endif
  listen();
  RawClient waiting(path_);
  waiting.send(encode("patience"));
  std::vector<UniqueFd> hoard;
  for (;;) {
    UniqueFd fd(::open("/dev/null", O_RDONLY | O_CLOEXEC));
    if (!fd) break;
    hoard.push_back(std::move(fd));
  }
  settle(*loop_);
  EXPECT_TRUE(opened_.empty());
  hoard.clear();
  ASSERT_TRUE(frames(1));
}

TEST_F(UnixServerTest, APausedPartialFrameDoesNotTimeOut) {
  listen({.partial_frame_time = 20ms});
  RawClient client(path_);
  client.send(encode("hello").substr(0, 6));
  ASSERT_TRUE(opens(1));
  server_->find(opened_[0])->pause_reading();
  bool later = false;
  Timer timer = loop_->after(60ms, [&] { later = true; });
  ASSERT_TRUE(until([&] { return later; }));
  ASSERT_TRUE(closed_.empty());
  client.send("llo");
  server_->find(opened_[0])->resume_reading();
  ASSERT_TRUE(frames(1));
  EXPECT_EQ(payloads_[0], "hello");
}

TEST_F(UnixServerTest, MayCloseAnotherConnectionThatIsReadyToo) {
  listen();
  on_frame_ = [&](Connection& connection, Frame) {
    for (const ConnectionId id : opened_) {
      if (id != connection.id() && server_->find(id) != nullptr) server_->find(id)->close();
    }
  };
  RawClient one(path_);
  RawClient two(path_);
  ASSERT_TRUE(opens(2));
  one.send(encode("x"));
  two.send(encode("x"));
  ASSERT_TRUE(until([&] { return closed_.size() == 1; }));
  settle(*loop_);
  EXPECT_EQ(payloads_.size(), 1);
}

TEST_F(UnixServerTest, KnowsItsPeer) {
  listen();
  constexpr gid_t kGroup = 54321;
  bool switched = false;
  UniqueFd held;
  std::thread([&] {
    // The bare system call: glibc's would change all threads.
    switched = ::syscall(SYS_setgroups, 1, &kGroup) == 0;
    const FramedClient client = connect();
    held = duplicate(client.fd()).value();
  }).join();
  ASSERT_TRUE(opens(1));
  const PeerCredentials& peer = server_->find(opened_[0])->peer();
  EXPECT_EQ(peer.pid, ::getpid());
  EXPECT_EQ(peer.uid, ::geteuid());
  EXPECT_EQ(peer.gid, ::getegid());
  EXPECT_TRUE(peer.in_group(::getegid()));
  EXPECT_EQ(peer.in_group(kGroup), switched);
  EXPECT_FALSE(peer.in_group(kGroup + 1));
  EXPECT_EQ(connect().peer().value().pid, ::getpid());
  EXPECT_EQ(find_group("root").value(), 0);
  EXPECT_EQ(find_group("54321").value(), kGroup);
  EXPECT_EQ(find_group("no-such-group").error().code(), ErrorCode::kNotFound);
}

TEST_F(UnixServerTest, HasItsModeAndGoesWithItsServer) {
  listen({.mode = 0600});
  struct stat found{};
  ASSERT_EQ(::stat(path_.c_str(), &found), 0);
  EXPECT_EQ(found.st_mode & 07777, 0600);
  server_.reset();
  EXPECT_NE(::stat(path_.c_str(), &found), 0);
  EXPECT_TRUE(opened_.empty() && closed_.empty());
}

TEST_F(UnixServerTest, ReplacesADeadServersSocketOnly) {
  const auto refused = [&] {
    UnixServerHandlers handlers;
    handlers.on_frame = [](Connection&, Frame) {};
    return UnixServer::listen(*loop_, {.path = path_}, handlers).error().code();
  };
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  std::strncpy(address.sun_path, path_.c_str(), sizeof address.sun_path - 1);
  UniqueFd other(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  ASSERT_EQ(::bind(other.get(), reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
  ASSERT_EQ(::listen(other.get(), 1), 0);
  EXPECT_EQ(refused(), ErrorCode::kConflict) << "a live one without a lock";
  other.reset();
  listen();
  expect_service();
  EXPECT_EQ(refused(), ErrorCode::kConflict) << "a live one with a lock";
  expect_service();
  server_.reset();
  ASSERT_TRUE(write_file_atomically(path_, std::string_view("a file"), 0600));
  EXPECT_EQ(refused(), ErrorCode::kExists);
  path_ = directory_ / std::string(100, 'x');
  EXPECT_EQ(refused(), ErrorCode::kInvalid);
}

}  // namespace
}  // namespace perdure::io
