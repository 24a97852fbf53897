// The seam to the store that keeps who owns what: linearizable reads, transactions that compare revisions, watches, leases.
// EtcdClient is the one in products, MemoryCoordination (memory_coordination.h) its twin; one contract test suite runs
// against both (coordination_contract_test.cc).
//
// Loop thread only. Every call answers exactly once, later, on the loop's thread, unless its owner's Lifetime has ended. Nothing here
// retries a transaction that does not say so: an error of commit() means that the outcome is NOT KNOWN (docs/cluster.md, "The record", rule 3).
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/result.h"
#include "io/loop.h"

namespace perdure::coord {

using Revision = std::int64_t;  // of the whole store; rises with every transaction that writes
using LeaseId = std::int64_t;   // 0: none

struct KeyValue {
  std::string key;
  std::string value;
  Revision created = 0;
  Revision modified = 0;
  LeaseId lease = 0;
};

struct Condition {
  std::string key;
  Revision modified = 0;  // 0: the key must not exist
};

struct Write {
  std::string key;
  std::optional<std::string> value;  // absent: delete
  LeaseId lease = 0;
};

// All conditions hold: all writes are made, at one revision. Else nothing is. Without writes: a linearizable check, whose answer
// tells the revision at which the conditions held or did not.
struct Transaction {
  std::vector<Condition> conditions;
  std::vector<Write> writes;
  // It may be sent more than once, to several members at a time, so that the store's leader may die with it. Only for one that
  // changes what its conditions compare, so that it is carried out once at most, by a writer that knows its own value again: the
  // answer may be that of a later copy, which finds what the first has written.
  bool repeated = false;
};
inline constexpr std::size_t kMaxTransactionKeys = 64;            // conditions and writes together (etcd: 128 operations)
inline constexpr std::size_t kMaxValueBytes = std::size_t{1} << 20;  // etcd refuses requests of more than 1.5 MiB

struct TransactionResult {
  bool applied = false;
  Revision revision = 0;
  // Of the conditions' keys as they are when nothing was applied, in their order; to name the holder.
  std::vector<std::optional<KeyValue>> found;
};

struct Snapshot {
  Revision revision = 0;
  std::vector<KeyValue> values;  // by key
  std::uint64_t cluster_id = 0;  // of the store; another one after it was restored from a backup
};

struct Change {
  std::string key;
  std::optional<KeyValue> value;  // absent: deleted
  Revision revision = 0;
};

template <typename T>
using Answer = std::function<void(Result<T>)>;

// Keeps a watch or a lease going until it is destroyed.
class Subscription {
 public:
  virtual ~Subscription() = default;
};

struct WatchHandlers {
  // The whole prefix at one revision: at the beginning, and again after changes were missed (compaction, a store restored from
  // a backup; its revision may then be lower than before). What it does not hold is gone.
  std::function<void(const Snapshot&)> on_snapshot;
  // In the order of revisions, all changes of one revision together, each once.
  std::function<void(Revision, const std::vector<Change>&)> on_changes;
  // The store cannot be reached, or is without a leader: what is known may be old. Said once; what follows is
  // on_changes or on_snapshot, preceded by on_found.
  std::function<void(const Error&)> on_lost;
  std::function<void()> on_found;
};

struct StoreStatus {
  std::string version;
  std::uint64_t cluster_id = 0;
  std::uint64_t leader = 0;  // 0: none
  std::uint64_t member = 0;  // who answered
  Revision revision = 0;
  std::uint64_t database_bytes = 0;
};

// Errors of all calls: kTimeout: no answer by the deadline. kTransient: the store cannot be reached now, or has no leader.
// kPermission: it refuses us. kInvalid: too large. kIo: anything else.
class Coordination {
 public:
  virtual ~Coordination() = default;

  // Linearizable.
  virtual void read(std::string key, Instant deadline, Answer<std::optional<KeyValue>> answer) = 0;
  virtual void list(std::string prefix, Instant deadline, Answer<Snapshot> answer) = 0;
  virtual void commit(Transaction transaction, Instant deadline, Answer<TransactionResult> answer) = 0;

  // Goes on over reconnections and a change of the leader.
  virtual std::unique_ptr<Subscription> watch(std::string prefix, WatchHandlers handlers) = 0;

  // A lease that is kept alive until the subscription is destroyed; `on_lost` once if it has expired after all. A backstop:
  // the store expires it late (whole seconds).
  struct LeaseHandlers {
    std::function<void(LeaseId)> on_granted;
    std::function<void(const Error&)> on_lost;
  };
  virtual std::unique_ptr<Subscription> keep_lease(std::chrono::seconds time_to_live, LeaseHandlers handlers) = 0;

  virtual void status(Instant deadline, Answer<StoreStatus> answer) = 0;
};

}  // namespace perdure::coord
