// A capsule store, such as the durable directory, as a destination of a Shipper: put() on the pool,
// one at a time.
#pragma once

#include <memory>

#include "io/loop.h"
#include "io/pool.h"
#include "replica/capsule_store.h"
#include "replica/shipper.h"

namespace perdure::replica {

// Compresses by the bandwidth of the writes before. A chain of deltas that has become too long is
// begun anew. A generation that is stored already is acknowledged as it is stored. Loop thread.
class StoreDestination final : public Destination {
 public:
  StoreDestination(io::Loop& loop, io::Pool& pool, std::shared_ptr<CapsuleStore> store);

  void ship(const Shipment& shipment, Done done) override;
  bool compresses() const override { return true; }
  double bytes_per_second() const override { return bytes_per_second_; }
  bool wants_full(const Holding& base) const override;

 private:
  io::Loop& loop_;
  io::Pool& pool_;
  std::shared_ptr<CapsuleStore> store_;
  double bytes_per_second_ = 0;
  io::Lifetime lifetime_;
};

}  // namespace perdure::replica
