// What MemoryStore and its MemoryCoordinations share. Inside of this room.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "coord/memory_coordination.h"

namespace perdure::coord {

struct MemoryStore::Backup {
  std::map<std::string, KeyValue> values;
  Revision revision = 0;
};

struct MemoryStore::State {
  std::map<std::string, KeyValue> values;
  std::map<Revision, std::vector<Change>> log;
  Revision revision = 1;   // as etcd begins
  Revision compacted = 0;  // changes up to this one are not in the log
  std::set<LeaseId> leases;
  LeaseId next_lease = 1;
  std::uint64_t cluster_id = 1;
  bool leader = true;
  std::map<std::uint64_t, std::function<void()>> listeners;  // something has changed
  std::uint64_t next_listener = 1;

  Snapshot snapshot(const std::string& prefix) const;
  Result<TransactionResult> commit(const Transaction& transaction);
  LeaseId grant();
  void expire(LeaseId lease);
  void tell();
};

}  // namespace perdure::coord
