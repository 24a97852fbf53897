#include "node/cluster/peer_network.h"

#include <algorithm>
#include <array>
#include <format>
#include <utility>

#include "base/assert.h"
#include "base/log.h"
#include "base/units.h"
#include "node/cluster/peer_line.h"

namespace perdure::node {
namespace {

namespace p1 = peer::v1;

constexpr std::array<Channel, 2> kChannels{Channel::kControl, Channel::kBulk};
// Refusals of one peer for one reason are told this often: a node that was removed dials for ever.
constexpr Duration kTellAgain = std::chrono::minutes(1);
constexpr std::size_t kMaxTold = 256;

// Each try comes from another port, and says so.
std::string without_numbers(std::string text) {
  std::erase_if(text, [](char c) { return c >= '0' && c <= '9'; });
  return text;
}

}  // namespace

// ---- Beginning and end ----

PeerNetwork::PeerNetwork(PeerNetworkOptions options, PeerRequestTable table, PeerNetworkHandlers handlers)
    : options_(std::move(options)), table_(std::move(table)), handlers_(std::move(handlers)) {}

Result<std::shared_ptr<const io::TlsContext>> PeerNetwork::make_context(
    io::TlsIdentity identity, io::TlsOptions::ClientCertificate clients) {
  io::TlsOptions options;
  options.identity = std::move(identity);
  options.client_certificate = clients;
  options.clock = &options_.clock;
  options.check = [this](const io::TlsPeer& peer) -> Status {
    if (peer.name.empty()) return {};  // may ask to join, and nothing else
    return handlers_.check ? handlers_.check(peer) : Status{};
  };
  return io::TlsContext::create(std::move(options));
}

Status PeerNetwork::use(io::TlsIdentity identity) {
  PERDURE_ASSIGN(client_context_, make_context(identity, io::TlsOptions::ClientCertificate::kRequired));
  PERDURE_ASSIGN(server_context_, make_context(std::move(identity), io::TlsOptions::ClientCertificate::kOptional));
  if (server_) server_->use(server_context_);
  return {};
}

Result<std::unique_ptr<PeerNetwork>> PeerNetwork::start(PeerNetworkOptions options, io::TlsIdentity identity,
                                                        PeerRequestTable table, PeerNetworkHandlers handlers) {
  std::unique_ptr<PeerNetwork> network(
      new PeerNetwork(std::move(options), std::move(table), std::move(handlers)));
  PERDURE_TRY(network->use(std::move(identity)));
  io::TlsServerOptions server;
  server.addresses = network->options_.listen;
  server.on_refused = [raw = network.get()](const io::TlsPeer& peer, const Error& error) {
    raw->report_refused(peer.name.empty() ? peer.address : std::format("{} ({})", peer.name, peer.address), error);
  };
  PERDURE_ASSIGN(network->server_,
                 io::TlsServer::listen(network->options_.loop, std::move(server), network->server_context_,
                                       network->line_handlers({}, Channel::kControl)));
  network->ping();
  return network;
}

PeerNetwork::~PeerNetwork() {
  lifetime_.end();
  lines_.clear();
  sessions_.clear();
  server_.reset();
}

void PeerNetwork::set_peers(const std::vector<model::NodeDescription>& nodes) {
  peers_known_ = true;
  std::map<NodeName, std::unique_ptr<Session>> kept;
  for (const model::NodeDescription& node : nodes) {
    if (node.life.node == options_.self.node) continue;
    auto& session = kept[node.life.node];
    if (const auto found = sessions_.find(node.life.node); found != sessions_.end()) {
      session = std::move(found->second);
      sessions_.erase(found);
      session->node = node;
    } else {
      session = std::make_unique<Session>(node);
    }
  }
  auto gone = std::exchange(sessions_, std::move(kept));
  for (auto& [name, session] : gone) {
    const Error error(ErrorCode::kCancelled, std::format("node '{}' is no member of the cluster any more", name.str()));
    end(*session, error);
    // Its clients go with it, and a client that is destroyed does not tell that its connection has ended.
    std::vector<io::TlsConnectionId> dialled;
    for (const auto& [id, line] : lines_) {
      if (line->dialled == name) dialled.push_back(id);
    }
    for (const io::TlsConnectionId id : dialled) closed(id, error);
  }
  for (auto& [name, session] : sessions_) {
    if (!(options_.self.node < name)) continue;
    for (const Channel channel : kChannels) {
      Session::End& each = session->end(channel);
      if (!each.client && each.line == nullptr && !each.redial.active()) dial(*session, channel);
    }
  }
}

// ---- Connections ----

io::TlsHandlers PeerNetwork::line_handlers(std::optional<NodeName> dialled, Channel channel) {
  io::TlsHandlers handlers;
  handlers.on_open = [this, dialled, channel](io::TlsConnection& connection) { opened(connection, dialled, channel); };
  handlers.on_body = [this](io::TlsConnection& connection, std::string_view text, std::uint64_t bytes) {
    return place_body(connection, text, bytes);
  };
  handlers.on_frame = [this](io::TlsConnection& connection, std::string text, io::IncomingBody body) {
    received(connection, std::move(text), std::move(body));
  };
  handlers.on_close = [this](io::TlsConnectionId id, const io::TlsPeer&, const Error& error) { closed(id, error); };
  return handlers;
}

void PeerNetwork::dial(Session& session, Channel channel) {
  const NodeName name = session.node.life.node;
  Session::End& each = session.end(channel);
  each.redial.reset();
  if (session.node.addresses.empty()) return;
  io::TlsClientOptions options;
  options.address = session.node.addresses.front();
  options.expected_name = name.str();
  auto failed = [this, name, channel](const Error& error) {
    const auto found = sessions_.find(name);
    if (found != sessions_.end()) redial_later(*found->second, channel, error);
  };
  auto client = io::TlsClient::connect(options_.loop, std::move(options), client_context_,
                                       line_handlers(name, channel), failed);
  if (!client) return redial_later(session, channel, client.error());
  each.client = *std::move(client);
}

void PeerNetwork::redial_later(Session& session, Channel channel, const Error& error) {
  Session::End& each = session.end(channel);
  if (error.code() == ErrorCode::kPermission) report_refused(session.node.life.node.str(), error);
  if (error.code() != ErrorCode::kCancelled || session.trouble.empty()) session.trouble = error.message();
  each.pause = each.pause == Duration::zero() ? options_.redial_first
                                              : std::min(each.pause * 2, options_.redial_limit);
  each.redial = options_.loop.after(each.pause, [this, name = session.node.life.node, channel] {
    const auto found = sessions_.find(name);
    if (found == sessions_.end()) return;
    found->second->end(channel).client.reset();
    dial(*found->second, channel);
  });
}

// Who answers on one connection can be reached on the other. Its pause may be longer than this one is borne without it: both would
// begin anew again and again, and never be there together.
void PeerNetwork::dial_the_other(Session& session, Channel channel) {
  const Channel other = channel == Channel::kControl ? Channel::kBulk : Channel::kControl;
  Session::End& each = session.end(other);
  if (each.line != nullptr || !each.redial.active()) return;
  each.pause = Duration::zero();
  each.client.reset();
  dial(session, other);
}

void PeerNetwork::opened(io::TlsConnection& connection, const std::optional<NodeName>& dialled, Channel channel) {
  auto line = std::make_unique<Line>();
  line->connection = &connection;
  line->id = connection.id();
  line->dialled = dialled;
  line->channel = channel;
  line->anonymous = connection.peer().name.empty();
  line->last_heard = options_.clock.now();
  Line& added = *(lines_[line->id] = std::move(line));
  if (!dialled) return;  // the other side speaks first: it knows which channel this is
  if (!send(added, own_hello(added.channel))) hang_up(added);
}

p1::Message PeerNetwork::own_hello(Channel channel) const {
  p1::Message message;
  p1::Hello& hello = *message.mutable_hello();
  hello.set_protocol(options_.protocols.oldest);
  hello.set_newest_protocol(options_.protocols.newest);
  hello.set_cluster_id(options_.cluster_id);
  hello.mutable_node()->set_name(options_.self.node.str());
  hello.mutable_node()->set_incarnation(options_.self.incarnation.value);
  hello.set_version(options_.version);
  hello.set_bulk(channel == Channel::kBulk);
  return message;
}

void PeerNetwork::closed(io::TlsConnectionId id, const Error& error) {
  const auto found = lines_.find(id);
  if (found == lines_.end()) return;
  const std::unique_ptr<Line> line = std::move(found->second);
  lines_.erase(found);
  line->connection = nullptr;
  for (auto& [number, pending] : std::exchange(line->pending, {})) {
    pending.answer(std::unexpected(PeerRefusal{Error(ErrorCode::kTransient, "the connection ended: " + error.message()), {}}));
  }
  const NodeName* const node = line->dialled ? &*line->dialled : line->peer ? &line->peer->node : nullptr;
  const auto session = node == nullptr ? sessions_.end() : sessions_.find(*node);
  if (session == sessions_.end()) return;
  Session::End& each = session->second->end(line->channel);
  const bool in_use = each.line == line.get();
  if (in_use) {
    each.line = nullptr;
    lost(*session->second, error);
  }
  if (line->dialled && each.line == nullptr && !each.redial.active()) {
    redial_later(*session->second, line->channel, error);
  }
}

void PeerNetwork::lost(Session& session, const Error& error) {
  if (!session.state) return;
  const model::NodeLife life = session.state->life;
  session.state.reset();
  session.trouble = error.message();
  if (handlers_.on_down) handlers_.on_down(life, error);
}

void PeerNetwork::hang_up(Line& line) {
  if (line.connection != nullptr) line.connection->close();
}

void PeerNetwork::end(Session& session, const Error& error) {
  for (Session::End& each : session.ends) {
    each.redial.reset();
    if (each.line != nullptr) hang_up(*std::exchange(each.line, nullptr));
  }
  // Those that were dialled and have not been greeted are no session's yet.
  for (const auto& [id, line] : lines_) {
    if (line->dialled == session.node.life.node && !line->greeted) hang_up(*line);
  }
  lost(session, error);
}

void PeerNetwork::report_refused(const std::string& who, const Error& error) {
  ++refused_;
  const Instant now = options_.clock.now();
  const std::string what = who.substr(0, who.rfind(':')) + without_numbers(error.message());
  if (const auto told = told_.find(what); told != told_.end() && now - told->second < kTellAgain) return;
  if (told_.size() >= kMaxTold) told_.clear();
  told_[what] = now;
  if (handlers_.on_refused) handlers_.on_refused(who, error);
}

void PeerNetwork::forget_refusals(const std::vector<std::string>& addresses) {
  for (const std::string& address : addresses) {
    const std::string host = address.substr(0, address.rfind(':'));
    std::erase_if(told_, [&](const auto& told) { return told.first.contains(host); });
  }
}

// ---- Who is there ----

void PeerNetwork::ping() {
  ping_timer_ = options_.loop.after(options_.ping_interval, [this] { ping(); });
  const Instant now = options_.clock.now();
  std::vector<Line*> silent;
  for (const auto& [id, line] : lines_) {
    // Bulk data has a stall limit of its own, and says nothing for as long as nothing is shipped.
    if (!line->greeted || line->channel == Channel::kBulk) continue;
    if (now - line->last_heard > options_.silence) silent.push_back(line.get());
  }
  for (Line* line : silent) {
    const NodeName node = line->peer->node;
    const auto found = sessions_.find(node);
    if (found == sessions_.end()) continue;
    Session& session = *found->second;
    log::warning("node {}: no word for {}", node.str(), format_duration(now - line->last_heard));
    end(session, Error(ErrorCode::kTimeout, std::format("no word for {}", format_duration(options_.silence))));
    session.trouble = std::format("no word for {}", format_duration(options_.silence));
    if (!(options_.self.node < node)) continue;
    for (const Channel channel : kChannels) {
      redial_later(session, channel, Error(ErrorCode::kTimeout, session.trouble));
    }
  }
  for (const auto& [name, session] : sessions_) {
    if (session->state) ping(name);
  }
}

void PeerNetwork::ping(const NodeName& node) {
  p1::Message message;
  message.mutable_ping();
  request(node, Channel::kControl, std::move(message), {}, options_.silence,
          [this, node, sent = options_.clock.now()](const auto& answer) {
            const auto found = sessions_.find(node);
            if (!answer || found == sessions_.end() || !found->second->state) return;
            found->second->state->round_trip = options_.clock.now() - sent;
            found->second->state->last_heard = options_.clock.now();
          });
}

const PeerState* PeerNetwork::find(const NodeName& node) const {
  const auto found = sessions_.find(node);
  return found == sessions_.end() || !found->second->state ? nullptr : &*found->second->state;
}

std::vector<PeerState> PeerNetwork::connected() const {
  std::vector<PeerState> all;
  for (const auto& [name, session] : sessions_) {
    if (session->state) all.push_back(*session->state);
  }
  return all;
}

std::string PeerNetwork::trouble(const NodeName& node) const {
  const auto found = sessions_.find(node);
  return found == sessions_.end() || found->second->state ? std::string() : found->second->trouble;
}

std::vector<std::string> PeerNetwork::addresses() const { return server_->addresses(); }

}  // namespace perdure::node
