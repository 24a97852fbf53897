// The twin of EtcdClient: the same contract in memory, failing on demand. For tests and simulations.
//
// MemoryStore is the cluster's store; each MemoryCoordination is one node's way to it, with faults of its own. Nothing happens by
// itself but deadlines and the end of leases, which are timers of the loop.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/result.h"
#include "coord/coordination.h"
#include "io/loop.h"

namespace perdure::coord {

class MemoryCoordination;

class MemoryStore {
 public:
  MemoryStore();
  ~MemoryStore();
  MemoryStore(const MemoryStore&) = delete;
  MemoryStore& operator=(const MemoryStore&) = delete;

  Revision revision() const;
  std::optional<KeyValue> get(const std::string& key) const;

  // Changes up to this revision are forgotten: a watch that missed one gets a snapshot.
  void compact(Revision revision);
  // What a backup is made of, and going back to it: another cluster id, all leases gone, watches get a snapshot.
  struct Backup;
  std::shared_ptr<const Backup> backup() const;
  void restore(const std::shared_ptr<const Backup>& backup);
  // Deletes its keys, as if its time had passed.
  void expire(LeaseId lease);
  // Without a leader: calls are answered kTransient, watches are lost.
  void set_leader(bool present);

  struct State;  // memory_state.h

 private:
  friend class MemoryCoordination;
  std::shared_ptr<State> state_;
};

class MemoryCoordination final : public Coordination {
 public:
  MemoryCoordination(io::Loop& loop, MemoryStore& store);  // both outlive it
  ~MemoryCoordination() override;

  void read(std::string key, Instant deadline, Answer<std::optional<KeyValue>> answer) override;
  void list(std::string prefix, Instant deadline, Answer<Snapshot> answer) override;
  void commit(Transaction transaction, Instant deadline, Answer<TransactionResult> answer) override;
  std::unique_ptr<Subscription> watch(std::string prefix, WatchHandlers handlers) override;
  std::unique_ptr<Subscription> keep_lease(std::chrono::seconds time_to_live, LeaseHandlers handlers) override;
  void status(Instant deadline, Answer<StoreStatus> answer) override;

  // --- faults; of calls made from then on

  // The next `count` requests never arrive / are carried out and their answers never come: kTimeout at the deadline.
  void lose_requests(std::size_t count);
  void lose_answers(std::size_t count);
  // Requests wait on their way until released, also beyond their deadlines: the caller has its kTimeout, the request comes later.
  void hold_requests();
  std::size_t held_requests() const;
  void release_requests();  // in their order; later ones pass at once
  void drop_held_requests();
  // The same for answers, and for what a watch sees.
  void hold_answers();
  void release_answers();
  // What a watch sees alone: calls are answered, and this node's view stays behind.
  void hold_watches();
  void release_watches();
  // This node cannot reach the store: calls are answered kTransient, watches are lost, leases are not renewed.
  void set_away(bool away);

 private:
  struct State;
  std::shared_ptr<State> state_;
};

}  // namespace perdure::coord
