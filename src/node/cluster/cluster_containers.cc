// Cluster: the containers that this node owns.
#include <algorithm>
#include <format>
#include <utility>

#include "base/log.h"
#include "io/atomic_file.h"
#include "model/spec_yaml.h"
#include "node/cluster/arrival.h"
#include "node/cluster/cluster.h"
#include "node/cluster/durable_directory.h"
#include "node/cluster/peer_codec.h"
#include "node/kept_capsules.h"
#include "node/status_codec.h"
#include "replica/checked_store.h"
#include "replica/directory_store.h"
#include "runtime/host_facts.h"

namespace perdure::node {
namespace {

namespace own = policy::ownership;

constexpr Duration kSettleTime = std::chrono::seconds(15);
// Neighbours that were busy or asleep; RFC 5227 repeats its announcements as well.
constexpr int kAnnouncements = 3;
constexpr Duration kAnnouncementInterval = std::chrono::milliseconds(300);
constexpr Duration kTakeInAgain = std::chrono::seconds(1);

// Not on its way to another node, and not there.
bool stays_here(policy::Phase phase) {
  return phase != policy::Phase::kMoving && phase != policy::Phase::kLeaving && phase != policy::Phase::kGone;
}

}  // namespace

OwnedContainer& Cluster::make_owned(const ContainerName& name, ContainerService* service) {
  policy::OwnershipOptions options;
  options.standbys = standbys_wanted(name);
  policy::OwnershipIdentity identity{.container = name, .self = membership_->self()};
  OwnedEnvironment environment{.loop = options_.loop,
                               .clock = options_.clock,
                               .events = options_.events,
                               .records = membership_->records(),
                               .peers = membership_->peers(),
                               .leases = *leases_,
                               .self = membership_->self(),
                               .store_revision = [this] { return membership_->view().revision(); },
                               .on_moved = options_.on_moved,
                               .host = [this] { return runtime::cluster_facts(options_.host.facts); }};
  OwnedContainer::Handlers handlers;
  handlers.ended = [this, name] { owned_ended(name); };
  handlers.runs = [this, name] {
    if (OwnedContainer* running = this->owned(name)) tell_candidates(*running);
  };
  handlers.handing_over = [this, name](Term term, const replica::Holding& holding) { hold_handed(name, term, holding); };
  auto& owned = owned_[name];
  owned = std::make_unique<OwnedContainer>(std::move(environment), std::move(identity), options,
                                           service == nullptr ? nullptr : &service->owned_side(),
                                           std::move(handlers));
  if (service != nullptr) {
    service->join(owned.get());
    reachability_->watch(name, service->spec().network);
    nearness_->watch(name, service->spec().application.near);
  }
  return *owned;
}

void Cluster::attach(ContainerService& service) {
  const auto claimed = claimed_.find(service.spec().name);
  if (!member() || claimed == claimed_.end()) return;
  const coord::StoredRecord record = claimed->second;
  claimed_.erase(claimed);
  OwnedContainer& owned = make_owned(service.spec().name, &service);
  owned.handle(own::Adopted{record.record, record.revision, service.stock()});
  tell_candidates(owned);
  tell_holdings(owned);
}

// What the peers have said before there was anybody to hear it.
void Cluster::tell_holdings(OwnedContainer& owned) const {
  for (const PeerState& peer : membership_->peers().connected()) {
    const auto reported = reported_.find(peer.life.node);
    if (reported == reported_.end() || awaited_reports_.contains({peer.life.node, owned.container()})) continue;
    const auto held = reported->second.find(owned.container());
    owned.peer_holds(peer.life, held == reported->second.end() ? std::nullopt : std::optional(held->second));
  }
}

void Cluster::attach_recovered(ContainerService& service) {
  if (!member()) return;
  make_owned(service.spec().name, &service);
  reachability_->came_from_unreachable(service.spec().name);  // as far as this life can know
  nearness_->was_placed(service.spec().name);
  service.owned_side().tell(policy::OwnershipUnknown{"its record has not been read since perdured was started", true});
}

void Cluster::recovered(ContainerService& service) {
  OwnedContainer* found = owned(service.spec().name);
  if (found == nullptr) return;
  const ContainerRecord& record = service.record();
  own::Restarted restarted;
  restarted.term = record.term;
  restarted.handing_over = record.handing_over;
  if (!restarted.handing_over && record.state.handing_over) {
    // It was frozen for a move that had not come as far as a swap: nobody else has been named.
    restarted.handing_over = own::HandingOver{.target = {record.state.handing_over->target, Incarnation{}},
                                              .generation = record.state.handing_over->generation,
                                              .term = record.term,
                                              .standbys = {}};
  }
  restarted.removed = record.state.desired == policy::DesiredState::kRemoved;
  restarted.stock = service.stock();
  if (!record.in_cluster()) {
    // From the time before there was a cluster, or of one that this host has left: it has no record yet.
    const ContainerName name = service.spec().name;
    service.join(nullptr);
    forget_owned(name);
    service.owned_side().tell(policy::OwnershipKnown{});
    return claim_running(service, [name](const Status& claimed) {
      if (!claimed) log::error("{}: {}", name.str(), claimed.error().message());
    });
  }
  found->handle(restarted);
  tell_candidates(*found);
  tell_holdings(*found);
}

void Cluster::find_elsewhere(const ContainerName& name, Term known, std::function<void(HeldElsewhere)> done) {
  // It has left the cluster since.
  if (!membership_) return options_.loop.post([known, done = std::move(done)] { done({.capsule = nullptr, .term = known}); });
  revivals_[name] = std::make_unique<Revival>(RevivalOptions{.loop = options_.loop,
                                                             .pool = options_.pool,
                                                             .clock = options_.clock,
                                                             .records = membership_->records(),
                                                             .peers = membership_->peers(),
                                                             .self = membership_->identity().node},
                                              name, known,
                                              [this, token = lifetime_.token(), name, done = std::move(done)](
                                                  const HeldElsewhere& found) {
                                                if (!token.alive()) return;
                                                revivals_.erase(name);
                                                done(found);
                                              });
}

void Cluster::find_elsewhere_or_here(const ContainerName& name, Term term, std::function<void(HeldElsewhere)> done) {
  find_elsewhere(name, term, [this, name, term, done = std::move(done)](HeldElsewhere found) {
    const Status submitted = options_.pool.submit(
        options_.loop, lifetime_, [table = standbys_->shared_table(), name] { return table->fetch_any(name); },
        [term, found, done](Result<std::vector<capsule::CapsuleRef>> held) {
          if (!held) log::error("{}", held.error().message());
          done(together(found, held ? *std::move(held) : std::vector<capsule::CapsuleRef>{}, term));
        });
    if (!submitted) done(together(found, {}, term));
  });
}

void Cluster::detached(const ContainerName& name, bool left) {
  OwnedContainer* found = owned(name);
  if (found != nullptr) found->detach();
  if (left) return stand_by_after(name);
  if (found != nullptr) found->handle(own::ContainerRemoved{});
}

// What was owned here is as good as held here: what a standby needs beside that is made at once.
void Cluster::stand_by_after(const ContainerName& name) {
  const ContainerService* service = options_.node.find(name);
  const coord::StoredRecord* record = membership_ ? membership_->view().record(name) : nullptr;
  if (service == nullptr || record == nullptr || record->record.owner.node == membership_->identity().node) return;
  // When it is gone from Node.
  options_.loop.post([this, token = lifetime_.token(), name, spec = service->spec(),
                      digest = service->record().image_digest] {
    if (token.alive() && standbys_) standbys_->stay(name, spec, digest);
  });
}

void Cluster::forget_owned(const ContainerName& name) {
  owned_.erase(name);
  reachability_->forget(name);
  nearness_->forget(name);
}

void Cluster::owned_ended(const ContainerName& name) {
  if (ContainerService* service = options_.node.find(name)) {
    if (service->owned() == owned(name)) service->join(nullptr);
  }
  forget_owned(name);
  if (standbys_) standbys_->look_at(name);
  const auto [first, last] = releases_.equal_range(name);
  for (auto it = first; it != last; ++it) options_.loop.post(std::move(it->second));
  releases_.erase(first, last);
}

void Cluster::when_released(const ContainerName& name, std::function<void()> done) {
  if (owned(name) == nullptr) return options_.loop.post(std::move(done));
  releases_.emplace(name, std::move(done));
}

OwnedContainer* Cluster::owned(const ContainerName& name) {
  const auto found = owned_.find(name);
  return found == owned_.end() ? nullptr : found->second.get();
}

std::optional<NodeName> Cluster::owner_of(const ContainerName& name) const {
  if (!membership_) return std::nullopt;
  // What leaves this node, or has left, is another's to answer for.
  if (const ContainerService* here = options_.node.find(name)) {
    const policy::Phase phase = here->status().phase;
    const auto owned = owned_.find(name);
    const bool handed_over = owned != owned_.end() && owned->second->status().move == policy::MoveStep::kHandedOver;
    if (stays_here(phase) || (phase == policy::Phase::kMoving && !handed_over)) return std::nullopt;
  }
  const coord::StoredRecord* record = membership_->view().record(name);
  if (record == nullptr || record->record.owner.node == membership_->identity().node) return std::nullopt;
  return record->record.owner.node;
}

std::optional<SharedStore> Cluster::shared_store(const ContainerName& name, Term term) {
  const std::string directory = durable_directory();
  if (directory.empty()) return std::nullopt;
  replica::DirectoryStoreOptions options;
  options.directory = directory + "/" + name.str();
  options.container = name.str();
  options.access = replica::DirectoryStoreOptions::Access::kShared;
  options.term = term;
  options.incarnation = options_.incarnation;
  SharedStore found{.directory = options.directory, .open = {}, .remove = {}, .set_aside = {}};
  const std::string id = membership_->identity().cluster_id;
  found.open = [files = shared_files_, directory, id, options]() -> Result<std::unique_ptr<replica::CapsuleStore>> {
    PERDURE_TRY(check_durable_directory(directory, id));
    PERDURE_ASSIGN(auto store, replica::DirectoryStore::open(options, files));
    return std::make_unique<replica::CheckedStore>(std::move(store), [directory, id] { return check_durable_directory(directory, id); });
  };
  found.remove = [directory, id, options]() -> Status {
    PERDURE_TRY(check_durable_directory(directory, id));
    return io::remove_tree(options.directory);
  };
  found.set_aside = [directory, id, options](Term first, WallTime now) -> Status {
    PERDURE_TRY(check_durable_directory(directory, id));
    return set_aside_before(options.directory, first, now);
  };
  return found;
}

// ---- Standbys ----

std::uint32_t Cluster::standbys_wanted(const ContainerName& name) const {
  if (const ContainerService* service = options_.node.find(name)) {
    if (const auto& asked = service->spec().checkpoint.standbys) return *asked;
  }
  const auto& settings = membership_->view().cluster();
  return settings ? settings->value.standbys : 1;
}

placement::StandbyQuestion Cluster::question_for(const OwnedContainer& owned) const {
  placement::StandbyQuestion question{.nodes = {}, .owner = membership_->identity().node, .present = {}};
  for (const auto& [name, node] : membership_->view().nodes()) {
    placement::NodeView view{.description = node.value};
    view.reachable = name == membership_->identity().node || membership_->peers().find(name) != nullptr;
    for (const auto& [container, record] : membership_->view().records()) {
      if (record.record.owner.node == name) ++view.owned;
      if (record.record.standby(name) != nullptr) view.held_bytes += 1;  // their sizes are not known here; their number is
    }
    question.nodes.push_back(std::move(view));
  }
  const policy::ownership::OwnershipStatus status = owned.status();
  if (status.record) {
    for (const model::NodeLife& standby : status.record->standbys) question.present.push_back(standby.node);
  }
  if (const model::NodeDescription* self = membership_->view().node(membership_->identity().node)) {
    question.requirements.host = self->facts;
  }
  const ContainerService* service = status.record ? options_.node.find(status.record->container) : nullptr;
  if (service != nullptr) {
    for (const std::string& wanted : service->spec().checkpoint.standby_nodes) {
      if (auto node = NodeName::parse(wanted)) question.wanted.push_back(*std::move(node));
    }
  }
  return question;
}

void Cluster::tell_candidates(OwnedContainer& owned) const {
  if (!membership_->view().current() || !owned.can_be_stood_by()) return;
  placement::StandbyChoice choice = placement::choose_standbys(question_for(owned));
  owned.handle(own::Candidates{std::move(choice.candidates), std::move(choice.refused)});
}

void Cluster::tell_candidates() {
  for (const auto& [name, owned] : owned_) tell_candidates(*owned);
}

void Cluster::peer_up(const model::NodeLife& life) {
  look_for_waiting();
  if (standbys_) standbys_->report_held(life.node);
  tell_candidates();
}

void Cluster::peer_down(const model::NodeLife& life) {
  look_for_waiting();
  reported_.erase(life.node);
  reported_at_.erase(life.node);
  std::erase_if(awaited_reports_, [&](const auto& one) { return one.first == life.node; });
  for (const auto& [name, owned] : owned_) owned->handle(own::PeerDown{life.node});
  tell_candidates();
}

void Cluster::on_held_report(const PeerRequest& request) {
  std::map<ContainerName, replica::Holding> held;
  for (const peer::v1::HeldReport::Row& row : request.content.message.held().rows()) {
    const auto name = ContainerName::parse(row.container());
    if (!name || !row.has_newest()) continue;
    if (const auto holding = from_peer(row.newest())) held.insert_or_assign(*name, *holding);
  }
  reported_[request.from.node] = held;
  reported_at_[request.from.node] = options_.clock.now();
  std::erase_if(awaited_reports_, [&](const auto& one) { return one.first == request.from.node; });
  for (const auto& [name, owned] : owned_) {
    const auto holding = held.find(name);
    owned->peer_holds(request.from, holding == held.end() ? std::nullopt : std::optional(holding->second));
  }
}

void Cluster::record_changed(const ContainerName& name) {
  if (OwnedContainer* found = owned(name)) {
    const coord::StoredRecord* record = membership_->view().record(name);
    found->handle(own::RecordChanged{record == nullptr ? 0 : record->revision});
  }
  if (standbys_) standbys_->look_at(name);
  if (planned_end_) planned_end_->records_changed();
  if (const coord::StoredRecord* record = membership_->view().record(name)) {
    const model::NodeLife& owner = record->record.owner;
    if (owner != membership_->self() && membership_->peers().find(owner.node) == nullptr) look_for_waiting();
  }
}

// Records that name this node, and nothing of the container is here: a move that was under way when perdured ended.
void Cluster::look_for_orphans() {
  for (const auto& [name, record] : membership_->view().records()) {
    if (record.record.owner.node != membership_->identity().node) continue;
    if (options_.node.find(name) != nullptr || owned_.contains(name) || claimed_.contains(name)) continue;
    if (record.record.owner.incarnation == options_.incarnation) continue;
    standbys_->found_unfinished(name, record.record.term);
  }
}

// ---- Moves ----

void Cluster::announce(const ContainerName& name, std::shared_ptr<ContainerBackend> backend, int times) {
  const Status submitted = options_.pool.submit(
      options_.loop, lifetime_, [backend] { return backend->announce(); },
      [](const Status& announced) {
        if (!announced) log::warning("announce the container's addresses: {}", announced.error().message());
      });
  if (!submitted) log::warning("announce the container's addresses: {}", submitted.error().message());
  if (times <= 1) return;
  announcements_.add(
      options_.loop.after(kAnnouncementInterval, [this, name, backend, times] {
        // What is on its way to another node, or there, would be looked for here.
        const ContainerService* service = options_.node.find(name);
        if (service != nullptr && stays_here(service->status().phase)) announce(name, backend, times - 1);
      }));
}

// The frozen copy is not the only thing that this node has of it from now on: what it was taken from is held as by any standby, so
// that the new owner's first generation is a delta.
void Cluster::hold_handed(const ContainerName& name, Term term, const replica::Holding& holding) {
  const ContainerService* service = options_.node.find(name);
  capsule::CapsuleRef capsule = service == nullptr ? nullptr : service->table().in_memory(holding.generation);
  if (!capsule) return;
  const Status submitted = options_.pool.submit(
      options_.loop, lifetime_,
      [table = standbys_->shared_table(), name, term, holding, capsule = std::move(capsule)] {
        return table->hold(name, term, holding, capsule);
      },
      [name](const Status& held) {
        if (!held) log::warning("{}: {}", name.str(), held.error().message());
      });
  if (!submitted) log::warning("{}: {}", name.str(), submitted.error().message());
}

// It runs already, or is this node's to bring back: it is looked after as soon as the disk has room for what that needs.
void Cluster::take_in_later(TakenContainer it, Node::Arrived arrived, const Error& error) {
  const ContainerName name = arrived.spec.name;
  if (untaken_.insert_or_assign(name, error.message()).second) {
    log::error("{}: {}", name.str(), error.message());
    control::v1::Event event;
    event.set_severity(control::v1::SEVERITY_ERROR);
    event.set_container(name.str());
    event.set_kind("not_taken_in");
    event.set_text(std::format("this node is its owner now, and cannot look after it: free the disk; tried again every {}",
                               format_duration(kTakeInAgain)));
    event.set_reason(error.message());
    options_.events.append(std::move(event));
  }
  struct Waiting {
    TakenContainer it;
    Node::Arrived arrived;
  };
  announcements_.add(options_.loop.after(
      kTakeInAgain, [this, waiting = std::make_shared<Waiting>(std::move(it), std::move(arrived))] {
        take_in(std::move(waiting->it), std::move(waiting->arrived));
      }));
}

void Cluster::taken(TakenContainer it) {
  Node::Arrived arrived = arrived_from(it);
  if (!arrived.arrival) {
    arrived.elsewhere = [this, name = arrived.spec.name, term = it.record.term](std::function<void(HeldElsewhere)> done) {
      find_elsewhere_or_here(name, term, std::move(done));
    };
  }
  take_in(std::move(it), std::move(arrived));
}

// `it` is what arrived_from() has left of it.
void Cluster::take_in(TakenContainer it, Node::Arrived arrived) {
  const ContainerName name = arrived.spec.name;
  const bool runs = arrived.arrival.has_value();
  if (runs) announce(name, arrived.backend, kAnnouncements);
  auto service = options_.node.take_in(arrived);
  if (!service) return take_in_later(std::move(it), std::move(arrived), service.error());
  untaken_.erase(name);
  // The source holds what it has handed over. After a takeover there is none.
  const auto held = standbys_->table().find(name);
  if (held && held->newest && !it.takeover && !it.record.standbys.empty()) {
    reported_[it.record.standbys.front().node].insert_or_assign(name, *held->newest);
  }
  for (const auto& [life, holding] : it.held_by) {
    const PeerState* peer = membership_->peers().find(life.node);
    if (peer != nullptr && peer->life == life) reported_[life.node].insert_or_assign(name, holding);
  }
  if (it.takeover) {
    // Each reports as soon as the record names this node: mostly while it restores.
    for (const model::NodeLife& standby : it.record.standbys) {
      const auto reported = reported_at_.find(standby.node);
      if (reported == reported_at_.end() || reported->second < it.takeover->noticed) awaited_reports_.emplace(standby.node, name);
    }
  }
  claimed_.insert_or_assign(name, coord::StoredRecord{it.record, it.revision, {}});
  attach(**service);
  if (it.from_unreachable) reachability_->came_from_unreachable(name);
  // Also what its sponsor's node could not keep running, or whose clients that node does not reach, is not to go back there.
  if (it.asked || it.from_unreachable || it.failed_over) nearness_->was_placed(name);
  if (OwnedContainer* now = owned(name); now != nullptr && runs) now->runs();
}

// ---- Wishes ----

void Cluster::settle(const ContainerName& name, model::DesiredState desired, Done done) {
  OwnedContainer* found = owned(name);
  if (!member() || found == nullptr) return done({});
  if (Status admitted = found->admit(own::DesiredAsked{desired}); !admitted) return done(std::move(admitted));
  struct Waiting {
    std::uint64_t listener = 0;
    io::Timer limit;
    bool over = false;
  };
  auto waiting = std::make_shared<Waiting>();
  auto finish = [this, waiting, name, done = std::move(done)](Status status) {
    if (std::exchange(waiting->over, true)) return;
    waiting->limit.reset();
    if (OwnedContainer* still = owned(name)) still->remove_listener(waiting->listener);
    done(std::move(status));
  };
  const auto before = found->status().record ? std::optional(found->status().record->desired) : std::nullopt;
  waiting->limit = options_.loop.after(kSettleTime, [this, finish, name, desired, before] {
    // Nobody is there any more who would do what the record then says; a removal alone is only begun with it.
    if (OwnedContainer* still = owned(name); still != nullptr && before && desired != model::DesiredState::kRemoved) {
      still->handle(own::DesiredAsked{*before});
    }
    finish(fail(ErrorCode::kTimeout, std::format("the record of '{}' could not be changed within {}: {}", name.str(),
                                                 format_duration(kSettleTime),
                                                 membership_ ? membership_->store_trouble() : "this node has left its cluster")));
  });
  found->clear_settled();
  const auto look = [this, name, desired, finish] {
    const OwnedContainer* now = owned(name);
    if (now == nullptr) return finish({});
    if (now->settled() == desired) return finish({});
    if (!now->last_refusal().empty()) finish(fail(ErrorCode::kConflict, now->last_refusal()));
  };
  waiting->listener = found->add_listener(look);
  found->handle(own::DesiredAsked{desired});
}

}  // namespace perdure::node
