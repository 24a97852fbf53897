#include "node/cluster/cluster.h"

#include <algorithm>
#include <format>
#include <utility>

#include "base/log.h"
#include "io/atomic_file.h"
#include "node/cluster/durable_directory.h"
#include "node/cluster/peer_codec.h"
#include "replica/directory_store.h"
#include "runtime/host_facts.h"

namespace perdure::node {
namespace {

namespace v1 = control::v1;

// From an operator's order until this node is a registered member: etcd elects within a second, a loaded disk takes its time.
constexpr Duration kReadyLimit = std::chrono::minutes(2);
constexpr Duration kReadyTick = std::chrono::milliseconds(50);

}  // namespace

Cluster::Cluster(ClusterOptions options) : options_(std::move(options)) {}

Cluster::~Cluster() {
  if (membership_ && membership_->etcd() != nullptr) membership_->etcd()->leave_running();
  end_membership();
}

void Cluster::end_membership() {
  planned_end_.reset();
  revivals_.clear();
  reachability_.reset();
  nearness_.reset();
  owned_.clear();
  standbys_.reset();
  images_.reset();
  leases_.reset();
  membership_.reset();
  waiting_timer_.reset();
  told_waiting_.clear();
  reported_.clear();
  reported_at_.clear();
  claimed_.clear();
}

// ---- Beginning ----

Status Cluster::open() {
  const std::string path = identity_path(options_.host.paths);
  const auto text = read_file(path);
  if (!text && text.error().code() == ErrorCode::kNotFound) return {};
  if (!text) return fail(text.error());
  PERDURE_ASSIGN(ClusterIdentity identity, identity_from_json(*text, path));
  const pki::NodeFiles files(cluster_directory(options_.host.paths));
  PERDURE_TRY(files.remove_left_over());
  PERDURE_ASSIGN(pki::NodeIdentity trust, files.read());
  coord::EtcdStartRequest etcd;
  etcd.how = coord::EtcdStart::kRestart;
  const bool has_data = coord::EtcdServer(options_.loop, etcd_options(options_.host.paths, identity)).has_data();
  return enter(std::move(identity), std::move(trust), has_data ? &etcd : nullptr, {});
}

Status Cluster::enter(ClusterIdentity identity, pki::NodeIdentity files, const coord::EtcdStartRequest* etcd,
                      std::optional<coord::ClusterSettings> found) {
  const bool witness = identity.witness;
  const model::NodeLife self{identity.node, options_.incarnation};
  PeerRequestTable table = request_table();
  MembershipOptions options{.loop = options_.loop,
                            .pool = options_.pool,
                            .clock = options_.clock,
                            .events = options_.events,
                            .paths = options_.host.paths,
                            .incarnation = options_.incarnation,
                            .version = options_.version,
                            .key_life = options_.key_life,
                            .facts = runtime::cluster_facts(options_.host.facts)};
  auto opened = Membership::open(std::move(options), std::move(identity), std::move(files), std::move(table),
                                 membership_handlers());
  if (!opened) return fail(std::move(opened).error().context("the cluster's membership of this node"));
  membership_ = *std::move(opened);
  PERDURE_TRY(start_leases(self));
  images_ = std::make_unique<ImageExchange>(options_.loop, options_.pool, membership_->peers(), options_.host.paths.images());
  images_->find_in_place = [this](const std::string& digest) -> std::optional<std::string> {
    for (const ContainerService* service : options_.node.containers()) {
      const auto* directory = std::get_if<model::DirectoryRoot>(&service->spec().root_filesystem);
      if (directory != nullptr && service->record().image_digest == digest) return directory->path;
    }
    return std::nullopt;
  };
  standbys_ = std::make_unique<StandbyService>(
      StandbyEnvironment{.loop = options_.loop,
                         .pool = options_.pool,
                         .clock = options_.clock,
                         .events = options_.events,
                         .host = options_.host,
                         .make_backend = options_.node.backend_factory(),
                         .peers = membership_->peers(),
                         .leases = *leases_,
                         .records = membership_->records(),
                         .view = membership_->view(),
                         .images = *images_,
                         .self = self,
                         .witness = witness,
                         .highest_revision = [this] { return membership_->highest_revision(); },
                         .takeovers = options_.takeovers,
                         .parallel_restores = options_.parallel_restores,
                         .load_durable = [this](const ContainerName& name, const Generation& generation,
                                                std::function<void(Result<replica::RestorableGeneration>)> done) {
                           load_durable(name, generation, std::move(done));
                         }},
      table_options(), standby_handlers());
  reachability_ = make_reachability_watch();
  nearness_ = make_nearness_watch();
  shared_files_ = std::make_shared<replica::SealedFileSystem>(files_, nullptr);
  use_ring();
  return membership_->start(etcd, std::move(found));
}

StandbyHandlers Cluster::standby_handlers() {
  StandbyHandlers handlers;
  handlers.taken = [this](TakenContainer it) { taken(std::move(it)); };
  // A standby takes it over; where there is none, it is told that a word is needed.
  handlers.claimed_before = [this](const ContainerName& name) {
    log::warning("{}: the record says that an earlier life of this node has it, but nothing of it is here", name.str());
    look_for_waiting();
  };
  handlers.target_committed = [this](const ContainerName& name, Term term) {
    OwnedContainer* handed = owned(name);
    if (handed == nullptr || handed->status().move != policy::ownership::MoveStep::kHandedOver) {
      if (handed != nullptr) handed->handle(policy::ownership::RecordChanged{});
      return false;
    }
    handed->handle(policy::ownership::TargetCommitted{term});
    return true;
  };
  handlers.target_silent = [this](const ContainerName& name) {
    OwnedContainer* handed = owned(name);
    if (handed == nullptr) return;
    const auto held = standbys_->table().find(name);
    handed->handle(policy::ownership::TargetSilent{held && held->newest ? std::optional(held->newest->generation) : std::nullopt});
  };
  handlers.runs_here = [this](const ContainerName& name) { return options_.node.find(name) != nullptr; };
  return handlers;
}

// Handlers find the service when they are called: it is made after the sessions that call them.
PeerRequestTable Cluster::request_table() {
  namespace p1 = peer::v1;
  PeerRequestTable table;
  const auto forward = [&](p1::Message::BodyCase kind, auto find) {
    table[kind] = [this, kind, find](PeerRequest request) {
      PeerRequestTable inner;
      find(inner);
      const auto handler = inner.find(kind);
      if (handler != inner.end()) return handler->second(std::move(request));
      if (request.respond) request.respond->refuse(Error(ErrorCode::kTimeout, "this node is beginning"));
    };
  };
  const auto standbys = [this](PeerRequestTable& inner) {
    if (standbys_) standbys_->serve(inner);
  };
  for (const auto kind : {p1::Message::kEnlist, p1::Message::kShip, p1::Message::kDismiss, p1::Message::kFetchGeneration,
                          p1::Message::kMovePrepare, p1::Message::kMoveTake, p1::Message::kCommit, p1::Message::kDiscard,
                          p1::Message::kConnections}) {
    forward(kind, standbys);
  }
  forward(p1::Message::kFetchImage, [this](PeerRequestTable& inner) {
    if (images_) images_->serve(inner);
  });
  table[p1::Message::kHeld] = [this](const PeerRequest& request) { on_held_report(request); };
  table[p1::Message::kEnd] = [this](const PeerRequest& request) {
    for (const auto& [name, owned] : owned_) owned->handle(policy::ownership::PeerEnds{request.from});
  };
  table[p1::Message::kReach] = [this](const PeerRequest& request) { on_reach(request); };
  table[p1::Message::kInventory] = [this](const PeerRequest& request) { on_inventory(request); };
  for (const auto& [kind, handler] : options_.node.peer_requests()) table[kind] = handler;
  return table;
}

MembershipHandlers Cluster::membership_handlers() {
  MembershipHandlers handlers;
  handlers.peer_up = [this](const model::NodeLife& life) { peer_up(life); };
  handlers.peer_down = [this](const model::NodeLife& life, const Error&) { peer_down(life); };
  handlers.peer_keys = [this](const model::NodeLife& life, const std::array<std::byte, 32>& material,
                              pki::ChannelRole role) { peer_keys(life, material, role); };
  handlers.peer_keys_known = [this](const model::NodeLife& life) {
    if (leases_) leases_->session_confirmed(life);
  };
  handlers.record_changed = [this](const ContainerName& name) { record_changed(name); };
  handlers.nodes_changed = [this] { tell_candidates(); };
  handlers.settings_changed = [this] {
    // The view's first snapshot may come while the settings are unreadable or gone: what is in force stays.
    if (leases_ && membership_->view().cluster()) leases_->use(timing());
    for (const auto& [name, owned] : owned_) owned->handle(policy::ownership::StandbysWanted{standbys_wanted(name)});
  };
  handlers.current = [this] {
    standbys_->look_at_all();
    look_for_orphans();
    look_for_waiting();
    tell_candidates();
    for (const auto& [name, owned] : owned_) owned->handle(policy::ownership::RecordChanged{});
    check_waiting();
  };
  handlers.history_lost = [this](const std::string& reason) {
    for (const auto& [name, owned] : owned_) owned->handle(policy::ownership::StoreForeign{reason});
  };
  handlers.foreign_store = [this](const std::string& why) {
    options_.loop.post([this, token = lifetime_.token(), why] {
      if (token.alive()) not_founded(why);
    });
  };
  handlers.ring_changed = [this] { use_ring(); };
  return handlers;
}

replica::StandbyTableOptions Cluster::table_options() const {
  const auto directory_of = [paths = options_.host.paths](const ContainerName& name) {
    return paths.state_dir + "/standby/" + name.str();
  };
  replica::StandbyTableOptions options;
  options.memory_budget = options_.standby_memory;
  options.spill = options_.spill;
  options.open_store = [files = own_files_, directory_of](const ContainerName& name) -> Result<std::unique_ptr<replica::CapsuleStore>> {
    replica::DirectoryStoreOptions store;
    store.directory = directory_of(name);
    store.container = name.str();
    PERDURE_ASSIGN(auto opened, replica::DirectoryStore::open(store, files));
    return std::unique_ptr<replica::CapsuleStore>(std::move(opened));
  };
  options.remove_store = [directory_of](const ContainerName& name) { return io::remove_tree(directory_of(name)); };
  return options;
}

void Cluster::use_ring() {
  own_files_->use(membership_->trust().ring());
  shared_files_->use(membership_->trust().ring());
}

std::shared_ptr<const pki::KeyRing> Cluster::ring() const {
  return membership_ ? membership_->trust().ring() : nullptr;
}

std::set<std::string> Cluster::images_in_use() const {
  std::set<std::string> images;
  if (standbys_) images = standbys_->images();
  if (images_) images.merge(images_->open_images());
  return images;
}

std::string Cluster::durable_directory() const {
  return membership_ ? membership_->identity().durable_directory : std::string();
}

// ---- Operators: init, join, leave ----

void Cluster::when_ready(Progress progress, Done done) {
  waiting_.emplace_back(std::move(progress), std::move(done));
  waiting_limit_ = options_.loop.after(kReadyLimit, [this] {
    const std::string why = membership_ ? membership_->store_trouble() : std::string();
    for (auto& [told, answer] : std::exchange(waiting_, {})) {
      answer(fail(ErrorCode::kTimeout,
                std::format("this node is no registered member after {}{}{}; it goes on trying: 'perdure cluster status'",
                            format_duration(kReadyLimit), why.empty() ? "" : ": ", why)));
    }
  });
  check_waiting();
}

void Cluster::check_waiting() {
  if (!ready() || waiting_.empty()) return;
  waiting_limit_.reset();
  for (auto& [progress, done] : std::exchange(waiting_, {})) done({});
}

void Cluster::not_founded(const std::string& why) {
  if (!membership_) return;
  const ClusterIdentity identity = membership_->identity();
  waiting_limit_.reset();
  forget_founding(identity);
  own_files_->use(nullptr);
  for (auto& [progress, done] : std::exchange(waiting_, {})) done(fail(ErrorCode::kConflict, why));
}

// Of a cluster that came to nothing: it can be tried again.
void Cluster::forget_founding(const ClusterIdentity& identity) {
  end_membership();
  if (Status forgotten = forget_membership(options_.host.paths, identity, options_.clock.wall()); !forgotten) {
    log::error("{}", forgotten.error().message());
  }
  // It may hang.
  const Status submitted = options_.node.store_pool().submit(
      options_.loop, lifetime_,
      [directory = identity.durable_directory, id = identity.cluster_id] {
        unmark_durable_directory(directory, id);
        return Status();
      },
      [](const Status&) {});
  if (!submitted) log::warning("{}", submitted.error().message());
}

void Cluster::init(const InitWish& wish, Progress progress, Done done) {
  if (member() || busy_) {
    return done(fail(ErrorCode::kConflict, member() ? std::format("this node is '{}' of a cluster already; 'perdure cluster "
                                                                  "leave' makes it one of its own",
                                                                  membership_->identity().node.str())
                                                    : "another change of the membership is under way"));
  }
  busy_ = true;
  progress("found", "making certificates and keys");
  auto work = [wish, paths = options_.host.paths, &clock = options_.clock]() -> Result<std::shared_ptr<FoundedCluster>> {
    PERDURE_ASSIGN(auto founded, found_cluster(wish, paths, clock));
    return std::make_shared<FoundedCluster>(std::move(founded));
  };
  auto founded = [this, progress, done](Result<std::shared_ptr<FoundedCluster>> made) {
    const auto failed = [&](const Error& error) {
      busy_ = false;
      done(fail(error));
    };
    if (!made) return failed(made.error());
    const ClusterIdentity identity = (*made)->identity;
    coord::EtcdStartRequest etcd;
    etcd.how = coord::EtcdStart::kNew;
    etcd.token = identity.cluster_id;
    progress("etcd", identity.external ? "connecting with etcd" : "starting etcd");
    Status entered = enter(identity, std::move((*made)->files), identity.external ? nullptr : &etcd, (*made)->settings);
    if (!entered) {
      forget_founding(identity);
      return failed(entered.error());
    }
    when_ready(progress, [this, progress, done](Status ready) {
      if (!ready) {
        busy_ = false;
        return done(std::move(ready));
      }
      progress("adopt", "the containers of this host become the cluster's");
      adopt_all([this, done](Status adopted) {
        busy_ = false;
        done(std::move(adopted));
      });
    });
  };
  if (Status submitted = options_.pool.submit(options_.loop, lifetime_, std::move(work), std::move(founded)); !submitted) {
    busy_ = false;
    done(std::move(submitted));
  }
}

void Cluster::join(const JoinWish& wish, Progress progress, Done done) {
  if (member() || busy_) {
    return done(fail(ErrorCode::kConflict, member() ? std::format("this node is '{}' of a cluster already; 'perdure cluster "
                                                                  "leave' makes it one of its own",
                                                                  membership_->identity().node.str())
                                                    : "another change of the membership is under way"));
  }
  if (wish.witness && !options_.node.containers().empty()) {
    return done(fail(ErrorCode::kConflict, "a witness runs no containers; remove those of this host first"));
  }
  busy_ = true;
  progress("join", std::format("asking {}", wish.address));
  joining_ = std::make_unique<Joining>(options_.loop, options_.pool, options_.clock, options_.host.paths,
                                       runtime::cluster_facts(options_.host.facts), options_.version);
  joining_->begin(wish, [this, progress, done](Result<JoinedCluster> joined) {
    options_.loop.post([old = std::shared_ptr<Joining>(std::move(joining_))] {});
    if (!joined) {
      busy_ = false;
      return done(fail(std::move(joined).error()));
    }
    progress("register", "let in; becoming a member");
    const ClusterIdentity identity = joined->identity;
    if (Status entered = enter(identity, std::move(joined->files), nullptr, {}); !entered) {
      end_membership();
      busy_ = false;
      return done(std::move(entered));
    }
    when_ready(progress, [this, progress, done](Status ready) {
      if (!ready) {
        busy_ = false;
        return done(std::move(ready));
      }
      progress("adopt", "the containers of this host become the cluster's");
      adopt_all([this, done](Status adopted) {
        busy_ = false;
        done(std::move(adopted));
      });
    });
  });
}

}  // namespace perdure::node
