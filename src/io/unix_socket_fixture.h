// For the tests of local sockets: a server that notes what happens, and a client without manners.
#pragma once

#include <sys/socket.h>
#include <sys/un.h>

#include <cstring>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "gtest/gtest.h"
#include "io/test_support.h"
#include "io/unix_socket.h"

namespace perdure::io {

inline Instant soon() {
  return BootClock::now() + kTestTime;
}

inline std::string encode(const std::string& payload) {
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
    handlers.on_drained = [this](Connection& connection) { drained_.push_back(connection.id()); };
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
  std::vector<ConnectionId> drained_;
  std::vector<std::string> payloads_;
  std::map<ConnectionId, ErrorCode> closed_;
  std::function<void(Connection&, Frame)> on_frame_;
  std::unique_ptr<UnixServer> server_;
};

}  // namespace perdure::io
