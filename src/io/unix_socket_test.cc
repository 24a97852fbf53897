// Proves that frames arrive whole and in order however the stream is cut, that descriptors travel
// with their frame and only one does, that the bounds hold, and that a client that floods, stalls,
// lies or vanishes is cut off without another one noticing. Real sockets in a temporary directory.
#include "io/unix_socket.h"

#include <fcntl.h>
#include <grp.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

#include <atomic>
#include <cstring>
#include <map>
#include <thread>

#include "gmock/gmock.h"
#include "io/test_support.h"

namespace perdure::io {
namespace {

using std::chrono_literals::operator""ms;
using testing::ElementsAre;

Instant soon() {
  return BootClock::now() + kTestTime;
}

std::string encode(const std::string& payload) {
  std::string bytes;
  for (int shift = 0; shift < 32; shift += 8) bytes += static_cast<char>(payload.size() >> shift);
  return bytes + payload;
}

// A client without manners.
class RawClient {
 public:
  explicit RawClient(const std::string& path)
      : fd_(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    std::strncpy(address.sun_path, path.c_str(), sizeof address.sun_path - 1);
    EXPECT_EQ(::connect(fd_.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address), 0);
  }
  void send(const std::string& bytes) {
    ASSERT_EQ(::send(fd_.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL),
              static_cast<ssize_t>(bytes.size()));
  }
  void send_with(std::string bytes, const std::vector<int>& fds) {
    iovec piece{bytes.data(), bytes.size()};
    std::vector<char> control(CMSG_SPACE(fds.size() * sizeof(int)));
    msghdr message{};
    message.msg_iov = &piece;
    message.msg_iovlen = 1;
    message.msg_control = control.data();
    message.msg_controllen = control.size();
    cmsghdr* const header = CMSG_FIRSTHDR(&message);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(fds.size() * sizeof(int));
    std::memcpy(CMSG_DATA(header), fds.data(), fds.size() * sizeof(int));
    ASSERT_EQ(::sendmsg(fd_.get(), &message, MSG_NOSIGNAL), static_cast<ssize_t>(bytes.size()));
  }
  void close() { fd_.reset(); }

 private:
  UniqueFd fd_;
};

class UnixSocketTest : public testing::Test {
 protected:
  UnixSocketTest() : loop_(make_loop()), path_(directory_ / "test.sock") {}

  void listen(UnixServerOptions options = {}) {
    options.path = path_;
    UnixServerHandlers handlers;
    handlers.on_open = [this](Connection& connection) { opened_.push_back(connection.id()); };
    handlers.on_frame = [this](Connection& connection, Frame frame) {
      payloads_.push_back(frame.payload);
      if (on_frame_) on_frame_(connection, std::move(frame));
    };
    handlers.on_close = [this](ConnectionId id, const Error& reason) {
      EXPECT_EQ(server_->find(id), nullptr);
      EXPECT_TRUE(closed_.emplace(id, reason.code()).second) << "once";
    };
    auto server = UnixServer::listen(*loop_, options, std::move(handlers));
    ASSERT_TRUE(server) << server.error().message();
    server_ = std::move(*server);
  }
  void echo() {
    on_frame_ = [](Connection& connection, Frame frame) {
      EXPECT_TRUE(connection.send(std::move(frame)));
    };
  }
  FramedClient connect() { return FramedClient::connect(path_, soon()).value(); }
  [[nodiscard]] bool until(const std::function<bool()>& condition) {
    return loop_->run_until(condition, kTestTime);
  }
  bool frames(std::size_t count) {
    return until([&] { return payloads_.size() >= count; });
  }
  bool opens(std::size_t count) {
    return until([&] { return opened_.size() >= count; });
  }
  // That the server still serves.
  void expect_service() {
    FramedClient client = connect();
    const std::size_t before = payloads_.size();
    ASSERT_TRUE(client.send("are you there?", soon()));
    ASSERT_TRUE(frames(before + 1));
    EXPECT_EQ(payloads_.back(), "are you there?");
  }

  std::unique_ptr<Loop> loop_;
  TemporaryDirectory directory_;
  std::string path_;
  std::vector<ConnectionId> opened_;
  std::vector<std::string> payloads_;
  std::map<ConnectionId, ErrorCode> closed_;
  std::function<void(Connection&, Frame)> on_frame_;
  std::unique_ptr<UnixServer> server_;
};

TEST_F(UnixSocketTest, CarriesFramesBothWays) {
  listen();
  echo();
  FramedClient client = connect();
  const std::string large(5'000'000, 'x');
  std::thread talker([&] {
    for (const std::string& payload : {std::string("hello"), std::string(), large}) {
      ASSERT_TRUE(client.send(payload, soon()));
      const auto answer = client.receive(soon()).value();
      ASSERT_TRUE(answer);
      EXPECT_EQ(answer->payload, payload);
      EXPECT_FALSE(answer->fd);
    }
  });
  EXPECT_TRUE(frames(3));
  // The large answer needs more turns of the loop than the last frame's.
  std::atomic<bool> joined = false;
  std::thread joiner([&] {
    talker.join();
    loop_->post([&] { joined = true; });
  });
  EXPECT_TRUE(until([&] { return joined.load(); }));
  joiner.join();
  EXPECT_EQ(server_->connection_count(), 1);
}

TEST_F(UnixSocketTest, ReassemblesSplitAndCoalescedFrames) {
  listen();
  RawClient client(path_);
  for (const char byte : encode("split")) {
    client.send(std::string(1, byte));
    settle(*loop_);
  }
  EXPECT_THAT(payloads_, ElementsAre("split"));
  client.send(encode("one") + encode("") + encode("three") + encode("fo").substr(0, 5));
  ASSERT_TRUE(frames(4));
  client.send("o");
  ASSERT_TRUE(frames(5));
  EXPECT_THAT(payloads_, ElementsAre("split", "one", "", "three", "fo"));
}

TEST_F(UnixSocketTest, CutsOffOversizedFramesAndGarbage) {
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

TEST_F(UnixSocketTest, CutsOffAClientThatStopsWithinAFrameButNotAnIdleOne) {
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

TEST_F(UnixSocketTest, DisconnectsASlowReader) {
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

TEST_F(UnixSocketTest, AFloodDoesNotStarveOthers) {
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

TEST_F(UnixSocketTest, ServesAHundredClientsAtOnce) {
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

TEST_F(UnixSocketTest, RefusesConnectionsBeyondItsBound) {
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

TEST_F(UnixSocketTest, GoesOnWhenDescriptorsRunOut) {
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

TEST_F(UnixSocketTest, HandsOverADescriptorWithItsFrame) {
  listen();
  const std::string file = directory_ / "file";
  ASSERT_TRUE(write_file_atomically(file, std::string_view("content"), 0600));
  const UniqueFd fd = open_file(file, O_RDONLY).value();
  std::vector<std::string> contents;
  on_frame_ = [&](Connection&, Frame frame) {
    char buffer[32] = {};
    if (frame.fd) {
      EXPECT_NE(::fcntl(frame.fd.get(), F_GETFD) & FD_CLOEXEC, 0);
      EXPECT_EQ(::pread(frame.fd.get(), buffer, sizeof buffer, 0), 7);
    }
    contents.emplace_back(buffer);
  };
  const int before = count_open_descriptors();
  FramedClient client = connect();
  ASSERT_TRUE(client.send("without", soon()));
  ASSERT_TRUE(client.send("with", soon(), fd.get()));
  ASSERT_TRUE(client.send("without again", soon()));
  ASSERT_TRUE(frames(3));
  EXPECT_THAT(contents, ElementsAre("", "content", ""));
  EXPECT_EQ(count_open_descriptors(), before + 2) << "the two ends of the connection";
}

TEST_F(UnixSocketTest, TakesOneDescriptorPerFrameAndClosesTheOthers) {
  listen();
  const Pipe pipe = make_pipe().value();
  const int number = pipe.write_end.get();
  std::vector<bool> had;
  on_frame_ = [&](Connection&, Frame frame) { had.push_back(frame.fd.valid()); };
  RawClient client(path_);
  ASSERT_TRUE(opens(1));
  const int before = count_open_descriptors();
  client.send_with(encode("three at once"), {number, number, number});
  client.send(encode("late").substr(0, 6));
  client.send_with(encode("late").substr(6, 1), {number});
  client.send_with(encode("late").substr(7), {number});
  client.send(encode("none"));
  ASSERT_TRUE(frames(3));
  EXPECT_THAT(had, ElementsAre(true, true, false));
  EXPECT_EQ(count_open_descriptors(), before);
  // A client that dies with a descriptor half-way leaves none behind.
  client.send_with(encode("half").substr(0, 5), {number});
  settle(*loop_);
  client.close();
  ASSERT_TRUE(until([&] { return closed_.size() == 1; }));
  EXPECT_EQ(count_open_descriptors(), before - 2);
}

TEST_F(UnixSocketTest, SendsDescriptorsToAClientToo) {
  listen();
  FramedClient client = connect();
  ASSERT_TRUE(opens(1));
  Pipe pipe = make_pipe().value();
  ASSERT_TRUE(server_->find(opened_[0])->send(Frame{"yours", std::move(pipe.write_end)}));
  const auto frame = client.receive(soon()).value();
  ASSERT_TRUE(frame && frame->fd);
  ASSERT_EQ(::write(frame->fd.get(), "x", 1), 1);
  char byte = 0;
  EXPECT_EQ(::read(pipe.read_end.get(), &byte, 1), 1);
}

TEST_F(UnixSocketTest, PausesAndResumesReading) {
  listen();
  on_frame_ = [](Connection& connection, Frame) { connection.pause_reading(); };
  RawClient client(path_);
  client.send(encode("one") + encode("two") + encode("three"));
  ASSERT_TRUE(frames(1));
  settle(*loop_);
  EXPECT_EQ(payloads_.size(), 1);
  server_->find(opened_[0])->resume_reading();
  ASSERT_TRUE(frames(2));
  settle(*loop_);
  EXPECT_THAT(payloads_, ElementsAre("one", "two"));
  client.close();
  server_->find(opened_[0])->resume_reading();
  ASSERT_TRUE(frames(3));
  server_->find(opened_[0])->resume_reading();
  ASSERT_TRUE(until([&] { return closed_.size() == 1; }));
  EXPECT_EQ(closed_.begin()->second, ErrorCode::kCancelled);
}

TEST_F(UnixSocketTest, APausedPartialFrameDoesNotTimeOut) {
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

TEST_F(UnixSocketTest, MayBeClosedWithinItsCallback) {
  listen();
  on_frame_ = [&](Connection& connection, Frame) {
    connection.close();
    const Status sent = connection.send("too late");
    ASSERT_FALSE(sent);
    EXPECT_EQ(sent.error().code(), ErrorCode::kNotFound);
    EXPECT_EQ(server_->find(connection.id()), nullptr);
    connection.close();
    connection.pause_reading();
    connection.resume_reading();
    connection.close_when_sent();
  };
  RawClient client(path_);
  client.send(encode("one") + encode("never delivered"));
  ASSERT_TRUE(until([&] { return closed_.size() == 1; }));
  EXPECT_THAT(payloads_, ElementsAre("one"));
  expect_service();
}

TEST_F(UnixSocketTest, MayCloseAnotherConnectionThatIsReadyToo) {
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

TEST_F(UnixSocketTest, ClosesWhenAllIsSent) {
  listen();
  const std::string large(3'000'000, 'x');
  on_frame_ = [&](Connection& connection, Frame) {
    EXPECT_TRUE(connection.send(large));
    connection.close_when_sent();
  };
  std::size_t received = 0;
  bool ended = false;
  std::thread talker([&] {
    FramedClient client = connect();
    ASSERT_TRUE(client.send("give", soon()));
    received = client.receive(soon()).value()->payload.size();
    ended = !client.receive(soon()).value().has_value();
  });
  EXPECT_TRUE(until([&] { return closed_.size() == 1; }));
  talker.join();
  EXPECT_EQ(received, large.size());
  EXPECT_TRUE(ended);
}

TEST_F(UnixSocketTest, RefusesToSendWhatIsTooLarge) {
  listen({.max_frame_bytes = 10});
  FramedClient client = connect();
  ASSERT_TRUE(opens(1));
  const Status refused = server_->find(opened_[0])->send("eleven byte");
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code(), ErrorCode::kInvalid);
  EXPECT_NE(server_->find(opened_[0]), nullptr);
  EXPECT_EQ(client.send(std::string(kMaxFrameBytes + 1, 'x'), soon()).error().code(),
            ErrorCode::kInvalid);
}

TEST_F(UnixSocketTest, KnowsItsPeer) {
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

TEST_F(UnixSocketTest, HasItsModeAndGoesWithItsServer) {
  listen({.mode = 0600});
  struct stat found{};
  ASSERT_EQ(::stat(path_.c_str(), &found), 0);
  EXPECT_EQ(found.st_mode & 07777, 0600);
  server_.reset();
  EXPECT_NE(::stat(path_.c_str(), &found), 0);
  EXPECT_TRUE(opened_.empty() && closed_.empty());
}

TEST_F(UnixSocketTest, ReplacesADeadServersSocketOnly) {
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

TEST_F(UnixSocketTest, TellsAClientWhyItCannotConnect) {
  const auto code = [&] { return FramedClient::connect(path_, soon()).error().code(); };
  EXPECT_EQ(code(), ErrorCode::kNotFound);
  listen();
  const std::string dead = directory_ / "dead.sock";
  ASSERT_EQ(::link(path_.c_str(), dead.c_str()), 0);
  server_.reset();
  path_ = dead;
  EXPECT_EQ(code(), ErrorCode::kTransient);
}

TEST_F(UnixSocketTest, AClientGivesUpAtItsDeadlineAndLosesNothing) {
  listen();
  FramedClient client = connect();
  ASSERT_TRUE(opens(1));
  const auto nothing = client.receive(BootClock::now() + 10ms);
  ASSERT_FALSE(nothing);
  EXPECT_EQ(nothing.error().code(), ErrorCode::kTimeout);
  ASSERT_TRUE(server_->find(opened_[0])->send(std::string(1'000'000, 'x')));
  const auto part = client.receive(BootClock::now());
  ASSERT_FALSE(part);
  EXPECT_EQ(part.error().code(), ErrorCode::kTimeout);
  std::atomic<bool> done = false;
  std::thread receiver([&] {
    EXPECT_EQ(client.receive(soon()).value()->payload.size(), 1'000'000);
    loop_->post([&] { done = true; });
  });
  EXPECT_TRUE(until([&] { return done.load(); }));
  receiver.join();
  const Status stuck = client.send(std::string(10'000'000, 'x'), BootClock::now() + 10ms);
  ASSERT_FALSE(stuck);
  EXPECT_EQ(stuck.error().code(), ErrorCode::kTimeout);
}

TEST_F(UnixSocketTest, AClientNoticesAnEndWithinAFrame) {
  listen();
  FramedClient client = connect();
  ASSERT_TRUE(opens(1));
  ASSERT_TRUE(server_->find(opened_[0])->send(std::string(3'000'000, 'x')));
  server_.reset();
  const auto cut = client.receive(soon());
  ASSERT_FALSE(cut);
  EXPECT_EQ(cut.error().code(), ErrorCode::kIo);
}

}  // namespace
}  // namespace perdure::io
