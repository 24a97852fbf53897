// Proves: against a real UNIX socket, whatever the other end does (garbage, an early end, silence,
// a huge frame, no listener), the program ends in bounded time with the right code; and a
// descriptor arrives at a server that behaves.
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstring>
#include <filesystem>
#include <fstream>
#include <thread>

#include "cli/test_support.h"
#include "io/unix_socket.h"

namespace perdure::cli {
namespace {

namespace v1 = control::v1;
namespace fs = std::filesystem;

// A listening socket whose one connection a thread serves.
class Server {
 public:
  explicit Server(std::function<void(int)> serve) {
    std::string pattern = testing::TempDir() + "perdure-cli-XXXXXX";
    directory_ = ::mkdtemp(pattern.data());
    path = (directory_ / "s").string();
    listener_.reset(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    sockaddr_un address{.sun_family = AF_UNIX, .sun_path = {}};
    std::strncpy(address.sun_path, path.c_str(), sizeof address.sun_path - 1);
    EXPECT_EQ(::bind(listener_.get(), reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
    EXPECT_EQ(::listen(listener_.get(), 1), 0);
    if (!serve) return;
    thread_ = std::thread([this, serve] {
      const UniqueFd connection(::accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC));
      if (connection) serve(connection.get());
    });
  }
  ~Server() {
    ::shutdown(listener_.get(), SHUT_RDWR);  // wakes an accept
    if (thread_.joinable()) thread_.join();
    fs::remove_all(directory_);
  }
  void close_listener() { listener_.reset(); }

  std::string path;

 private:
  fs::path directory_;
  UniqueFd listener_;
  std::thread thread_;
};

struct SocketTest : testing::Test {
  ExitCode run(std::vector<std::string> arguments, const std::string& path) {
    arguments.insert(arguments.end(), {"--socket", path});
    return run_program(arguments, terminal, clock, make_socket_connector, {});
  }
  FakeTerminal terminal;
  SystemClock clock;
};

void read_request(int fd) {
  char buffer[4096];
  EXPECT_GT(::read(fd, buffer, sizeof buffer), 0);
}
void wait_for_end(int fd) {
  char byte = 0;
  while (::read(fd, &byte, 1) > 0) {
  }
}

TEST_F(SocketTest, GarbageIsNotUnderstood) {
  const Server server([](int fd) {
    read_request(fd);
    const char frame[] = "\x04\0\0\0\xFF\xFF\xFF\xFF";
    EXPECT_EQ(::write(fd, frame, 8), 8);
    wait_for_end(fd);
  });
  EXPECT_EQ(run({"list"}, server.path), ExitCode::kUnreachable);
  EXPECT_TRUE(unfolded(terminal.err_text).contains("was not understood")) << terminal.err_text;
}

TEST_F(SocketTest, AHugeFrameIsRefusedUnread) {
  const Server server([](int fd) {
    read_request(fd);
    EXPECT_EQ(::write(fd, "\xFF\xFF\xFF\xFF", 4), 4);
    wait_for_end(fd);
  });
  EXPECT_EQ(run({"list"}, server.path), ExitCode::kUnreachable);
  EXPECT_TRUE(unfolded(terminal.err_text).contains("was not understood")) << terminal.err_text;
}

TEST_F(SocketTest, AnEarlyEndIsTold) {
  for (const std::string& sent : {std::string(), std::string("\x10\0\0\0half", 8)}) {
    const Server server([sent](int fd) {
      read_request(fd);
      EXPECT_EQ(::write(fd, sent.data(), sent.size()), static_cast<ssize_t>(sent.size()));
    });
    terminal.err_text.clear();
    EXPECT_EQ(run({"stop", "web"}, server.path), ExitCode::kUnreachable);
    EXPECT_TRUE(unfolded(terminal.err_text).contains("closed the connection before it answered"))
        << terminal.err_text;
  }
}

TEST_F(SocketTest, SilenceEndsAtTheDeadline) {
  const Server server(wait_for_end);
  EXPECT_EQ(run({"list", "--timeout", "200ms"}, server.path), ExitCode::kTimeout);
}

TEST_F(SocketTest, APartOfAFrameIsSilenceToo) {
  const Server server([](int fd) {
    EXPECT_EQ(::write(fd, "\x10\0", 2), 2);
    wait_for_end(fd);
  });
  EXPECT_EQ(run({"list", "--timeout", "200ms"}, server.path), ExitCode::kTimeout);
}

TEST_F(SocketTest, NobodyListens) {
  Server server(nullptr);
  server.close_listener();
  EXPECT_EQ(run({"list"}, server.path), ExitCode::kUnreachable);
  EXPECT_TRUE(unfolded(terminal.err_text).contains("nobody listens at")) << terminal.err_text;
  terminal.err_text.clear();
  EXPECT_EQ(run({"list"}, server.path + "-none"), ExitCode::kUnreachable);
  EXPECT_TRUE(unfolded(terminal.err_text).contains("no socket at")) << terminal.err_text;
  EXPECT_NE(run({"list"}, "/" + std::string(200, 'x')), ExitCode::kOk)
      << "longer than a socket's path can be";
}

// Reads one frame with its descriptor, answers with one.
void serve_import(int socket) {
  char buffer[4096];
  iovec part{.iov_base = buffer, .iov_len = sizeof buffer};
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int))];
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  message.msg_control = control;
  message.msg_controllen = sizeof control;
  const ssize_t count = ::recvmsg(socket, &message, MSG_CMSG_CLOEXEC);
  ASSERT_GT(count, 4);
  v1::Request request;
  ASSERT_TRUE(request.ParseFromArray(buffer + 4, static_cast<int>(count) - 4));
  const cmsghdr* header = CMSG_FIRSTHDR(&message);
  ASSERT_NE(header, nullptr);
  int fd = -1;
  std::memcpy(&fd, CMSG_DATA(header), sizeof fd);
  const UniqueFd archive(fd);
  char content[16];
  const ssize_t length = ::read(archive.get(), content, sizeof content);

  v1::Response response;
  response.set_id(request.id());
  response.mutable_import()->mutable_status()->set_name(request.import().name());
  response.mutable_import()->set_generation("1.1.1");
  response.mutable_import()->set_bytes(static_cast<std::uint64_t>(length));
  const std::string payload = response.SerializeAsString();
  const std::string frame{static_cast<char>(payload.size()), 0, 0, 0};
  EXPECT_EQ(::write(socket, (frame + payload).data(), 4 + payload.size()),
            static_cast<ssize_t>(4 + payload.size()));
}

TEST_F(SocketTest, ADescriptorTravelsWithItsRequest) {
  const Server server(serve_import);
  const fs::path archive = test_directory() / "import";
  std::ofstream(archive) << "archive";
  EXPECT_EQ(run({"import", archive.string(), "--name", "web2"}, server.path), ExitCode::kOk)
      << terminal.err_text;
  EXPECT_TRUE(terminal.out_text.contains("web2 was imported, generation 1.1.1, 7 B"))
      << terminal.out_text;
  fs::remove(archive);
}

}  // namespace
}  // namespace perdure::cli
