// Proves that no peer, with or without a good certificate, gets more than its bounds: what is not the protocol,
// stops, drips, announces too much, does not read or vanishes is cut off with the right reason, and others are served
// on. Peers here speak TLS without our frames, or plain TCP.
#include <net/if.h>
#include <netinet/in.h>
#include <sched.h>
#include <sys/ioctl.h>

#include <cstring>
#include <thread>

#include "io/tls_fixture.h"

namespace perdure::io {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using std::chrono_literals::operator""ms;

class TlsHostileTest : public TlsTest {
 protected:
  // The one connection of a server has been closed for this.
  void expect_closed(ErrorCode code, const std::string& text) {
    ASSERT_TRUE(closes(server_side_));
    const Error& why = server_side_.closed.begin()->second;
    EXPECT_EQ(why.code(), code) << why.message();
    EXPECT_THAT(why.message(), HasSubstr(text));
    server_side_.closed.clear();
  }
  void expect_refused(ErrorCode code, const std::string& text) {
    ASSERT_TRUE(until([&] { return !refused_.empty(); }));
    EXPECT_EQ(refused_.front().second.code(), code) << refusal();
    EXPECT_THAT(refusal(), HasSubstr(text));
    EXPECT_THAT(refused_.front().first.address, testing::StartsWith("127.0.0.1:"));
    refused_.clear();
  }
  void expect_failed(ErrorCode code, const std::string& text) {
    ASSERT_TRUE(until([&] { return !failures_.empty(); }));
    EXPECT_EQ(failures_.front().code(), code) << failure();
    EXPECT_THAT(failure(), HasSubstr(text));
    EXPECT_TRUE(client_side_.opened.empty());
  }
  static void say(const UniqueFd& socket, std::string_view text) {
    ASSERT_EQ(::send(socket.get(), text.data(), text.size(), MSG_NOSIGNAL), static_cast<ssize_t>(text.size()));
  }
  // A listener that never accepts by itself.
  std::string listen_plain(int backlog = 8) {
    plain_.reset(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
    const Endpoint any = Endpoint::parse("127.0.0.1:0").value();
    EXPECT_EQ(::bind(plain_.get(), any.address(), any.size()), 0);
    EXPECT_EQ(::listen(plain_.get(), backlog), 0);
    sockaddr_storage bound{};
    socklen_t size = sizeof bound;
    EXPECT_EQ(::getsockname(plain_.get(), reinterpret_cast<sockaddr*>(&bound), &size), 0);
    return to_string(Endpoint::from(bound));
  }
  UniqueFd accept_plain() {
    UniqueFd socket;
    Watch watch =
        loop_
            ->watch_readable(plain_.get(),
                             [&] {
                               socket.reset(::accept4(plain_.get(), nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC));
                               watch_once_.set_events(0);
                             })
            .value();
    watch_once_ = std::move(watch);
    EXPECT_TRUE(until([&] { return socket.valid(); }));
    watch_once_.reset();
    return socket;
  }
  UniqueFd plain_;
  Watch watch_once_;
};

// --- before anything is verified

TEST_F(TlsHostileTest, PlainTextAndGarbageAreRefused) {
  listen();
  for (const std::string& text :
       {std::string("GET / HTTP/1.1\r\nHost: x\r\n\r\n"), std::string(4096, '\0'), pattern(4096),
        greeting_bytes() + frame_bytes("hello"), std::string("\x16\x03\x01\xff\xff", 5) + pattern(70'000)}) {
    const UniqueFd socket = plain_socket(address());
    say(socket, text);
    expect_refused(ErrorCode::kInvalid, "not the TLS 1.3 of a node");
  }
  expect_service();
}

TEST_F(TlsHostileTest, WhoSaysNothingIsCutOffInTime) {
  listen({.handshake_time = 50ms});
  const UniqueFd silent = plain_socket(address());
  expect_refused(ErrorCode::kTimeout, "not finished within 50 ms");
  // Half of a client's first record.
  const UniqueFd half = plain_socket(address());
  say(half, std::string_view("\x16\x03\x01\x02\x00\x01", 6));
  expect_refused(ErrorCode::kTimeout, "not finished within 50 ms");
}

TEST_F(TlsHostileTest, WhoDoesNotGreetIsCutOffInTime) {
  listen({.handshake_time = 100ms});
  const RawTls peer(*loop_, plain_socket(address()), context("raw"));
  expect_refused(ErrorCode::kTimeout, "handshake with node 'raw' (127.0.0.1:");
  EXPECT_TRUE(server_side_.opened.empty());
}

TEST_F(TlsHostileTest, WhoClosesBeforeTheHandshakeIsForgotten) {
  listen({.max_connections = 1});
  plain_socket(address()).reset();
  expect_refused(ErrorCode::kCancelled, "closed during the handshake");
  RawTls peer(*loop_, plain_socket(address()), context("raw"));
  ASSERT_TRUE(until([&] { return peer.connected; }));
  peer.close();
  expect_refused(ErrorCode::kCancelled, "closed during the handshake");
  expect_service();
}

TEST_F(TlsHostileTest, AnotherGreetingIsRefused) {
  listen();
  for (const std::string& greeting : {frame_bytes("\x02"), frame_bytes(""), frame_bytes("hello"),
                                      frame_bytes("\x01", "a body"), frame_bytes("\x01" + std::string(513, 'x'))}) {
    RawTls peer(*loop_, plain_socket(address()), context("raw"));
    ASSERT_TRUE(until([&] { return peer.connected; }));
    peer.send(greeting);
    expect_refused(ErrorCode::kInvalid, "node 'raw'");
    ASSERT_TRUE(until([&] { return peer.ended || peer.error; }));
  }
  RawTls refuser(*loop_, plain_socket(address()), context("raw"));
  ASSERT_TRUE(until([&] { return refuser.connected; }));
  refuser.send(frame_bytes("\x01go away\x1b[2J"));
  expect_refused(ErrorCode::kPermission, "node 'raw' (127.0.0.1:");
  EXPECT_TRUE(server_side_.opened.empty());
  expect_service();
}

TEST_F(TlsHostileTest, WhatARefusedPeerHasSentDoesNotHideTheReason) {
  TlsOptions options;
  options.identity = authority_.identity("b");
  options.check = [](const TlsPeer&) -> Status { return fail(ErrorCode::kPermission, "not you"); };
  listen({}, TlsContext::create(options).value());
  RawTls peer(*loop_, plain_socket(address()), context("raw"));
  // As soon as it can, before it hears anything.
  peer.on_connected = [&] {
    peer.stop_reading();
    peer.send(greeting_bytes() + frame_bytes(std::string(100'000, 'x')));
  };
  expect_refused(ErrorCode::kPermission, "not you");
  peer.start_reading();
  ASSERT_TRUE(until([&] { return peer.ended || peer.error; }));
  EXPECT_FALSE(peer.error) << "no reset";
  EXPECT_THAT(peer.received, HasSubstr("not you"));
}

// --- a client's view

TEST_F(TlsHostileTest, NobodyListens) {
  const std::string at = listen_plain();
  plain_.reset();
  connect({.address = at});
  expect_failed(ErrorCode::kTransient, "connect to " + at + ": nobody listens there");
}

TEST_F(TlsHostileTest, NobodyAnswers) {
  // A full backlog drops what comes next, as a host that is gone does.
  const std::string at = listen_plain(0);
  std::vector<UniqueFd> waiting;
  for (int i = 0; i < 4; ++i) {
    const Endpoint endpoint = Endpoint::parse(at).value();
    waiting.emplace_back(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
    [[maybe_unused]] const int result = ::connect(waiting.back().get(), endpoint.address(), endpoint.size());
  }
  connect({.address = at, .connect_time = 100ms});
  expect_failed(ErrorCode::kTimeout, "connect to " + at + ": no answer within 100 ms");
}

TEST_F(TlsHostileTest, AServerThatSaysNothingIsGivenUp) {
  connect({.address = listen_plain(), .handshake_time = 100ms});
  const UniqueFd socket = accept_plain();
  expect_failed(ErrorCode::kTimeout, "not finished within 100 ms");
}

TEST_F(TlsHostileTest, AServerThatClosesIsWorthAnotherTry) {
  connect({.address = listen_plain()});
  accept_plain().reset();
  expect_failed(ErrorCode::kTransient, "");
}

TEST_F(TlsHostileTest, AServerOfAnotherKindIsNamed) {
  connect({.address = listen_plain()});
  const UniqueFd socket = accept_plain();
  say(socket, "SSH-2.0-OpenSSH_9.2p1\r\n");
  expect_failed(ErrorCode::kInvalid, "not the TLS 1.3 of a node");
}

TEST_F(TlsHostileTest, AServerThatNeverGreetsIsGivenUp) {
  connect({.address = listen_plain(), .handshake_time = 200ms});
  const RawTls server(*loop_, accept_plain(), context("raw"), TlsRole::kServer);
  expect_failed(ErrorCode::kTimeout, "handshake with node 'raw'");
}

TEST_F(TlsHostileTest, AnAddressThatIsNoneIsRefusedAtOnce) {
  const auto client = TlsClient::connect(*loop_, {.address = "node-b:7400"}, context("a"), client_side_.handlers(),
                                         [](const Error&) {});
  ASSERT_FALSE(client);
  EXPECT_EQ(client.error().code(), ErrorCode::kInvalid);
}

// --- frames

TEST_F(TlsHostileTest, FramesMayComeInAnyPieces) {
  listen();
  const auto peer = raw();
  const std::string bytes = frame_bytes("hello", "body") + frame_bytes("");
  for (std::size_t cut = 1; cut < bytes.size(); ++cut) {
    peer->send(std::string_view(bytes).substr(0, cut));
    settle(*loop_);
    peer->send(std::string_view(bytes).substr(cut));
    ASSERT_TRUE(until([&] { return server_side_.messages.size() == 2; })) << cut;
    ASSERT_THAT(server_side_.messages, ElementsAre("hello", "")) << cut;
    ASSERT_THAT(server_side_.bodies, ElementsAre("body", "")) << cut;
    server_side_.messages.clear();
    server_side_.bodies.clear();
  }
  for (const char byte : bytes) peer->send(std::string_view(&byte, 1));
  ASSERT_TRUE(until([&] { return server_side_.messages.size() == 2; }));
}

TEST_F(TlsHostileTest, AFrameThatIsCutIsNotDelivered) {
  listen();
  const std::string bytes = frame_bytes("hello", "body");
  for (std::size_t cut = 1; cut < bytes.size(); ++cut) {
    const auto peer = raw();
    peer->send(std::string_view(bytes).substr(0, cut));
    cut % 2 == 0 ? peer->close() : peer->drop();
    expect_closed(ErrorCode::kCancelled, "closed within a frame");
  }
  const auto whole = raw();
  whole->send(bytes);
  ASSERT_TRUE(until([&] { return server_side_.messages.size() == 1; }));
  whole->close();
  expect_closed(ErrorCode::kCancelled, "closed");
  EXPECT_EQ(server_side_.messages.size(), 1u);
}

TEST_F(TlsHostileTest, AMessageBeyondTheLimitEndsTheConnection) {
  listen();
  for (const std::uint32_t bytes : {std::uint32_t{kMaxTlsMessageBytes} + 1, 0xffffffffU}) {
    const auto peer = raw();
    std::string header = frame_bytes("");
    for (std::size_t i = 0; i < 4; ++i) header[i] = static_cast<char>(bytes >> (8 * i));
    peer->send(header);
    expect_closed(ErrorCode::kInvalid, "announced a message of " + std::to_string(bytes) + " bytes");
  }
  expect_service();
}

TEST_F(TlsHostileTest, TheReceiverDecidesHowLongABodyMayBe) {
  std::uint64_t announced = 0;
  server_side_.on_body = [&](TlsConnection&, std::uint64_t bytes) -> Result<IncomingBody> {
    announced = bytes;
    return fail(ErrorCode::kNoSpace, "the budget is exhausted");
  };
  listen();
  const auto peer = raw();
  std::string header = frame_bytes("delta");
  header.replace(4, 8, 8, '\xff');
  peer->send(header);
  expect_closed(ErrorCode::kNoSpace, "the budget is exhausted");
  EXPECT_EQ(announced, 0xffffffffffffffffU);
  ASSERT_TRUE(until([&] { return peer->ended || peer->error; }));
  expect_service();
}

TEST_F(TlsHostileTest, AWrongPlaceForABodyEndsTheConnection) {
  server_side_.on_body = [](TlsConnection&, std::uint64_t bytes) -> Result<IncomingBody> {
    return Side::memory_for(bytes - 1);
  };
  listen();
  const auto peer = raw();
  peer->send(frame_bytes("m", "body"));
  expect_closed(ErrorCode::kInvalid, "the place for a body of 4 bytes has 3");
}

TEST_F(TlsHostileTest, ABodyThatNobodyExpectsEndsTheConnection) {
  server_side_.on_body = nullptr;
  listen();
  const auto peer = raw();
  peer->send(frame_bytes("m", "body"));
  expect_closed(ErrorCode::kInvalid, "which nobody expects");
  EXPECT_TRUE(server_side_.messages.empty());
}

// --- peers that stall

TEST_F(TlsHostileTest, WhoStopsWithinAFrameIsCutOffAndAnIdleOneIsNot) {
  listen({.stall_time = 100ms});
  const auto idle = raw();
  const auto in_header = raw();
  const auto in_message = raw();
  const auto in_body = raw();
  in_header->send("\x05");
  in_message->send(frame_bytes("hello").substr(0, 14));
  in_body->send(frame_bytes("hello", "body").substr(0, 19));
  ASSERT_TRUE(closes(server_side_, 3));
  for (std::size_t i = 1; i < 4; ++i) {
    const Error& why = server_side_.closed.at(server_side_.opened[i]);
    EXPECT_EQ(why.code(), ErrorCode::kTimeout);
    EXPECT_THAT(why.message(), HasSubstr("stopped within a frame"));
  }
  idle->send(frame_bytes("still here"));
  ASSERT_TRUE(until([&] { return server_side_.messages.size() == 1; }));
}

TEST_F(TlsHostileTest, WhoDripsWithinAFrameIsCutOff) {
  listen({.stall_time = 200ms});
  const auto peer = raw();
  peer->send(frame_bytes(std::string(1'000'000, 'x')).substr(0, 20));
  Timer drip;
  std::function<void()> next = [&] {
    if (!server_side_.closed.empty()) return;
    if (!peer->ended && !peer->error) peer->send("x");
    drip = loop_->after(10ms, [&] { next(); });
  };
  next();
  expect_closed(ErrorCode::kTimeout, "stopped within a frame");
}

TEST_F(TlsHostileTest, WhoStopsWithinARecordIsCutOff) {
  listen({.stall_time = 100ms});
  const auto peer = raw();
  // The head of a record of application data, and no more.
  ASSERT_EQ(::send(peer->fd(), "\x17\x03\x03\x40\x00zz", 7, MSG_NOSIGNAL), 7);
  expect_closed(ErrorCode::kTimeout, "stopped within a frame");
}

TEST_F(TlsHostileTest, WhatIsNoRecordEndsTheConnection) {
  listen();
  const auto peer = raw();
  ASSERT_EQ(::send(peer->fd(),
                   "\x17\x03\x03\x00\x20"
                   "01234567890123456789012345678901",
                   37, MSG_NOSIGNAL),
            37);
  expect_closed(ErrorCode::kInvalid, "not the TLS 1.3 of a node");
}

TEST_F(TlsHostileTest, APauseOfOursIsNoStallOfThePeer) {
  listen({.stall_time = 50ms});
  const auto peer = raw();
  accepted().pause_reading();
  peer->send(frame_bytes("hello").substr(0, 14));
  bool later = false;
  const Timer timer = loop_->after(150ms, [&] { later = true; });
  ASSERT_TRUE(until([&] { return later; }));
  EXPECT_TRUE(server_side_.closed.empty());
  peer->send(frame_bytes("hello").substr(14));
  accepted().resume_reading();
  ASSERT_TRUE(until([&] { return server_side_.messages.size() == 1; }));
}

TEST_F(TlsHostileTest, WhoDoesNotReadIsCutOff) {
  listen({.stall_time = 300ms});
  const auto peer = raw();
  peer->stop_reading();
  const auto text = std::make_shared<const std::string>(pattern(40 << 20));
  ASSERT_TRUE(accepted().send("much", body_of(text)));
  ASSERT_TRUE(closes(server_side_));
  EXPECT_EQ(server_side_.closed.begin()->second.code(), ErrorCode::kTimeout)
      << server_side_.closed.begin()->second.message();
  expect_service();
}

TEST_F(TlsHostileTest, WhoDoesNotReadTheLastWordsIsCutOffToo) {
  listen({.stall_time = 300ms});
  const auto peer = raw();
  peer->stop_reading();
  const auto text = std::make_shared<const std::string>(pattern(40 << 20));
  ASSERT_TRUE(accepted().send("much", body_of(text)));
  accepted().close_when_sent();
  ASSERT_TRUE(closes(server_side_));
  EXPECT_EQ(server_side_.closed.begin()->second.code(), ErrorCode::kTimeout);
}

// --- peers that vanish

TEST_F(TlsHostileTest, AResetIsTheEnd) {
  open();
  RawTls* kept = nullptr;
  const auto peer = raw();
  kept = peer.get();
  const linger now{1, 0};
  ASSERT_EQ(::setsockopt(kept->fd(), SOL_SOCKET, SO_LINGER, &now, sizeof now), 0);
  kept->drop();
  expect_closed(ErrorCode::kCancelled, "broke the connection off");
}

TEST_F(TlsHostileTest, WhatAPeerSaidBeforeItLeftIsHeardThoughSendingFails) {
  listen();
  const auto peer = raw();
  const auto text = std::make_shared<const std::string>(pattern(40 << 20));
  accepted().pause_reading();
  peer->stop_reading();
  ASSERT_TRUE(accepted().send("much", body_of(text)));
  peer->send(frame_bytes("why I leave"));
  peer->drop();  // with unread data: a reset
  bool heard = false;
  server_side_.on_frame = [&](TlsConnection&) { heard = server_side_.messages.back() == "why I leave"; };
  accepted().resume_reading();
  ASSERT_TRUE(closes(server_side_));
  EXPECT_TRUE(heard);
  EXPECT_EQ(server_side_.closed.begin()->second.code(), ErrorCode::kCancelled);
}

class VanishTest : public TlsHostileTest {
 protected:
  // In a network of our own, on a thread of our own: its loopback can be taken down.
  void run(const std::function<void()>& body) {
    bool skipped = false;
    std::thread([&] {
      if (::unshare(CLONE_NEWNET) != 0) {
        skipped = true;
        return;
      }
      set_loopback(true);
      loop_ = make_loop();
      body();
      client_.reset();
      server_.reset();
    }).join();
    if (skipped) GTEST_SKIP() << "needs a network namespace (root)";
  }
  static void set_loopback(bool up) {
    const UniqueFd socket(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
    ifreq request{};
    std::strcpy(request.ifr_name, "lo");
    ASSERT_EQ(::ioctl(socket.get(), SIOCGIFFLAGS, &request), 0);
    request.ifr_flags = static_cast<short>(up ? request.ifr_flags | IFF_UP : request.ifr_flags & ~IFF_UP);
    ASSERT_EQ(::ioctl(socket.get(), SIOCSIFFLAGS, &request), 0);
  }
};

TEST_F(VanishTest, APeerThatVanishesWhileWeSendIsNoticed) {
  run([&] {
    open({.stall_time = 500ms}, {.stall_time = 500ms});
    set_loopback(false);
    ASSERT_TRUE(client().send("anybody there?"));
    ASSERT_TRUE(closes(client_side_));
    EXPECT_EQ(client_side_.closed.begin()->second.code(), ErrorCode::kTimeout)
        << client_side_.closed.begin()->second.message();
  });
}

TEST_F(VanishTest, APeerThatVanishesOnAnIdleConnectionIsNoticed) {
  run([&] {
    open({.stall_time = 500ms}, {.stall_time = 500ms});
    set_loopback(false);
    ASSERT_TRUE(closes(client_side_) && closes(server_side_));
    EXPECT_EQ(client_side_.closed.begin()->second.code(), ErrorCode::kTimeout)
        << client_side_.closed.begin()->second.message();
    EXPECT_EQ(server_side_.closed.begin()->second.code(), ErrorCode::kTimeout);
  });
}

// --- the host

TEST_F(TlsHostileTest, GoesOnWhenDescriptorsRunOut) {
#ifdef __SANITIZE_ADDRESS__
  GTEST_SKIP() << "UBSan, which is on with ASan, needs descriptors itself to check a type";
#endif
  listen();
  UniqueFd waiting = plain_socket(address());
  std::vector<UniqueFd> hoard;
  for (;;) {
    UniqueFd fd(::open("/dev/null", O_RDONLY | O_CLOEXEC));
    if (!fd) break;
    hoard.push_back(std::move(fd));
  }
  settle(*loop_);
  hoard.clear();
  say(waiting, "late garbage, but accepted");
  expect_refused(ErrorCode::kInvalid, "");
  expect_service();
}

TEST_F(TlsHostileTest, APeerMayAskForNewKeys) {
  listen();
  const auto peer = raw();
  for (int i = 0; i < 10; ++i) {
    peer->ask_for_new_keys();
    peer->send(frame_bytes(std::to_string(i)));
    ASSERT_TRUE(until([&] { return server_side_.messages.size() == static_cast<std::size_t>(i) + 1; }));
    ASSERT_TRUE(accepted().send("answer " + std::to_string(i)));
    ASSERT_TRUE(until([&] { return peer->received.ends_with("answer " + std::to_string(i)); }));
  }
}

}  // namespace
}  // namespace perdure::io
