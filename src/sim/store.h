// The coordination store: linearizable, on some of the nodes (managers), away for whoever does not
// reach a majority of them. A request may be executed late, its answer may be lost, and the watch
// tells each node of every change in order, sooner or later.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "base/ids.h"
#include "model/cluster.h"
#include "policy/ownership_events.h"
#include "sim/names.h"
#include "sim/true_time.h"

namespace perdure::sim {

class World;
using policy::ownership::Revision;

struct StoredRecord {
  model::OwnershipRecord record;
  Revision revision = 0;
};

struct StoreAnswer {
  enum class Kind { kRead, kApplied, kRefused, kFailed } kind = Kind::kFailed;
  std::optional<StoredRecord> stored;
};

class Store {
 public:
  Store(World& world, std::size_t managers) : world_(world), managers_(managers) {}

  void start();  // the watches
  Revision found(model::OwnershipRecord record);  // before anything else: the record begins

  // Absent record: a linearizable read. `answer` comes at most once, on the daemon's loop.
  struct Request {
    NodeIndex from = 0;
    model::NodeLife life;
    ContainerName container;
    std::optional<model::OwnershipRecord> record = {};
    Revision expected = 0;
    std::function<void(const StoreAnswer&)> answer;
  };
  void submit(Request request);

  const StoredRecord& truth(ContainerIndex container) const { return records_[container]; }
  Revision revision() const { return revision_; }
  std::size_t managers() const { return managers_; }
  // A node that is cut off, though the others may be within reach.
  void cut(NodeIndex node) { cut_.at(node) = true; }
  // It has just lost its leader: what was written is answered, and nobody's watch tells it for so long.
  void hold_watches(Duration time);
  void mend_all();
  bool reaches(NodeIndex node) const;
  // A daemon begins: it gets a snapshot, then changes.
  void watch(NodeIndex node);

 private:
  struct Watch {
    bool wanted = false;
    bool snapshot = false;  // it has been given one in this life
    std::size_t next = 0;   // of log_
    Incarnation life;
  };
  void execute(const Request& request, int tries);
  void reply(const Request& request, StoreAnswer answer);
  std::vector<NodeIndex> quorum() const;
  void changed(ContainerIndex container);
  void tell(NodeIndex node, std::size_t until);
  void look();

  World& world_;
  std::size_t managers_;
  Revision revision_ = 10;
  std::vector<StoredRecord> records_;
  std::vector<StoredRecord> log_;
  std::vector<bool> cut_;
  TrueTime watches_held_until_{};
  std::vector<Watch> watches_;
};

}  // namespace perdure::sim
