// A mirror of everything below /perdure/1/, kept by one watch.
//
// Loop thread only. What it shows may be older than the store; who decides on it compares revisions when it writes. A value that
// this version cannot read is in problems() and nowhere else.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/ids.h"
#include "base/result.h"
#include "coord/cluster_keys.h"
#include "coord/cluster_values.h"
#include "coord/coordination.h"
#include "coord/record_store.h"
#include "io/loop.h"
#include "model/cluster.h"

namespace perdure::coord {

template <typename T>
struct Stored {
  T value;
  Revision revision = 0;
  std::string bytes;  // as stored, to be handed to the encoder on a change
};

// How far a store's history was known: kept on disk by whoever wants to notice at its next life that the store was put back.
struct StoreHistory {
  std::uint64_t cluster_id = 0;  // etcd's; 0: not known
  Revision revision = 0;
  bool operator==(const StoreHistory&) const = default;
};

// All may be empty. Called after the view has been changed; they may start and end subscriptions, not destroy the view.
struct ViewHandlers {
  // A node, record, …: changed, new, or gone (it is then not in the view). Of one revision together, in the order of keys.
  std::function<void(const NodeName&)> on_node;
  std::function<void(const ContainerName&)> on_record;  // or its specification
  std::function<void(const NodeName&)> on_revocation;
  std::function<void()> on_cluster;
  std::function<void()> on_token;
  // After the calls above of one revision or snapshot.
  std::function<void(Revision)> on_revision;
  // The first snapshot has come, or the watch is up again; or it is lost, and why.
  std::function<void()> on_current;
  std::function<void(const Error&)> on_old;
  // The store is another one, or went back: restored from a backup. Nothing that it says of ownership may be trusted without a look
  // at the terms known here. Called before the changes that it brings.
  std::function<void(const StoreHistory& before, const StoreHistory& now)> on_history_lost;
};

class ClusterView {
 public:
  struct Options {
    StoreHistory known = {};  // of an earlier life
  };
  ClusterView(io::Loop& loop, Coordination& coordination, Options options);
  ClusterView(io::Loop& loop, Coordination& coordination);
  ~ClusterView();
  ClusterView(const ClusterView&) = delete;
  ClusterView& operator=(const ClusterView&) = delete;

  void start();  // the watch; once
  // Until the subscription is destroyed. Several are called in the order of their subscription.
  std::unique_ptr<Subscription> subscribe(ViewHandlers handlers);

  bool current() const;           // a snapshot has come and the watch is up; what was missed may still be on its way
  Revision revision() const;      // up to which everything is in here; 0: nothing yet
  StoreHistory history() const;

  const std::map<NodeName, Stored<model::NodeDescription>>& nodes() const;
  const std::map<ContainerName, StoredRecord>& records() const;
  const std::map<ContainerName, Stored<std::string>>& specs() const;  // YAML
  const std::map<std::string, Stored<AddressClaim>>& addresses() const;
  const std::map<std::string, Stored<StoredToken>>& tokens() const;
  const std::map<NodeName, Stored<Revocation>>& revocations() const;
  const std::optional<Stored<ClusterSettings>>& cluster() const;
  const std::map<std::string, Error>& problems() const;  // by key

  const model::NodeDescription* node(const NodeName& name) const;      // nullptr: none
  const StoredRecord* record(const ContainerName& name) const;         // nullptr: none

 private:
  struct State;
  std::shared_ptr<State> state_;
};

}  // namespace perdure::coord
