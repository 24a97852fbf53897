// Proves that a GET is answered, however it arrives, that everything else is refused, and that no
// client can exceed the server's bounds or keep it from answering another one. Real sockets on
// 127.0.0.1, with a port that the kernel chooses.
#include "io/http_server.h"

#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <vector>

#include "base/fd.h"
#include "io/test_support.h"

namespace perdure::io {
namespace {

using std::chrono_literals::operator""ms;

constexpr const char* kGet = "GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n";

class HttpServerTest : public ::testing::Test {
 protected:
  void listen(HttpServerOptions options) {
    auto server = HttpServer::listen(*loop_, std::move(options), [this](const std::string& path) {
      paths_.push_back(path);
      return HttpResponse{.body = body_};
    });
    ASSERT_TRUE(server) << server.error().message();
    server_ = *std::move(server);
  }
  static HttpServerOptions any_port() {
    return {.listen = Endpoint::parse("127.0.0.1:0", 1).value()};
  }

  UniqueFd connect() {
    UniqueFd socket(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    EXPECT_EQ(::connect(socket.get(), server_->endpoint().address(), server_->endpoint().size()),
              0);
    return socket;
  }
  static void send(const UniqueFd& socket, std::string_view text) {
    ASSERT_EQ(::send(socket.get(), text.data(), text.size(), MSG_NOSIGNAL),
              static_cast<ssize_t>(text.size()));
  }
  // All that comes until the server closes.
  std::string receive(const UniqueFd& socket) {
    std::string text;
    bool ended = false;
    const auto read_some = [&] {
      char buffer[65536];
      ssize_t count = 0;
      while ((count = ::recv(socket.get(), buffer, sizeof buffer, MSG_DONTWAIT)) > 0)
        text.append(buffer, count);
      ended = count == 0 || errno != EAGAIN;
      return ended;
    };
    const Instant deadline = BootClock::now() + kTestTime;
    while (!read_some() && BootClock::now() < deadline) {
      // The loop turns for its own events only; the timer makes it look again.
      bool passed = false;
      Timer timer = loop_->after(1ms, [&] { passed = true; });
      loop_->run_until([&] { return passed; }, kTestTime);
    }
    EXPECT_TRUE(ended) << "the server did not close";
    return text;
  }
  std::string ask(std::string_view request) {
    const UniqueFd socket = connect();
    send(socket, request);
    return receive(socket);
  }
  bool until_open(std::size_t count) {
    return loop_->run_until([&] { return server_->connection_count() == count; }, kTestTime);
  }

  std::unique_ptr<Loop> loop_ = make_loop();
  std::string body_ = "a 1\n";
  std::vector<std::string> paths_;
  std::unique_ptr<HttpServer> server_;
};

TEST_F(HttpServerTest, AGetIsAnswered) {
  listen(any_port());
  EXPECT_EQ(ask(kGet),
            "HTTP/1.1 200 OK\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: "
            "4\r\nConnection: close\r\n\r\na 1\n");
  EXPECT_EQ(paths_, std::vector<std::string>{"/metrics"});
  EXPECT_TRUE(until_open(0));
}

TEST_F(HttpServerTest, ThePathIsWithoutItsQuery) {
  listen(any_port());
  ask("GET /metrics?x=1&y=/z HTTP/1.1\r\nHost: x\r\n\r\n");
  ask("GET / HTTP/1.0\r\n\r\n");
  EXPECT_EQ(paths_, (std::vector<std::string>{"/metrics", "/"}));
}

TEST_F(HttpServerTest, ARequestMayComeInPieces) {
  listen(any_port());
  const UniqueFd socket = connect();
  for (const char letter : std::string_view(kGet)) {
    send(socket, std::string_view(&letter, 1));
    settle(*loop_);
  }
  EXPECT_TRUE(receive(socket).starts_with("HTTP/1.1 200 OK\r\n"));
  EXPECT_EQ(paths_.size(), 1u);
}

TEST_F(HttpServerTest, OtherMethodsAreRefused) {
  listen(any_port());
  for (const char* method : {"POST", "HEAD", "PUT", "DELETE", "OPTIONS", "CONNECT", "BREW"}) {
    const std::string answer = ask(
        std::string(method) + " /metrics HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello");
    EXPECT_TRUE(answer.starts_with("HTTP/1.1 405 Method Not Allowed\r\n"))
        << method << ": " << answer;
    EXPECT_NE(answer.find("Allow: GET\r\n"), std::string::npos);
  }
  EXPECT_TRUE(paths_.empty());
}

TEST_F(HttpServerTest, WhatIsNoHttpIsRefused) {
  listen(any_port());
  for (const std::string& garbage :
       {std::string("hello\r\n\r\n"), std::string("\0\1\2\3\r\n\r\n", 8),
        std::string("GET /\r\n\r\n"), std::string("GET / HTTP/1.1\r\n: x\r\n\r\n"),
        std::string("GET / HTTP/9.9\r\n\r\n"), std::string("\x16\x03\x01\x02 a TLS hello")}) {
    EXPECT_TRUE(ask(garbage).starts_with("HTTP/1.1 400 Bad Request\r\n")) << garbage;
  }
  EXPECT_TRUE(paths_.empty());
}

TEST_F(HttpServerTest, ARequestThatIsTooLongIsRefused) {
  HttpServerOptions options = any_port();
  options.max_request_bytes = 200;
  listen(std::move(options));
  const std::string endless = "GET /metrics HTTP/1.1\r\nX: " + std::string(1000, 'x');
  EXPECT_TRUE(ask(endless).starts_with("HTTP/1.1 431 Request Header Fields Too Large\r\n"));
  EXPECT_TRUE(ask("GET /" + std::string(1000, 'x')).starts_with("HTTP/1.1 431 "));
  EXPECT_TRUE(paths_.empty());
  EXPECT_TRUE(ask(kGet).starts_with("HTTP/1.1 200 OK\r\n"));
}

TEST_F(HttpServerTest, AClientThatStandsStillIsCutOffAtItsDeadline) {
  HttpServerOptions options = any_port();
  options.connection_time = 50ms;
  listen(std::move(options));
  const UniqueFd silent = connect();
  const UniqueFd within = connect();
  send(within, "GET /metr");
  ASSERT_TRUE(until_open(2));
  EXPECT_EQ(receive(silent), "");
  EXPECT_EQ(receive(within), "");
  EXPECT_TRUE(until_open(0));
}

TEST_F(HttpServerTest, AClientThatDoesNotReadIsCutOffAtItsDeadline) {
  HttpServerOptions options = any_port();
  options.connection_time = 100ms;
  body_.assign(std::size_t{64} << 20, 'x');  // more than the kernel takes over
  listen(std::move(options));
  const UniqueFd deaf = connect();
  send(deaf, kGet);
  ASSERT_TRUE(loop_->run_until([&] { return !paths_.empty(); }, kTestTime));
  EXPECT_EQ(server_->connection_count(), 1u);
  EXPECT_TRUE(until_open(0));
}

TEST_F(HttpServerTest, ALargeAnswerArrivesWhole) {
  body_.assign(std::size_t{32} << 20, 'x');
  listen(any_port());
  const std::string answer = ask(kGet);
  EXPECT_EQ(answer.size() - answer.find("\r\n\r\n") - 4, body_.size());
}

TEST_F(HttpServerTest, ConnectionsAreBoundedAndTheServerGoesOn) {
  HttpServerOptions options = any_port();
  options.max_connections = 2;
  listen(std::move(options));
  UniqueFd first = connect();
  UniqueFd second = connect();
  ASSERT_TRUE(until_open(2));
  const UniqueFd refused = connect();
  EXPECT_EQ(receive(refused), "");
  first.reset();
  ASSERT_TRUE(until_open(1));
  EXPECT_TRUE(ask(kGet).starts_with("HTTP/1.1 200 OK\r\n"));
}

TEST_F(HttpServerTest, AClientThatGoesAwayCostsNothing) {
  listen(any_port());
  const int before = count_open_descriptors();
  for (int i = 0; i < 100; ++i) {
    UniqueFd socket = connect();
    send(socket, i % 2 == 0 ? kGet : "GET /m");
    socket.reset();
    settle(*loop_);
  }
  EXPECT_TRUE(until_open(0));
  EXPECT_EQ(count_open_descriptors(), before);
  EXPECT_TRUE(ask(kGet).starts_with("HTTP/1.1 200 OK\r\n"));
}

TEST_F(HttpServerTest, AnAddressThatIsTakenOrForeignSaysSo) {
  listen(any_port());
  const auto taken = HttpServer::listen(*loop_, {.listen = server_->endpoint()},
                                        [](const auto&) { return HttpResponse{}; });
  ASSERT_FALSE(taken);
  EXPECT_EQ(taken.error().code(), ErrorCode::kConflict);
  const auto foreign =
      HttpServer::listen(*loop_, {.listen = Endpoint::parse("192.0.2.1:7480").value()},
                         [](const auto&) { return HttpResponse{}; });
  ASSERT_FALSE(foreign);
  EXPECT_EQ(foreign.error().code(), ErrorCode::kInvalid);
}

TEST_F(HttpServerTest, ItsEndClosesEverything) {
  listen(any_port());
  const UniqueFd socket = connect();
  send(socket, "GET /m");
  ASSERT_TRUE(until_open(1));
  server_.reset();
  EXPECT_EQ(receive(socket), "");
}

}  // namespace
}  // namespace perdure::io
