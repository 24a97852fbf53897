// Connections between the daemons: messages in order, until one side gives the connection up. A side
// learns of its end when its own patience or the other kernel says so, so the two learn of it at
// different times; what was under way may still arrive. While a way is cut, messages wait.
#pragma once

#include <array>
#include <cstdint>
#include <deque>
#include <map>
#include <optional>
#include <utility>

#include "base/ids.h"
#include "sim/messages.h"
#include "sim/names.h"
#include "sim/true_time.h"

namespace perdure::sim {

class World;
using SessionId = std::uint64_t;

class Connections {
 public:
  explicit Connections(World& world) : world_(world) {}

  // From now on pairs that can be connected are, and what is broken is noticed.
  void start();
  // From the side of `from`; nothing happens if it is over. `size`: how long it is on the wire.
  void send(SessionId session, NodeIndex from, Message message, Duration size);

 private:
  struct Direction {
    std::deque<std::pair<TrueTime, Message>> under_way;
    TrueTime last{};  // arrival
    bool draining = false;
  };
  struct Session {
    std::array<NodeIndex, 2> ends{};
    std::array<Incarnation, 2> lives{};
    std::array<Direction, 2> directions;  // [n]: from ends[n]
    std::array<bool, 2> over{};           // as that end has noticed
    bool closing = false;
    std::optional<TrueTime> broken_since;
    Duration patience{};
  };
  void look();
  void look_at_pair(NodeIndex one, NodeIndex other);
  void open(NodeIndex one, NodeIndex other);
  bool runs(NodeIndex node, Incarnation life) const;
  bool healthy(const Session& session) const;
  void close(SessionId id);
  void notice(SessionId id, std::size_t end);
  void drain(SessionId id, std::size_t end);

  World& world_;
  SessionId next_ = 1;
  std::map<SessionId, Session> sessions_;
  std::map<std::pair<NodeIndex, NodeIndex>, SessionId> by_pair_;
};

}  // namespace perdure::sim
