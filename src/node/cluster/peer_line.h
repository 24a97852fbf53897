// PeerNetwork's own: what belongs to one connection, and to one node.
#pragma once

#include <array>
#include <cstddef>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "node/cluster/peer_network.h"

namespace perdure::node {

struct PeerNetwork::Line {
  struct Pending {
    Answer answer;
    io::Timer deadline;
  };

  io::TlsConnection* connection = nullptr;  // until on_close
  io::TlsConnectionId id = 0;
  Channel channel = Channel::kControl;
  std::optional<NodeName> dialled;  // whom we called
  bool anonymous = false;
  bool greeted = false;
  std::uint32_t protocol = 0;  // agreed on by the Hellos
  std::optional<model::NodeLife> peer;
  std::uint64_t next_request = 1;
  std::map<std::uint64_t, Pending> pending;
  Instant last_heard{};
  std::optional<Instant> pinged;
  // What the other end, whose session is up already, has asked before it is up here: its bulk connection is behind.
  std::vector<PeerMessage> early;
};

struct PeerNetwork::Session {
  struct End {
    std::unique_ptr<io::TlsClient> client;
    io::Timer redial;
    Duration pause{};
    Line* line = nullptr;
  };

  explicit Session(model::NodeDescription description) : node(std::move(description)) {}
  End& end(Channel channel) { return ends[static_cast<std::size_t>(channel)]; }

  model::NodeDescription node;
  std::array<End, 2> ends;
  std::optional<PeerState> state;  // while it is up
  std::string trouble;
};

}  // namespace perdure::node
