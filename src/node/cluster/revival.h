// A container of this node that was found dead after perdured's start: whether its standbys hold a newer state than its own disk.
//
// What was committed is with every standby of the record, in the life that the record names; the durable directory may be behind.
// The record is read however long etcd is away; from then on the standbys have `standby_wait` to come and to answer. Loop thread only.
#pragma once

#include <functional>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/ids.h"
#include "coord/record_store.h"
#include "io/loop.h"
#include "io/pool.h"
#include "model/cluster.h"
#include "node/cluster/peers.h"
#include "node/container_cluster.h"

namespace perdure::node {

struct RevivalOptions {
  io::Loop& loop;
  io::Pool& pool;
  const Clock& clock;
  coord::RecordStore& records;
  Peers& peers;
  NodeName self;
  Duration standby_wait = std::chrono::seconds(45);  // after a power cut of all hosts they boot one after the other
  Duration call_time = std::chrono::seconds(5);
  Duration fetch_time = std::chrono::minutes(5);
  Duration look_interval = std::chrono::milliseconds(200);
};

class Revival {
 public:
  using Done = std::function<void(HeldElsewhere)>;
  // `known`: the highest term that this node's disk knows. `done` is called once, never from here.
  Revival(RevivalOptions options, ContainerName container, Term known, Done done);
  ~Revival();

  // This node leaves its cluster: what others hold is not known any more. `done` is called unless it has been.
  void give_up() {
    if (done_) finish({});
  }

 private:
  void read();
  void judge(const std::optional<coord::StoredRecord>& record);
  void look();
  void ask(const model::NodeLife& standby);
  void answered(const model::NodeLife& standby, std::expected<PeerMessage, PeerRefusal> answer);
  void taken(const model::NodeLife& standby, Result<capsule::CapsuleRef> capsule);
  void finish(HeldElsewhere found);

  const RevivalOptions options_;
  const ContainerName container_;
  const Term known_;
  Done done_;
  Term term_;
  std::vector<model::NodeLife> left_;  // recorded standbys that have not answered
  bool asking_ = false;
  Instant limit_{};
  io::Timer timer_;
  io::Lifetime lifetime_;
};

}  // namespace perdure::node
