// This node as a member of a cluster: identity, etcd, the view of the cluster, the sessions with the other nodes, and its own entry.
//
// Built from what is on disk (cluster.json and the files of pki/node_files.h); how a cluster begins and is joined is in founding.h.
// Loop thread only.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "coord/cluster_view.h"
#include "coord/etcd_client.h"
#include "coord/record_store.h"
#include "io/loop.h"
#include "io/pool.h"
#include "io/timers.h"
#include "node/cluster/cluster_identity.h"
#include "node/cluster/etcd_keeper.h"
#include "node/cluster/peer_network.h"
#include "node/cluster/trust.h"
#include "node/event_log.h"
#include "node/paths.h"

namespace perdure::node {

struct MembershipOptions {
  io::Loop& loop;
  io::Pool& pool;
  const Clock& clock;
  EventLog& events;
  Paths paths;
  Incarnation incarnation;
  std::string version;
  Duration key_life;  // of the key that seals what is stored
  model::HostFacts facts;
};

struct MembershipHandlers {
  std::function<void(const model::NodeLife&)> peer_up;
  std::function<void(const model::NodeLife&, const Error&)> peer_down;
  // PeerNetworkHandlers.
  std::function<void(const model::NodeLife&, const std::array<std::byte, 32>&, pki::ChannelRole)> peer_keys;
  std::function<void(const model::NodeLife&)> peer_keys_known;
  std::function<void(const ContainerName&)> record_changed;
  std::function<void()> nodes_changed;
  std::function<void()> settings_changed;
  std::function<void()> current;                    // the view is up to date (again)
  std::function<void(const std::string& reason)> history_lost;
  std::function<void()> ring_changed;
  std::function<void(const std::string& why)> foreign_store;  // the etcd of a new cluster holds another one
};

class Membership {
 public:
  // What the parts of perdured serve to other nodes is added to `table` before.
  static Result<std::unique_ptr<Membership>> open(MembershipOptions options, ClusterIdentity identity,
                                                  pki::NodeIdentity files, PeerRequestTable table,
                                                  MembershipHandlers handlers);
  ~Membership();

  // How etcd begins here: kRestart where there is data, nothing where another node will tell us to join. `found`: the settings
  // of a new cluster, written once the store answers.
  Status start(const coord::EtcdStartRequest* etcd, std::optional<coord::ClusterSettings> found);

  const ClusterIdentity& identity() const { return identity_; }
  model::NodeLife self() const { return {identity_.node, options_.incarnation}; }
  coord::ClusterView& view() { return *view_; }
  coord::RecordStore& records() { return *records_; }
  coord::EtcdClient& client() { return *client_; }
  PeerNetwork& peers() { return *peers_; }
  Trust& trust() { return *trust_; }
  EtcdKeeper* etcd() { return etcd_.get(); }  // nullptr: none here
  bool registered() const { return registered_; }
  // Of the store, as far as this node has ever seen.
  coord::Revision highest_revision() const;
  const std::string& store_trouble() const { return store_trouble_; }  // empty: the view is current

  // Of etcd's members only this node's is left.
  void use_own_store_alone();

  // What an operator asks for; `done` once.
  void make_token(Duration valid_for, std::uint32_t uses, std::function<void(Result<coord::StoredToken>, std::string)> done);
  void change_node(const NodeName& node, std::function<void(model::NodeDescription&)> change,
                   std::function<void(Status)> done);
  // Its entry goes, its certificates are revoked, its etcd member is removed.
  void remove_node(const NodeName& node, const std::string& reason, std::function<void(Status)> done);
  void rotate_keys(std::function<void(Status)> done);
  // By compare-and-swap of the settings. kTransient: they are not known, or another has changed them.
  void change_timing(const policy::lease::Timing& timing, std::function<void(Status)> done);

  // Admits a node that joins; answered on its connection.
  void admit(peer::v1::JoinRequest request, ResponderRef respond);
  void admit_with(const peer::v1::JoinRequest& request, const coord::KeyValue& stored, const ResponderRef& respond,
                  const std::function<void(const Error&)>& refuse);

 private:
  Membership(MembershipOptions options, ClusterIdentity identity, PeerRequestTable table, MembershipHandlers handlers);
  Status make_trust(pki::NodeIdentity files);
  Status make_store();
  Status make_etcd();
  Status make_peers();
  void watch_view();
  void follow_nodes();
  void follow_endpoints();
  void settle();
  void found(const coord::ClusterSettings& settings);
  void register_self();
  struct Attempts {
    int tries = 0;  // against what others change
    Instant end;    // of patience with etcd
  };
  void try_change_node(const NodeName& node, std::function<void(model::NodeDescription&)> change, Attempts left,
                       std::function<void(Status)> done);
  void write_settings(const coord::ClusterSettings& changed, std::function<void(Status)> done);
  void try_later(std::function<void()> again);
  void revoke(const NodeName& node, const std::string& reason, int tries, std::function<void(Status)> done);
  model::NodeDescription description(const model::NodeDescription* before) const;
  void keep_history();
  void look_at_keys();
  void save_identity();
  Status check_peer(const io::TlsPeer& peer) const;
  std::vector<coord::ManagerNode> managers() const;
  void on_renew(PeerRequest request);
  void on_start_member(PeerRequest request);
  void start_member(const NodeName& node, const MemberToStart& added, std::function<void(Status)> done);
  void ask_manager(const std::string& public_key, std::function<void(Result<RenewedCertificate>)> answer);
  void report(control::v1::Severity severity, std::string_view kind, std::string text, std::string reason);
  Result<model::NodeDescription> admitted(const peer::v1::JoinRequest& request, const coord::StoredToken& token) const;
  void sign_in(const peer::v1::JoinRequest& request, const model::NodeDescription& node, ResponderRef respond);
  Instant deadline() const { return options_.clock.now() + std::chrono::seconds(5); }

  const MembershipOptions options_;
  ClusterIdentity identity_;
  PeerRequestTable table_;
  const MembershipHandlers handlers_;
  std::unique_ptr<Trust> trust_;
  std::unique_ptr<coord::EtcdClient> client_;
  std::unique_ptr<coord::RecordStore> records_;
  std::unique_ptr<coord::ClusterView> view_;
  std::unique_ptr<EtcdKeeper> etcd_;
  std::unique_ptr<PeerNetwork> peers_;
  std::unique_ptr<coord::Subscription> subscription_;
  std::optional<coord::ClusterSettings> founding_;
  bool registering_ = false;
  bool registered_ = false;
  io::Timers swap_timers_;
  bool leaving_ = false;  // by its own wish: what the others say of it is no news
  bool members_watched_ = false;
  std::string store_trouble_ = "etcd has not answered yet";
  ClusterIdentity saved_;
  io::Timer retry_;
  io::Timer history_timer_;
  io::Timer keys_timer_;
  io::Lifetime lifetime_;
};

// Where a member's files lie.
std::string cluster_directory(const Paths& paths);
std::string identity_path(const Paths& paths);
std::string etcd_directory(const Paths& paths);
std::string snapshot_directory(const Paths& paths);
coord::EtcdServerOptions etcd_options(const Paths& paths, const ClusterIdentity& identity);

}  // namespace perdure::node
