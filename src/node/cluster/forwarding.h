// Operators' requests between nodes: one that came to this node for a container of another goes there, and its answers come back.
//
// Loop thread only.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <utility>

#include "node/cluster/peers.h"
#include "node/control_request.h"

namespace perdure::node {

class Cluster;

// How many requests of one other node are served at once.
inline constexpr std::size_t kMaxForwardedRequests = 64;

// Serves what other nodes pass on.
class ForwardedRequests final : private RequestHost {
 public:
  ForwardedRequests(Node& node, Cluster*& cluster);
  ~ForwardedRequests() override;

  PeerRequestTable table();

 private:
  struct Open {
    NodeName from;
    std::uint64_t token = 0;
    ResponderRef respond;
    std::unique_ptr<ControlRequest> request;
    std::uint64_t sent_bytes = 0;   // of answers
    std::uint64_t taken_bytes = 0;  // as the node that asked says
  };
  const std::shared_ptr<std::atomic<int>>& transfers() override { return transfers_; }
  std::size_t queued_bytes(io::ConnectionId connection) override;
  Status send(io::ConnectionId connection, const control::v1::Response& response) override;
  void finished(io::ConnectionId connection, std::uint64_t request_id) override;
  void on_forward(PeerRequest request);
  void on_input(const PeerRequest& request);
  void end_later(io::ConnectionId connection);
  void sweep();

  Node& node_;
  Cluster*& cluster_;
  const std::shared_ptr<std::atomic<int>> transfers_ = std::make_shared<std::atomic<int>>(0);
  std::map<io::ConnectionId, Open> open_;
  io::ConnectionId next_ = 1;
  io::Timer sweep_timer_;
  io::Lifetime lifetime_;
};

// The container that a request is about; empty: none, or a new one.
std::string container_of(const control::v1::Request& message);
// Whether the frame ends its request.
bool is_final(const control::v1::Response& response);

}  // namespace perdure::node
