// A cluster without hosts, sockets and etcd: nodes with everything above the seams (Node, StandbyService, OwnedContainer, the records),
// connected by FakePeers and coord::MemoryCoordination, with FakeBackends below. Test programs only.
//
// TestCluster does for them what Cluster does, with every other node as a candidate in the order of names.
#pragma once

#include <atomic>
#include <format>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "coord/cluster_codec.h"
#include "coord/cluster_keys.h"
#include "coord/memory_coordination.h"
#include "gtest/gtest.h"
#include "io/atomic_file.h"
#include "io/test_support.h"
#include "model/spec_yaml.h"
#include "node/cluster/arrival.h"
#include "node/cluster/claim.h"
#include "node/cluster/owned_container.h"
#include "node/cluster/peer_codec.h"
#include "node/cluster/standby_service.h"
#include "node/cluster/takeover_request.h"
#include "node/kept_capsules.h"
#include "node/testing/fake_backend.h"
#include "node/cluster/planned_end.h"
#include "node/testing/fake_leases.h"
#include "node/testing/fake_peers.h"
#include "replica/directory_store.h"

namespace perdure::node::testing {

namespace own = policy::ownership;

inline NodeName node_name(std::string_view name) { return NodeName::parse(name).value(); }
// Of a container, with a client's port.
inline network::TcpTuple connection_from(std::uint16_t port) {
  return {{{network::IpFamily::kV4, {192, 0, 2, 1}}, 80}, {{network::IpFamily::kV4, {192, 0, 2, 2}}, port}};
}
inline ContainerName container_name(std::string_view name) { return ContainerName::parse(name).value(); }

// Lists what is there, and on demand reads none of it.
class TroubledFiles final : public replica::FileSystem {
 public:
  explicit TroubledFiles(replica::FileSystem& inner) : inner_(inner) {}
  std::atomic<bool> trouble = false;

  Status make_directories(const std::string& path) override { return inner_.make_directories(path); }
  Result<std::unique_ptr<replica::NewFile>> create(const std::string& path) override { return inner_.create(path); }
  Status rename_new(const std::string& from, const std::string& to) override { return inner_.rename_new(from, to); }
  Status remove(const std::string& path) override { return inner_.remove(path); }
  Status sync_directory(const std::string& path) override { return inner_.sync_directory(path); }
  Result<std::vector<std::string>> list(const std::string& path) override { return inner_.list(path); }
  Result<std::uint64_t> size(const std::string& path) override { return inner_.size(path); }
  Result<std::string> read_prefix(const std::string& path, std::size_t size_bytes) override {
    if (trouble) return fail(ErrorCode::kIo, path + ": no answer");
    return inner_.read_prefix(path, size_bytes);
  }
  Result<capsule::SlabRef> load(const std::string& path, std::uint64_t limit_bytes) override {
    if (trouble) return fail(ErrorCode::kIo, path + ": no answer");
    return inner_.load(path, limit_bytes);
  }
  Result<std::unique_ptr<replica::StoreLock>> lock(const std::string& path) override { return inner_.lock(path); }

 private:
  replica::FileSystem& inner_;
};

// A directory that all nodes see. It can hang, and fail, as storage does that other hosts serve.
class SharedStorage {
 public:
  explicit SharedStorage(replica::FileSystem& files, std::string path) : files_(files), path_(std::move(path)) {}
  ~SharedStorage() { hang(false); }

  void hang(bool hangs) {
    hangs_ = hangs;
    hangs_.notify_all();
  }
  void fail_with(std::optional<Error> error) {
    const std::scoped_lock lock(mutex_);
    error_ = std::move(error);
  }
  TroubledFiles& files() { return files_; }
  std::string directory_of(const std::string& name) const { return path_ + "/" + name; }
  SharedStore store_of(const ContainerName& name, Term term, Incarnation incarnation) {
    replica::DirectoryStoreOptions options;
    options.directory = directory_of(name.str());
    options.container = name.str();
    options.access = replica::DirectoryStoreOptions::Access::kShared;
    options.term = term;
    options.incarnation = incarnation;
    return {.directory = options.directory,
            .open = [this, options]() -> Result<std::unique_ptr<replica::CapsuleStore>> {
              hangs_.wait(true);
              PERDURE_TRY(state());
              return replica::DirectoryStore::open(options, files_);
            },
            .remove = [this, options]() -> Status {
              hangs_.wait(true);
              PERDURE_TRY(state());
              return io::remove_tree(options.directory);
            },
            .set_aside = [this, options](Term first, WallTime now) -> Status {
              hangs_.wait(true);
              PERDURE_TRY(state());
              return set_aside_before(options.directory, first, now);
            }};
  }

 private:
  Status state() const {
    const std::scoped_lock lock(mutex_);
    return error_ ? Status(fail(*error_)) : Status();
  }

  TroubledFiles files_;
  const std::string path_;
  std::atomic<bool> hangs_ = false;
  mutable std::mutex mutex_;
  std::optional<Error> error_;
};

// One life of one node.
class TestNode final : public ContainerCluster {
 public:
  struct World {
    io::Loop& loop;
    io::Pool& pool;
    const Clock& clock;
    FakeNetwork& network;
    coord::MemoryStore& store;
    replica::FileSystem& files;  // outlives what the pool does with it
    io::Pool& store_pool;
    std::uint32_t standbys = 1;
    SharedStorage* shared = nullptr;  // null: each node has its own directory
    FakeLeaseNetwork& leases;
    policy::lease::Timing timing = {};
  };

  // `backends` and `directory` outlive it: what a host keeps.
  TestNode(World world, model::NodeLife self, const std::string& directory, FakeBackends& backends)
      : world_(world),
        self_(std::move(self)),
        events_(EventLog::open({.path = {}}, world.clock).value()),
        way_(world.loop, world.store),
        peers_(world.network, self_),
        records_(world.loop, way_, self_),
        view_(world.loop, way_),
        leases_({world.loop, world.clock, world.network, world.leases, world.timing}, self_, lease_handlers()),
        images_(world.loop, world.pool, peers_, directory + "/images") {
    host_.paths.run_dir = directory + "/run";
    host_.paths.state_dir = directory + "/state";
    EXPECT_TRUE(io::make_directories(host_.paths.run_dir, 0755));
    EXPECT_TRUE(io::make_directories(host_.paths.containers(), 0700));
    images_.find_in_place = [](const std::string&) { return "/nowhere"; };  // every root file system is here
    node_ = std::make_unique<Node>(NodeOptions{.loop = world.loop,
                                               .pool = world.pool,
                                               .store_pool = world.store_pool,
                                               .clock = world.clock,
                                               .events = events_,
                                               .host = host_,
                                               .identity = {self_.incarnation, world.clock.wall()},
                                               .make_backend = backends.factory(),
                                               .store_patience = std::chrono::milliseconds(100)});
    node_->use(*this);
    make_standbys();
    view_.start();
    subscription_ = view_.subscribe(view_handlers());
  }
  ~TestNode() override {
    subscription_.reset();
    standbys_.reset();
    node_.reset();
    owned_.clear();
  }

  // What Cluster::prepare_end() does.
  void prepare_end(Duration grant, Duration limit, PlannedEnd::Done done) {
    planned_end_ = std::make_unique<PlannedEnd>(PlannedEndOptions{.loop = world_.loop,
                                                                  .leases = leases_,
                                                                  .peers = peers_,
                                                                  .grant = grant,
                                                                  .limit = limit,
                                                                  .stands_by = [this] { return standbys_->standing_by() > 0; }},
                                                std::move(done));
  }
  const std::vector<policy::lease::LongGrantGiven>& long_grants_given() const { return long_grants_given_; }

  const model::NodeLife& self() const { return self_; }
  Node& node() { return *node_; }
  StandbyService& standbys() { return *standbys_; }
  coord::MemoryCoordination& way() { return way_; }
  FakePeers& peers() { return peers_; }
  FakeLeases& leases() { return leases_; }
  EventLog& events() { return events_; }
  bool current() const { return view_.current(); }
  OwnedContainer* owned(std::string_view name) {
    const auto found = owned_.find(container_name(name));
    return found == owned_.end() ? nullptr : found->second.get();
  }
  ContainerService* service(std::string_view name) { return node_->find(container_name(name)); }
  std::optional<replica::HeldContainer> held(std::string_view name) { return standbys_->table().find(container_name(name)); }
  std::optional<model::OwnershipRecord> record(std::string_view name) const {
    const coord::StoredRecord* found = view_.record(container_name(name));
    return found == nullptr ? std::nullopt : std::optional(found->record);
  }
  void run(const std::string& name, const std::string& more = {}) { run_program(name, "command: [/bin/true]\n" + more); }
  void run_program(const std::string& name, const std::string& more) {
    const auto spec = model::read_spec(std::format("name: {}\nroot-filesystem:\n  directory: /nowhere\n{}", name, more), "test.yaml", "/");
    ASSERT_TRUE(spec) << spec.error().message();
    claim(*spec, model::DesiredState::kRunning, [this, spec = *spec](const Status& claimed) {
      ASSERT_TRUE(claimed) << claimed.error().message();
      ASSERT_TRUE(node_->create(spec));
    });
  }
  void offer_candidates(OwnedContainer& owned) {
    if (!owned.can_be_stood_by()) return;
    own::Candidates candidates;
    for (const auto& [name, description] : view_.nodes()) {
      if (name != self_.node) candidates.order.push_back(name);
    }
    owned.handle(candidates);
  }

  capsule::CapsuleRef elsewhere;  // what others have of a container that is found dead
  bool lost_elsewhere = false;    // they were to have it, and have not

  // ---- ContainerCluster ----
  bool member() const override { return true; }
  void claim(const model::ContainerSpec& spec, model::DesiredState desired, std::function<void(Status)> done) override {
    records_.create(claim_of(spec, self_, desired, world_.clock.wall()), world_.clock.now() + io::kTestTime,
                    [this, name = spec.name, done = std::move(done)](Result<coord::StoredRecord> created) {
                      if (!created) return done(fail(std::move(created).error()));
                      claimed_.insert_or_assign(name, *std::move(created));
                      done({});
                    });
  }
  void find_elsewhere(const ContainerName&, Term known, std::function<void(HeldElsewhere)> done) override {
    done({.capsule = elsewhere, .term = known, .lost = lost_elsewhere});
  }
  void disclaim(const ContainerName& name) override { claimed_.erase(name); }
  void fetch_image(const std::string&, std::function<void(Status)> done) override { done({}); }
  void attach(ContainerService& service) override {
    const auto found = claimed_.find(service.spec().name);
    if (found == claimed_.end()) return;
    const coord::StoredRecord record = found->second;
    claimed_.erase(found);
    OwnedContainer& owned = make_owned(service);
    owned.handle(own::Adopted{record.record, record.revision, service.stock()});
    offer_candidates(owned);
    for (const PeerState& peer : peers_.connected()) tell_holding(owned, peer.life);
  }
  void attach_recovered(ContainerService& service) override {
    make_owned(service);
    service.owned_side().tell(policy::OwnershipUnknown{"its record has not been read yet", true});
  }
  void recovered(ContainerService& service) override {
    OwnedContainer& owned = *owned_.at(service.spec().name);
    own::Restarted restarted;
    restarted.term = service.record().term;
    restarted.handing_over = service.record().handing_over;
    restarted.removed = service.record().state.desired == policy::DesiredState::kRemoved;
    restarted.stock = service.stock();
    owned.handle(restarted);
    offer_candidates(owned);
    for (const PeerState& peer : peers_.connected()) tell_holding(owned, peer.life);
  }
  void when_released(const ContainerName&, std::function<void()> done) override { world_.loop.post(std::move(done)); }
  void detached(const ContainerName& name, bool left) override {
    const auto found = owned_.find(name);
    if (found != owned_.end()) found->second->detach();
    if (!left) {
      if (found != owned_.end()) found->second->handle(own::ContainerRemoved{});
      return;
    }
    const ContainerService* service = node_->find(name);
    const coord::StoredRecord* record = view_.record(name);
    if (service == nullptr || record == nullptr) return;
    world_.loop.post([this, token = lifetime_.token(), name, spec = service->spec(),
                      digest = service->record().image_digest] {
      if (token.alive()) standbys_->stay(name, spec, digest);
    });
  }
  std::optional<SharedStore> shared_store(const ContainerName& name, Term term) override {
    if (world_.shared == nullptr) return std::nullopt;
    return world_.shared->store_of(name, term, self_.incarnation);
  }
  std::shared_ptr<replica::FileSystem> file_system() override { return replica::outliving(world_.files); }
  Term claimed(const ContainerName& name) const override {
    const auto found = claimed_.find(name);
    return found == claimed_.end() ? Term{} : found->second.record.term;
  }
  std::shared_ptr<const pki::KeyRing> ring() const override { return nullptr; }
  void settle(const ContainerName& name, model::DesiredState desired, std::function<void(Status)> done) override {
    owned_.at(name)->handle(own::DesiredAsked{desired});
    done({});
  }
  void fill(control::v1::ContainerStatus&, const ContainerName&) const override {}
  std::vector<control::v1::ContainerStatus> others() const override { return {}; }
  std::optional<control::v1::ContainerStatus> row_of(const ContainerName&) const override { return std::nullopt; }
  bool is_coming(const ContainerName& name) const override {
    if (const ContainerService* here = node_->find(name); here != nullptr && here->comes_up()) return true;
    const coord::StoredRecord* record = view_.record(name);
    return record != nullptr && node::is_coming(record->record, self_, peers_);
  }

 private:
  void make_standbys() {
    StandbyHandlers handlers;
    handlers.taken = [this](TakenContainer it) { taken(std::move(it)); };
    handlers.claimed_before = [](const ContainerName&) {};
    handlers.runs_here = [this](const ContainerName& name) { return node_ && node_->find(name) != nullptr; };
    handlers.target_committed = [this](const ContainerName& name, Term term) {
      const auto found = owned_.find(name);
      if (found == owned_.end() || found->second->status().move != policy::ownership::MoveStep::kHandedOver) {
        if (found != owned_.end()) found->second->handle(own::RecordChanged{});
        return false;
      }
      found->second->handle(own::TargetCommitted{term});
      return true;
    };
    handlers.target_silent = [this](const ContainerName& name) {
      const auto found = owned_.find(name);
      if (found == owned_.end()) return;
      const auto held = standbys_->table().find(name);
      found->second->handle(own::TargetSilent{held && held->newest ? std::optional(held->newest->generation) : std::nullopt});
    };
    standbys_ = std::make_unique<StandbyService>(StandbyEnvironment{.loop = world_.loop,
                                                                    .pool = world_.pool,
                                                                    .clock = world_.clock,
                                                                    .events = events_,
                                                                    .host = host_,
                                                                    .make_backend = node_->backend_factory(),
                                                                    .peers = peers_,
                                                                    .leases = leases_,
                                                                    .records = records_,
                                                                    .view = view_,
                                                                    .images = images_,
                                                                    .self = self_,
                                                                    .highest_revision = [this] { return view_.revision(); }},
                                                 replica::StandbyTableOptions{}, std::move(handlers));
    standbys_->serve(peers_.table);
    images_.serve(peers_.table);
    peers_.table[peer::v1::Message::kHeld] = [this](const PeerRequest& request) { on_held(request); };
    peers_.table[peer::v1::Message::kEnd] = [this](const PeerRequest& request) {
      for (const auto& [name, owned] : owned_) owned->handle(own::PeerEnds{request.from});
    };
    peers_.on_up = [this](const model::NodeLife& life) { standbys_->report_held(life.node); };
    peers_.on_down = [this](const model::NodeLife& life) {
      reported_.erase(life.node);
      for (const auto& [name, owned] : owned_) owned->handle(own::PeerDown{life.node});
    };
  }
  LeaseHandlers lease_handlers() {
    LeaseHandlers handlers;
    const auto tell = [this](const ContainerName& name, const own::Event& event) {
      if (const auto found = owned_.find(name); found != owned_.end()) found->second->handle(event);
    };
    handlers.grants_flow = [tell](const ContainerName& name, const model::NodeLife& life) { tell(name, own::GrantsFlow{life}); };
    handlers.grants_stopped = [tell](const ContainerName& name, const model::NodeLife& life) {
      tell(name, own::GrantsStopped{life});
    };
    handlers.owner_silent = [this](const policy::lease::OwnerSilent& silent) { standbys_->owner_silent(silent); };
    handlers.owner_heard = [this](const ContainerName& name) { standbys_->owner_heard(name); };
    handlers.term_unknown = [](const ContainerName&, Term) {};
    handlers.long_grant_given = [this](const policy::lease::LongGrantGiven& given) { long_grants_given_.push_back(given); };
    handlers.long_grant_given_back = [](const policy::lease::LongGrantGivenBack&) {};
    handlers.long_grants_held = [this] {
      if (planned_end_) planned_end_->long_grants_held();
    };
    return handlers;
  }
  coord::ViewHandlers view_handlers() {
    coord::ViewHandlers handlers;
    handlers.on_record = [this](const ContainerName& name) {
      const coord::StoredRecord* record = view_.record(name);
      if (const auto found = owned_.find(name); found != owned_.end()) {
        found->second->handle(own::RecordChanged{record == nullptr ? 0 : record->revision});
      }
      standbys_->look_at(name);
      if (planned_end_) planned_end_->records_changed();
    };
    handlers.on_current = [this] {
      standbys_->look_at_all();
      for (const auto& [name, owned] : owned_) offer_candidates(*owned);
    };
    return handlers;
  }
  OwnedContainer& make_owned(ContainerService& service) {
    const ContainerName name = service.spec().name;
    policy::OwnershipOptions options;
    options.standbys = world_.standbys;
    options.readmission_first = std::chrono::milliseconds(50);
    OwnedContainer::Handlers handlers;
    handlers.ended = [this, name] {
      ContainerService* here = node_->find(name);
      if (here != nullptr && here->owned() == owned_.at(name).get()) here->join(nullptr);
      owned_.erase(name);
      standbys_->look_at(name);
    };
    handlers.runs = [this, name] {
      if (const auto found = owned_.find(name); found != owned_.end()) offer_candidates(*found->second);
    };
    handlers.handing_over = [this, name](Term term, const replica::Holding& holding) {
      const ContainerService* here = node_->find(name);
      const capsule::CapsuleRef capsule = here == nullptr ? nullptr : here->table().in_memory(holding.generation);
      if (!capsule) return;
      EXPECT_TRUE(standbys_->table().hold(name, term, holding, capsule));
    };
    auto& owned = owned_[name];
    owned = std::make_unique<OwnedContainer>(OwnedEnvironment{.loop = world_.loop,
                                                              .clock = world_.clock,
                                                              .events = events_,
                                                              .records = records_,
                                                              .peers = peers_,
                                                              .leases = leases_,
                                                              .self = self_,
                                                              .store_revision = [this] { return view_.revision(); }},
                                             policy::OwnershipIdentity{.container = name, .self = self_}, options,
                                             &service.owned_side(), std::move(handlers));
    service.join(owned.get());
    return *owned;
  }
  void tell_holding(OwnedContainer& owned, const model::NodeLife& life) {
    const auto reported = reported_.find(life.node);
    if (reported == reported_.end()) return;
    const auto held = reported->second.find(owned.container());
    owned.peer_holds(life, held == reported->second.end() ? std::nullopt : std::optional(held->second));
  }
  void on_held(const PeerRequest& request) {
    std::map<ContainerName, replica::Holding>& held = reported_[request.from.node];
    held.clear();
    for (const auto& row : request.content.message.held().rows()) {
      if (row.has_newest()) held.insert_or_assign(container_name(row.container()), from_peer(row.newest()).value());
    }
    for (const auto& [name, owned] : owned_) tell_holding(*owned, request.from);
  }
  void taken(TakenContainer it) {
    const ContainerName name = it.spec.name;
    Node::Arrived arrived = arrived_from(it);
    if (!arrived.arrival) {
      arrived.elsewhere = [this, name, term = it.record.term](std::function<void(HeldElsewhere)> done) {
        auto held = standbys_->table().fetch_any(name);
        done(together({.capsule = elsewhere, .term = term}, held ? *std::move(held) : std::vector<capsule::CapsuleRef>{}, term));
      };
    }
    auto service = node_->take_in(arrived);
    ASSERT_TRUE(service) << service.error().message();
    const bool runs = it.restored.has_value();
    const auto held = standbys_->table().find(name);
    if (held && held->newest && !it.takeover && !it.record.standbys.empty()) {
      reported_[it.record.standbys.front().node].insert_or_assign(name, *held->newest);
    }
    claimed_.insert_or_assign(name, coord::StoredRecord{it.record, it.revision, {}});
    attach(**service);
    if (const auto found = owned_.find(name); found != owned_.end() && runs) found->second->runs();
  }

  const World world_;
  const model::NodeLife self_;
  HostServices host_;
  EventLog events_;
  coord::MemoryCoordination way_;
  FakePeers peers_;
  coord::RecordStore records_;
  coord::ClusterView view_;
  FakeLeases leases_;
  std::unique_ptr<PlannedEnd> planned_end_;
  std::vector<policy::lease::LongGrantGiven> long_grants_given_;
  ImageExchange images_;
  std::map<ContainerName, std::unique_ptr<OwnedContainer>> owned_;
  std::map<ContainerName, coord::StoredRecord> claimed_;
  std::map<NodeName, std::map<ContainerName, replica::Holding>> reported_;
  std::unique_ptr<Node> node_;
  std::unique_ptr<StandbyService> standbys_;
  std::unique_ptr<coord::Subscription> subscription_;
  io::Lifetime lifetime_;
};

class ClusterWorld : public ::testing::Test {
 protected:
  ~ClusterWorld() override { end_all(); }

  // For who has what work on the pools uses.
  void end_all() {
    pool_->stop();
    store_pool_->stop();
    nodes_.clear();
  }

  // A new life of the node, connected with all others.
  TestNode& begin(const std::string& name) {
    const NodeName node = node_name(name);
    nodes_.erase(name);
    const model::NodeLife life{node, Incarnation{++lives_[name]}};
    register_node(life);
    auto& added = nodes_[name];
    added = std::make_unique<TestNode>(TestNode::World{*loop_, *pool_, clock_, network_, store_, files_, *store_pool_,
                                                       standbys_wanted_, shared_, leases_, timing_},
                                       life, directory_ / name, backends_[name]);
    EXPECT_TRUE(until([&] { return added->current(); }));
    for (const auto& [other, there] : nodes_) {
      if (other != name) network_.connect(node, there->self().node);
    }
    return *added;
  }
  void end(const std::string& name) { nodes_.erase(name); }
  TestNode& node(const std::string& name) { return *nodes_.at(name); }
  FakeBackend& backend(const std::string& node, const std::string& container) { return backends_[node].at(container); }

  template <typename Condition>
  bool until(Condition condition) {
    return loop_->run_until(condition, io::kTestTime);
  }
  bool stands_by(const std::string& name, const std::string& container) {
    const auto record = node(name).record(container);
    return record && record->standby(node_name(name)) != nullptr &&
           *record->standby(node_name(name)) == node(name).self();
  }
  // Owner and standby agree on what is committed, and it is the newest.
  bool caught_up(const std::string& owner, const std::string& standby, const std::string& container) {
    OwnedContainer* owned = node(owner).owned(container);
    const auto held = node(standby).held(container);
    return owned != nullptr && stands_by(standby, container) && owned->status().committed && held && held->newest &&
           held->newest_committed && *held->newest_committed >= *owned->status().committed;
  }
  // What the owner knows of the standby, for a test that waits in vain.
  std::string as_seen_by(const std::string& owner, const std::string& standby, const std::string& container) {
    OwnedContainer* owned = node(owner).owned(container);
    const auto held = node(standby).held(container);
    std::string said = std::format("stands by: {}, holds: {}, committed there: {}", stands_by(standby, container),
                                   held && held->newest, held && held->newest_committed);
    if (owned == nullptr) return said + ", not owned";
    said += std::format(", committed: {}", owned->status().committed.has_value());
    if (const ContainerService* service = node(owner).service(container)) {
      said += std::format(", phase {}", static_cast<int>(service->status().phase));
      if (const auto sent = service->shipping(node_name(standby))) {
        said += std::format(", under way: {}, waiting: {}, failures: {} ({}), disconnected: {}, fenced: {}", sent->under_way.has_value(),
                            sent->waiting_count, sent->failures, sent->last_error, sent->disconnected, sent->fenced);
      } else {
        said += ", nothing is sent";
      }
    }
    return said;
  }
  bool runs_on(const std::string& name, const std::string& container) {
    ContainerService* service = node(name).service(container);
    return service != nullptr && service->status().phase == policy::Phase::kProtected;
  }

  const SystemClock clock_;
  std::uint32_t standbys_wanted_ = 1;
  replica::PosixFileSystem files_;
  io::TemporaryDirectory directory_;
  std::unique_ptr<io::Loop> loop_ = io::make_loop();
  std::unique_ptr<io::Pool> pool_ = io::Pool::create({}).value();
  std::unique_ptr<io::Pool> store_pool_ = io::Pool::create({.name = "test-store", .threads = 4}).value();
  SharedStorage* shared_ = nullptr;
  FakeNetwork network_{*loop_};
  FakeLeaseNetwork leases_;
  // A machine that is held up for a moment takes nobody over.
  policy::lease::Timing timing_{.heartbeat = std::chrono::milliseconds(20),
                                .grant = std::chrono::seconds(5),
                                .margin = std::chrono::milliseconds(50)};
  coord::MemoryStore store_;
  coord::MemoryCoordination administrator_{*loop_, store_};
  std::map<std::string, std::uint64_t> lives_;
  std::map<std::string, FakeBackends> backends_;
  std::map<std::string, std::unique_ptr<TestNode>> nodes_;

 private:
  void register_node(const model::NodeLife& life) {
    bool done = false;
    administrator_.commit({{}, {coord::Write{coord::node_key(life.node), coord::encode_node({.life = life})}}},
                          clock_.now() + io::kTestTime, [&](const Result<coord::TransactionResult>& written) {
                            EXPECT_TRUE(written);
                            done = true;
                          });
    ASSERT_TRUE(until([&] { return done; }));
  }
};

}  // namespace perdure::node::testing
