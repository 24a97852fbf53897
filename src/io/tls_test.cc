// Proves that frames go both ways as they were sent, that nothing is copied on the way to the receiver's place, and
// that a connection's life (open, pause, queue, close, the end of its owner) is as the header says. Real sockets on
// the loopback, certificates made here.
#include "io/tls.h"

#include <thread>

#include "io/tls_fixture.h"

namespace perdure::io {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

TEST_F(TlsTest, FramesGoBothWays) {
  open();
  server_side_.on_frame = [&](TlsConnection& connection) {
    EXPECT_TRUE(connection.send("echo of " + server_side_.messages.back()));
  };
  ASSERT_TRUE(client().send("one"));
  ASSERT_TRUE(client().send(""));
  ASSERT_TRUE(client().send("three"));
  ASSERT_TRUE(until([&] { return client_side_.messages.size() == 3; }));
  EXPECT_THAT(client_side_.messages, ElementsAre("echo of one", "echo of ", "echo of three"));
  EXPECT_TRUE(failures_.empty() && refused_.empty() && client_side_.closed.empty());
}

TEST_F(TlsTest, BodiesComeAsTheyWereSent) {
  open();
  const auto small = std::make_shared<const std::string>("small");
  const auto large = std::make_shared<const std::string>(pattern(3'000'017));
  OutgoingBody pieces;
  for (std::size_t at = 0, size = 1; at < large->size(); at += size, size = size * 7 % 40'013) {
    size = std::min(size, large->size() - at);
    pieces.pieces.push_back(std::as_bytes(std::span(*large)).subspan(at, size));
    if (at % 5 == 0) pieces.pieces.emplace_back();
  }
  pieces.owners = {large};
  EXPECT_EQ(pieces.size_bytes(), large->size());
  ASSERT_TRUE(client().send("small", body_of(small)));
  ASSERT_TRUE(client().send("pieces", pieces));
  ASSERT_TRUE(client().send("large", body_of(large)));
  ASSERT_TRUE(client().send(pattern(kMaxTlsMessageBytes, 3)));
  ASSERT_TRUE(until([&] { return server_side_.messages.size() == 4; }));
  EXPECT_EQ(server_side_.bodies[0], *small);
  EXPECT_TRUE(server_side_.bodies[1] == *large);
  EXPECT_TRUE(server_side_.bodies[2] == *large);
  EXPECT_TRUE(server_side_.messages[3] == pattern(kMaxTlsMessageBytes, 3));
  EXPECT_EQ(server_side_.bodies[3], "");
}

TEST_F(TlsTest, ABodyIsReceivedWhereTheReceiverWantsIt) {
  std::string place(100'000, '\0');
  auto owner = std::make_shared<int>(1);
  const std::weak_ptr<int> watch = owner;
  server_side_.on_body = [&](TlsConnection&, std::uint64_t bytes) -> Result<IncomingBody> {
    EXPECT_EQ(bytes, place.size());
    return IncomingBody{std::as_writable_bytes(std::span(place)), std::exchange(owner, nullptr)};
  };
  open();
  const auto text = std::make_shared<const std::string>(pattern(place.size()));
  ASSERT_TRUE(client().send("m", body_of(text)));
  server_side_.on_frame = [&](TlsConnection&) { EXPECT_FALSE(watch.expired()) << "handed out with the frame"; };
  ASSERT_TRUE(until([&] { return server_side_.messages.size() == 1; }));
  EXPECT_TRUE(place == *text);
  EXPECT_TRUE(watch.expired()) << "and kept by nobody";
}

TEST_F(TlsTest, WhatIsSentIsKeptAliveUntilItIsOut) {
  open();
  auto text = std::make_shared<const std::string>(pattern(20 << 20));
  const std::weak_ptr<const std::string> watch = text;
  accepted().pause_reading();
  ASSERT_TRUE(client().send("m", body_of(std::exchange(text, nullptr))));
  EXPECT_FALSE(watch.expired());
  EXPECT_GT(client().queued_bytes(), 0u);
  accepted().resume_reading();
  ASSERT_TRUE(until([&] { return client_side_.drained == 1; }));
  EXPECT_TRUE(watch.expired());
  EXPECT_EQ(client().queued_bytes(), 0u);
  ASSERT_TRUE(until([&] { return server_side_.messages.size() == 1; }));
}

TEST_F(TlsTest, BothEndsMaySendMuchAtOnce) {
  open();
  const auto text = std::make_shared<const std::string>(pattern(30 << 20));
  ASSERT_TRUE(client().send("up", body_of(text)));
  ASSERT_TRUE(accepted().send("down", body_of(text)));
  ASSERT_TRUE(until([&] { return server_side_.messages.size() == 1 && client_side_.messages.size() == 1; }));
  EXPECT_TRUE(server_side_.bodies[0] == *text && client_side_.bodies[0] == *text);
}

TEST_F(TlsTest, ALongBodyLetsOthersHaveTheirTurn) {
  open();
  const auto text = std::make_shared<const std::string>(pattern(100 << 20));
  Side other;
  const auto small = TlsClient::connect(*loop_, {.address = address()}, context("c"), other.handlers(),
                                        [](const Error& why) { ADD_FAILURE() << why.message(); });
  ASSERT_TRUE(until([&] { return (*small)->connection() != nullptr && server_side_.opened.size() == 2; }));
  ASSERT_TRUE(client().send("long", body_of(text)));
  ASSERT_TRUE((*small)->connection()->send("short"));
  ASSERT_TRUE(until([&] { return server_side_.messages.size() == 2; }));
  EXPECT_THAT(server_side_.messages, ElementsAre("short", "long"));
}

TEST_F(TlsTest, KnowsItsPeer) {
  TestCertificate about;
  about.name = "node-7";
  about.organisation = "00aa11";
  listen();
  connect({.expected_name = "b"}, context(authority_.identity(about)));
  ASSERT_TRUE(until([&] { return !server_side_.opened.empty() && client_->connection() != nullptr; })) << failure();
  const TlsPeer& peer = accepted().peer();
  EXPECT_EQ(peer.name, "node-7");
  EXPECT_EQ(peer.organisation, "00aa11");
  EXPECT_EQ(peer.serial.substr(0, 2), "ab");
  EXPECT_THAT(peer.address, testing::StartsWith("127.0.0.1:"));
  EXPECT_NE(peer.address, address());
  EXPECT_EQ(client().peer().name, "b");
  EXPECT_EQ(client().peer().address, address());
  EXPECT_NE(client().id(), accepted().id());
}

TEST_F(TlsTest, BothEndsDeriveTheSameKeys) {
  open();
  const auto at_client = client().export_key("heartbeat");
  const auto at_server = accepted().export_key("heartbeat");
  ASSERT_TRUE(at_client && at_server);
  EXPECT_EQ(*at_client, *at_server);
  EXPECT_NE(*at_client, client().export_key("grant").value());
  const auto before = *at_client;
  client_side_ = {};
  server_side_ = {};
  connect();
  ASSERT_TRUE(until([&] { return client_->connection() != nullptr; }));
  EXPECT_NE(client().export_key("heartbeat").value(), before) << "another session";
}

TEST_F(TlsTest, AFullQueueRefusesAndTellsWhenItHasDrained) {
  open({}, {.max_queue_bytes = 1 << 20});
  accepted().pause_reading();
  const auto text = std::make_shared<const std::string>(pattern(30 << 20));
  ASSERT_TRUE(client().send("alone", body_of(text))) << "one frame is taken, however long";
  const std::uint64_t waiting = client().queued_bytes();
  EXPECT_GT(waiting, 1u << 20);
  const Status refused = client().send("one more");
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code(), ErrorCode::kTransient);
  EXPECT_EQ(client().queued_bytes(), waiting) << "nothing was queued";
  accepted().resume_reading();
  ASSERT_TRUE(until([&] { return client_side_.drained == 1; }));
  EXPECT_TRUE(client().send("now"));
  ASSERT_TRUE(until([&] { return server_side_.messages.size() == 2; }));
  EXPECT_THAT(server_side_.messages, ElementsAre("alone", "now"));
}

TEST_F(TlsTest, AMessageBeyondTheLimitIsNotQueued) {
  open();
  const Status sent = client().send(std::string(kMaxTlsMessageBytes + 1, 'x'));
  ASSERT_FALSE(sent);
  EXPECT_EQ(sent.error().code(), ErrorCode::kInvalid);
  EXPECT_EQ(client().queued_bytes(), 0u);
  ASSERT_TRUE(client().send("small"));
  ASSERT_TRUE(until([&] { return server_side_.messages.size() == 1; }));
}

TEST_F(TlsTest, PausedFramesWaitAndThenAllCome) {
  server_side_.on_frame = [](TlsConnection& connection) { connection.pause_reading(); };
  listen();
  const auto peer = raw();
  // In one record: the second to fourth are within OpenSSL when the first is delivered.
  peer->send(frame_bytes("1") + frame_bytes("2") + frame_bytes("3", "body") + frame_bytes("4"));
  for (std::size_t count = 1; count <= 4; ++count) {
    ASSERT_TRUE(until([&] { return server_side_.messages.size() == count; }));
    settle(*loop_);
    ASSERT_EQ(server_side_.messages.size(), count);
    accepted().resume_reading();
  }
  EXPECT_THAT(server_side_.messages, ElementsAre("1", "2", "3", "4"));
  EXPECT_EQ(server_side_.bodies[2], "body");
}

TEST_F(TlsTest, ManyFramesInOneRecordAllCome) {
  listen();
  const auto peer = raw();
  std::string bytes;
  for (int i = 0; i < 5000; ++i) bytes += frame_bytes("");
  peer->send(bytes);
  ASSERT_TRUE(until([&] { return server_side_.messages.size() == 5000; }));
}

TEST_F(TlsTest, ClosingTellsBothEndsOnce) {
  open();
  const TlsConnectionId id = client().id();
  TlsConnection& connection = client();
  connection.close();
  connection.close();
  EXPECT_EQ(client_->connection(), nullptr);
  EXPECT_TRUE(client_side_.closed.empty()) << "told from the loop only";
  ASSERT_TRUE(closes(client_side_) && closes(server_side_));
  EXPECT_EQ(client_side_.closed.at(id).code(), ErrorCode::kCancelled);
  const Error& at_server = server_side_.closed.at(server_side_.opened.front());
  EXPECT_EQ(at_server.code(), ErrorCode::kCancelled);
  EXPECT_THAT(at_server.message(), HasSubstr("node 'a'"));
  EXPECT_EQ(server_->find(server_side_.opened.front()), nullptr);
}

TEST_F(TlsTest, AClosedConnectionTakesNothing) {
  open();
  server_side_.on_frame = [&](TlsConnection& connection) {
    connection.close();
    EXPECT_EQ(connection.send("too late").error().code(), ErrorCode::kNotFound);
    EXPECT_EQ(connection.export_key("x").error().code(), ErrorCode::kNotFound);
    connection.pause_reading();
    connection.resume_reading();
    connection.close_when_sent();
    EXPECT_EQ(connection.queued_bytes(), 0u);
    EXPECT_EQ(connection.peer().name, "a");
  };
  ASSERT_TRUE(client().send("hello"));
  ASSERT_TRUE(closes(client_side_) && closes(server_side_));
}

TEST_F(TlsTest, WhatWasQueuedIsSentBeforeTheEnd) {
  open();
  const auto text = std::make_shared<const std::string>(pattern(30 << 20));
  ASSERT_TRUE(client().send("last words", body_of(text)));
  // Data that nobody reads any more must not make a reset of the end.
  ASSERT_TRUE(accepted().send(std::string(100'000, 'x')));
  client().close_when_sent();
  EXPECT_EQ(client().send("more").error().code(), ErrorCode::kNotFound);
  ASSERT_TRUE(closes(server_side_));
  EXPECT_THAT(server_side_.messages, ElementsAre("last words"));
  EXPECT_TRUE(server_side_.bodies.front() == *text);
  EXPECT_EQ(server_side_.closed.begin()->second.code(), ErrorCode::kCancelled);
  ASSERT_TRUE(closes(client_side_));
  EXPECT_EQ(client_side_.closed.begin()->second.code(), ErrorCode::kCancelled);
  EXPECT_TRUE(client_side_.messages.empty());
}

TEST_F(TlsTest, AnIdleConnectionCloseWhenSentClosesAtOnce) {
  open();
  accepted().close_when_sent();
  ASSERT_TRUE(closes(client_side_) && closes(server_side_));
}

TEST_F(TlsTest, DestroyingAnEndIsSilentThereAndSeenAtTheOther) {
  open();
  client_.reset();
  ASSERT_TRUE(closes(server_side_));
  settle(*loop_);
  EXPECT_TRUE(client_side_.closed.empty());
  server_side_ = {};
  connect();
  ASSERT_TRUE(until([&] { return client_->connection() != nullptr && server_side_.opened.size() == 1; }));
  server_.reset();
  ASSERT_TRUE(closes(client_side_));
  EXPECT_TRUE(server_side_.closed.empty());
}

TEST_F(TlsTest, ANewContextIsForTheNextConnections) {
  open();
  server_->use(context("renewed"));
  Side side;
  const auto second = TlsClient::connect(*loop_, {.address = address(), .expected_name = "renewed"}, context("c"),
                                         side.handlers(), [](const Error& why) { ADD_FAILURE() << why.message(); });
  ASSERT_TRUE(until([&] { return (*second)->connection() != nullptr; }));
  EXPECT_EQ(client().peer().name, "b");
  ASSERT_TRUE(client().send("still here"));
  ASSERT_TRUE(until([&] { return server_side_.messages.size() == 1; }));
}

TEST_F(TlsTest, ListensOnSeveralAddresses) {
  listen({.addresses = {"127.0.0.1:0", "[::1]:0"}});
  ASSERT_EQ(server_->addresses().size(), 2u);
  for (const std::string& at : server_->addresses()) {
    EXPECT_NE(Endpoint::parse(at)->port(), 0);
    connect({.address = at});
    ASSERT_TRUE(until([&] { return client_->connection() != nullptr; })) << at << ": " << failure();
    EXPECT_EQ(client().peer().address, at);
  }
}

TEST_F(TlsTest, AnAddressThatCannotBeListenedOnIsNamed) {
  listen();
  const auto error_for = [&](std::vector<std::string> addresses) {
    TlsServerOptions options;
    options.addresses = std::move(addresses);
    Side side;
    const auto server = TlsServer::listen(*loop_, std::move(options), context("x"), side.handlers());
    return server ? Error(ErrorCode::kIo, "listens") : server.error();
  };
  EXPECT_EQ(error_for({address()}).code(), ErrorCode::kConflict);
  EXPECT_THAT(error_for({address()}).message(), HasSubstr(address()));
  EXPECT_EQ(error_for({}).code(), ErrorCode::kInvalid);
  EXPECT_EQ(error_for({"nonsense"}).code(), ErrorCode::kInvalid);
  EXPECT_EQ(error_for({"192.0.2.77:0"}).code(), ErrorCode::kInvalid);
  EXPECT_EQ(error_for({"192.0.2.77"}).code(), ErrorCode::kInvalid);
  expect_service();
}

TEST_F(TlsTest, ServesManyAtOnceAndClosesMore) {
  constexpr std::size_t kCount = 60;
  listen({.max_connections = kCount});
  const int before = count_open_descriptors();
  std::vector<Side> sides(kCount);
  std::vector<std::unique_ptr<TlsClient>> clients;
  const auto ours = context("many");
  for (Side& side : sides) {
    side.on_open = [](TlsConnection& connection) { EXPECT_TRUE(connection.send("hello")); };
    clients.push_back(TlsClient::connect(*loop_, {.address = address()}, ours, side.handlers(), [](const Error& why) {
                        ADD_FAILURE() << why.message();
                      }).value());
  }
  ASSERT_TRUE(until([&] { return server_side_.messages.size() == kCount; }));
  connect();
  ASSERT_TRUE(until([&] { return !failures_.empty() && !refused_.empty(); }));
  EXPECT_EQ(failures_.front().code(), ErrorCode::kTransient) << failure();
  EXPECT_EQ(refused_.front().second.code(), ErrorCode::kTransient);
  clients.clear();
  client_.reset();
  ASSERT_TRUE(closes(server_side_, kCount));
  EXPECT_EQ(count_open_descriptors(), before);
  expect_service();
}

TEST_F(TlsTest, TwoLoopsOnTwoThreads) {
  listen();
  const auto text = std::make_shared<const std::string>(pattern(40 << 20));
  server_side_.on_frame = [&](TlsConnection& connection) {
    EXPECT_TRUE(connection.send("back", body_of(std::make_shared<const std::string>(server_side_.bodies.back()))));
  };
  const std::string at = address();
  const auto ours = context("thread");
  bool done = false;
  std::string returned;
  std::thread bulk([&] {
    const auto loop = make_loop();
    Side side;
    side.on_open = [&](TlsConnection& connection) { EXPECT_TRUE(connection.send("there", body_of(text))); };
    const auto there = TlsClient::connect(*loop, {.address = at}, ours, side.handlers(),
                                          [](const Error& why) { ADD_FAILURE() << why.message(); });
    EXPECT_TRUE(loop->run_until([&] { return side.messages.size() == 1; }, kTestTime));
    if (!side.bodies.empty()) returned = side.bodies.front();
    loop_->post([&] { done = true; });
  });
  EXPECT_TRUE(until([&] { return done; }));
  bulk.join();
  EXPECT_TRUE(returned == *text);
}

// Each callback in turn destroys the end it belongs to; what runs afterwards shows up under AddressSanitizer.
class TlsDestroyTest : public TlsTest {
 protected:
  void run(const std::function<void(Side&, const std::function<void()>&)>& arrange, bool at_server) {
    bool destroyed = false;
    const std::function<void()> destroy = [this, at_server, &destroyed] {
      if (std::exchange(destroyed, true)) return;
      at_server ? server_.reset() : client_.reset();
    };
    arrange(at_server ? server_side_ : client_side_, destroy);
    listen();
    connect();
    client_side_.on_frame = client_side_.on_frame ? client_side_.on_frame : [](TlsConnection&) {};
    ASSERT_TRUE(until([&] { return destroyed || (client_->connection() && !server_side_.opened.empty()); }));
    const auto text = std::make_shared<const std::string>(pattern(12 << 20));
    if (client_ && client_->connection()) {
      [[maybe_unused]] const Status sent = client().send("x", body_of(text));
    }
    if (server_ && !server_side_.opened.empty() && server_->find(server_side_.opened.front()) != nullptr) {
      [[maybe_unused]] const Status sent = accepted().send("y", body_of(text));
    }
    ASSERT_TRUE(until([&] { return destroyed; }));
    settle(*loop_);
    Side& other = at_server ? client_side_ : server_side_;
    ASSERT_TRUE(until([&] { return !other.closed.empty() || other.opened.empty() || !failures_.empty(); }));
  }
  void run_at_both(const std::function<void(Side&, const std::function<void()>&)>& arrange) {
    for (const bool at_server : {true, false}) {
      run(arrange, at_server);
      client_.reset();
      server_.reset();
      server_side_ = {};
      client_side_ = {};
    }
  }
};

TEST_F(TlsDestroyTest, WhenOpened) {
  run_at_both([](Side& side, const auto& destroy) { side.on_open = [destroy](TlsConnection&) { destroy(); }; });
}
TEST_F(TlsDestroyTest, WhenABodyIsPlaced) {
  run_at_both([](Side& side, const auto& destroy) {
    side.on_body = [destroy](TlsConnection&, std::uint64_t bytes) {
      destroy();
      return Side::memory_for(bytes);
    };
  });
}
TEST_F(TlsDestroyTest, WhenAFrameComes) {
  run_at_both([](Side& side, const auto& destroy) { side.on_frame = [destroy](TlsConnection&) { destroy(); }; });
}
TEST_F(TlsDestroyTest, WhenDrained) {
  run_at_both([](Side& side, const auto& destroy) { side.on_drained = [destroy](TlsConnection&) { destroy(); }; });
}

TEST_F(TlsTest, MayBeDestroyedWhenItFailsOrCloses) {
  listen();
  TlsHandlers handlers = client_side_.handlers();
  bool closed = false;
  handlers.on_close = [&](TlsConnectionId, const TlsPeer&, const Error&) {
    client_.reset();
    closed = true;
  };
  client_ = TlsClient::connect(*loop_, {.address = address()}, context("a"), handlers, [](const Error&) {}).value();
  ASSERT_TRUE(until([&] { return client_->connection() != nullptr && server_side_.opened.size() == 1; }));
  accepted().close();
  ASSERT_TRUE(until([&] { return closed; }));

  bool failed = false;
  client_ = TlsClient::connect(*loop_, {.address = address(), .expected_name = "other"}, context("a"), handlers,
                               [&](const Error&) {
                                 client_.reset();
                                 failed = true;
                               })
                .value();
  ASSERT_TRUE(until([&] { return failed && !refused_.empty(); }));
  expect_service();
}

TEST_F(TlsTest, KeysAreChangedInTime) {
  listen();
  std::string received;
  const auto peer = raw();
  peer->session().set_rekey_bytes(50'000);
  for (int i = 0; i < 20; ++i) peer->send(frame_bytes(std::string(20'000, static_cast<char>('a' + i))));
  ASSERT_TRUE(until([&] { return server_side_.messages.size() == 20; }));
  EXPECT_EQ(server_side_.messages.back(), std::string(20'000, 't'));
  EXPECT_TRUE(accepted().send("and back"));
  ASSERT_TRUE(until([&] { return peer->received.ends_with("and back"); }));
}

}  // namespace
}  // namespace perdure::io
