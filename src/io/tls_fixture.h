// For the tests of TLS: a server and clients that note what happens, and peers without manners.
#pragma once

#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "io/endpoint.h"
#include "io/test_support.h"
#include "io/tls.h"
#include "io/tls_session.h"
#include "io/tls_test_support.h"

namespace perdure::io {

// Content that differs from place to place.
inline std::string pattern(std::size_t bytes, unsigned seed = 1) {
  std::string text(bytes, '\0');
  for (std::size_t i = 0; i < bytes; ++i) {
    seed = seed * 1664525U + 1013904223U;
    text[i] = static_cast<char>(seed >> 24);
  }
  return text;
}

inline OutgoingBody body_of(const std::shared_ptr<const std::string>& text) {
  OutgoingBody body;
  body.pieces = {std::as_bytes(std::span(*text))};
  body.owners = {text};
  return body;
}

inline std::string frame_bytes(const std::string& message, const std::string& body = {}) {
  std::string bytes;
  for (int shift = 0; shift < 32; shift += 8) bytes += static_cast<char>(message.size() >> shift);
  for (int shift = 0; shift < 64; shift += 8) bytes += static_cast<char>(body.size() >> shift);
  return bytes + message + body;
}
inline std::string greeting_bytes() {
  return frame_bytes("\x01");
}

// One end: its handlers, and what they have seen.
struct Side {
  std::vector<TlsConnectionId> opened;
  std::vector<std::string> messages;
  std::vector<std::string> bodies;
  std::map<TlsConnectionId, Error> closed;
  int drained = 0;
  std::function<void(TlsConnection&)> on_open;
  std::function<void(TlsConnection&)> on_frame;
  std::function<void(TlsConnection&)> on_drained;
  std::function<Result<IncomingBody>(TlsConnection&, std::uint64_t)> on_body =
      [](TlsConnection&, std::uint64_t bytes) { return memory_for(bytes); };

  static IncomingBody memory_for(std::uint64_t bytes) {
    auto text = std::make_shared<std::string>(static_cast<std::size_t>(bytes), '\0');
    return IncomingBody{std::as_writable_bytes(std::span(*text)), text};
  }
  TlsHandlers handlers() {
    TlsHandlers handlers;
    handlers.on_open = [this](TlsConnection& connection) {
      opened.push_back(connection.id());
      if (on_open) on_open(connection);
    };
    if (on_body) {
      handlers.on_body = [this](TlsConnection& connection, std::string_view, std::uint64_t bytes) {
        return on_body(connection, bytes);
      };
    }
    handlers.on_frame = [this](TlsConnection& connection, std::string message, IncomingBody body) {
      messages.push_back(std::move(message));
      bodies.emplace_back(reinterpret_cast<const char*>(body.target.data()), body.target.size());
      if (on_frame) on_frame(connection);
    };
    handlers.on_drained = [this](TlsConnection& connection) {
      ++drained;
      if (on_drained) on_drained(connection);
    };
    handlers.on_close = [this](TlsConnectionId id, const TlsPeer&, const Error& why) {
      EXPECT_TRUE(closed.emplace(id, why).second) << "once";
    };
    return handlers;
  }
};

// A socket of our own, non-blocking, connected to a listener on this host.
inline UniqueFd plain_socket(const std::string& address) {
  const Endpoint endpoint = Endpoint::parse(address).value();
  UniqueFd fd(::socket(endpoint.family(), SOCK_STREAM | SOCK_CLOEXEC, 0));
  EXPECT_EQ(::connect(fd.get(), endpoint.address(), endpoint.size()), 0);
  EXPECT_EQ(::fcntl(fd.get(), F_SETFL, O_NONBLOCK), 0);
  return fd;
}

// TLS without frames: says what it likes.
class RawTls {
 public:
  RawTls(Loop& loop, UniqueFd socket, const std::shared_ptr<const TlsContext>& context,
         TlsRole role = TlsRole::kClient)
      : socket_(std::move(socket)),
        session_(TlsSession::create(TlsContextImpl::of(context), role, socket_.get(), "raw").value()) {
    watch_ = loop.watch_readable(socket_.get(), [this] { pump(); }).value();
    if (role == TlsRole::kClient) pump();
  }
  // Once it is connected; all of it has to fit into the socket.
  void send(std::string_view bytes) {
    while (!bytes.empty() && !error) {
      const std::string_view part = bytes.substr(0, 16384);
      const auto step = session_->write(std::as_bytes(std::span(part)), false);
      ASSERT_TRUE(step) << step.error().message();
      ASSERT_EQ(step->bytes, part.size());
      bytes.remove_prefix(part.size());
    }
  }
  void stop_reading() { watch_.set_events(0); }
  void start_reading() { watch_.set_events(POLLIN); }
  void ask_for_new_keys() { EXPECT_EQ(SSL_key_update(session_->ssl(), SSL_KEY_UPDATE_REQUESTED), 1); }
  void close() {
    session_->say_end();
    drop();
  }
  // Without a word.
  void drop() {
    watch_.reset();
    socket_.reset();
  }
  int fd() const { return socket_.get(); }
  TlsSession& session() { return *session_; }

  std::function<void()> on_connected;
  bool connected = false;
  bool ended = false;
  std::string received;
  std::optional<Error> error;

 private:
  void pump() {
    session_->begin_turn(1 << 20);
    if (!connected) {
      const auto step = session_->handshake();
      if (!step) return fail_with(step.error());
      if (step->wait == TlsStep::Wait::kEnd) return end();
      if (step->wait != TlsStep::Wait::kNone) return;
      connected = true;
      if (on_connected) return on_connected();
    }
    for (;;) {
      std::array<std::byte, 16384> buffer;
      const auto step = session_->read(buffer);
      if (!step) return fail_with(step.error());
      if (step->wait == TlsStep::Wait::kEnd) return end();
      if (step->bytes == 0) return;
      received.append(reinterpret_cast<const char*>(buffer.data()), step->bytes);
    }
  }
  void fail_with(const Error& why) {
    error = why;
    watch_.reset();
  }
  void end() {
    ended = true;
    watch_.reset();
  }

  UniqueFd socket_;
  std::unique_ptr<TlsSession> session_;
  Watch watch_;
};

class TlsTest : public testing::Test {
 protected:
  using Refusal = std::pair<TlsPeer, Error>;

  TlsTest() : loop_(make_loop()) {}

  std::shared_ptr<const TlsContext> context(TlsIdentity identity, const Clock* clock = nullptr) const {
    TlsOptions options;
    options.identity = std::move(identity);
    options.clock = clock;
    return TlsContext::create(std::move(options)).value();
  }
  std::shared_ptr<const TlsContext> context(const std::string& name) const {
    return context(authority_.identity(name));
  }

  void listen(TlsServerOptions options = {}, std::shared_ptr<const TlsContext> context_of_server = nullptr) {
    if (options.addresses.empty()) options.addresses = {"127.0.0.1:0"};
    options.on_refused = [this](const TlsPeer& peer, const Error& why) { refused_.emplace_back(peer, why); };
    if (!context_of_server) context_of_server = context("b");
    auto server =
        TlsServer::listen(*loop_, std::move(options), std::move(context_of_server), server_side_.handlers());
    ASSERT_TRUE(server) << server.error().message();
    server_ = std::move(*server);
  }
  std::string address() const { return server_->addresses().front(); }

  void connect(TlsClientOptions options = {}, std::shared_ptr<const TlsContext> context_of_client = nullptr) {
    if (options.address.empty()) options.address = address();
    if (!context_of_client) context_of_client = context("a");
    failures_.clear();
    auto client = TlsClient::connect(*loop_, std::move(options), std::move(context_of_client),
                                     client_side_.handlers(), [this](const Error& why) { failures_.push_back(why); });
    ASSERT_TRUE(client) << client.error().message();
    client_ = std::move(*client);
  }
  // Both ends, opened.
  void open(TlsServerOptions server = {}, TlsClientOptions client = {}) {
    listen(std::move(server));
    connect(std::move(client));
    ASSERT_TRUE(until([&] { return client_->connection() != nullptr && !server_side_.opened.empty(); })) << failure();
  }
  TlsConnection& client() { return *client_->connection(); }
  TlsConnection& accepted() { return *server_->find(server_side_.opened.front()); }
  // One that has greeted and been greeted.
  std::unique_ptr<RawTls> raw() {
    auto peer = std::make_unique<RawTls>(*loop_, plain_socket(address()), context("raw"));
    EXPECT_TRUE(until([&] { return peer->connected; }));
    const std::size_t before = server_side_.opened.size();
    peer->send(greeting_bytes());
    EXPECT_TRUE(until([&] { return server_side_.opened.size() > before && peer->received == greeting_bytes(); }));
    return peer;
  }

  [[nodiscard]] bool until(const std::function<bool()>& condition) { return loop_->run_until(condition, kTestTime); }
  std::string failure() const { return failures_.empty() ? "no failure" : failures_.front().message(); }
  std::string refusal() const { return refused_.empty() ? "no refusal" : refused_.front().second.message(); }
  bool closes(Side& side, std::size_t count = 1) {
    return until([&] { return side.closed.size() >= count; });
  }
  // That the server still serves.
  void expect_service() {
    Side side;
    const auto served = TlsClient::connect(*loop_, {.address = address()}, context("late"), side.handlers(),
                                           [](const Error& why) { ADD_FAILURE() << why.message(); });
    ASSERT_TRUE(until([&] { return (*served)->connection() != nullptr; }));
    const std::size_t before = server_side_.messages.size();
    ASSERT_TRUE((*served)->connection()->send("are you there?"));
    ASSERT_TRUE(until([&] { return server_side_.messages.size() > before; }));
    EXPECT_EQ(server_side_.messages.back(), "are you there?");
  }

  std::unique_ptr<Loop> loop_;
  TestAuthority authority_;
  Side server_side_;
  Side client_side_;
  std::vector<Refusal> refused_;
  std::vector<Error> failures_;
  std::unique_ptr<TlsServer> server_;
  std::unique_ptr<TlsClient> client_;
};

}  // namespace perdure::io
