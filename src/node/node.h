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
#include "node/cluster/peers.h"
#include "node/container_cluster.h"
#include "node/container_service.h"
#include "node/event_log.h"
#include "node/linux_backend.h"
#include "replica/file_system.h"

namespace perdure::node {

struct NodeIdentity {
  Incarnation incarnation;
  WallTime started{};
};

// Makes the backend of a container; tests put a double in its place.
// The image's digest, where it is known: see LinuxBackend.
using BackendFactory = std::function<std::shared_ptr<ContainerBackend>(
    const HostServices&, const model::ContainerSpec&, const std::string& image_digest)>;

struct NodeOptions {
  io::Loop& loop;
  io::Pool& pool;
  io::Pool& store_pool;  // for durable directories alone: one that hangs stops nothing else
  const Clock& clock;
  EventLog& events;
  const HostServices& host;
  NodeIdentity identity;
  BackendFactory make_backend;  // empty: LinuxBackend
  // For the durable directory of a container that is taken over after a restart. Long enough for a server that is busy, far
  // below what starting perdured may take.
  Duration store_patience = std::chrono::seconds(5);
  std::function<void(const CaptureReport&)> on_captured{};  // of any container, on the loop; may be empty
};

// Where the metrics are served.
struct MetricsState {
  std::string address;  // "127.0.0.1:7480"; empty: they are switched off
  std::string trouble;  // why they are not served there; empty: they are
};

class Node {
 public:
  explicit Node(NodeOptions options);
  ~Node();

  // Takes over every container that the state directory knows; `done` when each has been looked at. One that
  // cannot be read is reported as an event and left alone.
  void recover(std::function<void()> done);

  // The cluster that this host may be part of; before recover(). Outlives this.
  void use(ContainerCluster& cluster) { cluster_ = &cluster; }
  ContainerCluster* cluster() const { return cluster_; }  // null in tests of a single host
  const BackendFactory& backend_factory() const { return options_.make_backend; }
  // What other nodes may ask of the containers here (forwarded requests), by kind; set before the cluster is opened.
  void serve_peers(PeerRequestTable table) { peer_requests_ = std::move(table); }
  const PeerRequestTable& peer_requests() const { return peer_requests_; }

  // From another node, by a move or a takeover.
  struct Arrived {
    model::ContainerSpec spec;
    ContainerRecord record;
    std::shared_ptr<ContainerBackend> backend;
    std::optional<Arrival> arrival;              // absent: nothing of it runs yet
    ContainerService::Elsewhere elsewhere = {};  // then: what there is to go back to, beside its store
  };
  // What it needs of the disk is there before it is known here: on failure (kNoSpace, kIo) `arrived` is as it was, and this may be
  // repeated.
  Result<ContainerService*> take_in(Arrived& arrived);

  // Whether create() would take it: kExists, kConflict.
  Status check_new(const model::ContainerSpec& spec) const;
  // Writes the spec and begins. kExists; kConflict: the address belongs to another container, which is named.
  Result<ContainerService*> create(model::ContainerSpec spec);
  // From a verified archive: a stopped container whose only generation is the capsule. Blocking parts on the
  // pool; `done` on the loop. kExists: the name is taken; kConflict: its address is.
  void import(capsule::CapsuleRef capsule, std::optional<ContainerName> name,
              std::function<void(Result<ContainerService*>)> done);

  // The directory in which its generations are kept has become another: the cluster's, or this node's own again.
  void change_store(ContainerService& service);

  ContainerService* find(const ContainerName& name);
  const ContainerService* find(const ContainerName& name) const { return const_cast<Node*>(this)->find(name); }
  std::vector<ContainerService*> containers();  // by name
  // After a container was removed: forgets it. Called by whoever waited for the removal, or by itself.
  void forget_removed();

  void set_metrics_state(MetricsState state) { metrics_state_ = std::move(state); }
  const MetricsState& metrics_state() const { return metrics_state_; }

  const HostServices& host() const { return options_.host; }
  const NodeIdentity& identity() const { return options_.identity; }
  EventLog& events() { return options_.events; }
  io::Loop& loop() { return options_.loop; }
  io::Pool& pool() { return options_.pool; }
  io::Pool& store_pool() { return options_.store_pool; }
  const Clock& clock() const { return options_.clock; }

 private:
  Status check_addresses(const model::ContainerSpec& spec) const;
  Status make_home(const model::ContainerSpec& spec, const ContainerRecord& record) const;
  // With a home and a specification on the disk; `state` is where it begins.
  Result<std::unique_ptr<ContainerService>> make_new(model::ContainerSpec spec, policy::PersistentState state);
  enum class Origin { kNew, kKnown };  // kNew: of this name there is nothing yet but what was kept of another container
  Result<std::shared_ptr<replica::CapsuleStore>> open_store(const ContainerName& name, const ContainerRecord& record, Origin origin);
  replica::StoreOpener own_store(const ContainerName& name);
  replica::StoreOpener shared_store(SharedStore shared, Term first) const;
  Result<std::unique_ptr<ContainerService>> make_service(model::ContainerSpec spec, ContainerRecord record, Origin origin,
                                                         std::shared_ptr<ContainerBackend> backend = nullptr);
  ContainerService* adopt(std::unique_ptr<ContainerService> service);
  void import_as(capsule::CapsuleRef capsule, model::ContainerSpec spec,
                 std::function<void(Result<ContainerService*>)> done);
  Result<std::unique_ptr<ContainerService>> read_service(const std::string& directory);
  void report_unreadable(const std::string& directory, const Error& error);
  void watch_deaths();
  void read_deaths();

  NodeOptions options_;
  const std::shared_ptr<replica::FileSystem> file_system_ = std::make_shared<replica::PosixFileSystem>();
  ContainerCluster* cluster_ = nullptr;
  PeerRequestTable peer_requests_;
  MetricsState metrics_state_;
  std::map<ContainerName, std::unique_ptr<ContainerService>> services_;
  io::Watch deaths_watch_;
  io::SignalHandler child_signal_;
  io::Lifetime lifetime_;
};

}  // namespace perdure::node
