// The other nodes, as the parts of perdured see them: whom one can ask, and what they ask of us. PeerNetwork is the one in
// products; tests connect several nodes without a network.
//
// Loop thread only.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/ids.h"
#include "base/result.h"
#include "capsule/format/slab.h"
#include "io/tls.h"
#include "model/cluster.h"
#include "peer.pb.h"

namespace perdure::node {

// Urgent and small, or large: the second never delays the first.
enum class Channel { kControl, kBulk };

struct PeerMessage {
  peer::v1::Message message;
  capsule::SlabRef body;  // null: none
};

// The way back to who asked. Copies are the same way; the first answer that is not marked `more` ends it, later ones are
// dropped, as is everything when the asker is gone.
class Responder {
 public:
  virtual ~Responder() = default;
  virtual void answer(peer::v1::Message message, io::OutgoingBody body = {}) = 0;
  // `term`: with kFenced, the term that is known here.
  virtual void refuse(const Error& error, Term term = {}) = 0;
  virtual bool gone() const = 0;
};
using ResponderRef = std::shared_ptr<Responder>;

struct PeerRequest {
  model::NodeLife from;
  PeerMessage content;
  ResponderRef respond;  // null: a notice
};

struct PeerState {
  model::NodeLife life;
  std::optional<Duration> round_trip;  // of the last ping
  Instant last_heard{};
  std::uint32_t protocol = 0;  // that both speak; see peer_protocol.h
};

// What a refusal of a peer carried beyond its text.
struct PeerRefusal {
  Error error;
  Term term;  // with kFenced
};

class Peers {
 public:
  virtual ~Peers() = default;

  // `answer` is called once, or several times as long as the answers say `more`. kTransient: not connected, or the connection ended
  // (whether it was done is not known); kTimeout; else what the peer refused with.
  using Answer = std::function<void(std::expected<PeerMessage, PeerRefusal>)>;
  virtual void request(const NodeName& to, Channel channel, peer::v1::Message message, io::OutgoingBody body,
                       Duration limit, Answer answer) = 0;
  // Lost without a word when there is no connection.
  virtual void notice(const NodeName& to, peer::v1::Message message) = 0;

  virtual const PeerState* find(const NodeName& node) const = 0;  // nullptr: not connected
  virtual std::vector<PeerState> connected() const = 0;           // by name
};

// Of every message kind that this node serves, one handler.
using PeerRequestHandler = std::function<void(PeerRequest)>;
using PeerRequestTable = std::map<peer::v1::Message::BodyCase, PeerRequestHandler>;

}  // namespace perdure::node
