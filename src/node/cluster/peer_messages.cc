// PeerNetwork: what travels on its connections.
#include <array>
#include <format>
#include <utility>

#include "base/assert.h"
#include "base/log.h"
#include "base/units.h"
#include "node/cluster/peer_line.h"
#include "node/cluster/peer_network.h"

namespace perdure::node {
namespace {

namespace p1 = peer::v1;

// A peer with a good certificate can ask for as much as it likes; this is what is open at once.
constexpr std::size_t kMaxOpenRequests = 4096;
// Of a peer whose second connection is behind: what it says when it is up is a handful per container.
constexpr std::size_t kMaxEarlyMessages = 4096;

Error peer_error(const p1::PeerError& error) {
  const auto last = static_cast<std::uint32_t>(ErrorCode::kFenced);
  const auto code = error.code() <= last ? static_cast<ErrorCode>(error.code()) : ErrorCode::kIo;
  return Error(code, error.message());
}

}  // namespace

class PeerNetwork::LineResponder final : public Responder {
 public:
  LineResponder(PeerNetwork& network, io::TlsConnectionId line, std::uint64_t request)
      : network_(network), alive_(network.lifetime_.token()), line_(line), request_(request) {}

  void answer(p1::Message message, io::OutgoingBody body) override {
    const bool more = message.more();
    if (Line* line = find()) {
      message.set_id(request_);
      message.set_is_answer(true);
      if (Status sent = network_.send(*line, message, std::move(body)); !sent) network_.hang_up(*line);
    }
    ended_ = ended_ || !more;
  }
  void refuse(const Error& error, Term term) override {
    p1::Message message;
    message.mutable_error()->set_code(static_cast<std::uint32_t>(error.code()));
    message.mutable_error()->set_message(error.message());
    message.mutable_error()->set_term(term.value);
    answer(std::move(message), {});
  }
  bool gone() const override { return find() == nullptr; }

 private:
  Line* find() const {
    if (ended_ || !alive_.alive()) return nullptr;
    const auto found = network_.lines_.find(line_);
    return found == network_.lines_.end() ? nullptr : found->second.get();
  }

  PeerNetwork& network_;
  io::Lifetime::Token alive_;
  const io::TlsConnectionId line_;
  const std::uint64_t request_;
  bool ended_ = false;
};

Status PeerNetwork::send(Line& line, const p1::Message& message, io::OutgoingBody body) {
  if (line.connection == nullptr) return fail(ErrorCode::kTransient, "the connection has ended");
  return line.connection->send(message.SerializeAsString(), std::move(body));
}

Result<io::IncomingBody> PeerNetwork::place_body(io::TlsConnection& connection, std::string_view text,
                                                 std::uint64_t bytes) {
  const auto found = lines_.find(connection.id());
  if (found == lines_.end() || !found->second->greeted || found->second->channel != Channel::kBulk) {
    return fail(ErrorCode::kInvalid, "a body where none is expected");
  }
  p1::Message message;
  if (!message.ParseFromArray(text.data(), static_cast<int>(text.size()))) {
    return fail(ErrorCode::kInvalid, "a message that cannot be parsed");
  }
  if (message.is_answer() && !found->second->pending.contains(message.id())) {
    return fail(ErrorCode::kInvalid, "the body of an answer that nobody waits for");
  }
  if (bytes > options_.body_limit_bytes) {
    return fail(ErrorCode::kNoSpace, std::format("a body of {}, at most {} are taken", format_bytes(Bytes{bytes}),
                                                 format_bytes(Bytes{options_.body_limit_bytes})));
  }
  PERDURE_ASSIGN(auto slab, capsule::Slab::allocate(bytes, capsule::Slab::Prefault::kNo));
  io::IncomingBody body;
  body.target = slab->writable();
  body.owner = std::move(slab);
  return body;
}

void PeerNetwork::received(io::TlsConnection& connection, std::string text, io::IncomingBody body) {
  const auto found = lines_.find(connection.id());
  if (found == lines_.end()) return;
  Line& line = *found->second;
  line.last_heard = options_.clock.now();
  PeerMessage content;
  if (!content.message.ParseFromString(text)) {
    log::warning("node {}: a message of {} bytes cannot be parsed; the connection is closed", connection.peer().name,
                 text.size());
    return hang_up(line);
  }
  if (body.owner) content.body = std::static_pointer_cast<capsule::Slab>(body.owner);
  if (line.anonymous) {
    if (content.message.is_answer() || !content.message.has_join() || !handlers_.on_join) return hang_up(line);
    const std::uint64_t request = content.message.id();
    return handlers_.on_join(std::move(*content.message.mutable_join()),
                             std::make_shared<LineResponder>(*this, line.id, request));
  }
  if (content.message.has_hello()) return greeted(line, content.message.hello());
  if (!line.greeted) return hang_up(line);
  if (content.message.is_answer()) return answered(line, std::move(content));
  asked(line, std::move(content));
}

void PeerNetwork::greeted(Line& line, const p1::Hello& hello) {
  const std::string name = line.connection->peer().name;
  const auto refuse = [&](const std::string& why) {
    report_refused(name, Error(ErrorCode::kPermission, why));
    hang_up(line);
  };
  if (line.greeted) return hang_up(line);
  const auto protocol = agree({options_.protocols, options_.version}, {protocols_of(hello), hello.version()});
  if (!protocol) return refuse_version(line, name, protocol.error());
  line.protocol = *protocol;
  if (hello.cluster_id() != options_.cluster_id) return refuse("it belongs to another cluster");
  const auto node = NodeName::parse(name);
  if (!node || hello.node().name() != name) return refuse("its name is not that of its certificate");
  const auto found = sessions_.find(*node);
  // A node that has just begun has been called before it has read who is there; it will be called again.
  if (found == sessions_.end() && !peers_known_) return hang_up(line);
  if (found == sessions_.end()) return refuse("it is no member of the cluster that this node knows");
  Session& session = *found->second;
  if (!line.dialled) line.channel = hello.bulk() ? Channel::kBulk : Channel::kControl;
  line.greeted = true;
  line.peer = model::NodeLife{*node, Incarnation{hello.node().incarnation()}};
  Session::End& each = session.end(line.channel);
  if (each.line != nullptr && each.line != &line) {
    Line& old = *std::exchange(each.line, nullptr);
    hang_up(old);  // it has come back before we noticed that it was gone
    lost(session, Error(ErrorCode::kTransient, "it has connected anew"));
  }
  each.line = &line;
  each.pause = Duration::zero();
  if (line.dialled) dial_the_other(session, line.channel);
  if (!line.dialled && !send(line, own_hello(line.channel))) return hang_up(line);
  check_up(session);
}

// Both ends are to say why: whoever was called answers before it hangs up.
void PeerNetwork::refuse_version(Line& line, const std::string& name, const Error& why) {
  report_refused(name, why);
  if (const auto node = NodeName::parse(name)) {
    if (const auto session = sessions_.find(*node); session != sessions_.end()) session->second->trouble = why.message();
  }
  if (line.dialled || !send(line, own_hello(line.channel))) return hang_up(line);
  line.connection->close_when_sent();
}

void PeerNetwork::check_up(Session& session) {
  const Line* control = session.end(Channel::kControl).line;
  const Line* bulk = session.end(Channel::kBulk).line;
  if (session.state || control == nullptr || bulk == nullptr || *control->peer != *bulk->peer) return;
  session.state = PeerState{*control->peer, {}, options_.clock.now(), control->protocol};
  session.trouble.clear();
  forget_refusals({control->connection->peer().address});
  make_keys(session, *control);
  const std::array<io::TlsConnectionId, 2> both{control->id, bulk->id};
  if (handlers_.on_up) handlers_.on_up(session.state->life);
  for (const io::TlsConnectionId id : both) {
    const auto line = lines_.find(id);
    if (line == lines_.end()) continue;
    for (PeerMessage& content : std::exchange(line->second->early, {})) {
      // Whoever is asked may end the connection.
      if (const auto still = lines_.find(id); still != lines_.end()) asked(*still->second, std::move(content));
    }
  }
}

bool PeerNetwork::is_up(const Line& line) const {
  const auto session = sessions_.find(line.peer->node);
  return session != sessions_.end() && session->second->state && session->second->state->life == *line.peer;
}

void PeerNetwork::make_keys(const Session& session, const Line& control) {
  if (!handlers_.on_keys) return;
  const auto material = control.connection->export_key(pki::kChannelKeyLabel);
  if (!material) return;  // closed meanwhile
  const bool dialled = control.dialled.has_value();
  handlers_.on_keys(session.state->life, *material, dialled ? pki::ChannelRole::kClient : pki::ChannelRole::kServer);
  if (dialled) ping(session.node.life.node);  // who was dialled knows by this that the session is up here
}

void PeerNetwork::asked(Line& line, PeerMessage content) {
  const std::uint64_t id = content.message.id();
  if (content.message.has_ping()) {
    p1::Message pong;
    pong.set_id(id);
    pong.set_is_answer(true);
    pong.mutable_ping();
    if (!send(line, pong)) return hang_up(line);
    if (is_up(line) && !line.dialled && handlers_.on_keys_known) handlers_.on_keys_known(*line.peer);
    return;
  }
  // Nobody is told of a node, nor can ask it back, before its session is up.
  if (!is_up(line)) {
    if (line.early.size() >= kMaxEarlyMessages) return hang_up(line);
    return line.early.push_back(std::move(content));
  }
  ResponderRef respond = id == 0 ? nullptr : std::make_shared<LineResponder>(*this, line.id, id);
  const auto handler = table_.find(content.message.body_case());
  if (handler == table_.end()) {
    if (respond) {
      respond->refuse(Error(ErrorCode::kUnsupported, "a request that this version does not know"));
    }
    return;
  }
  handler->second({*line.peer, std::move(content), std::move(respond)});
}

void PeerNetwork::answered(Line& line, PeerMessage content) {
  const auto found = line.pending.find(content.message.id());
  if (found == line.pending.end()) return;  // too late
  const auto call = [&](const Answer& answer) {
    if (content.message.has_error()) {
      answer(std::unexpected(PeerRefusal{peer_error(content.message.error()), Term{content.message.error().term()}}));
    } else {
      answer(std::move(content));
    }
  };
  if (content.message.more() && !content.message.has_error()) {
    const Answer answer = found->second.answer;  // it may end the request
    return call(answer);
  }
  const Line::Pending pending = std::move(found->second);
  line.pending.erase(found);
  call(pending.answer);
}

PeerNetwork::Line* PeerNetwork::line_of(const NodeName& node, Channel channel) {
  const auto found = sessions_.find(node);
  if (found == sessions_.end() || !found->second->state) return nullptr;
  return found->second->end(channel).line;
}

void PeerNetwork::request(const NodeName& to, Channel channel, p1::Message message, io::OutgoingBody body,
                          Duration limit, Answer answer) {
  const auto refuse_later = [&](Error error) {
    options_.loop.post([token = lifetime_.token(), answer, error = std::move(error)] {
      if (token.alive()) answer(std::unexpected(PeerRefusal{error, {}}));
    });
  };
  Line* line = line_of(to, channel);
  if (line == nullptr) {
    return refuse_later(Error(ErrorCode::kTransient, std::format("node '{}' is not connected", to.str())));
  }
  if (line->pending.size() >= kMaxOpenRequests) {
    // Not kTransient: no new connection will tell that it does again.
    return refuse_later(Error(ErrorCode::kTimeout, std::format("node '{}' does not answer: {} requests wait", to.str(),
                                                               kMaxOpenRequests)));
  }
  const std::uint64_t id = line->next_request++;
  message.set_id(id);
  if (Status sent = send(*line, message, std::move(body)); !sent) {
    return refuse_later(std::move(sent).error().context(std::format("node '{}'", to.str())));
  }
  Line::Pending& pending = line->pending[id];
  pending.answer = std::move(answer);
  pending.deadline = options_.loop.after(limit, [this, line_id = line->id, id, to, limit] {
    const auto found = lines_.find(line_id);
    if (found == lines_.end()) return;
    auto node = found->second->pending.extract(id);
    if (node.empty()) return;
    node.mapped().answer(std::unexpected(PeerRefusal{
        Error(ErrorCode::kTimeout, std::format("node '{}' has not answered within {}", to.str(), format_duration(limit))),
        {}}));
  });
}

void PeerNetwork::notice(const NodeName& to, p1::Message message) {
  Line* line = line_of(to, Channel::kControl);
  if (line == nullptr) return;
  message.set_id(0);
  if (!send(*line, message)) hang_up(*line);
}

}  // namespace perdure::node
