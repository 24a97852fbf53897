// A standby's memory as a destination of the shipper: one request on the bulk connection per generation.
//
// Loop thread only.
#pragma once

#include <functional>
#include <memory>
#include <optional>

#include "base/clock.h"
#include "base/ids.h"
#include "node/cluster/peers.h"
#include "replica/shipper.h"

namespace perdure::node {

struct PeerDestinationOptions {
  NodeName node;
  ContainerName container;
  std::function<Term()> term;                              // of our ownership, now
  std::function<std::optional<Generation>()> committed;    // the newest one, now
  // The holder knows a higher term than ours.
  std::function<void(Term)> fenced;
  // From the order to the holder's promise.
  Duration limit = std::chrono::minutes(2);
};

class PeerDestination final : public replica::Destination {
 public:
  PeerDestination(Peers& peers, const Clock& clock, PeerDestinationOptions options);

  void ship(const replica::Shipment& shipment, Done done) override;
  bool compresses() const override { return bytes_per_second_ > 0; }
  double bytes_per_second() const override { return bytes_per_second_; }

 private:
  Peers& peers_;
  const Clock& clock_;
  const PeerDestinationOptions options_;
  double bytes_per_second_ = 0;  // of the last large shipment
  io::Lifetime lifetime_;
};

}  // namespace perdure::node
