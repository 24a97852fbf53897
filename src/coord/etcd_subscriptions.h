// A watch and a lease of EtcdClient. Inside of this room.
#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <string>

#include "coord/coordination.h"
#include "coord/etcd_caller.h"

namespace perdure::coord {

struct Listing {
  Snapshot snapshot;
  std::uint64_t raft_term = 0;
};
// All keys below `prefix` at one revision, page by page.
void list_prefix(EtcdCaller& caller, std::string prefix, Instant deadline, std::function<void(Result<Listing>)> done);

std::unique_ptr<Subscription> open_etcd_watch(EtcdCaller& caller, std::string prefix, WatchHandlers handlers);
std::unique_ptr<Subscription> keep_etcd_lease(EtcdCaller& caller, std::chrono::seconds time_to_live,
                                              Coordination::LeaseHandlers handlers);

}  // namespace perdure::coord
