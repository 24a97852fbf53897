#include "sim/connections.h"

#include <algorithm>

#include "sim/daemon.h"
#include "sim/host.h"
#include "sim/world.h"

namespace perdure::sim {

using std::chrono_literals::operator""ms;
using std::chrono_literals::operator""us;

namespace {
constexpr Duration kTrafficLook = 50ms;
constexpr Duration kShortestPatience = 300ms;
constexpr Duration kLongestPatience = 2500ms;
constexpr Duration kRetransmission = 20ms;
}  // namespace

void Connections::start() {
  look();
}

void Connections::look() {
  for (NodeIndex one = 0; one < world_.hosts.size(); ++one) {
    for (NodeIndex other = one + 1; other < world_.hosts.size(); ++other) look_at_pair(one, other);
  }
  world_.queue.after(kTrafficLook, [this] { look(); });
}

bool Connections::runs(NodeIndex node, Incarnation life) const {
  const Daemon* daemon = world_.hosts[node]->daemon();
  return daemon != nullptr && daemon->life().incarnation == life;
}

bool Connections::healthy(const Session& session) const {
  for (std::size_t n = 0; n < 2; ++n) {
    if (!runs(session.ends[n], session.lives[n]) || world_.hosts[session.ends[n]]->paused()) {
      return false;
    }
  }
  return world_.network.open_both_ways(session.ends[0], session.ends[1]);
}

void Connections::look_at_pair(NodeIndex one, NodeIndex other) {
  const auto found = by_pair_.find({one, other});
  if (found == by_pair_.end()) {
    const bool may = world_.hosts[one]->daemon() != nullptr && !world_.hosts[one]->paused() &&
                     world_.hosts[other]->daemon() != nullptr && !world_.hosts[other]->paused() &&
                     world_.network.open_both_ways(one, other);
    if (may && world_.random.percent(70)) open(one, other);
    return;
  }
  Session& session = sessions_.at(found->second);
  if (session.closing) return;
  if (healthy(session)) {
    session.broken_since.reset();
    return;
  }
  if (!session.broken_since) session.broken_since = world_.queue.now();
  bool told = false;  // a kernel that lives ends the connections of a daemon that does not
  for (std::size_t n = 0; n < 2; ++n) {
    const bool kernel_says = world_.hosts[session.ends[n]]->up() &&
                             world_.network.open(session.ends[n], session.ends[1 - n]);
    told = told || (!runs(session.ends[n], session.lives[n]) && kernel_says);
  }
  const bool patient = world_.queue.now() - *session.broken_since < session.patience;
  if (told || !patient) close(found->second);
}

void Connections::open(NodeIndex one, NodeIndex other) {
  const SessionId id = next_++;
  Session& session = sessions_[id];
  session.ends = {one, other};
  for (std::size_t n = 0; n < 2; ++n) {
    session.lives[n] = world_.hosts[session.ends[n]]->daemon()->life().incarnation;
  }
  session.patience = world_.random.between(kShortestPatience, kLongestPatience);
  by_pair_[{one, other}] = id;
  for (std::size_t n = 0; n < 2; ++n) {
    const model::NodeLife peer{node_name(session.ends[1 - n]), session.lives[1 - n]};
    world_.hosts[session.ends[n]]->daemon()->post(
        [daemon = world_.hosts[session.ends[n]]->daemon(), id, peer] {
          daemon->peer_connected(id, peer);
        });
  }
}

void Connections::close(SessionId id) {
  Session& session = sessions_.at(id);
  session.closing = true;
  for (std::size_t n = 0; n < 2; ++n) {
    world_.queue.after(world_.random.between(100us, 150ms), [this, id, n] { notice(id, n); });
  }
}

void Connections::notice(SessionId id, std::size_t end) {
  Session& session = sessions_.at(id);
  session.over[end] = true;
  if (runs(session.ends[end], session.lives[end])) {
    Daemon* daemon = world_.hosts[session.ends[end]]->daemon();
    daemon->post([daemon, id] { daemon->peer_lost(id); });
  }
  if (!session.over[1 - end]) return;
  by_pair_.erase({session.ends[0], session.ends[1]});
  sessions_.erase(id);
}

void Connections::send(SessionId id, NodeIndex from, Message message, Duration size) {
  const auto found = sessions_.find(id);
  if (found == sessions_.end()) return;
  Session& session = found->second;
  const std::size_t end = session.ends[0] == from ? 0 : 1;
  if (session.over[end]) return;
  Direction& direction = session.directions[end];
  direction.last =
      std::max(direction.last, world_.queue.now() + world_.network.latency()) + size;
  direction.under_way.emplace_back(direction.last, std::move(message));
  if (std::exchange(direction.draining, true)) return;
  world_.queue.at(direction.last, [this, id, end] { drain(id, end); });
}

void Connections::drain(SessionId id, std::size_t end) {
  const auto found = sessions_.find(id);
  if (found == sessions_.end()) return;
  Session& session = found->second;
  Direction& direction = session.directions[end];
  const NodeIndex from = session.ends[end];
  const NodeIndex to = session.ends[1 - end];
  if (session.over[1 - end] || !runs(to, session.lives[1 - end])) return;
  if (!world_.network.open_both_ways(from, to)) {
    world_.queue.after(kRetransmission, [this, id, end] { drain(id, end); });
    return;
  }
  while (!direction.under_way.empty() && direction.under_way.front().first <= world_.queue.now()) {
    Message message = std::move(direction.under_way.front().second);
    direction.under_way.pop_front();
    const model::NodeLife sender{node_name(from), session.lives[end]};
    Daemon* daemon = world_.hosts[to]->daemon();
    daemon->post([daemon, sender, message = std::move(message)] {
      daemon->receive(sender, message);
    });
  }
  direction.draining = !direction.under_way.empty();
  if (!direction.draining) return;
  world_.queue.at(direction.under_way.front().first, [this, id, end] { drain(id, end); });
}

}  // namespace perdure::sim
