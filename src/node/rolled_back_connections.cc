#include "node/rolled_back_connections.h"

#include <algorithm>
#include <condition_variable>
#include <format>
#include <mutex>
#include <set>

#include "base/log.h"

namespace perdure::node {
namespace {

using capsule::CapturedConnection;
using network::PeerAnswer;
using network::PeerProber;
using network::RestoredSocket;
using network::TcpSocketInfo;
using network::TcpTuple;

constexpr Duration kAskTime = std::chrono::milliseconds(100);  // peers near by; a restore takes about as long
constexpr Duration kLateAnswers = std::chrono::seconds(4);     // of peers, while the restored container runs already
// A peer that has closed a connection acknowledges nothing and forgets it after a minute (Linux: TCP_TIMEWAIT_LEN).
constexpr Duration kWatch = std::chrono::seconds(60);
constexpr Duration kLook = std::chrono::milliseconds(500);
// In a row. One may have been lost on the way; the second comes three seconds after the first try at the earliest.
constexpr unsigned kSuspectRetransmissions = 2;
constexpr unsigned kStuckRetransmissions = 3;
// What the container's clock may have gone on between dump and date of the capsule, and what the clocks of two hosts may
// differ by. A timestamp that is too late harms nobody.
constexpr std::chrono::milliseconds kClockSlack{1000};

TcpTuple tuple_of(const RestoredSocket& socket) { return {socket.local, socket.remote}; }

RestoredSocket socket_at(RestoredSocket socket, const network::SplicePoint& point) {
  socket.snd_una = point.snd_una;
  if (!socket.shut_by_container) socket.snd_nxt = point.snd_una;
  socket.rcv_nxt = point.rcv_nxt;
  return socket;
}

std::chrono::milliseconds since(std::chrono::system_clock::time_point captured) {
  const auto elapsed = std::chrono::duration_cast<std::chrono::milliseconds>(std::chrono::system_clock::now() - captured);
  return std::max(elapsed, std::chrono::milliseconds::zero()) + kClockSlack;
}

}  // namespace

RestoredSocket to_network(const CapturedConnection& connection) {
  const auto family = connection.ipv6 ? network::IpFamily::kV6 : network::IpFamily::kV4;
  RestoredSocket socket;
  socket.local = {{family, connection.local_address}, connection.local_port};
  socket.remote = {{family, connection.remote_address}, connection.remote_port};
  socket.snd_una = connection.send_unacknowledged;
  socket.snd_nxt = connection.send_next;
  socket.rcv_nxt = connection.receive_next;
  socket.window = connection.window;
  socket.shut_by_container = connection.shut_by_container;
  socket.shut_by_peer = connection.shut_by_peer;
  socket.timestamp = connection.timestamp;
  return socket;
}

bool is_loopback(const network::IpAddress& address) {
  if (address.is_v4()) return address.bytes[0] == 127;
  network::IpAddress loopback = network::IpAddress::any(network::IpFamily::kV6);
  loopback.bytes[15] = 1;
  return address == loopback;
}

model::TcpPolicy tcp_policy_of(const model::NetworkSpec& network, const CapturedConnection& connection) {
  const auto find = [&](std::uint16_t port) {
    return std::ranges::find(network.tcp_ports, port, &model::TcpPortPolicy::port);
  };
  auto found = find(connection.listens ? connection.local_port : connection.remote_port);
  if (found == network.tcp_ports.end() && !connection.listens) found = find(connection.local_port);
  return found == network.tcp_ports.end() ? network.tcp_policy : found->policy;
}

struct RolledBackConnections::Connection {
  RestoredSocket socket;
  std::optional<CapturedConnection> captured{};  // nothing: it began after the checkpoint
  model::TcpPolicy policy = model::TcpPolicy::kReset;
  bool peer_has_ended = false;  // its FIN came after the checkpoint
  std::optional<PeerAnswer> answer{};
  std::optional<network::SplicePoint> point{};  // its image says that it is there

  bool may_be_spliced() const { return captured && captured->open && policy == model::TcpPolicy::kSplice; }
  network::PeerState state(std::chrono::milliseconds clock_advance) const;
};

network::PeerState RolledBackConnections::Connection::state(std::chrono::milliseconds clock_advance) const {
  // Who has begun anew from the same port is not to be disturbed.
  if (!captured) return !answer || answer->reset || answer->said ? network::PeerState::kNoAnswer : network::PeerState::kMoved;
  const network::PeerState state = network::classify(socket, answer);
  if (state != network::PeerState::kUnmoved || !socket.timestamp || !answer->timestamp_echo) return state;
  // The clocks of two hosts differ by more than is allowed for: the peer would drop all that is older than what it knows.
  const std::uint32_t clock = capsule::timestamp_after(*socket.timestamp, clock_advance);
  const bool is_old = static_cast<std::int32_t>(*answer->timestamp_echo - clock) > 0;
  return is_old && !answer->said ? network::PeerState::kMoved : state;
}

RolledBackConnections::RolledBackConnections(ConnectionsPlace place, const capsule::Capsule& capsule)
    : place_(std::move(place)), capsule_(capsule), elapsed_(since(capsule.manifest.created)) {}

RolledBackConnections::~RolledBackConnections() = default;

Result<std::unique_ptr<RolledBackConnections>> RolledBackConnections::of(
    ConnectionsPlace place, const capsule::Capsule& capsule, const std::vector<TcpSocketInfo>& left_behind) {
  PERDURE_ASSIGN(const auto captured, capsule::captured_connections(capsule.images));
  std::unique_ptr<RolledBackConnections> made(new RolledBackConnections(std::move(place), capsule));
  for (const CapturedConnection& connection : captured) made->add(connection, left_behind);
  const auto others = std::ranges::stable_partition(made->connections_, &Connection::may_be_spliced);
  made->splices_ = static_cast<std::size_t>(others.begin() - made->connections_.begin());
  made->captured_ = made->connections_.size();
  made->add_younger(left_behind);
  PERDURE_TRY(made->prepare_images());
  return made;
}

void RolledBackConnections::add(const CapturedConnection& captured, const std::vector<TcpSocketInfo>& left_behind) {
  Connection connection{to_network(captured), captured, tcp_policy_of(place_.network, captured)};
  if (is_loopback(connection.socket.remote.address)) return;
  const auto before = std::ranges::find(left_behind, tuple_of(connection.socket), &TcpSocketInfo::tuple);
  connection.peer_has_ended = before != left_behind.end() && before->shut_by_peer && !captured.shut_by_peer;
  connections_.push_back(std::move(connection));
}

// Nobody will answer their peers any more.
void RolledBackConnections::add_younger(const std::vector<TcpSocketInfo>& left_behind) {
  std::set<TcpTuple> known;
  for (const Connection& connection : connections_) known.insert(tuple_of(connection.socket));
  for (const TcpSocketInfo& info : left_behind) {
    if (is_loopback(info.tuple.remote.address) || !known.insert(info.tuple).second) continue;
    RestoredSocket& younger = connections_.emplace_back().socket;
    younger.local = info.tuple.local;
    younger.remote = info.tuple.remote;
  }
}

Status RolledBackConnections::prepare_images() {
  for (const Connection& connection : connections_) {
    if (!connection.captured) continue;
    PERDURE_ASSIGN(auto later, capsule::image_later(*image_of(connection), elapsed_));
    if (later) changed_.push_back(*std::move(later));
  }
  return {};
}

const capsule::Image* RolledBackConnections::image_of(const Connection& connection) const {
  return &*std::ranges::find(capsule_.images, connection.captured->image, &capsule::Image::name);
}

// ---- Asking ----

Status RolledBackConnections::ask() {
  if (connections_.empty()) return {};
  PERDURE_ASSIGN(answered_, make_pipe());
  asking_ = std::jthread([this](const std::stop_token& settles) {
    if (Status asked = ask_peers(settles); !asked) {
      log::warning("{}: asking the peers of {} connections: {}", place_.container, connections_.size(),
                   asked.error().message());
    }
    tell_first_answers();
  });
  return {};
}

void RolledBackConnections::tell_first_answers() {
  if (!answered_.write_end) return;
  first_answers_.count_down();
  answered_.write_end.reset();
}

// CRIU waits for the first `splices_`, settle() for those of the capsule, and nobody for the younger ones.
Status RolledBackConnections::ask_peers(const std::stop_token& settles) {
  const Instant end = BootClock::now() + kAskTime;
  std::vector<RestoredSocket> sockets;
  for (const Connection& connection : connections_) sockets.push_back(connection.socket);
  const auto keep = [&](const std::vector<std::optional<PeerAnswer>>& answers, std::size_t from, std::size_t to) {
    for (std::size_t i = from; i < to; ++i) connections_[i].answer = answers[i];
  };
  const auto remaining = [&] { return std::max<Duration>(end - BootClock::now(), {}); };
  PERDURE_ASSIGN(prober_, PeerProber::open(place_.path));
  PERDURE_ASSIGN(const auto first, prober_->probe(sockets, {.deadline = kAskTime, .awaited = splices_}));
  keep(first, 0, splices_);
  tell_first_answers();
  PERDURE_ASSIGN(const auto captured, prober_->probe_on({.deadline = remaining(), .awaited = captured_}));
  keep(captured, splices_, captured_);
  PERDURE_ASSIGN(const auto all, prober_->probe_on({.deadline = remaining(), .stop = settles}));
  keep(all, captured_, all.size());
  return {};
}

capsule::LateImages RolledBackConnections::late() {
  capsule::LateImages late;
  for (std::size_t i = 0; i < splices_; ++i) late.names.push_back(connections_[i].captured->image);
  late.ready_fd = answered_.read_end.get();
  late.take = [this] { return splice(); };
  return late;
}

std::vector<capsule::Image> RolledBackConnections::splice() {
  first_answers_.wait();
  std::vector<capsule::Image> images;
  for (std::size_t i = 0; i < splices_; ++i) {
    if (auto image = splice(connections_[i])) images.push_back(*std::move(image));
  }
  return images;
}

// Also where its peer is if that has not moved: what it has acknowledged meanwhile need not be sent again.
std::optional<capsule::Image> RolledBackConnections::splice(Connection& connection) const {
  if (!connection.answer) return std::nullopt;
  const PeerAnswer& answer = *connection.answer;
  const auto point = network::splice_point(connection.socket, answer);
  // An end that was acknowledged does not come again: the application would wait for it for ever.
  if (!point || (connection.peer_has_ended && point->rcv_nxt != connection.socket.rcv_nxt)) return std::nullopt;
  auto image = capsule::image_at(
      *image_of(connection), *connection.captured,
      {.received = point->snd_una, .sent = point->rcv_nxt, .window = answer.window, .timestamp_echo = answer.timestamp_echo});
  if (!image) {
    log::warning("{}: {}", place_.container, image.error().message());
    return std::nullopt;
  }
  connection.point = *point;
  return *std::move(image);
}

// ---- Settling ----

RolledBackConnections::Settled RolledBackConnections::settle() {
  asking_.request_stop();
  if (asking_.joinable()) asking_.join();
  std::vector<Connection*> all;
  for (Connection& connection : connections_) all.push_back(&connection);
  return settle(all);
}

RolledBackConnections::Settled RolledBackConnections::settle(std::span<Connection* const> some) {
  Settled settled;
  settled.all = static_cast<std::uint32_t>(some.size());
  if (!prober_) return settled;
  for (const Connection* each : some) {
    const network::PeerState state = each->state(elapsed_);
    if (each->point) {
      spliced_.push_back(socket_at(each->socket, *each->point));
      settled.spliced += state == network::PeerState::kMoved ? 1 : 0;
      go_on(*each);
    } else if (state == network::PeerState::kMoved || state == network::PeerState::kGone) {
      ++settled.reset;
      end(*each);
    } else if (state == network::PeerState::kUnmoved) {
      go_on(*each);
    }
  }
  return settled;
}

// A connection whose peer has moved on and that cannot follow, or that began after the checkpoint: its bytes are not
// there to be sent again. Both ends are told at once.
void RolledBackConnections::end(const Connection& connection) {
  const RestoredSocket& socket = connection.socket;
  const auto warn = [&](std::string_view what, const Status& done) {
    if (done || done.error().code() == ErrorCode::kNotFound) return;
    log::warning("{}: {} {}: {}", place_.container, what, to_string(socket.remote), done.error().message());
  };
  if (!connection.answer->reset) warn("reset peer", prober_->reset(socket, *connection.answer));
  if (!connection.captured) return;
  warn("reset the connection to", prober_->reset_socket(socket));
  // A socket that has received since the checkpoint takes no notice of that.
  warn("abort the connection to", network::destroy_socket(place_.path.netns, tuple_of(socket)));
}

// The restored socket knows no round trip yet, so that its own timer would take a second; the peer's has been set back
// while the container was silent.
void RolledBackConnections::go_on(const Connection& connection) {
  const PeerAnswer& answer = *connection.answer;
  if (answer.said) return;  // it talks already
  const RestoredSocket& socket = connection.socket;
  Status sent;
  if (connection.point) {
    // What is in its queue counts as not sent.
    sent = prober_->go_on(socket_at(socket, *connection.point), answer, {});
  } else if (connection.captured->to_send > 0 || socket.snd_una != socket.snd_nxt || answer.snd_nxt != socket.rcv_nxt) {
    sent = prober_->go_on(socket, answer, connection.captured->unacknowledged);
  }
  if (!sent) log::warning("{}: {}: {}", place_.container, to_string(socket.remote), sent.error().message());
}

// ---- Beside the running container ----

// Peers far away, or cut off for a moment: the container runs, nobody waits for them.
void RolledBackConnections::hear_late_answers(std::stop_token stop) {
  const Instant end = BootClock::now() + kLateAnswers;
  const auto is_open = [](const Connection& connection) { return !connection.answer; };
  while (prober_ && BootClock::now() < end && std::ranges::any_of(connections_, is_open)) {
    const auto answers = prober_->probe_on({.deadline = kLateAnswers / 10, .stop = stop});
    if (!answers || stop.stop_requested()) break;
    std::vector<Connection*> late;
    for (std::size_t i = 0; i < answers->size(); ++i) {
      Connection& connection = connections_[i];
      if (connection.answer || !(*answers)[i]) continue;
      connection.answer = (*answers)[i];
      late.push_back(&connection);
    }
    if (late.empty()) continue;
    const Settled settled = settle(late);
    log::info("{}: {} peers answered late; {} had moved on and were reset", place_.container, late.size(), settled.reset);
  }
  prober_.reset();  // it sees every frame of the container
}

void RolledBackConnections::watch_spliced(std::stop_token stop) {
  const Instant end = BootClock::now() + kWatch;
  std::mutex mutex;
  std::unique_lock lock(mutex);
  std::condition_variable_any never;
  while (!spliced_.empty() && BootClock::now() < end) {
    never.wait_for(lock, stop, kLook, [] { return false; });
    if (stop.stop_requested()) return;
    const auto infos = network::list_established(place_.path.netns);
    if (!infos) return;  // the namespace goes
    std::vector<Suspect> suspects;
    std::erase_if(spliced_, [&](const RestoredSocket& socket) {
      const auto info = std::ranges::find(*infos, tuple_of(socket), &TcpSocketInfo::tuple);
      if (info == infos->end()) return true;
      if (info->retransmissions >= kSuspectRetransmissions) suspects.push_back({socket, info->retransmissions});
      return false;
    });
    if (!suspects.empty()) end_stuck(suspects);
  }
}

// A peer that answers, has room, and has not taken a byte since the connection was spliced, has ended it. One that
// answers and yet acknowledges nothing that the socket can make use of had bytes of the lost life beyond a gap, and
// acknowledges what the new one has not sent. Who does not answer is cut off.
void RolledBackConnections::end_stuck(const std::vector<Suspect>& suspects) const {
  auto prober = PeerProber::open(place_.path);
  if (!prober) return;
  std::vector<RestoredSocket> sockets;
  for (const Suspect& suspect : suspects) sockets.push_back(suspect.socket);
  const auto answers = prober->probe(sockets);
  if (!answers) return;
  for (std::size_t i = 0; i < suspects.size(); ++i) {
    const auto& [socket, retransmissions] = suspects[i];
    const auto& answer = (*answers)[i];
    if (!answer) continue;
    const bool takes_nothing = answer->rcv_nxt == socket.snd_una || retransmissions >= kStuckRetransmissions;
    if (!answer->reset && !(takes_nothing && answer->window > 0)) continue;
    log::info("{}: the connection to {} was spliced, but its peer takes nothing: it is reset", place_.container,
              to_string(socket.remote));
    if (!answer->reset) (void)prober->reset(socket, *answer);
    (void)prober->reset_socket(socket);
    (void)network::destroy_socket(place_.path.netns, tuple_of(socket));
  }
}

}  // namespace perdure::node
