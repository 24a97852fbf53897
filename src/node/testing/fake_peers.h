// Several nodes in one process: what one says to another is delivered by the loop, unless it is lost or the two are cut off from
// each other. Test programs only.
#pragma once

#include <cstring>
#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "base/assert.h"
#include "node/cluster/peer_protocol.h"
#include "node/cluster/peers.h"

namespace perdure::node::testing {

class FakePeers;

// What connects them. A connection of two nodes has a number; what is under way on one that has ended never arrives.
class FakeNetwork {
 public:
  explicit FakeNetwork(io::Loop& loop) : loop_(loop) {}

  // Asked for each message: true loses it without a word.
  using Lose = std::function<bool(const NodeName& from, const NodeName& to, const peer::v1::Message& message)>;
  Lose lose;
  std::size_t delivered(peer::v1::Message::BodyCase kind) const {
    const auto found = delivered_.find(kind);
    return found == delivered_.end() ? 0 : found->second;
  }

  bool connected(const NodeName& one, const NodeName& other) const { return connection(one, other) != 0; }
  inline void connect(const NodeName& one, const NodeName& other);
  inline void cut(const NodeName& one, const NodeName& other);  // both are told

 private:
  friend class FakePeers;
  using Pair = std::pair<NodeName, NodeName>;
  static Pair pair_of(const NodeName& one, const NodeName& other) {
    return one < other ? Pair{one, other} : Pair{other, one};
  }
  std::uint64_t connection(const NodeName& one, const NodeName& other) const {
    const auto found = connections_.find(pair_of(one, other));
    return found == connections_.end() ? 0 : found->second;
  }
  inline bool carry(const NodeName& from, const NodeName& to, peer::v1::Message message, io::OutgoingBody body);

  io::Loop& loop_;
  std::map<NodeName, FakePeers*> nodes_;
  std::map<Pair, std::uint64_t> connections_;
  std::map<peer::v1::Message::BodyCase, std::size_t> delivered_;
  std::uint64_t next_connection_ = 1;
  io::Lifetime lifetime_;
};

// One node's way to the others, for one life.
class FakePeers final : public Peers {
 public:
  FakePeers(FakeNetwork& network, model::NodeLife self) : network_(network), self_(std::move(self)) {
    PERDURE_ASSERT(network_.nodes_.emplace(self_.node, this).second);
  }
  // The others are told that it is gone.
  ~FakePeers() override {
    on_down = nullptr;
    pending_.clear();  // an answer never comes after its end
    std::vector<NodeName> all;
    for (const auto& [name, state] : states_) all.push_back(name);
    for (const NodeName& name : all) network_.cut(self_.node, name);
    network_.nodes_.erase(self_.node);
  }

  PeerRequestTable table;
  std::function<void(const model::NodeLife&)> on_up;
  std::function<void(const model::NodeLife&)> on_down;

  void request(const NodeName& to, Channel, peer::v1::Message message, io::OutgoingBody body, Duration limit,
               Answer answer) override {
    const std::uint64_t id = next_++;
    message.set_id(id);
    if (!network_.carry(self_.node, to, std::move(message), std::move(body))) {
      network_.loop_.post([answer = std::move(answer), token = lifetime_.token()] {
        if (token.alive()) answer(std::unexpected(PeerRefusal{Error(ErrorCode::kTransient, "not connected"), {}}));
      });
      return;
    }
    Pending& pending = pending_.emplace(id, Pending{to, std::move(answer), {}}).first->second;
    pending.deadline = network_.loop_.after(limit, [this, id] {
      fail(id, Error(ErrorCode::kTimeout, "no answer in time"));
    });
  }
  void notice(const NodeName& to, peer::v1::Message message) override {
    message.set_id(0);
    network_.carry(self_.node, to, std::move(message), {});
  }
  const PeerState* find(const NodeName& node) const override {
    const auto found = states_.find(node);
    return found == states_.end() ? nullptr : &found->second;
  }
  std::vector<PeerState> connected() const override {
    std::vector<PeerState> all;
    for (const auto& [name, state] : states_) all.push_back(state);
    return all;
  }
  const model::NodeLife& self() const { return self_; }

 private:
  friend class FakeNetwork;
  struct Pending {
    NodeName to;
    Answer answer;
    io::Timer deadline;
  };
  class Back final : public Responder {
   public:
    Back(FakePeers& here, NodeName asker, std::uint64_t connection, std::uint64_t request)
        : here_(here), alive_(here.lifetime_.token()), asker_(std::move(asker)), connection_(connection), request_(request) {}
    void answer(peer::v1::Message message, io::OutgoingBody body) override {
      if (gone()) return;
      ended_ = !message.more();
      message.set_id(request_);
      message.set_is_answer(true);
      here_.network_.carry(here_.self_.node, asker_, std::move(message), std::move(body));
    }
    void refuse(const Error& error, Term term) override {
      peer::v1::Message message;
      message.mutable_error()->set_code(static_cast<std::uint32_t>(error.code()));
      message.mutable_error()->set_message(error.message());
      message.mutable_error()->set_term(term.value);
      answer(std::move(message), {});
    }
    bool gone() const override {
      return ended_ || !alive_.alive() || here_.network_.connection(here_.self_.node, asker_) != connection_;
    }

   private:
    FakePeers& here_;
    const io::Lifetime::Token alive_;
    const NodeName asker_;
    const std::uint64_t connection_;
    const std::uint64_t request_;
    bool ended_ = false;
  };

  void fail(std::uint64_t id, const Error& error) {
    auto node = pending_.extract(id);
    if (!node.empty()) node.mapped().answer(std::unexpected(PeerRefusal{error, {}}));
  }
  void up(const model::NodeLife& life) {
    states_.insert_or_assign(life.node, PeerState{life, {}, {}, kPeerProtocols.newest});
    if (on_up) on_up(life);
  }
  void down(const NodeName& node) {
    const auto found = states_.find(node);
    if (found == states_.end()) return;
    const model::NodeLife life = found->second.life;
    states_.erase(found);
    std::vector<std::uint64_t> ended;
    for (const auto& [id, pending] : pending_) {
      if (pending.to == node) ended.push_back(id);
    }
    for (const std::uint64_t id : ended) fail(id, Error(ErrorCode::kTransient, "the connection ended"));
    if (on_down) on_down(life);
  }
  void arrived(const model::NodeLife& from, PeerMessage content) {
    const std::uint64_t id = content.message.id();
    if (!content.message.is_answer()) {
      const auto handler = table.find(content.message.body_case());
      ResponderRef back;
      if (id != 0) back = std::make_shared<Back>(*this, from.node, network_.connection(self_.node, from.node), id);
      if (handler != table.end()) return handler->second({from, std::move(content), std::move(back)});
      if (back) back->refuse(Error(ErrorCode::kUnsupported, "nobody serves it"));
      return;
    }
    const auto found = pending_.find(id);
    if (found == pending_.end()) return;
    const Answer answer = found->second.answer;
    if (!content.message.more()) pending_.erase(found);
    if (content.message.has_error()) {
      answer(std::unexpected(PeerRefusal{Error(static_cast<ErrorCode>(content.message.error().code()), content.message.error().message()),
                                         Term{content.message.error().term()}}));
    } else {
      answer(std::move(content));
    }
  }

  FakeNetwork& network_;
  const model::NodeLife self_;
  std::map<NodeName, PeerState> states_;
  std::map<std::uint64_t, Pending> pending_;
  std::uint64_t next_ = 1;
  io::Lifetime lifetime_;
};

void FakeNetwork::connect(const NodeName& one, const NodeName& other) {
  if (connection(one, other) != 0) return;
  connections_[pair_of(one, other)] = next_connection_++;
  FakePeers& first = *nodes_.at(one);
  FakePeers& second = *nodes_.at(other);
  first.up(second.self());
  second.up(first.self());
}

void FakeNetwork::cut(const NodeName& one, const NodeName& other) {
  if (connections_.erase(pair_of(one, other)) == 0) return;
  nodes_.at(one)->down(other);
  nodes_.at(other)->down(one);
}

bool FakeNetwork::carry(const NodeName& from, const NodeName& to, peer::v1::Message message, io::OutgoingBody body) {
  const std::uint64_t on = connection(from, to);
  if (on == 0) return false;
  if (lose && lose(from, to, message)) return true;
  PeerMessage content{std::move(message), nullptr};
  if (body.size_bytes() > 0) {
    auto slab = capsule::Slab::allocate(body.size_bytes(), capsule::Slab::Prefault::kNo).value();
    std::byte* at = slab->writable().data();
    for (const auto& piece : body.pieces) {
      if (!piece.empty()) std::memcpy(at, piece.data(), piece.size());
      at += piece.size();
    }
    content.body = std::move(slab);
  }
  loop_.post([this, token = lifetime_.token(), from = nodes_.at(from)->self(), to, on, content = std::move(content)]() mutable {
    if (!token.alive() || connection(from.node, to) != on) return;
    ++delivered_[content.message.body_case()];
    nodes_.at(to)->arrived(from, std::move(content));
  });
  return true;
}

}  // namespace perdure::node::testing
