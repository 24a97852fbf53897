// The TCP connections of a container that goes back to a capsule (docs/recovery.md, "Connections"): their peers are asked
// while it is being restored; then each connection goes on, goes on where its peer is, or ends at both ends. None is left
// to stall.
#pragma once

#include <chrono>
#include <cstdint>
#include <latch>
#include <memory>
#include <optional>
#include <span>
#include <stop_token>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "base/fd.h"
#include "base/result.h"
#include "capsule/criu/image_set.h"
#include "capsule/criu/tcp_images.h"
#include "model/spec.h"
#include "network/tcp_probe.h"

namespace perdure::node {

network::RestoredSocket to_network(const capsule::CapturedConnection& connection);
bool is_loopback(const network::IpAddress& address);

// Pure: which policy a connection has. A service is known by its port: the local one where the container listens, else
// the other end's; a local one that is listed counts too, for who no longer listens once somebody has come.
model::TcpPolicy tcp_policy_of(const model::NetworkSpec& network, const capsule::CapturedConnection& connection);

struct ConnectionsPlace {
  std::string container;    // for messages
  network::ProbePath path;  // its descriptor outlives the object
  model::NetworkSpec network;
};

// Of one restore. Not for several threads at once.
class RolledBackConnections {
 public:
  // `left_behind`: of the life that ended, what the kernel still closed in its name here, what it had refused, and what
  // another host has told of. Who is not in the capsule is younger, or has ended long ago: nothing waits for its answer.
  // The capsule outlives settle(). kCorrupt naming the image.
  static Result<std::unique_ptr<RolledBackConnections>> of(ConnectionsPlace place, const capsule::Capsule& capsule,
                                                           const std::vector<network::TcpSocketInfo>& left_behind);
  RolledBackConnections(const RolledBackConnections&) = delete;
  RolledBackConnections& operator=(const RolledBackConnections&) = delete;
  ~RolledBackConnections();

  // Begins to ask the peers, on a thread of its own. The gate keeps RST back from here to the end of settle().
  Status ask();
  // Images that need no peer's answer: the connections' clocks go on.
  const std::vector<capsule::Image>& changed() const { return changed_; }
  // Images of the connections that may have to go on elsewhere: ready once their peers have answered, or have not in
  // time. After ask(); refers to this object.
  capsule::LateImages late();

  struct Settled {
    std::uint32_t all = 0;
    std::uint32_t reset = 0;    // at both ends
    std::uint32_t spliced = 0;  // whose peers had moved on, and were followed
  };
  // The processes are there, the gate is not open: tells both ends of what has ended, and lets go on what can at once.
  Settled settle();
  // Beside the running container. Peers that answer only now; returns once all have, or will not.
  void hear_late_answers(std::stop_token stop);
  // For a minute: a spliced connection whose peer takes nothing, because the lost life had ended it, or that stands
  // still for another reason although its peer answers, is reset.
  void watch_spliced(std::stop_token stop);

 private:
  struct Connection;
  RolledBackConnections(ConnectionsPlace place, const capsule::Capsule& capsule);
  void add(const capsule::CapturedConnection& captured, const std::vector<network::TcpSocketInfo>& left_behind);
  Status prepare_images();
  void add_younger(const std::vector<network::TcpSocketInfo>& left_behind);
  Status ask_peers(const std::stop_token& settles);
  void tell_first_answers();
  std::vector<capsule::Image> splice();
  std::optional<capsule::Image> splice(Connection& connection) const;
  const capsule::Image* image_of(const Connection& connection) const;
  Settled settle(std::span<Connection* const> some);
  void end(const Connection& connection);
  void go_on(const Connection& connection);
  struct Suspect {
    network::RestoredSocket socket;
    unsigned retransmissions = 0;
  };
  void end_stuck(const std::vector<Suspect>& suspects) const;

  const ConnectionsPlace place_;
  const capsule::Capsule& capsule_;
  const std::chrono::milliseconds elapsed_;  // since the capture
  // Those that may be spliced come first, then the others of the capsule, then those that are younger.
  std::vector<Connection> connections_;
  std::size_t splices_ = 0;   // so many
  std::size_t captured_ = 0;  // with those
  std::vector<capsule::Image> changed_;
  std::vector<network::RestoredSocket> spliced_;

  std::optional<network::PeerProber> prober_;
  // The first `splices_` answers are there, or will not be: for threads, and for who polls (the write end is closed).
  std::latch first_answers_{1};
  Pipe answered_;
  std::jthread asking_;
};

}  // namespace perdure::node
