// Records, specifications and addresses above Coordination: the rules of docs/cluster.md ("The record") in one place.
//
// Loop thread only, asynchronous; every call answers once, never after the store's end. All changes compare revisions. A change whose
// outcome is unknown is said to be unknown; resolve() finds out and makes sure that it cannot come later.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/ids.h"
#include "base/result.h"
#include "coord/cluster_codec.h"
#include "coord/coordination.h"
#include "io/loop.h"
#include "model/address.h"
#include "model/cluster.h"

namespace perdure::coord {

struct StoredRecord {
  model::OwnershipRecord record;
  Revision revision = 0;
  std::string bytes;  // as stored: fields of newer versions are in it
};

struct CreateRequest {
  // Its term, writer and nonce are set by the store.
  model::OwnershipRecord record;
  std::string spec_yaml;                     // canonical
  std::vector<model::IpAddress> addresses;   // at most kMaxRecordAddresses
};
inline constexpr std::size_t kMaxRecordAddresses = 24;

// A swap as it was sent; what resolve() needs.
struct SentSwap {
  model::OwnershipRecord record;  // with its writer and nonce
  Revision expected = 0;
};

struct SwapOutcome {
  enum class Kind {
    kApplied,  // `now` is what was written
    kRefused,  // it was not, and will not be; `now` is what is there, absent: no record
    kUnknown,  // nothing is known: resolve(`sent`). `error` says why
  } kind = Kind::kUnknown;
  std::optional<StoredRecord> now;
  std::optional<Error> error;
  std::optional<SentSwap> sent;
};

using Random16 = std::function<model::Nonce()>;  // replaced in tests and simulations

class RecordStore {
 public:
  // `self` is the writer of all changes. The coordination and the loop outlive it.
  RecordStore(io::Loop& loop, Coordination& coordination, model::NodeLife self, Random16 random = {});
  ~RecordStore();
  RecordStore(const RecordStore&) = delete;
  RecordStore& operator=(const RecordStore&) = delete;

  // Linearizable. kInvalid: there is one that this version cannot read.
  void read(ContainerName name, Instant deadline, Answer<std::optional<StoredRecord>> answer);

  // Record, specification and addresses at once; a record's first term is above all that an earlier one of that name has had. The
  // answer is the record as stored. kExists: there is one, its owner is named. kConflict: an address is claimed, by whom is
  // named. kPermission: this node is not (or no longer) among the cluster's nodes. Outcomes that are not known are resolved until the
  // deadline; kTimeout, kTransient: still unknown, ask again with the same names: an orphan of ours is then found and named.
  void create(CreateRequest request, Instant deadline, Answer<StoredRecord> answer);

  // The writer and the nonce are set by the store, a fresh nonce unless `nonce` is given. `spec_yaml`: written with it.
  struct SwapRequest {
    model::OwnershipRecord record;
    Revision expected = 0;
    std::optional<std::string> spec_yaml = {};
    std::optional<model::Nonce> nonce = {};
  };
  // kInvalid in `error` of an unknown outcome: what is asked for breaks a bound; nothing was sent and `sent` is absent.
  void swap(SwapRequest request, Instant deadline, std::function<void(SwapOutcome)> answer);

  // Rule 3: reads; own nonce: applied; the expected revision still there: writes the same value again under a new nonce, so that
  // the lost swap can no longer succeed; else refused. Goes on until the deadline; then kUnknown again.
  void resolve(SentSwap sent, Instant deadline, std::function<void(SwapOutcome)> answer);

  // Record, specification and all addresses that this container claims, at once. True: gone. False: the record has changed (read
  // it) or is gone already. An error: not known; ask again.
  void remove(ContainerName name, Revision expected, Instant deadline, Answer<bool> answer);

  // What a watch has seen, so that a swap need not read what it builds on. Any order.
  void observe(const StoredRecord& stored);
  void forget(const ContainerName& name);

  struct State;  // record_jobs.h

 private:
  std::shared_ptr<State> state_;
};

// From bytes of a key-value of containers/; kInvalid names the container.
Result<StoredRecord> read_record(const KeyValue& stored);

}  // namespace perdure::coord
