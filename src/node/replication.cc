#include "node/replication.h"

#include <set>
#include <string>
#include <utility>

#include "base/log.h"
#include "replica/store_destination.h"

namespace perdure::node {
namespace {

// No node is called so.
constexpr const char* kDurable = "/durable";

}  // namespace

// Remembers what is being written: the shipper's receipt does not say what it builds on.
class Replication::DurableRoute final : public replica::Destination {
 public:
  DurableRoute(Replication& owner, std::shared_ptr<replica::CapsuleStore> store)
      : owner_(owner), inner_(owner.threads_.loop, owner.threads_.store_pool, std::move(store)) {}

  void ship(const replica::Shipment& shipment, Done done) override {
    owner_.writing_ = StoredDurably{shipment.generation,
                                    shipment.base ? std::optional(shipment.base->generation) : std::nullopt,
                                    Bytes{shipment.encoded->size_bytes}, shipment.encoded->stats.cpu};
    inner_.ship(shipment, std::move(done));
  }
  bool compresses() const override { return inner_.compresses(); }
  double bytes_per_second() const override { return inner_.bytes_per_second(); }
  bool wants_full(const replica::Holding& base) const override { return inner_.wants_full(base); }

 private:
  Replication& owner_;
  replica::StoreDestination inner_;
};

Replication::Replication(Threads threads, ContainerName container,
                         std::shared_ptr<replica::GenerationTable> table, Handlers handlers)
    : threads_(threads),
      container_(std::move(container)),
      table_(std::move(table)),
      handlers_(std::move(handlers)) {
  replica::ShipperHandlers shipping;
  shipping.on_held = [this](const std::string& destination, const replica::HoldReceipt& receipt) {
    keep_bases();
    if (destination == kDurable) {
      StoredDurably stored{receipt.holding.generation, {}, receipt.held, {}};
      if (writing_ && writing_->generation == stored.generation) stored = *std::exchange(writing_, std::nullopt);
      if (Status marked = table_->mark_durable(stored.generation, stored.size, receipt.holding.digest); !marked) {
        log::debug("{}: {}", container_.str(), marked.error().message());
      }
      return handlers_.on_durable(stored);
    }
    if (const auto node = NodeName::parse(destination)) handlers_.on_held(*node, receipt);
  };
  shipping.on_failed = [this](const std::string& destination, const Error& error) {
    if (destination == kDurable) {
      if (writing_) handlers_.on_not_durable(writing_->generation, error);
      return;
    }
    if (const auto node = NodeName::parse(destination)) handlers_.on_failed(*node, error);
  };
  shipping.find_capsule = [this](const Generation& generation) { return table_->in_memory(generation); };
  shipper_ = std::make_unique<replica::Shipper>(threads_.loop, threads_.pool, container_, std::move(shipping));
}

Replication::~Replication() = default;

void Replication::use_store(std::shared_ptr<replica::CapsuleStore> store, std::optional<replica::Holding> newest) {
  shipper_->add(kDurable, std::make_unique<DurableRoute>(*this, std::move(store)), store_pace_, newest);
  // A standby that comes before the next capture, which may be an hour away, gets what the store has.
  if (newest) shipper_->begin_with(table_->in_memory(newest->generation));
}

void Replication::set_store_pace(replica::Pace pace) {
  store_pace_ = pace;
  shipper_->set_pace(kDurable, pace);
}

void Replication::leave_store() { shipper_->remove(kDurable); }

void Replication::leave_standbys() {
  for (const std::string& name : shipper_->names()) {
    if (name != kDurable) shipper_->remove(name);
  }
}

void Replication::offer(const capsule::CapsuleRef& capsule, const capsule::CapsuleRef& base, Instant thawed) {
  keep_bases();
  if (base != nullptr) shipper_->replace(base);
  shipper_->offer(capsule, thawed);
}

void Replication::restored(const capsule::CapsuleRef& capsule, bool newer_discarded) {
  if (!newer_discarded) return shipper_->begin_with(capsule);
  const auto known = table_->find(capsule->manifest.generation);
  shipper_->go_back_to(capsule, known && known->durable ? std::set<std::string>{kDurable} : std::set<std::string>{});
}

void Replication::discard(const Generation& generation) { shipper_->discard(generation); }

void Replication::keep_bases() { table_->keep_in_memory(shipper_->bases()); }

}  // namespace perdure::node
