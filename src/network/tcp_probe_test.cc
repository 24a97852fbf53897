// Proves the probes against real kernels' TCP: a connection's numbers are taken as a checkpoint
// takes them (TCP_REPAIR), the container's socket vanishes without a word as in a death behind the
// gate, and the peer is asked: another container, the host, somebody behind the gateway, over IPv4
// and IPv6.
#include "network/tcp_probe.h"

#include <linux/sockios.h>
#include <netinet/tcp.h>
#include <sys/ioctl.h>

#include <algorithm>
#include <cstdlib>

#include "network/network_test_support.h"

namespace perdure::network {
namespace {

constexpr int kRepairOffNoProbe = -1;  // TCP_REPAIR_OFF_NO_WP
constexpr int kReceiveQueue = 1;       // TCP_RECV_QUEUE
constexpr int kSendQueue = 2;          // TCP_SEND_QUEUE

template <typename T>
void set_tcp(int fd, int option, T value) {
  ASSERT_EQ(::setsockopt(fd, IPPROTO_TCP, option, &value, sizeof value), 0) << std::strerror(errno);
}
std::uint32_t get_tcp(int fd, int option) {
  std::uint32_t value = 0;
  socklen_t size = sizeof value;
  EXPECT_EQ(::getsockopt(fd, IPPROTO_TCP, option, &value, &size), 0) << std::strerror(errno);
  return value;
}

// Waits until everything sent has been acknowledged: checkpoints of a connection at rest.
void wait_acknowledged(int fd) {
  EXPECT_TRUE(eventually([&] {
    int left = 1;
    return ::ioctl(fd, SIOCOUTQ, &left) == 0 && left == 0;
  }));
}

RestoredSocket checkpoint(int fd, const Endpoint& local, const Endpoint& remote) {
  RestoredSocket socket;
  socket.local = local;
  socket.remote = remote;
  int unacknowledged = 0;
  EXPECT_EQ(::ioctl(fd, SIOCOUTQ, &unacknowledged), 0);
  set_tcp(fd, TCP_REPAIR, 1);
  set_tcp(fd, TCP_REPAIR_QUEUE, kSendQueue);
  socket.snd_nxt = get_tcp(fd, TCP_QUEUE_SEQ);
  socket.snd_una = socket.snd_nxt - static_cast<std::uint32_t>(unacknowledged);
  set_tcp(fd, TCP_REPAIR_QUEUE, kReceiveQueue);
  socket.rcv_nxt = get_tcp(fd, TCP_QUEUE_SEQ);
  socket.timestamp = get_tcp(fd, TCP_TIMESTAMP);
  set_tcp(fd, TCP_REPAIR, kRepairOffNoProbe);
  const int on =
      1;  // which leaving the repair mode has reset; the port is bound again by later connections
  EXPECT_EQ(::setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on), 0);
  return socket;
}

// The clock of TCP timestamps ticks in milliseconds: what follows is later than what was.
void pass_a_timestamp() {
  const Instant until = BootClock::now() + std::chrono::milliseconds(5);
  ASSERT_TRUE(eventually([&] { return BootClock::now() > until; }));
}

enum class Where { kContainer, kHost, kBehindGateway };
struct PeerPlace {
  Where where;
  IpFamily family;
};

class TcpProbeTest : public BridgeTest, public testing::WithParamInterface<PeerPlace> {
 protected:
  void SetUp() override {
    BridgeTest::SetUp();
    if (IsSkipped() || HasFatalFailure()) return;
    container_.emplace(make_container(2));
    container_->attachment.gate.set_flags(GateFlags::kRstGuard);
    if (GetParam().where == Where::kContainer) make_neighbour_peer();
    if (GetParam().where == Where::kHost) make_host_peer();
    if (GetParam().where == Where::kBehindGateway) make_distant_peer();
  }

  bool v4() const { return GetParam().family == IpFamily::kV4; }
  int container_netns() const { return container_->netns.fd(); }
  Endpoint service() const { return v4() ? container_->at(80) : container_->at6(80); }
  Endpoint peer_at(std::uint16_t port) const { return Endpoint{peer_address_, port}; }
  int peer_netns() const { return peer_.has_value() ? peer_->fd() : -1; }

  ProbePath path() const {
    ProbePath path;
    path.netns = container_netns();
    path.bridge = "br0";
    path.host_interface = container_->attachment.host_interface;
    path.mac = container_->mac;
    return path;
  }

  TcpPair connect(std::uint16_t port = 4000) const {
    return connect_tcp(peer_netns(), peer_at(port), container_netns(), service());
  }
  RestoredSocket checkpoint_of(const TcpPair& pair) const {
    wait_acknowledged(pair.server.get());
    wait_acknowledged(pair.client.get());
    return checkpoint(pair.server.get(), pair.server_end, pair.client_end);
  }
  // The container's end goes as in a death whose FIN the gate swallowed.
  static void vanish(TcpPair& pair) {
    set_tcp(pair.server.get(), TCP_REPAIR, 1);
    pair.server.reset();
  }
  static void exchange(const UniqueFd& from, const UniqueFd& to) {
    char buffer[16];
    ASSERT_EQ(::write(from.get(), "0123456789", 10), 10);
    ASSERT_TRUE(readable_within(to.get(), 20'000));
    ASSERT_EQ(::read(to.get(), buffer, sizeof buffer), 10);
    wait_acknowledged(from.get());
  }
  std::vector<std::optional<PeerAnswer>> ask_all(const std::vector<RestoredSocket>& sockets, Duration deadline) {
    if (!prober_) prober_.emplace(value_of(PeerProber::open(path())));
    return value_of(prober_->probe(sockets, {deadline}));
  }
  std::optional<PeerAnswer> ask(const RestoredSocket& socket) { return ask_all({socket}, kEventDeadline).at(0); }
  static int pending_error(const UniqueFd& fd) {
    int error = 0;
    socklen_t size = sizeof error;
    EXPECT_EQ(::getsockopt(fd.get(), SOL_SOCKET, SO_ERROR, &error, &size), 0);
    return error;
  }

  std::optional<Container> container_;
  std::optional<PeerProber> prober_;

 private:
  void make_neighbour_peer() {
    neighbour_.emplace(make_container(3));
    peer_.emplace(value_of(NetworkNamespace::open("/run/perdure/netns/c3")));
    peer_address_ = v4() ? neighbour_->v4 : neighbour_->v6;
  }
  void make_host_peer() { peer_address_ = v4() ? ip("10.1.0.1") : ip("fd01::1"); }
  void make_distant_peer() {
    peer_.emplace(value_of(NetworkNamespace::create("/run/perdure/netns/far")));
    auto links = value_of(LinkControl::open());
    auto far = value_of(LinkControl::open(peer_->fd()));
    VethRequest veth;
    veth.host_name = "far0";
    veth.peer_netns = peer_->fd();
    ASSERT_TRUE(links.create_veth(veth));
    ASSERT_TRUE(links.ensure_bridge("br1"));
    ASSERT_OK(links.set_up("br1"));
    ASSERT_OK(links.enslave("far0", "br1"));
    ASSERT_OK(links.set_up("far0"));
    ASSERT_OK(far.set_up("eth0"));
    ASSERT_OK(links.wait_forwarding("far0", kEventDeadline));
    ASSERT_OK(far.add_address("eth0", prefix("10.2.0.2/24")));
    ASSERT_OK(far.add_address("eth0", prefix("fd02::2/64")));
    ASSERT_OK(links.add_address("br1", prefix("10.2.0.1/24")));
    ASSERT_OK(links.add_address("br1", prefix("fd02::1/64")));
    ASSERT_OK(links.add_address("br1", prefix("fe80::1/64")));  // routers solicit from it
    ASSERT_OK(far.set_default_route("eth0", ip("10.2.0.1")));
    ASSERT_OK(far.set_default_route("eth0", ip("fd02::1")));
    ASSERT_OK(write_control_file("/proc/sys/net/ipv4/ip_forward", "1"));
    ASSERT_OK(write_control_file("/proc/sys/net/ipv6/conf/all/forwarding", "1"));
    peer_address_ = v4() ? ip("10.2.0.2") : ip("fd02::2");
  }

  std::optional<Container> neighbour_;
  std::optional<NetworkNamespace> peer_;
  IpAddress peer_address_;
};

TEST_P(TcpProbeTest, WhoHasBegunAnewFromTheSamePortIsNoPeerOfThePast) {
  RestoredSocket past;
  past.local = service();
  past.remote = peer_at(4000);
  PeerProber prober = value_of(PeerProber::open(path()));
  value_of(prober.probe({past}, {.awaited = 0}));
  const TcpPair pair = connect();
  const auto answers = value_of(prober.probe_on({.deadline = kEventDeadline}));
  ASSERT_TRUE(answers.front());
  EXPECT_TRUE(answers.front()->said);
}

TEST_P(TcpProbeTest, IdlePeerIsUnmoved) {
  TcpPair pair = connect();
  exchange(pair.client, pair.server);
  exchange(pair.server, pair.client);
  const RestoredSocket socket = checkpoint_of(pair);
  vanish(pair);
  const auto answer = ask(socket);
  ASSERT_TRUE(answer);
  EXPECT_EQ(answer->rcv_nxt, socket.snd_nxt);
  EXPECT_EQ(answer->snd_nxt, socket.rcv_nxt);
  EXPECT_TRUE(answer->timestamp_echo);
  EXPECT_EQ(classify(socket, answer), PeerState::kUnmoved);
}

TEST_P(TcpProbeTest, AnswersEveryTimeAndWithTheSocketAlive) {
  const TcpPair pair = connect();
  const RestoredSocket socket = checkpoint_of(pair);
  for (int i = 0; i < 3; ++i) {
    EXPECT_EQ(classify(socket, ask(socket)), PeerState::kUnmoved)
        << "the second probe within Linux's rate limit";
  }
}

TEST_P(TcpProbeTest, PeerWhoseBytesWereAcknowledgedIsMoved) {
  TcpPair pair = connect();
  const RestoredSocket socket = checkpoint_of(pair);
  pass_a_timestamp();
  exchange(pair.client, pair.server);
  vanish(pair);
  const auto answer = ask(socket);
  ASSERT_TRUE(answer);
  EXPECT_EQ(answer->snd_nxt, socket.rcv_nxt + 10);
  EXPECT_EQ(classify(socket, answer), PeerState::kMoved);
}

TEST_P(TcpProbeTest, PeerThatReceivedMoreIsMoved) {
  TcpPair pair = connect();
  const RestoredSocket socket = checkpoint_of(pair);
  exchange(pair.server, pair.client);
  vanish(pair);
  const auto answer = ask(socket);
  ASSERT_TRUE(answer);
  EXPECT_EQ(answer->rcv_nxt, socket.snd_nxt + 10);
  EXPECT_EQ(classify(socket, answer), PeerState::kMoved);
}

TEST_P(TcpProbeTest, PeerThatSpokeIntoTheOutageIsUnmoved) {
  TcpPair pair = connect();
  exchange(pair.client, pair.server);
  const RestoredSocket socket = checkpoint_of(pair);
  vanish(pair);
  pass_a_timestamp();
  ASSERT_EQ(::write(pair.client.get(), "hello", 5),
            5);  // nobody acknowledges it: it will come again
  const auto answer = ask(socket);
  ASSERT_TRUE(answer);
  EXPECT_EQ(answer->snd_nxt, socket.rcv_nxt + 5);
  EXPECT_EQ(classify(socket, answer), PeerState::kUnmoved);
}

TEST_P(TcpProbeTest, PeerThatForgotIsGone) {
  TcpPair pair = connect();
  const RestoredSocket socket = checkpoint_of(pair);
  vanish(pair);
  set_tcp(pair.client.get(), TCP_REPAIR, 1);  // gone without a word, as after a reboot
  pair.client.reset();
  const auto answer = ask(socket);
  EXPECT_EQ(classify(socket, answer), PeerState::kGone);
  EXPECT_EQ(prober_->reset(socket, *answer).error().code(), ErrorCode::kInvalid);
}

TEST_P(TcpProbeTest, MovedPeerAcceptsTheReset) {
  TcpPair pair = connect();
  const RestoredSocket socket = checkpoint_of(pair);
  pass_a_timestamp();
  exchange(pair.client, pair.server);
  exchange(pair.server, pair.client);
  vanish(pair);
  const auto answer = ask(socket);
  ASSERT_EQ(classify(socket, answer), PeerState::kMoved);
  ASSERT_OK(prober_->reset(socket, *answer));
  ASSERT_TRUE(readable_within(pair.client.get(), 20'000));
  EXPECT_EQ(pending_error(pair.client), ECONNRESET);
  EXPECT_EQ(classify(socket, ask(socket)), PeerState::kGone);
}

// A number of a connection's TCP_INFO.
std::uint8_t timeouts_of(const UniqueFd& fd) {
  tcp_info info{};
  socklen_t size = sizeof info;
  EXPECT_EQ(::getsockopt(fd.get(), IPPROTO_TCP, TCP_INFO, &info, &size), 0);
  return info.tcpi_backoff;
}

// Both ends wait for timers that have been doubled three times while nobody heard them: the next try would come two
// seconds after the last.
TEST_P(TcpProbeTest, WhatWasLostOnTheWayGoesOnAtOnce) {
  constexpr int kTimeouts = 4;
  const TcpPair pair = connect();
  exchange(pair.client, pair.server);
  exchange(pair.server, pair.client);
  const RestoredSocket socket = checkpoint_of(pair);
  container_->attachment.gate.add_flags(GateFlags::kLocked | GateFlags::kInputLocked);
  ASSERT_EQ(::write(pair.client.get(), "question", 8), 8);
  ASSERT_EQ(::write(pair.server.get(), "answer", 6), 6);
  ASSERT_TRUE(eventually([&] { return timeouts_of(pair.client) >= kTimeouts && timeouts_of(pair.server) >= kTimeouts; }));
  container_->attachment.gate.clear_flags(GateFlags::kLocked | GateFlags::kInputLocked);
  const auto answer = ask(socket);
  ASSERT_TRUE(answer);
  EXPECT_EQ(answer->snd_nxt, socket.rcv_nxt + 8);
  RestoredSocket restored = socket;
  restored.window = 100;
  ASSERT_OK(prober_->go_on(restored, *answer, "answer"));
  const int before = timeouts_of(pair.client);
  ASSERT_TRUE(readable_within(pair.client.get(), 1000)) << "what the container had sent";
  ASSERT_TRUE(readable_within(pair.server.get(), 1000)) << "what the peer had sent, after " << before << " timeouts";
  char text[16];
  EXPECT_EQ(::read(pair.client.get(), text, sizeof text), 6);
  EXPECT_EQ(::read(pair.server.get(), text, sizeof text), 8);
  wait_acknowledged(pair.server.get());
  wait_acknowledged(pair.client.get());
  EXPECT_EQ(::write(pair.client.get(), "more", 4), 4);
  EXPECT_TRUE(readable_within(pair.server.get(), 20'000));
  EXPECT_EQ(pending_error(pair.client), 0);
}

TEST_P(TcpProbeTest, OnlyThoseThatAreAwaitedAreWaitedFor) {
  TcpPair pair = connect();
  const RestoredSocket socket = checkpoint_of(pair);
  vanish(pair);
  RestoredSocket nobody = socket;
  nobody.remote.address = v4() ? ip("10.1.0.77") : ip("fd01::77");
  prober_.emplace(value_of(PeerProber::open(path())));
  const Instant begin = BootClock::now();
  const auto answers = value_of(prober_->probe({socket, nobody}, {.deadline = kEventDeadline, .awaited = 1}));
  EXPECT_LT(BootClock::now() - begin, kEventDeadline);
  EXPECT_EQ(classify(socket, answers.at(0)), PeerState::kUnmoved);
  EXPECT_EQ(classify(nobody, answers.at(1)), PeerState::kNoAnswer);
}

TEST_P(TcpProbeTest, AnEndOfThePeerIsListed) {
  TcpPair pair = connect();
  EXPECT_FALSE(value_of(list_established(container_netns())).at(0).shut_by_peer);
  ASSERT_EQ(::shutdown(pair.client.get(), SHUT_WR), 0);
  EXPECT_TRUE(eventually([&] { return value_of(list_established(container_netns())).at(0).shut_by_peer; }));
  container_->attachment.gate.lock();
  pair.server.reset();
  EXPECT_TRUE(value_of(list_established(container_netns())).at(0).shut_by_peer) << "also of a life that has ended";
}

TEST_P(TcpProbeTest, ManyPeersInOneGo) {
  std::vector<TcpPair> pairs;
  std::vector<RestoredSocket> sockets;
  constexpr int kPeers = 60;
  for (int i = 0; i < kPeers; ++i) {
    pairs.push_back(connect(static_cast<std::uint16_t>(4000 + i)));
    sockets.push_back(checkpoint_of(pairs.back()));
  }
  for (int i = 0; i < kPeers; i += 3)
    exchange(pairs[std::size_t(i)].server, pairs[std::size_t(i)].client);
  for (TcpPair& pair : pairs) vanish(pair);
  const auto answers = ask_all(sockets, kEventDeadline);
  ASSERT_EQ(answers.size(), sockets.size());
  for (std::size_t i = 0; i < answers.size(); ++i) {
    EXPECT_EQ(classify(sockets[i], answers[i]),
              i % 3 == 0 ? PeerState::kMoved : PeerState::kUnmoved)
        << i;
  }
}

// The peer is cut off while it is asked, and both ends talk before it is heard.
TEST_P(TcpProbeTest, APeerThatWasCutOffAnswersLater) {
  TcpPair moved = connect(4000);
  const TcpPair talks = connect(4001);
  const TcpPair idle = connect(4002);
  std::vector<RestoredSocket> sockets{checkpoint_of(moved), checkpoint_of(talks), checkpoint_of(idle)};
  exchange(moved.server, moved.client);
  vanish(moved);
  sockets.push_back(sockets[0]);
  sockets.back().remote.address = v4() ? ip("10.1.0.77") : ip("fd01::77");  // nobody
  prober_.emplace(value_of(PeerProber::open(path())));
  container_->attachment.gate.add_flags(GateFlags::kInputLocked);
  const auto first = value_of(prober_->probe(sockets, {std::chrono::milliseconds(50)}));
  EXPECT_TRUE(std::ranges::none_of(first, [](const auto& answer) { return answer.has_value(); }));
  container_->attachment.gate.clear_flags(GateFlags::kInputLocked);
  exchange(talks.server, talks.client);
  exchange(talks.client, talks.server);
  const auto answers = value_of(prober_->probe_on({std::chrono::seconds(2)}));
  ASSERT_EQ(answers.size(), sockets.size());
  EXPECT_EQ(classify(sockets[0], answers[0]), PeerState::kMoved);
  EXPECT_EQ(classify(sockets[1], answers[1]), PeerState::kUnmoved) << "with what it has said since";
  EXPECT_EQ(classify(sockets[2], answers[2]), PeerState::kUnmoved);
  EXPECT_EQ(classify(sockets[3], answers[3]), PeerState::kNoAnswer);
}

TEST_P(TcpProbeTest, SilenceEndsWithTheDeadline) {
  RestoredSocket nobody;
  nobody.local = service();
  nobody.remote = Endpoint{v4() ? ip("10.1.0.77") : ip("fd01::77"), 9};
  RestoredSocket itself = nobody;
  itself.remote = Endpoint{service().address, 9};
  const auto answers =
      ask_all({nobody, itself}, std::chrono::milliseconds(100));
  EXPECT_EQ(classify(nobody, answers.at(0)), PeerState::kNoAnswer);
  EXPECT_EQ(classify(itself, answers.at(1)), PeerState::kNoAnswer)
      << "its own other end is no peer";
  EXPECT_TRUE(ask_all({}, kEventDeadline).empty());
}

TEST_P(TcpProbeTest, ConnectionsAreListedAndAborted) {
  TcpPair pair = connect();
  ASSERT_EQ(::write(pair.client.get(), "hello", 5), 5);
  ASSERT_TRUE(readable_within(pair.server.get(), 20'000));
  const auto listed = value_of(list_established(container_netns()));
  ASSERT_EQ(listed.size(), 1u);
  EXPECT_EQ(listed[0].tuple, (TcpTuple{pair.server_end, pair.client_end}));
  EXPECT_EQ(listed[0].receive_queue, 5u);
  EXPECT_EQ(listed[0].send_queue, 0u);
  ASSERT_OK(destroy_socket(container_netns(), listed[0].tuple));
  EXPECT_EQ(pending_error(pair.server), ECONNABORTED);
  EXPECT_EQ(destroy_socket(container_netns(), listed[0].tuple).error().code(),
            ErrorCode::kNotFound);
  EXPECT_TRUE(value_of(list_established(container_netns())).empty());
  EXPECT_EQ(pending_error(pair.client), 0) << "the abort's RST stays behind the gate";
}

TEST_P(TcpProbeTest, AbortingAConnectionThatIsGoneSparesItsListener) {
  TcpPair pair = connect();
  const TcpTuple tuple{pair.server_end, pair.client_end};
  const UniqueFd listener = socket_at(container_netns(), SOCK_STREAM, pair.server_end);
  ASSERT_EQ(::listen(listener.get(), 8), 0) << std::strerror(errno);
  ASSERT_OK(destroy_socket(container_netns(), tuple));
  EXPECT_EQ(destroy_socket(container_netns(), tuple).error().code(), ErrorCode::kNotFound);
  int listens = 0;
  socklen_t size = sizeof listens;
  ASSERT_EQ(::getsockopt(listener.get(), SOL_SOCKET, SO_ACCEPTCONN, &listens, &size), 0);
  EXPECT_EQ(listens, 1);
}

// What a life that ended behind a locked gate leaves in its namespace, and a restore stumbles over.
TEST_P(TcpProbeTest, OrphansOfADeadLifeAreCleared) {
  TcpPair open_end = connect(4001);
  TcpPair closed_by_peer = connect(4002);
  container_->attachment.gate.lock();
  ASSERT_EQ(::write(open_end.server.get(), "hello", 5), 5);  // never acknowledged
  closed_by_peer.client.reset();
  open_end.server.reset();
  closed_by_peer.server.reset();
  ASSERT_FALSE(value_of(list_established(container_netns())).empty());
  ASSERT_OK(clear_connections(container_netns()));
  EXPECT_TRUE(value_of(list_established(container_netns())).empty());
  ASSERT_OK(clear_connections(container_netns()));
}

std::string place_name(const testing::TestParamInfo<PeerPlace>& info) {
  const char* where = info.param.where == Where::kContainer ? "Container"
                      : info.param.where == Where::kHost    ? "Host"
                                                            : "BehindGateway";
  return std::string(where) + (info.param.family == IpFamily::kV4 ? "V4" : "V6");
}
INSTANTIATE_TEST_SUITE_P(Peers, TcpProbeTest,
                         testing::Values(PeerPlace{Where::kContainer, IpFamily::kV4},
                                         PeerPlace{Where::kContainer, IpFamily::kV6},
                                         PeerPlace{Where::kHost, IpFamily::kV4},
                                         PeerPlace{Where::kHost, IpFamily::kV6},
                                         PeerPlace{Where::kBehindGateway, IpFamily::kV4},
                                         PeerPlace{Where::kBehindGateway, IpFamily::kV6}),
                         place_name);

}  // namespace
}  // namespace perdure::network
