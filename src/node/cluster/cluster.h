// This host's part in a cluster, whole: whether it is a member, what it owns, what it holds for others.
//
// Between Node (the containers that run here) and Membership (identity, etcd, sessions). Loop thread only.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "control.pb.h"
#include "io/timers.h"
#include "node/cluster/founding.h"
#include "node/cluster/image_exchange.h"
#include "node/cluster/lease_service.h"
#include "node/cluster/membership.h"
#include "node/cluster/nearness_watch.h"
#include "node/cluster/owned_container.h"
#include "node/cluster/planned_end.h"
#include "node/cluster/reachability_watch.h"
#include "node/cluster/revival.h"
#include "node/cluster/standby_service.h"
#include "node/cluster/unsealing.h"
#include "node/node.h"
#include "node/takeover_meter.h"
#include "placement/choose_standbys.h"
#include "replica/sealed_file_system.h"

namespace perdure::node {

struct ClusterOptions {
  io::Loop& loop;
  io::Pool& pool;
  const Clock& clock;
  EventLog& events;
  const HostServices& host;
  Node& node;
  Incarnation incarnation;
  std::string version;
  Bytes standby_memory;
  std::size_t parallel_restores = 2;  // of takeovers
  Duration key_life;
  replica::Spill spill = replica::Spill::kToDisk;
  TakeoverMeter* takeovers = nullptr;                    // null: nobody measures them
  std::function<void(const MoveResult&)> on_moved{};     // from here to another node; may be empty
};

class Cluster final : public ContainerCluster {
 public:
  explicit Cluster(ClusterOptions options);
  ~Cluster() override;

  // At a start of the daemon, before the containers are recovered. A host that is no member: a success.
  Status open();
  bool member() const override { return membership_ != nullptr; }
  Membership* membership() { return membership_.get(); }
  StandbyService* standbys() { return standbys_.get(); }
  bool ready() const { return membership_ && membership_->registered(); }

  // ---- Operators ----
  using Progress = std::function<void(std::string_view stage, std::string_view text)>;
  using Done = std::function<void(Status)>;
  // The containers of this host become the cluster's. `done` when this node is registered and they are.
  void init(const InitWish& wish, Progress progress, Done done);
  void join(const JoinWish& wish, Progress progress, Done done);
  // kConflict while it owns containers, unless `force`: they run on here, and their records go.
  void leave(bool force, Progress progress, Done done);
  // perdured ends, to begin another life: this is not to be taken for a failure. `grant`: how long the standbys of what runs here
  // are to wait for that; zero: they are not asked. `done` at once or from the loop, once, kPlannedEndLimit later at the latest.
  void prepare_end(Duration grant, std::function<void()> done);
  control::v1::ClusterReply status() const;
  std::vector<control::v1::NodeRow> node_rows() const;
  control::v1::NodeRow node_row(const NodeName& node) const;

  // As if another node had sent it.
  void ask_self(peer::v1::Message message, Peers::Answer answer);

  // ---- Containers ----
  // The owner of a container that is not here; absent: nobody, or no cluster.
  std::optional<NodeName> owner_of(const ContainerName& name) const;
  OwnedContainer* owned(const ContainerName& name);
  // Claims name and addresses for this node; then Node::create() may begin. The answer says who holds what is taken.
  void claim(const model::ContainerSpec& spec, model::DesiredState desired, Done done) override;
  // What claim() has made is given back: the container could not be made.
  void disclaim(const ContainerName& name) override;
  void fetch_image(const std::string& digest, Done done) override;
  // The service of a claimed container is there (created, imported, adopted).
  void attach(ContainerService& service) override;
  // Of a daemon that has begun: what it owned when it ended. Before the service's own first event.
  void attach_recovered(ContainerService& service) override;
  void recovered(ContainerService& service) override;
  void find_elsewhere(const ContainerName& name, Term known, std::function<void(HeldElsewhere)> done) override;
  // Of a container that was taken over and could not be restored from what is held here as newest: what others hold, or else
  // what is older here.
  void find_elsewhere_or_here(const ContainerName& name, Term term, std::function<void(HeldElsewhere)> done);
  void detached(const ContainerName& name, bool left) override;
  void when_released(const ContainerName& name, std::function<void()> done) override;
  std::optional<SharedStore> shared_store(const ContainerName& name, Term term) override;
  std::shared_ptr<replica::FileSystem> file_system() override { return own_files_; }
  Term claimed(const ContainerName& name) const override;
  std::shared_ptr<const pki::KeyRing> ring() const override;
  // Of other nodes' containers: those stood by for, and those that are given or fetched now.
  std::set<std::string> images_in_use() const;
  void fill(control::v1::ContainerStatus& status, const ContainerName& name) const override;
  // Of a container that this node stands by for, whose owner is being restarted: how long it would wait for that. Empty: it does
  // not.
  std::string waits_for_owner(const ContainerName& name) const;
  // Rows of containers that other nodes own, from the records alone.
  std::vector<control::v1::ContainerStatus> others() const override;
  std::optional<control::v1::ContainerStatus> row_of(const ContainerName& name) const override;
  bool is_coming(const ContainerName& name) const override;
  // Such a row, if its owner cannot be reached from here. Absent: it can, or it is here.
  std::optional<control::v1::ContainerStatus> owner_unreachable(const ContainerName& name) const;

  // Moves it and waits until it runs there, or stays.
  void move(const ContainerName& name, const NodeName& target, MoveCause cause, std::function<void(Result<OwnedContainer::MoveResult>)> done);
  // Of a container that this node owns: the standbys that hold what is committed.
  std::set<NodeName> ready_standbys(const ContainerName& name) const;
  // To the place that placement names. kUnsupported: none.
  Result<NodeName> move_target(const ContainerName& name) const;
  // Sets the record's desired state, then `done`; kConflict: refused.
  void settle(const ContainerName& name, model::DesiredState desired, Done done) override;

 private:
  Status enter(ClusterIdentity identity, pki::NodeIdentity files, const coord::EtcdStartRequest* etcd,
               std::optional<coord::ClusterSettings> found);
  void end_membership();
  void not_founded(const std::string& why);
  void forget_founding(const ClusterIdentity& identity);
  PeerRequestTable request_table();
  MembershipHandlers membership_handlers();
  StandbyHandlers standby_handlers();
  Status start_leases(const model::NodeLife& self);
  LeaseHandlers lease_handlers();
  void long_grant_given(const policy::lease::LongGrantGiven& given);
  void long_grant_given_back(const policy::lease::LongGrantGivenBack& back);
  void end_prepared(Duration grant, const std::vector<policy::lease::LeaseHolder::Missing>& missing);
  policy::lease::Timing timing() const;
  void peer_keys(const model::NodeLife& life, const std::array<std::byte, 32>& material, pki::ChannelRole role);
  replica::StandbyTableOptions table_options() const;
  void adopt_all(Done done);
  void claim_running(ContainerService& service, Done done);
  OwnedContainer& make_owned(const ContainerName& name, ContainerService* service);
  void owned_ended(const ContainerName& name);
  void forget_owned(const ContainerName& name);
  void stay(Status why, const Done& done);
  void leave_now(bool force, const Progress& progress, const Done& done);
  void drop_and_forget(const Done& done);
  void forget_cluster(const Done& done);
  void keep_without_keys(Done done);
  void remove_own_records(int tries, std::function<void()> done);
  bool owns_records() const;
  void stand_by_after(const ContainerName& name);
  void on_held_report(const PeerRequest& request);
  void on_inventory(const PeerRequest& request);
  void load_durable(const ContainerName& name, const Generation& generation,
                    std::function<void(Result<replica::RestorableGeneration>)> done);
  void tell_durable(const PeerRequest& request);
  // Of what the directory that all nodes see has of it; blocks on it. kUnsupported: there is none. kNotFound: nothing of it.
  std::function<Result<std::unique_ptr<replica::CapsuleStore>>()> durable_reader(const ContainerName& name);
  void peer_up(const model::NodeLife& life);
  void peer_down(const model::NodeLife& life);
  void record_changed(const ContainerName& name);
  void look_for_orphans();
  void tell_away(control::v1::ContainerStatus& row, const model::OwnershipRecord& record) const;
  void look_for_waiting();
  void tell_waiting();
  void tell_holdings(OwnedContainer& owned) const;
  void tell_candidates();
  void tell_candidates(OwnedContainer& owned) const;
  placement::StandbyQuestion question_for(const OwnedContainer& owned) const;
  std::uint32_t standbys_wanted(const ContainerName& name) const;
  std::unique_ptr<ReachabilityWatch> make_reachability_watch();
  std::vector<NodeName> ready_targets(const ContainerName& name);
  void ask_reach(const NodeName& node, const ContainerName& name, ReachabilityWatch::Reached answer);
  void on_reach(const PeerRequest& request);
  std::unique_ptr<NearnessWatch> make_nearness_watch();
  policy::nearness::Looked look_near(const ContainerName& name, const std::vector<model::Vicinity>& vicinities);
  void hand_over_unreachable(const ContainerName& name, const NodeName& target, ReachabilityWatch::Failed failed);
  void taken(TakenContainer taken);
  void take_in(TakenContainer taken, Node::Arrived arrived);
  void take_in_later(TakenContainer taken, Node::Arrived arrived, const Error& error);
  void hold_handed(const ContainerName& name, Term term, const replica::Holding& holding);
  void announce(const ContainerName& name, std::shared_ptr<ContainerBackend> backend, int times);
  void when_ready(Progress progress, Done done);
  void check_waiting();
  std::string durable_directory() const;
  void use_ring();

  const ClusterOptions options_;
  // Those of the directory of all nodes seal as long as anybody has them: what is in it is the cluster's.
  const std::shared_ptr<replica::FileSystem> files_ = std::make_shared<replica::PosixFileSystem>();
  const std::shared_ptr<replica::SealedFileSystem> own_files_ = std::make_shared<replica::SealedFileSystem>(files_, nullptr);
  std::shared_ptr<replica::SealedFileSystem> shared_files_;
  std::unique_ptr<Membership> membership_;
  std::unique_ptr<LeaseService> leases_;
  std::unique_ptr<ImageExchange> images_;
  std::unique_ptr<StandbyService> standbys_;
  std::unique_ptr<ReachabilityWatch> reachability_;
  std::unique_ptr<NearnessWatch> nearness_;
  std::unique_ptr<Joining> joining_;
  std::unique_ptr<PlannedEnd> planned_end_;
  std::map<ContainerName, std::unique_ptr<OwnedContainer>> owned_;
  std::map<ContainerName, std::unique_ptr<Revival>> revivals_;
  std::multimap<ContainerName, std::function<void()>> releases_;  // who waits for the end of what is owned
  std::map<ContainerName, coord::StoredRecord> claimed_;  // records made for services to come
  std::map<NodeName, std::map<ContainerName, replica::Holding>> reported_;  // what connected peers hold of ours
  std::map<NodeName, Instant> reported_at_;                                 // when they have said so last
  std::set<std::pair<NodeName, ContainerName>> awaited_reports_;  // what was reported before a takeover says nothing
  std::vector<std::pair<Progress, Done>> waiting_;  // for ready()
  std::map<ContainerName, std::string> untaken_;  // told of; why not yet
  io::Timers announcements_;
  bool busy_ = false;  // init, join or leave is under way
  io::Timer waiting_limit_;
  std::map<ContainerName, Term> told_waiting_;  // whose owners cannot be reached, and nobody takes them over
  io::Timer waiting_timer_;
  io::Timer leave_timer_;
  std::weak_ptr<Keeping> keeping_;  // of an attempt to leave, as long as it is at work
  io::Lifetime lifetime_;
};

}  // namespace perdure::node
