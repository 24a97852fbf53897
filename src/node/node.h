// All containers of this host: creation, start-up, recovery after the daemon's own death, removal; the exit
// hook's reports; orphans. Loop thread only.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "io/loop.h"
#include "io/pool.h"
#include "node/container_service.h"
#include "node/event_log.h"
#include "node/linux_backend.h"
#include "replica/file_system.h"

namespace perdure::node {

struct NodeIdentity {
  Incarnation incarnation;
  WallTime started{};
};

class Node {
 public:
  Node(io::Loop& loop, io::Pool& pool, const Clock& clock, EventLog& events, const HostServices& host,
       NodeIdentity identity);
  ~Node();

  // Takes over every container that the state directory knows; `done` when each has been looked at. One that
  // cannot be read is reported as an event and left alone.
  void recover(std::function<void()> done);

  // Writes the spec and begins. kExists; kConflict: the address belongs to another container, which is named.
  Result<ContainerService*> create(model::ContainerSpec spec);
  // From an archive: a stopped container with one generation. Blocking part on the pool; `done` on the loop.
  void import(int fd, std::optional<ContainerName> name,
              std::function<void(Result<ContainerService*>, Generation, Bytes, std::string original_name)> done);

  ContainerService* find(const ContainerName& name);
  std::vector<ContainerService*> containers();  // by name
  // After a container was removed: forgets it. Called by whoever waited for the removal, or by itself.
  void forget_removed();

  const HostServices& host() const { return host_; }
  const NodeIdentity& identity() const { return identity_; }
  EventLog& events() { return events_; }
  io::Loop& loop() { return loop_; }
  io::Pool& pool() { return pool_; }
  const Clock& clock() const { return clock_; }

 private:
  Status check_addresses(const model::ContainerSpec& spec) const;
  Result<std::unique_ptr<ContainerService>> make_service(model::ContainerSpec spec, ContainerRecord record);
  void recover_one(const std::string& directory, std::function<void()> done);
  void watch_deaths();
  void reap();

  io::Loop& loop_;
  io::Pool& pool_;
  const Clock& clock_;
  EventLog& events_;
  const HostServices& host_;
  NodeIdentity identity_;
  replica::PosixFileSystem file_system_;
  std::map<ContainerName, std::unique_ptr<ContainerService>> services_;
  io::Watch deaths_watch_;
  io::SignalHandler child_signal_;
  io::Lifetime lifetime_;
};

}  // namespace perdure::node
