// Proves that frames arrive whole and in order however the stream is cut, that descriptors travel
// with their frame and only one does, and that connections and clients may be closed, paused and
// timed out at any point. Real sockets in a temporary directory.
#include "io/unix_socket.h"

#include <fcntl.h>
#include <unistd.h>

#include <atomic>
#include <thread>

#include "gmock/gmock.h"
#include "io/test_support.h"
#include "io/unix_socket_fixture.h"

namespace perdure::io {
namespace {

using std::chrono_literals::operator""ms;
using testing::ElementsAre;

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
