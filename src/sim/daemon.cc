#include "sim/daemon.h"

#include <algorithm>
#include <format>
#include <iterator>
#include <utility>

#include "placement/choose_standbys.h"
#include "sim/host.h"
#include "sim/world.h"

namespace perdure::sim {

namespace own = policy::ownership;
using policy::HolderRole;

Daemon::Daemon(World& world, Host& host, model::NodeLife life)
    : world_(world),
      host_(host),
      life_(std::move(life)),
      holder_(life_, world.plan.timing),
      granter_(life_, world.plan.timing) {}

Daemon::~Daemon() { *alive_ = false; }

void Daemon::start() {
  world_.store.watch(host_.index());
  for (const auto& [container, disk] : host_.disk()) {
    if (disk.owns) restart(place(container));
  }
  arm_lease();
}

Instant Daemon::now() const { return host_.local_now(); }
std::string Daemon::name() const { return life_.node.str(); }

template <typename Make>
void Daemon::note(ContainerIndex container, Make make) const {
  world_.note(container, [&] { return name() + " " + make(); });
}

// ---- The loop ----

void Daemon::post(Task task) {
  tasks_.push_back(std::move(task));
  pump();
}

void Daemon::queue_effects(std::vector<Task> tasks) {
  std::ranges::move(tasks, std::back_inserter(effects_));
}

void Daemon::pump() {
  if (pumping_ || host_.paused()) return;
  pumping_ = true;
  const std::shared_ptr<bool> alive = alive_;
  while (!host_.paused() && world_.queue.now() >= blocked_until_) {
    std::deque<Task>& next = effects_.empty() ? tasks_ : effects_;
    if (next.empty()) break;
    Task task = std::move(next.front());
    next.pop_front();
    task();
    if (!*alive) return;
  }
  pumping_ = false;
}

void Daemon::block(Duration duration) {
  if (duration <= Duration{}) return;
  blocked_until_ = std::max(blocked_until_, world_.queue.now()) + duration;
  world_.queue.at(blocked_until_, [this, alive = alive_] {
    if (*alive) pump();
  });
}

void Daemon::resumed() {
  // Which of its threads comes first is not known.
  const bool loop_first = world_.random.percent(50);
  if (loop_first) pump();
  while (!lease_tasks_.empty()) {
    Task task = std::move(lease_tasks_.front());
    lease_tasks_.pop_front();
    task();
  }
  arm_lease();
  pump();
}

void Daemon::after(Duration delay, Task task) {
  world_.queue.after(delay, [this, alive = alive_, task = std::move(task)]() mutable {
    if (*alive) post(std::move(task));
  });
}

void Daemon::at(Instant when, Task task) {
  Duration late{};
  if (world_.random.permille(world_.weather.late_thread_permille)) {
    late = world_.random.between({}, world_.weather.thread_latest);
  }
  const TrueTime due = host_.clock().when(when) + late;
  world_.queue.at(due, [this, alive = alive_, task = std::move(task)]() mutable {
    if (*alive) post(std::move(task));
  });
}

Daemon::Place& Daemon::place(ContainerIndex container) {
  const auto [found, is_new] = places_.try_emplace(container);
  if (is_new) {
    found->second.container = container;
    const auto disk = host_.disk().find(container);
    if (disk != host_.disk().end() && disk->second.owns) found->second.term = disk->second.term;
  }
  return found->second;
}

Daemon::Place* Daemon::find(ContainerIndex container) {
  const auto found = places_.find(container);
  return found == places_.end() ? nullptr : &found->second;
}

// ---- The view of the store ----

void Daemon::store_snapshot(const std::vector<StoredRecord>& records, Revision revision) {
  store_known_ = true;
  for (const StoredRecord& stored : records) view_.insert_or_assign(index_of(stored.record.container), stored);
  view_revision_ = std::max(view_revision_, revision);
  for (const StoredRecord& stored : records) look_at(index_of(stored.record.container));
}

void Daemon::record_changed(const StoredRecord& change) {
  const ContainerIndex container = index_of(change.record.container);
  const auto known = view_.find(container);
  if (known != view_.end() && change.revision <= known->second.revision) return;
  view_.insert_or_assign(container, change);
  view_revision_ = std::max(view_revision_, change.revision);
  look_at(container);
}

void Daemon::look_at(ContainerIndex container) {
  const auto seen = view_.find(container);
  const bool concerns = places_.contains(container) ||
                        (seen != view_.end() &&
                         (seen->second.record.owner.node == life_.node ||
                          seen->second.record.standby(life_.node) != nullptr));
  if (!concerns) return;
  Place& here = place(container);
  policy::HolderQuestion question{.self = life_,
                                  .holds = !here.holds.empty() || here.enlistment,
                                  .term = here.term,
                                  .enlistment = here.enlistment,
                                  .record = {},
                                  .revision = view_revision_,
                                  .highest_revision = view_revision_,
                                  .store_known = store_known_};
  if (seen != view_.end()) {
    question.record = seen->second.record;
    if (world_.options.sabotage == Sabotage::kIncarnation) {
      for (Life& standby : question.record->standbys) {
        if (standby.node == life_.node) standby = life_;
      }
    }
  }
  const policy::HolderDecision decision = policy::decide_holder(question);
  if (decision.term > here.term) here.term = decision.term;
  if (seen != view_.end()) {
    const Revision revision = seen->second.revision;
    if (here.taking) tell(here, policy::taking::Event(own::RecordChanged{revision}));
    if (here.owner) tell(here, own::Event(own::RecordChanged{revision}));
  }
  if (decision.role != HolderRole::kUndecided) watch(here, policy::charge_of(decision));
  const bool unfinished = !here.owner && !here.taking && seen != view_.end() &&
                          seen->second.record.owner.node == life_.node &&
                          seen->second.record.owner != life_ &&
                          seen->second.record.writer != life_ &&  // this life has looked at it already
                          seen->second.record.term >= here.term &&
                          here.unfinished_seen != std::pair(seen->second.record.term, seen->second.record.phase);
  if (unfinished) {
    here.unfinished_seen = {seen->second.record.term, seen->second.record.phase};
    begin_taking(here, policy::taking::FoundUnfinished{seen->second.record.term});
    await_word(here);
  }
}

void Daemon::watch(Place& place, std::optional<policy::lease::Charge> charge) {
  if (world_.options.sabotage == Sabotage::kFormerCharge && !charge && place.charge) {
    const auto seen = view_.find(place.container);
    if (seen != view_.end() && seen->second.record.term < place.term) return;
  }
  place.charge = charge;
  granter_.watch(container_name(place.container), charge, now());
  arm_lease();
}

// ---- Connections ----

void Daemon::peer_connected(SessionId session, const Life& peer) {
  peers_.insert_or_assign(
      peer.node, Connected{.session = session, .life = peer, .reported = false});
  HeldReport report;
  for (const auto& [container, place] : places_) {
    if (!place.holds.empty()) report.newest[container_name(container)] = *place.holds.rbegin();
  }
  send(peer.node, 0, std::move(report));
}

void Daemon::peer_lost(SessionId session) {
  const auto found = std::ranges::find_if(
      peers_, [&](const auto& row) { return row.second.session == session; });
  if (found == peers_.end()) return;
  const NodeName node = found->first;
  peers_.erase(found);
  for (auto& [container, place] : places_) {
    if (!place.owner) continue;
    place.shipping[node].under_way.reset();
    tell(place, own::Event(own::PeerDown{node}));
    tell_candidates(place);
  }
}

void Daemon::held_report(const Life& from, const HeldReport& report) {
  const auto found = peers_.find(from.node);
  if (found == peers_.end() || found->second.life != from) return;
  found->second.reported = true;
  for (auto& [container, place] : places_) {
    if (!place.owner) continue;
    const auto row = report.newest.find(container_name(container));
    peer_up(place, from,
            row == report.newest.end() ? std::nullopt : std::optional(row->second));
  }
}

void Daemon::peer_up(Place& place, const Life& from, std::optional<Generation> held) {
  Shipping& shipping = place.shipping[from.node];
  shipping.under_way.reset();
  shipping.held = held;
  tell(place, own::Event(own::PeerUp{from, held}));
  tell_candidates(place);
  ship_next(place, from.node);
}

bool Daemon::connected(const Life& life) const {
  const auto found = peers_.find(life.node);
  return found != peers_.end() && found->second.life == life;
}

void Daemon::send(const NodeName& to, ContainerIndex container, Body body, Duration size) {
  const auto found = peers_.find(to);
  if (found == peers_.end()) return;
  if (!std::holds_alternative<HeldReport>(body)) {
    note(container, [&] { return std::format("to {}: {}", to.str(), to_string(body)); });
  }
  world_.connections.send(found->second.session, host_.index(),
                          {container_name(container), std::move(body)}, size);
}

void Daemon::receive(const Life& from, const Message& message) {
  if (const auto* report = std::get_if<HeldReport>(&message.body)) {
    return held_report(from, *report);
  }
  const ContainerIndex container = index_of(message.container);
  note(container, [&] {
    return std::format("from {}: {}", own::to_string(from), to_string(message.body));
  });
  Place& here = place(container);
  std::visit([&](const auto& body) { on(here, from, body); }, message.body);
}

void Daemon::tell_candidates(Place& place) {
  if (!place.owner) return;
  placement::StandbyQuestion question{.nodes = {}, .owner = life_.node};
  for (NodeIndex node = 0; node < world_.hosts.size(); ++node) {
    placement::NodeView view{.description = {.life = {node_name(node), {}}}};
    view.reachable = node == host_.index() || peers_.contains(view.description.life.node);
    question.nodes.push_back(std::move(view));
  }
  if (const auto& record = place.owner->status().record) {
    for (const Life& standby : record->standbys) question.present.push_back(standby.node);
  }
  placement::StandbyChoice choice = placement::choose_standbys(question);
  tell(place, own::Event(own::Candidates{std::move(choice.candidates), std::move(choice.refused)}));
}

// ---- For the invariants ----

const policy::Ownership* Daemon::owner(ContainerIndex container) const {
  const auto found = places_.find(container);
  return found == places_.end() ? nullptr : found->second.owner.get();
}

bool Daemon::is_taking(ContainerIndex container) const {
  const auto found = places_.find(container);
  return found != places_.end() && found->second.taking != nullptr;
}

const std::set<Generation>& Daemon::holds(ContainerIndex container) const {
  static const std::set<Generation> nothing;
  const auto found = places_.find(container);
  return found == places_.end() ? nothing : found->second.holds;
}

bool Daemon::protects(ContainerIndex container) const {
  const policy::Ownership* machine = owner(container);
  if (machine == nullptr) return false;
  const own::OwnershipStatus status = machine->status();
  return status.knowledge == policy::OwnershipKnowledge::kKnown && !status.change_waits &&
         status.move == policy::MoveStep::kNone && status.committed && status.record &&
         status.record->standbys.size() == world_.plan.standbys;
}

}  // namespace perdure::sim
