// Where a container's generations go once they are captured: its durable directory always, standbys as the cluster says.
//
// Loop thread only; what blocks is on the pool.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/ids.h"
#include "base/result.h"
#include "base/units.h"
#include "io/loop.h"
#include "io/pool.h"
#include "replica/capsule_store.h"
#include "replica/generation_table.h"
#include "replica/shipper.h"

namespace perdure::node {

// A generation that the durable directory holds now.
struct StoredDurably {
  Generation generation;
  std::optional<Generation> parent;  // what its file builds on there
  Bytes size;
  Duration cpu{};  // of encoding it
};

class Replication {
 public:
  struct Handlers {
    std::function<void(const StoredDurably&)> on_durable;
    std::function<void(const Generation&, const Error&)> on_not_durable;  // it will be tried again
    std::function<void(const NodeName&, const replica::HoldReceipt&)> on_held;
    std::function<void(const NodeName&, const Error&)> on_failed;
  };
  struct Threads {
    io::Loop& loop;
    io::Pool& pool;        // for encoding
    io::Pool& store_pool;  // for what the durable directory may hang in
  };
  Replication(Threads threads, ContainerName container,
              std::shared_ptr<replica::GenerationTable> table, Handlers handlers);
  ~Replication();

  // The durable directory, and what of it is a base for the next delta.
  void use_store(std::shared_ptr<replica::CapsuleStore> store, std::optional<replica::Holding> newest);
  // Whether a commit waits for the directory (no standby), or it may leave generations out.
  void set_store_pace(replica::Pace pace);
  // No more writes; the store may be closed when its last user is gone.
  void leave_store();
  // No more to other nodes.
  void leave_standbys();

  // `base`: the generation before in the memory with which `capsule` shares; nullptr: in none. `thawed`: when the
  // container ran again.
  void offer(const capsule::CapsuleRef& capsule, const capsule::CapsuleRef& base, Instant thawed);
  // What was restored: a standby that comes before the next capture gets it, and all do if newer ones were discarded.
  void restored(const capsule::CapsuleRef& capsule, bool newer_discarded);
  void discard(const Generation& generation);
  replica::Shipper& shipper() { return *shipper_; }
  const replica::Shipper& shipper() const { return *shipper_; }

 private:
  class DurableRoute;
  void keep_bases();

  const Threads threads_;
  const ContainerName container_;
  std::shared_ptr<replica::GenerationTable> table_;
  const Handlers handlers_;
  replica::Pace store_pace_ = replica::Pace::kEveryGeneration;
  std::optional<StoredDurably> writing_;
  std::unique_ptr<replica::Shipper> shipper_;
};

}  // namespace perdure::node
