#include "network/tcp_probe.h"

#include <algorithm>
#include <array>
#include <format>
#include <map>

#include "network/announce.h"
#include "network/attach.h"
#include "network/link.h"
#include "network/packet_socket.h"

namespace perdure::network {
namespace {

// The first round of asking is a bare ACK; a peer that has answered a stranger less than 500 ms ago
// (Linux: tcp_invalid_ratelimit) ignores it, so later ones carry one old byte. There are four
// within a short deadline; a longer one is for slow peers and adds rounds.
constexpr unsigned kRoundsAtLeast = 4;
constexpr Duration kRoundAtMost = std::chrono::milliseconds(100);
// By then a living connection has acknowledged what was under way, retransmissions included.
constexpr Duration kUnderWay = std::chrono::seconds(1);
constexpr Duration kLookAtStop = std::chrono::milliseconds(2);  // a restore may wait for it
// Of a segment that is sent again: fits on every path that is worth one (RFC 8200: 1280 bytes).
constexpr std::size_t kResentBytes = 1200;
// One message takes back one doubling; so many lead from Linux's longest timeout, two minutes, to its shortest, 200 ms.
constexpr int kBackOffs = 10;

struct Target {
  RestoredSocket socket;
  std::optional<IpAddress> next_hop{};  // none: no route, or the container itself
  std::optional<MacAddress> mac{};
  std::optional<PeerAnswer::Said> said{};
  // The peer is ahead of what the restored socket, which speaks already, has acknowledged: its bytes may be under
  // way.
  std::optional<PeerAnswer> ahead{};
  Instant ahead_since{};
  std::optional<PeerAnswer> answer{};
};

bool is_later(std::uint32_t one, std::uint32_t other) {
  return static_cast<std::int32_t>(one - other) > 0;
}

Frame probe_segment(const ProbePath& path, const Target& target, bool old_byte) {
  const RestoredSocket& socket = target.socket;
  TcpSegment segment;
  segment.source_mac = path.mac;
  segment.destination_mac = *target.mac;
  segment.source = socket.local;
  segment.destination = socket.remote;
  segment.sequence = socket.snd_una - 1;
  segment.acknowledgement = socket.rcv_nxt;
  segment.flags = TcpSegment::kAck;
  segment.payload_bytes = old_byte ? 1 : 0;
  // Who uses timestamps may drop what has none (RFC 7323, section 3.2); an old one is answered.
  if (socket.timestamp) segment.timestamps = TcpTimestamps{*socket.timestamp, 0};
  return make_tcp(segment);
}

// In the socket's name, after its peer has answered.
TcpSegment segment_of(const ProbePath& path, const RestoredSocket& socket, const PeerAnswer& answer) {
  TcpSegment segment;
  segment.source_mac = path.mac;
  segment.destination_mac = answer.next_hop;
  segment.source = socket.local;
  segment.destination = socket.remote;
  segment.acknowledgement = socket.rcv_nxt;
  segment.window = socket.window;
  // One that the peer has seen: what the socket itself says must not look older.
  if (answer.timestamp) {
    segment.timestamps = TcpTimestamps{answer.timestamp_echo.value_or(socket.timestamp.value_or(0)), *answer.timestamp};
  }
  return segment;
}

class ProbeRun {
 public:
  ProbeRun(const ProbePath& path, Injector& injector, PacketSocket& listener)
      : path_(path), injector_(injector), listener_(listener) {}

  Status prepare(const std::vector<RestoredSocket>& sockets);
  Status run(const ProbeOptions& options);
  std::vector<std::optional<PeerAnswer>> answers() const;

 private:
  Status find_next_hops();
  Status ask(unsigned round);
  Status resolve(const Target& target);
  Status take(FrameView frame);
  Status take_neighbour(const IpAddress& address, const MacAddress& mac);
  void take_segment(const TcpSegment& segment);
  void take_said(Target& target, const TcpSegment& segment);
  void settle_what_stays_ahead(Instant now);

  const ProbePath& path_;
  Injector& injector_;
  PacketSocket& listener_;
  std::vector<Target> targets_;
  std::map<TcpTuple, Target*> by_tuple_;
  bool is_waited_for(std::size_t awaited) const;

  unsigned round_ = 0;
};

Status ProbeRun::prepare(const std::vector<RestoredSocket>& sockets) {
  targets_.reserve(sockets.size());
  for (const RestoredSocket& socket : sockets) {
    targets_.push_back(Target{socket});
    by_tuple_[TcpTuple{socket.local, socket.remote}] = &targets_.back();
  }
  return find_next_hops();
}

bool ProbeRun::is_waited_for(std::size_t awaited) const {
  const auto end = targets_.begin() + static_cast<std::ptrdiff_t>(std::min(awaited, targets_.size()));
  return std::any_of(targets_.begin(), end, [](const Target& target) { return target.next_hop && !target.answer; });
}

Status ProbeRun::find_next_hops() {
  PERDURE_ASSIGN(auto links, LinkControl::open(path_.netns));
  PERDURE_ASSIGN(const LinkInfo interface, links.get(kContainerInterface));
  PERDURE_ASSIGN(const auto neighbours, links.neighbours());
  std::map<IpAddress, std::optional<IpAddress>> next_hops;
  for (Target& target : targets_) {
    const IpAddress& remote = target.socket.remote.address;
    auto known = next_hops.find(remote);
    if (known == next_hops.end()) {
      const auto route = links.route_to(remote);
      std::optional<IpAddress> next_hop;
      if (route && !route->local && route->link_index == interface.index) {
        next_hop = route->gateway.value_or(remote);
      }
      known = next_hops.emplace(remote, next_hop).first;
    }
    target.next_hop = known->second;
    if (!target.next_hop) continue;
    const auto neighbour = std::ranges::find_if(neighbours, [&](const Neighbour& candidate) {
      return candidate.link_index == interface.index && candidate.address == *target.next_hop;
    });
    if (neighbour != neighbours.end()) target.mac = neighbour->mac;
  }
  return {};
}

Status ProbeRun::resolve(const Target& target) {
  const IpAddress& source = target.socket.local.address;
  if (source.family != target.next_hop->family)
    return {};  // IPv4 behind an IPv6 gateway: only if cached
  if (!source.is_v4())
    return injector_.send(make_solicitation(path_.mac, source, *target.next_hop));
  return injector_.send(
      make_arp(ArpPacket{ArpPacket::kRequest, path_.mac, source, MacAddress{}, *target.next_hop},
               kBroadcastMac));
}

Status ProbeRun::ask(unsigned round) {
  std::vector<IpAddress> resolved;
  for (const Target& target : targets_) {
    if (!target.next_hop || target.answer) continue;
    // A cached MAC may be stale: whoever did not answer the first round is looked up as well.
    const bool asked = std::ranges::find(resolved, *target.next_hop) != resolved.end();
    if ((!target.mac || round > 0) && !asked) {
      resolved.push_back(*target.next_hop);
      PERDURE_TRY(resolve(target));
    }
    if (target.mac) PERDURE_TRY(injector_.send(probe_segment(path_, target, round > 0)));
  }
  return {};
}

Status ProbeRun::take_neighbour(const IpAddress& address, const MacAddress& mac) {
  for (Target& target : targets_) {
    if (target.next_hop != address || target.mac == mac) continue;
    target.mac = mac;
    if (!target.answer) PERDURE_TRY(injector_.send(probe_segment(path_, target, false)));
  }
  return {};
}

// What the restored socket says itself: its peer's answers are to be compared with that.
void ProbeRun::take_said(Target& target, const TcpSegment& segment) {
  if (segment.flags & TcpSegment::kRst) return;
  const std::uint32_t end =
      segment.sequence + segment.payload_bytes + ((segment.flags & TcpSegment::kFin) != 0 ? 1 : 0);
  const PeerAnswer::Said before =
      target.said.value_or(PeerAnswer::Said{target.socket.snd_nxt, target.socket.rcv_nxt});
  const bool more_sent = is_later(end, before.end);
  const bool more_acknowledged = is_later(segment.acknowledgement, before.acknowledged);
  const bool begins = (segment.flags & TcpSegment::kSyn) != 0;  // between the same ends, another connection
  if (!more_sent && !more_acknowledged && !begins) return;
  target.said = {more_sent || begins ? end : before.end,
                 more_acknowledged || begins ? segment.acknowledgement : before.acknowledged};
  if (!target.ahead || is_later(target.ahead->snd_nxt, target.said->acknowledged)) return;
  target.ahead->said = target.said;
  target.answer = target.ahead;
}

void ProbeRun::take_segment(const TcpSegment& segment) {
  if (const auto own = by_tuple_.find(TcpTuple{segment.source, segment.destination}); own != by_tuple_.end()) {
    if (!own->second->answer) take_said(*own->second, segment);
    return;
  }
  const auto found = by_tuple_.find(TcpTuple{segment.destination, segment.source});
  if (found == by_tuple_.end() || found->second->answer || !found->second->next_hop) return;
  Target& target = *found->second;
  PeerAnswer answer;
  answer.next_hop = target.mac.value_or(segment.source_mac);
  answer.said = target.said;
  if (segment.flags & TcpSegment::kRst) {
    answer.reset = true;
    target.answer = answer;
    return;
  }
  // Only a bare ACK tells SND.NXT; data and FIN are old ones, sent again. One below what the peer
  // had sent at the checkpoint is its own keep-alive probe.
  const bool bare =
      (segment.flags & (TcpSegment::kAck | TcpSegment::kSyn | TcpSegment::kFin)) == TcpSegment::kAck;
  if (!bare || segment.payload_bytes != 0 || segment.sequence == target.socket.rcv_nxt - 1) return;
  answer.rcv_nxt = segment.acknowledgement;
  answer.snd_nxt = segment.sequence;
  answer.window = segment.window;
  if (segment.timestamps) {
    answer.timestamp = segment.timestamps->value;
    answer.timestamp_echo = segment.timestamps->echo;
  }
  if (target.said && is_later(answer.snd_nxt, target.said->acknowledged)) {
    if (!target.ahead) target.ahead_since = BootClock::now();
    target.ahead = answer;
  } else {
    target.answer = answer;
  }
}

void ProbeRun::settle_what_stays_ahead(Instant now) {
  for (Target& target : targets_) {
    if (target.answer || !target.ahead || now - target.ahead_since < kUnderWay) continue;
    target.ahead->said = target.said;
    target.answer = target.ahead;
  }
}

Status ProbeRun::take(FrameView frame) {
  if (const auto segment = parse_tcp(frame)) {
    take_segment(*segment);
  } else if (const auto arp = parse_arp(frame)) {
    return take_neighbour(arp->sender, arp->sender_mac);
  } else if (const auto message = parse_neighbour(frame)) {
    if (message->type == NeighbourMessage::kAdvertisement) {
      return take_neighbour(message->target, message->link_layer.value_or(message->sender_mac));
    }
  }
  return {};
}

Status ProbeRun::run(const ProbeOptions& options) {
  const Instant start = BootClock::now();
  const Instant end = start + options.deadline;
  const Duration interval = std::min<Duration>(options.deadline / kRoundsAtLeast, kRoundAtMost);
  Instant next = start;
  const std::size_t awaited = options.awaited.value_or(targets_.size());
  while (is_waited_for(awaited) && !options.stop.stop_requested()) {
    const Instant now = BootClock::now();
    if (now >= end) break;
    settle_what_stays_ahead(now);
    if (now >= next) {
      PERDURE_TRY(ask(round_++));
      next += interval;
      continue;
    }
    PERDURE_ASSIGN(const auto frame, listener_.receive(std::min({next, end, now + kLookAtStop})));
    if (frame) PERDURE_TRY(take(*frame));
  }
  return {};
}

std::vector<std::optional<PeerAnswer>> ProbeRun::answers() const {
  std::vector<std::optional<PeerAnswer>> all;
  for (const Target& target : targets_) all.push_back(target.answer);
  return all;
}

}  // namespace

struct PeerProber::Impl {
  ProbePath path;
  Injector injector;
  PacketSocket listener;
  std::optional<ProbeRun> run;  // refers to the others
};

PeerProber::PeerProber(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
PeerProber::PeerProber(PeerProber&&) noexcept = default;
PeerProber& PeerProber::operator=(PeerProber&&) noexcept = default;
PeerProber::~PeerProber() = default;

Result<PeerProber> PeerProber::open(const ProbePath& path) {
  PERDURE_ASSIGN(Injector injector, Injector::open(path.bridge));
  constexpr std::array kKinds{PacketKind::kTcp, PacketKind::kArp, PacketKind::kNeighbour};
  PERDURE_ASSIGN(auto listener, PacketSocket::open_listener(path.host_interface, kKinds));
  return PeerProber(std::make_unique<Impl>(Impl{path, std::move(injector), std::move(listener), {}}));
}

Result<std::vector<std::optional<PeerAnswer>>> PeerProber::probe(
    const std::vector<RestoredSocket>& sockets, const ProbeOptions& options) {
  if (sockets.empty()) return std::vector<std::optional<PeerAnswer>>();
  // What a peer said before it was asked may be older than what it did since.
  PERDURE_TRY(impl_->listener.drain());
  ProbeRun& run = impl_->run.emplace(impl_->path, impl_->injector, impl_->listener);
  PERDURE_TRY(run.prepare(sockets));
  PERDURE_TRY(run.run(options));
  return run.answers();
}

Result<std::vector<std::optional<PeerAnswer>>> PeerProber::probe_on(const ProbeOptions& options) {
  if (!impl_->run) return std::vector<std::optional<PeerAnswer>>();
  PERDURE_TRY(impl_->run->run(options));
  return impl_->run->answers();
}

Status PeerProber::reset(const RestoredSocket& socket, const PeerAnswer& answer) {
  if (answer.reset) {
    return fail(ErrorCode::kInvalid,
                std::format("reset {}: it does not know the connection", to_string(socket.remote)));
  }
  TcpSegment segment;
  segment.source_mac = impl_->path.mac;
  segment.destination_mac = answer.next_hop;
  segment.source = socket.local;
  segment.destination = socket.remote;
  segment.sequence = answer.rcv_nxt;
  segment.acknowledgement = answer.snd_nxt;
  segment.flags = TcpSegment::kRst | TcpSegment::kAck;
  return impl_->injector.send(make_tcp(segment));
}

Status PeerProber::go_on(const RestoredSocket& socket, const PeerAnswer& answer, std::string_view queue) {
  if (answer.reset) return {};
  PERDURE_TRY(send_again(socket, answer, queue));
  TcpSegment segment = segment_of(impl_->path, socket, answer);
  segment.flags = TcpSegment::kAck;
  segment.sequence = answer.rcv_nxt;
  PERDURE_TRY(impl_->injector.send(make_tcp(segment)));
  const Frame lost = make_unreachable({.source_mac = impl_->path.mac,
                                       .destination_mac = answer.next_hop,
                                       .peer = socket.remote,
                                       .host = socket.local,
                                       .sequence = socket.rcv_nxt});
  for (int i = 0; answer.snd_nxt != socket.rcv_nxt && i < kBackOffs; ++i) PERDURE_TRY(impl_->injector.send(lost));
  // Last, for its answer opens the window. One old byte: a bare segment would be ignored so soon after the first.
  segment.sequence = answer.rcv_nxt - 1;
  segment.payload_bytes = 1;
  return impl_->injector.send(make_tcp(segment));
}

Status PeerProber::send_again(const RestoredSocket& socket, const PeerAnswer& answer, std::string_view queue) {
  const std::uint32_t known = answer.rcv_nxt - socket.snd_una;
  if (answer.reset || known >= queue.size()) return {};
  TcpSegment segment = segment_of(impl_->path, socket, answer);
  segment.flags = TcpSegment::kAck | TcpSegment::kPsh;
  for (std::size_t at = known; at < queue.size(); at += kResentBytes) {
    const std::string_view payload = queue.substr(at, kResentBytes);
    segment.sequence = socket.snd_una + static_cast<std::uint32_t>(at);
    segment.payload.assign(payload.begin(), payload.end());
    if (Status sent = impl_->injector.send(make_tcp(segment)); !sent) return at == known ? sent : Status{};
  }
  return {};
}

Status PeerProber::reset_socket(const RestoredSocket& socket) {
  TcpSegment segment;
  segment.source_mac = impl_->path.mac;  // nobody looks at it
  segment.destination_mac = impl_->path.mac;
  segment.source = socket.remote;
  segment.destination = socket.local;
  segment.sequence = socket.rcv_nxt;
  segment.flags = TcpSegment::kRst;
  return impl_->listener.send(make_tcp(segment));
}

}  // namespace perdure::network
