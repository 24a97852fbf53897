#include "node/cluster/standby_service.h"

#include <algorithm>
#include <filesystem>
#include <format>
#include <utility>

#include "base/log.h"
#include "io/when_all.h"
#include "model/spec_yaml.h"
#include "node/cluster/peer_codec.h"
#include "node/cluster/standby_held.h"
#include "placement/eligibility.h"
#include "runtime/host_facts.h"
#include "runtime/preflight.h"

namespace perdure::node {
namespace {

namespace p1 = peer::v1;

ErrorCode code_for_peer(const Error& error) {
  // Only a lost connection is transient between nodes; this node's own troubles are not.
  return error.code() == ErrorCode::kTransient ? ErrorCode::kTimeout : error.code();
}

}  // namespace

StandbyService::StandbyService(StandbyEnvironment environment, replica::StandbyTableOptions table,
                               StandbyHandlers handlers)
    : environment_(std::move(environment)),
      handlers_(std::move(handlers)),
      table_(std::make_shared<replica::StandbyTable>(std::move(table))) {}

StandbyService::~StandbyService() = default;

void StandbyService::serve(PeerRequestTable& table) {
  const auto add = [&](p1::Message::BodyCase kind, auto handler) {
    table[kind] = [this, handler](PeerRequest request) { (this->*handler)(std::move(request)); };
  };
  add(p1::Message::kEnlist, &StandbyService::on_enlist);
  add(p1::Message::kShip, &StandbyService::on_ship);
  add(p1::Message::kDismiss, &StandbyService::on_dismiss);
  add(p1::Message::kFetchGeneration, &StandbyService::on_fetch_generation);
  add(p1::Message::kMovePrepare, &StandbyService::on_move_prepare);
  add(p1::Message::kMoveTake, &StandbyService::on_move_take);
  table[p1::Message::kCommit] = [this](const PeerRequest& request) { on_commit(request); };
  table[p1::Message::kDiscard] = [this](const PeerRequest& request) { on_discard(request); };
  table[p1::Message::kConnections] = [this](const PeerRequest& request) { on_connections(request); };
}

StandbyService::Held* StandbyService::find(const ContainerName& name) {
  const auto found = held_.find(name);
  return found == held_.end() ? nullptr : found->second.get();
}

StandbyService::Held& StandbyService::at(const ContainerName& name) {
  auto& held = held_[name];
  if (!held) held = std::make_unique<Held>(environment_.loop, environment_.pool);
  return *held;
}

void StandbyService::idle(const ContainerName& name) {
  Held* held = find(name);
  if (held == nullptr || held->busy) return;
  for (const auto& request : std::exchange(held->when_idle, {})) request();
}

// ---- Becoming a standby ----

void StandbyService::refuse_enlist(const Request& request, std::vector<std::string> reasons) {
  p1::Message message;
  message.mutable_enlisted();
  for (std::string& reason : reasons) message.mutable_enlisted()->add_reasons(std::move(reason));
  request.respond->answer(std::move(message));
}

// What this host lacks of the one on which the container's capsules are taken: what the owner knows of this one may be from before a
// kernel or a CRIU was changed.
std::vector<std::string> StandbyService::unfit_for(const p1::EnlistRequest& request) const {
  if (!request.has_host()) return {};  // of a version that does not say it
  const auto owner = from_peer(request.host());
  if (!owner) return {owner.error().message()};
  return placement::check_eligible({.host = *owner, .memory_bytes = request.memory_bytes()},
                                   runtime::cluster_facts(environment_.host.facts));
}

void StandbyService::on_enlist(Request request) { enlist_when_left(std::move(request), environment_.clock.now() + kLeaveTime); }

void StandbyService::enlist_when_left(Request request, Instant leave_limit) {
  const p1::EnlistRequest& enlist_request = request.content.message.enlist();
  const auto name = ContainerName::parse(enlist_request.container());
  if (!name || !request.respond) return;
  const Term term{enlist_request.term()};
  if (term < table_->term_of(*name)) {
    table_->count_fenced();
    return request.respond->refuse(
        Error(ErrorCode::kFenced, std::format("term {} of '{}' is known here", table_->term_of(*name).value, name->str())),
        table_->term_of(*name));
  }
  const std::string& self = environment_.self.node.str();
  if (environment_.witness) return refuse_enlist(request, {std::format("node '{}' is a witness", self)});
  if (handlers_.runs_here(*name)) {
    if (!look_again(leave_limit, [this, request, leave_limit] { enlist_when_left(request, leave_limit); })) {
      refuse_enlist(request, {std::format("'{}' has not left node '{}' yet", name->str(), self)});
    }
    return;
  }
  auto spec = model::read_spec(enlist_request.spec_yaml(), "specification from its owner");
  if (!spec) return refuse_enlist(request, {spec.error().message()});
  if (spec->name != *name) return refuse_enlist(request, {"its specification is of another container"});
  if (auto reasons = unfit_for(enlist_request); !reasons.empty()) return refuse_enlist(request, std::move(reasons));
  Held& held = at(*name);
  if (held.busy && !held.dropping && !held.taking) {
    held.when_idle.emplace_back([this, request = std::move(request)] { on_enlist(request); });
    return;
  }
  if (held.dropping || held.taking) {
    return refuse_enlist(request, {std::format("node '{}' is busy with '{}'", self, name->str())});
  }
  table_->raise_term(*name, term);
  held.enlistment = policy::Enlistment{request.from, term};
  enlist(*name, *spec, std::move(request));
}

// False: that is done already.
bool StandbyService::begin_preparing(Held& held, const model::ContainerSpec& spec, const std::string& image_digest) {
  if (held.prepared && held.spec == spec && held.image_digest == image_digest) return false;
  if (held.spec && held.spec != spec) held.backend.reset();
  held.spec = spec;
  held.image_digest = image_digest;
  held.prepared = false;
  return true;
}

// The root file system, then everything else that a restore needs; `done` with the reasons why not, none: it is ready.
void StandbyService::prepare(const ContainerName& name, const model::ContainerSpec& spec, const std::string& image_digest,
                             const NodeName& owner, Prepared done) {
  Held& held = at(name);
  if (!begin_preparing(held, spec, image_digest)) return done({});
  held.busy = true;
  std::vector<NodeName> sources{owner};
  for (const PeerState& peer : environment_.peers.connected()) {
    if (peer.life.node != owner) sources.push_back(peer.life.node);
  }
  environment_.images.fetch(image_digest, std::move(sources),
                            [this, token = lifetime_.token(), name, done = std::move(done)](const Status& fetched) mutable {
                              if (!token.alive()) return;
                              Held* found = find(name);
                              if (found == nullptr) return;
                              found->busy = false;
                              if (!fetched) {
                                done({std::format("its root file system cannot be had: {}", fetched.error().message())});
                                return idle(name);
                              }
                              prepare_backend(name, std::move(done));
                            });
}

void StandbyService::prepare_backend(const ContainerName& name, Prepared done) {
  Held& held = at(name);
  if (!held.backend) held.backend = environment_.make_backend(environment_.host, *held.spec, held.image_digest);
  run(name, [backend = held.backend, digest = held.image_digest] { return backend->prepare_standby(digest); },
      [name, done = std::move(done)](Held& prepared, Result<Preparation> preparation) {
        std::vector<std::string> reasons;
        if (!preparation) {
          reasons.push_back(preparation.error().message());
        } else {
          for (const runtime::Finding& finding : preparation->findings) {
            if (finding.severity != runtime::Finding::Severity::kRefusal) continue;
            reasons.push_back(std::format("{}; {}", finding.what, finding.remedy));
          }
        }
        prepared.prepared = reasons.empty();
        if (!reasons.empty()) log::warning("{}: this node cannot stand by: {}", name.str(), reasons.front());
        done(std::move(reasons));
      });
}

// Its root file system is where it ran from; the new owner, who could give it, may be dead.
void StandbyService::stay(const ContainerName& name, const model::ContainerSpec& spec, const std::string& image_digest) {
  Held& held = at(name);
  if (held.busy || held.dropping || held.taking || !begin_preparing(held, spec, image_digest)) return;
  prepare_backend(name, [](const std::vector<std::string>&) {});
}

void StandbyService::enlist(const ContainerName& name, const model::ContainerSpec& spec, Request request) {
  const std::string digest = request.content.message.enlist().image_digest();
  const NodeName owner = request.from.node;
  prepare(name, spec, digest, owner,
          [this, name, request = std::move(request)](std::vector<std::string> reasons) {
            if (!reasons.empty()) return refuse_enlist(request, std::move(reasons));
            p1::Message message;
            message.mutable_enlisted();
            look_at(name);
            const auto holding = table_->find(name);
            if (holding && holding->newest) *message.mutable_enlisted()->mutable_newest() = to_peer(*holding->newest);
            request.respond->answer(std::move(message));
          });
}

// ---- Holding ----

void StandbyService::on_ship(Request request) {
  if (!request.respond) return;
  auto received = received_from(request.content.message.ship(), std::move(request.content.body));
  if (!received) return request.respond->refuse(received.error());
  const ContainerName name = received->container;
  const Term term = received->term;
  const std::size_t bytes = received->bytes == nullptr ? 0 : received->bytes->bytes().size();
  // The table keeps the order of one container's capsules; several containers are taken side by side.
  const Status submitted = environment_.pool.submit(
      environment_.loop, lifetime_,
      [table = table_, received = *std::move(received)] { return table->receive(received); },
      [this, name, term, bytes, respond = request.respond](Result<replica::HoldReceipt> held) {
        if (!held) {
          const Term known = table_->term_of(name);
          if (held.error().code() != ErrorCode::kFenced) {
            log::warning("{}: a capsule of term {} is not held: {}", name.str(), term.value, held.error().message());
          }
          return respond->refuse(Error(code_for_peer(held.error()), held.error().message()), known);
        }
        // Its sender may count it as committed from here on: what takes over meanwhile must restore it, and what has taken over
        // acknowledges nothing of the owner before.
        if (const Term known = table_->term_of(name); known > term) {
          return respond->refuse(Error(ErrorCode::kFenced, "a higher term is known here"), known);
        }
        if (Held* container = find(name)) container->young.generation_added();
        handle_taking(name, policy::taking::Held{held->holding.generation});
        p1::Message message;
        p1::ShipReply& reply = *message.mutable_shipped();
        const p1::Holding holding = to_peer(held->holding);
        reply.set_container(name.str());
        *reply.mutable_generation() = holding.generation();
        reply.set_digest(holding.digest());
        reply.set_incarnation(environment_.self.incarnation.value);
        reply.set_held_bytes(held->held.count);
        reply.set_on_disk(held->on_disk);
        reply.set_took_ns(held->took.count());
        respond->answer(std::move(message));
        make_ready(name, bytes);
        // Its commit may have come first.
        if (const auto now = table_->find(name); now && now->newest_committed == held->holding.generation) stage_again(name);
      });
  if (!submitted) request.respond->refuse(Error(ErrorCode::kTimeout, "this node is busy"));
}

// What can wait until a generation is acknowledged. The next one will be about as large, and is received on the loop. If
// the pool refuses it is done after a later one.
void StandbyService::make_ready(const ContainerName& name, std::size_t bytes) {
  (void)environment_.pool.submit(
      environment_.loop, lifetime_,
      [table = table_, name, bytes]() -> Status {
        PERDURE_TRY(table->compact(name));
        capsule::Slab::prepare(bytes);
        return {};
      },
      [name](const Status& done) {
        if (!done) log::debug("{}: {}", name.str(), done.error().message());
      });
}

void StandbyService::on_commit(const Request& request) {
  const p1::CommitNotice& notice = request.content.message.commit();
  const auto name = ContainerName::parse(notice.container());
  if (!name) return;
  const Term term{notice.term()};
  if (!notice.has_generation()) {
    if (term >= table_->term_of(*name)) table_->raise_term(*name, term);
    return;
  }
  const Status committed = table_->commit(*name, term, from_peer(notice.generation()));
  if (!committed) log::debug("{}: commit: {}", name->str(), committed.error().message());
  // Others may hold it already, and it is still on its way to here.
  if (!committed && committed.error().code() != ErrorCode::kNotFound) return;
  if (!handlers_.target_committed(*name, term) && committed) stage_again(*name);
}

void StandbyService::on_discard(const Request& request) {
  const p1::DiscardNotice& notice = request.content.message.discard();
  const auto name = ContainerName::parse(notice.container());
  if (!name) return;
  std::vector<Generation> generations;
  for (const p1::GenerationId& id : notice.generations()) generations.push_back(from_peer(id));
  const Status discarded = table_->discard(*name, Term{notice.term()}, generations);
  if (!discarded) log::debug("{}: discard: {}", name->str(), discarded.error().message());
}

void StandbyService::on_connections(const Request& request) {
  const p1::ConnectionsNotice& notice = request.content.message.connections();
  const auto name = ContainerName::parse(notice.container());
  if (!name) return;
  if (Term{notice.term()} < table_->term_of(*name)) return table_->count_fenced();
  const auto begun = from_peer(notice);
  if (!begun) return log::debug("{}: connections: {}", name->str(), begun.error().message());
  log::debug("{}: {} connections have begun", name->str(), begun->size());
  if (Held* held = find(*name)) held->young.add(*begun);
}

void StandbyService::on_fetch_generation(Request request) {
  const p1::FetchGeneration& fetch = request.content.message.fetch_generation();
  const auto name = ContainerName::parse(fetch.container());
  if (!name || !request.respond) return;
  if (Term{fetch.term()} < table_->term_of(*name)) {
    table_->count_fenced();
    return request.respond->refuse(Error(ErrorCode::kFenced, "a higher term is known here"), table_->term_of(*name));
  }
  std::optional<Generation> wanted;
  if (fetch.has_generation()) wanted = from_peer(fetch.generation());
  struct Full {
    capsule::CapsuleRef capsule;
    std::shared_ptr<const capsule::EncodedCapsule> encoded;
  };
  auto work = [table = table_, name = *name, wanted]() -> Result<Full> {
    Full full;
    PERDURE_ASSIGN(full.capsule, table->fetch_checked(name, wanted));
    PERDURE_ASSIGN(auto encoded, capsule::encode(*full.capsule, nullptr, nullptr, {}));
    full.encoded = std::make_shared<const capsule::EncodedCapsule>(std::move(encoded));
    return full;
  };
  auto done = [this, name = *name, respond = request.respond](Result<Full> full) {
    if (!full) return respond->refuse(Error(code_for_peer(full.error()), full.error().message()));
    p1::Message message;
    const Generation& generation = full->capsule->manifest.generation;
    *message.mutable_fetched_generation()->mutable_generation() = to_peer(generation);
    const auto held = table_->find(name);
    message.mutable_fetched_generation()->set_committed(held && held->newest_committed &&
                                                        generation <= *held->newest_committed);
    io::OutgoingBody body;
    body.pieces = full->encoded->pieces;
    body.owners = {full->encoded, full->capsule};
    respond->answer(std::move(message), std::move(body));
  };
  if (!environment_.pool.submit(environment_.loop, lifetime_, std::move(work), std::move(done))) {
    request.respond->refuse(Error(ErrorCode::kTimeout, "this node is busy"));
  }
}

void StandbyService::report_held(const NodeName& node) {
  p1::Message message;
  p1::HeldReport& report = *message.mutable_held();
  for (const replica::HeldContainer& held : table_->all()) {
    p1::HeldReport::Row& row = *report.add_rows();
    row.set_container(held.container.str());
    row.set_term(held.term.value);
    row.set_bytes(held.memory.count + held.disk.count);
    if (held.newest) *row.mutable_newest() = to_peer(*held.newest);
  }
  environment_.peers.notice(node, std::move(message));
}

// ---- Letting go ----

void StandbyService::on_dismiss(Request request) {
  const p1::DismissRequest& dismiss = request.content.message.dismiss();
  const auto name = ContainerName::parse(dismiss.container());
  if (!name || !request.respond) return;
  const Term term{dismiss.term()};
  if (term < table_->term_of(*name)) {
    table_->count_fenced();
    return request.respond->refuse(Error(ErrorCode::kFenced, "a higher term is known here"), table_->term_of(*name));
  }
  if (handlers_.runs_here(*name) && !handlers_.target_committed(*name, term)) {
    return request.respond->refuse(Error(ErrorCode::kConflict, std::format("'{}' is on this node", name->str())));
  }
  table_->raise_term(*name, term);
  Held* held = find(*name);
  if (held != nullptr && (held->busy || held->taking)) {
    return request.respond->refuse(Error(ErrorCode::kConflict, std::format("this node is busy with '{}'", name->str())));
  }
  drop(*name, dismiss.reason(), [respond = request.respond](const Status& dropped) {
    if (!dropped) return respond->refuse(Error(code_for_peer(dropped.error()), dropped.error().message()));
    p1::Message message;
    message.mutable_dismissed();
    respond->answer(std::move(message));
  });
}

void StandbyService::drop(const ContainerName& name, const std::string& reason, std::function<void(Status)> done) {
  Held& held = at(name);
  log::info("{}: this node holds it no more: {}", name.str(), reason);
  held.dropping = true;
  // A container of ours that only has the same name is not to be touched.
  const bool ours = handlers_.runs_here(name);
  run(name,
      [table = table_, name, term = table_->term_of(name), backend = ours ? nullptr : held.backend]() -> Status {
        Status dropped = table->drop(name, term);
        if (!dropped && dropped.error().code() != ErrorCode::kNotFound) return dropped;
        return backend ? backend->release(ContainerBackend::Capsules::kDelete) : Status{};
      },
      [this, name, done = std::move(done)](Held& dropped, const Status& status) {
        // Whoever comes until it is gone is told that this node is busy with it.
        dropped.dropping = status.has_value();
        if (status) {
          environment_.loop.post([this, token = lifetime_.token(), name] {
            if (token.alive()) held_.erase(name);
          });
        } else {
          log::warning("{}: {}", name.str(), status.error().message());
        }
        if (done) done(status);
      });
}

void StandbyService::look_at(const ContainerName& container) {
  Held* held = find(container);
  const auto in_table = table_->find(container);
  policy::HolderQuestion question{.self = environment_.self,
                                  .holds = held != nullptr || in_table.has_value(),
                                  .term = table_->term_of(container),
                                  .enlistment = held == nullptr ? std::nullopt : held->enlistment,
                                  .record = {},
                                  .revision = environment_.view.revision(),
                                  .highest_revision = environment_.highest_revision(),
                                  .store_known = environment_.view.current()};
  if (const coord::StoredRecord* record = environment_.view.record(container)) question.record = record->record;
  const policy::HolderDecision decision = policy::decide_holder(question);
  watch(container, decision);
  if (decision.term > question.term) table_->raise_term(container, decision.term);
  if (held != nullptr && held->taking) {
    handle_taking(container, policy::ownership::RecordChanged{
                                 environment_.view.record(container) ? environment_.view.record(container)->revision : 0});
    return;
  }
  if (!decision.drop || handlers_.runs_here(container)) return;
  if (held != nullptr && (held->busy || held->dropping)) return;  // looked at again with the next change
  drop(container, decision.reason, {});
}

void StandbyService::watch(const ContainerName& name, const policy::HolderDecision& decision) {
  using policy::lease::Charge;
  // While the store says nothing, owner and standby go on as they are.
  if (decision.role == policy::HolderRole::kUndecided) return;
  const std::optional<Charge> charge = policy::charge_of(decision);
  environment_.leases.watch(name, charge);
  // Whoever has become the owner by a takeover knows what was held here when the two nodes were connected.
  Held* held = find(name);
  if (held == nullptr || !charge || charge->role != Charge::Role::kStandby || held->reported_to == charge->owner) return;
  held->reported_to = charge->owner;
  report_held(charge->owner.node);
}

void StandbyService::look_at_all() {
  std::vector<ContainerName> names;
  for (const auto& [name, held] : held_) names.push_back(name);
  for (const replica::HeldContainer& held : table_->all()) names.push_back(held.container);
  std::ranges::sort(names);
  const auto repeated = std::ranges::unique(names);
  names.erase(repeated.begin(), repeated.end());
  for (const ContainerName& name : names) look_at(name);
}

std::string StandbyService::image_of(const ContainerName& container) const {
  const auto found = held_.find(container);
  return found == held_.end() ? std::string() : found->second->image_digest;
}

const model::ContainerSpec* StandbyService::spec_of(const ContainerName& container) const {
  const auto found = held_.find(container);
  const bool is_prepared = found != held_.end() && found->second->prepared && !found->second->dropping;
  return is_prepared && found->second->spec ? &*found->second->spec : nullptr;
}

std::size_t StandbyService::standing_by() const {
  return static_cast<std::size_t>(std::ranges::count_if(environment_.view.records(), [this](const auto& entry) {
    const model::NodeLife* own = entry.second.record.standby(environment_.self.node);
    return own != nullptr && *own == environment_.self;
  }));
}

void StandbyService::remove_left_over(const HostServices& host, const BackendFactory& make_backend) {
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator(host.paths.containers(), error)) {
    if (!entry.is_directory() || std::filesystem::exists(entry.path() / "spec.yaml")) continue;
    const auto name = ContainerName::parse(entry.path().filename().string());
    if (!name) continue;
    model::ContainerSpec spec{.name = *name};
    const auto backend = make_backend(host, spec, {});
    if (Status released = backend->release(ContainerBackend::Capsules::kKeep); !released) {
      log::warning("{}: what was prepared for standing by cannot be removed: {}", name->str(),
                   released.error().message());
    }
  }
}

void StandbyService::drop_all(std::function<void()> done) {
  io::WhenAll drops(std::move(done));
  std::vector<ContainerName> names;
  for (const auto& [name, held] : held_) names.push_back(name);
  for (const ContainerName& name : names) {
    const Held& held = at(name);
    if (held.busy || held.dropping || held.taking) continue;
    drop(name, "this node leaves its cluster", [ended = drops.begin()](const Status&) { ended(); });
  }
  drops.all_begun();
}

std::set<std::string> StandbyService::images() const {
  std::set<std::string> images;
  for (const auto& [name, held] : held_) images.insert(held->image_digest);
  return images;
}

}  // namespace perdure::node
