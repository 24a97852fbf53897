#include "node/cluster/lease_service.h"

#include <utility>

#include "base/log.h"
#include "node/cluster/lease_codec.h"

namespace perdure::node {
namespace {

namespace lease = policy::lease;

// Of one round of the thread: whoever floods us does not keep the timer from running.
constexpr int kMaxReads = 64;

}  // namespace

// ---- Beginning and end ----

LeaseService::LeaseService(LeaseServiceOptions options, LeaseHandlers handlers)
    : options_(std::move(options)),
      handlers_(std::move(handlers)),
      engine_(options_.self, options_.timing, options_.clock) {}

Result<std::unique_ptr<LeaseService>> LeaseService::start(LeaseServiceOptions options, LeaseHandlers handlers) {
  std::unique_ptr<LeaseService> service(new LeaseService(std::move(options), std::move(handlers)));
  PERDURE_ASSIGN(service->thread_, io::RealtimeThread::create({.name = "heartbeats"}));
  PERDURE_TRY(service->listen());
  service->thread_->on_timer([raw = service.get()] { raw->tick(); });
  PERDURE_TRY(service->thread_->start());
  for (const io::RealtimeFeature* feature :
       {&service->thread_->realtime().scheduling, &service->thread_->realtime().memory}) {
    if (!feature->works) log::warning("the thread of the heartbeats: {}", feature->reason);
  }
  return service;
}

LeaseService::~LeaseService() {
  lifetime_.end();
  thread_->stop();
}

Status LeaseService::listen() {
  sockets_.reserve(options_.listen.size());  // watched by address
  for (const io::Endpoint& endpoint : options_.listen) {
    auto socket = io::DatagramSocket::bind(endpoint);
    if (!socket) return fail(std::move(socket).error().context("heartbeats"));
    sockets_.push_back(*std::move(socket));
    PERDURE_TRY(thread_->watch(sockets_.back().fd(), [this, index = sockets_.size() - 1] { read(sockets_[index]); }));
  }
  return {};
}

// ---- The loop's side ----

void LeaseService::session(const model::NodeLife& life, const io::Endpoint& address,
                           const std::array<std::byte, 32>& material, pki::ChannelRole role) {
  auto keys = pki::ChannelKeys::derive(material, role);
  if (!keys) {
    log::error("heartbeats with node '{}': {}", life.node.str(), keys.error().message());
    return;
  }
  const Status posted = thread_->post([this, life, address, role, keys = *std::move(keys)]() mutable {
    Peer& peer = peers_.try_emplace(life.node, Peer{life, address, {}}).first->second;
    if (peer.life != life) peer = Peer{life, address, {}};
    peer.address = address;
    const pki::ChannelKeyId id = keys.id();
    peer.channel.install(std::move(keys));
    peer.newest = id;
    // Who is dialled has installed them before it said Hello; who dials is known to have them by what it says later.
    if (role == pki::ChannelRole::kClient) peer.channel.confirm(id);
  });
  if (!posted) log::error("heartbeats with node '{}': {}", life.node.str(), posted.error().message());
}

void LeaseService::session_confirmed(const model::NodeLife& life) {
  (void)thread_->post([this, life] {
    const auto found = peers_.find(life.node);
    if (found != peers_.end() && found->second.life == life && found->second.newest) {
      found->second.channel.confirm(*found->second.newest);
    }
  });
}

void LeaseService::forget_peer(const NodeName& node) {
  (void)thread_->post([this, node] { peers_.erase(node); });
}

// What has just been asked for begins at once.
void LeaseService::wake() {
  (void)thread_->post([this] { tick(); });
}

void LeaseService::use(const lease::Timing& timing) {
  engine_.use(timing);
  wake();
}

void LeaseService::need(const ContainerName& container, const lease::Needs& needs, std::shared_ptr<GateDeadline> gate) {
  const LeaseOutput output = engine_.need(container, needs, std::move(gate));
  PERDURE_ASSERT(output.messages.empty() && output.news.empty());  // they come with the next tick
  wake();
}

void LeaseService::ask_long(Duration grant) {
  engine_.ask_long(grant);
  wake();
}

void LeaseService::watch(const ContainerName& container, const std::optional<lease::Charge>& charge) {
  engine_.watch(container, charge);
  wake();
}

void LeaseService::resume(const ContainerName& container) {
  engine_.resume(container);
  wake();
}

LeaseCounters LeaseService::counters() const {
  return {.sent = sent_, .not_sent = not_sent_, .received = received_, .dropped = dropped_};
}

// ---- The thread's side ----

void LeaseService::read(io::DatagramSocket& socket) {
  for (int i = 0; i < kMaxReads; ++i) {
    auto datagram = socket.receive(buffer_);
    if (!datagram) continue;  // the socket's, told once
    if (!*datagram) return;
    received((*datagram)->bytes);
  }
}

// A datagram proves by its seal whom it comes from, not by its address.
void LeaseService::received(std::span<const std::byte> bytes) {
  const auto id = pki::key_id_of(bytes);
  Peer* peer = id ? find(*id) : nullptr;
  if (peer == nullptr) {
    ++dropped_;
    return;
  }
  const auto content = peer->channel.open(bytes);
  if (!content) {
    ++dropped_;
    return;
  }
  auto message = lease_message_from(*content, peer->life.node);
  if (!message) {
    ++dropped_;
    return;
  }
  ++received_;
  std::visit(
      [&](const auto& body) {
        if (body.from == peer->life) deliver(engine_.on(body));
      },
      *message);
}

LeaseService::Peer* LeaseService::find(pki::ChannelKeyId id) {
  for (auto& [node, peer] : peers_) {
    if (peer.channel.holds(id)) return &peer;
  }
  return nullptr;
}

void LeaseService::tick() {
  deliver(engine_.tick());
  const Instant next = engine_.next_tick();
  if (next == Instant::max()) {
    thread_->clear_timer();
  } else {
    thread_->set_timer(next);
  }
}

void LeaseService::deliver(LeaseOutput output) {
  for (const LeaseSend& message : output.messages) send(message);
  for (LeaseNews& news : output.news) {
    options_.loop.post([this, token = lifetime_.token(), news = std::move(news)] {
      if (token.alive()) tell(handlers_, news);
    });
  }
}

void LeaseService::send(const LeaseSend& message) {
  const auto peer = peers_.find(message.to);
  const auto contents = std::visit([](const auto& body) { return to_datagrams(body); }, message.body);
  for (const std::string& content : contents) {
    if (peer == peers_.end()) {
      ++not_sent_;
      continue;
    }
    const auto sealed = peer->second.channel.seal(std::as_bytes(std::span(content)));
    const bool sent = sealed && socket_for(peer->second.address).send(peer->second.address, *sealed);
    ++(sent ? sent_ : not_sent_);
  }
}

io::DatagramSocket& LeaseService::socket_for(const io::Endpoint& address) {
  for (io::DatagramSocket& socket : sockets_) {
    if (socket.address().family() == address.family()) return socket;
  }
  return sockets_.front();
}

}  // namespace perdure::node
