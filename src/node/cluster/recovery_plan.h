// What would come back, container by container, after a loss that the cluster does not mend by itself: a pure function of what the
// records say and of what the nodes that can be reached have. `perdure cluster recover` shows it, and does it when told to.
#pragma once

#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/ids.h"
#include "base/result.h"
#include "model/cluster.h"
#include "peer.pb.h"

namespace perdure::node {

struct InventoryCopy {
  Generation generation;
  bool committed = false;
  bool durable = false;
  WallTime created{};
};

// One container on one node.
struct InventoryRow {
  Term term;           // the highest it knows
  bool runs = false;
  bool owner = false;  // by its own knowledge
  bool waits = false;  // for an operator's word
  std::vector<InventoryCopy> copies = {};
  std::string image_digest = {};
  std::string spec_yaml = {};  // of an owner
  bool stopped = false;        // by an operator
};

struct NodeInventory {
  model::NodeLife life;
  std::map<ContainerName, InventoryRow> rows;
};

// kInvalid: names or lives that are none.
Result<NodeInventory> from_peer(const peer::v1::Inventory& inventory);

struct RecoveryQuestion {
  std::map<ContainerName, model::OwnershipRecord> records;
  std::vector<NodeInventory> nodes;  // of all that can be reached
  WallTime now{};
  std::set<ContainerName> only = {};  // empty: all
  // What the directory that all nodes see holds and can be restored, and who may take a container over with that, the best first.
  std::map<ContainerName, std::vector<InventoryCopy>> durable = {};
  std::vector<NodeName> takers = {};
  // An operator's words: where it is to run; who runs nothing, whatever he says; what was tried and does not verify.
  std::optional<NodeName> to = {};
  std::set<NodeName> dead = {};
  std::map<ContainerName, std::set<Generation>> unusable = {};
};

enum class RecoveryAction { kNothing, kAdoptRunning, kRestore, kColdStart, kLost };

struct RecoveryRow {
  ContainerName name;
  RecoveryAction action = RecoveryAction::kNothing;
  std::optional<NodeName> node = {};
  std::optional<Generation> generation = {};
  std::optional<Duration> age = {};
  std::string risk = {};  // empty: none that is known
  // What the record has to say first; absent: what it says already. Without standbys: new ones are found.
  std::optional<model::OwnershipRecord> write = {};
  bool has_service = false;  // on `node`: it is told to go back; else it takes the container over as a standby does
  // `node` does not hold the generation: it gets it from this node's memory, or from the directory that all nodes see.
  std::optional<NodeName> from = {};
  bool durable = false;
};

std::vector<RecoveryRow> plan_recovery(const RecoveryQuestion& question);  // by name

}  // namespace perdure::node
