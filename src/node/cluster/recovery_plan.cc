#include "node/cluster/recovery_plan.h"

#include <algorithm>
#include <chrono>
#include <format>
#include <tuple>
#include <utility>

#include "node/cluster/peer_codec.h"

namespace perdure::node {
namespace {

struct Place {
  const NodeInventory* node = nullptr;
  const InventoryRow* row = nullptr;
  const InventoryCopy* copy = nullptr;
};

class Planner {
 public:
  Planner(const RecoveryQuestion& question, ContainerName name) : question_(question), row_{.name = std::move(name)} {
    const auto found = question.records.find(row_.name);
    if (found != question.records.end()) record_ = &found->second;
    if (record_ != nullptr) highest_ = record_->term;
    for (const NodeInventory& node : question.nodes) {
      const auto here = node.rows.find(row_.name);
      if (here == node.rows.end() || question.dead.contains(node.life.node)) continue;
      places_.push_back({&node, &here->second, nullptr});
      highest_ = std::max(highest_, here->second.term);
      for (const InventoryCopy& copy : here->second.copies) highest_ = std::max(highest_, copy.generation.term);
    }
    if (const auto stored = question.durable.find(row_.name); stored != question.durable.end()) {
      durable_ = &stored->second;
      for (const InventoryCopy& copy : *durable_) highest_ = std::max(highest_, copy.generation.term);
    }
  }

  RecoveryRow plan() {
    if (const Place* running = runs_at(); running != nullptr) {
      adopt(*running);
    } else if (record_ != nullptr && record_->desired != model::DesiredState::kRunning) {
      row_.node = record_->owner.node;  // an operator has stopped it
    } else if (const Place* stopped = stopped_at(); record_ == nullptr && stopped != nullptr) {
      adopt(*stopped);  // the store was put back to a time before it was made
    } else if (const Place* owner = at(owner_name()); owner != nullptr && owner->row->owner && !owner->row->waits) {
      row_.node = owner->node->life.node;  // it is being brought back there
    } else {
      restore();
    }
    return std::move(row_);
  }

 private:
  std::optional<NodeName> owner_name() const {
    return record_ == nullptr ? std::nullopt : std::optional(record_->owner.node);
  }
  const Place* at(const std::optional<NodeName>& node) const {
    const auto found = std::ranges::find_if(places_, [&](const Place& place) { return place.node->life.node == node; });
    return found == places_.end() ? nullptr : &*found;
  }
  const NodeInventory* inventory_of(const NodeName& node) const {
    const auto found = std::ranges::find_if(question_.nodes, [&](const NodeInventory& it) { return it.life.node == node; });
    return found == question_.nodes.end() ? nullptr : &*found;
  }
  bool reachable(const NodeName& node) const { return inventory_of(node) != nullptr; }
  bool usable(const InventoryCopy& copy) const {
    const auto tried = question_.unusable.find(row_.name);
    return tried == question_.unusable.end() || !tried->second.contains(copy.generation);
  }
  // Under the highest term, where the record says before elsewhere.
  const Place* runs_at() const {
    const Place* best = nullptr;
    const auto rank = [&](const Place& place) {
      return std::tuple(place.row->term, place.node->life.node == owner_name());
    };
    for (const Place& place : places_) {
      if (place.row->runs && (best == nullptr || rank(place) > rank(*best))) best = &place;
    }
    return best;
  }

  const Place* stopped_at() const {
    const auto found = std::ranges::find_if(places_, [](const Place& place) { return place.row->owner && place.row->stopped; });
    return found == places_.end() ? nullptr : &*found;
  }

  void adopt(const Place& running) {
    row_.node = running.node->life.node;
    row_.has_service = true;
    if (record_ != nullptr && record_->owner.node == running.node->life.node && record_->term >= highest_) return;
    row_.action = RecoveryAction::kAdoptRunning;
    for (const Place& place : places_) {
      if (&place == &running || !place.row->runs) continue;
      add_risk(std::format("node '{}' runs it as well, under term {}: that copy is killed", place.node->life.node.str(),
                           place.row->term.value));
    }
    add_owner_risk();
    write(running.node->life);
    if (record_ == nullptr && running.row->stopped) row_.write->desired = model::DesiredState::kStopped;
  }

  void restore() {
    const Place best = newest_copy();
    add_owner_risk();
    if (const InventoryCopy* stored = newest_durable();
        stored != nullptr && (best.copy == nullptr || stored->generation > best.copy->generation)) {
      return restore_durable(*stored);
    }
    add_standby_risks(best.copy, best.node == nullptr ? std::nullopt : std::optional(best.node->life.node));
    if (best.copy == nullptr) {
      const Place* owner = at(owner_name());
      row_.action = owner != nullptr ? RecoveryAction::kColdStart : RecoveryAction::kLost;
      if (owner != nullptr) row_.node = owner->node->life.node;
      return;
    }
    const NodeInventory* target = best.node;
    if (question_.to && *question_.to != best.node->life.node) {
      target = inventory_of(*question_.to);
      if (target == nullptr) return lose(std::format("node '{}' cannot be reached", question_.to->str()));
      row_.from = best.node->life.node;
    }
    row_.has_service = !row_.from && best.row->owner;
    come_back(*target, *best.copy);
    if (record_ != nullptr && record_->owner.node == *row_.node && row_.has_service && record_->term >= highest_) return;
    write(target->life);
  }

  void restore_durable(const InventoryCopy& stored) {
    add_standby_risks(&stored, std::nullopt);
    const NodeInventory* target = question_.to ? inventory_of(*question_.to) : durable_taker();
    if (target == nullptr) {
      return lose(std::format("generation {} is in the durable directory, and no node that can be reached may take it over",
                              to_string(stored.generation)));
    }
    row_.durable = true;
    come_back(*target, stored);
    write(target->life);
  }

  void come_back(const NodeInventory& target, const InventoryCopy& copy) {
    row_.action = RecoveryAction::kRestore;
    row_.node = target.life.node;
    row_.generation = copy.generation;
    row_.age = std::max<Duration>(question_.now - copy.created, Duration::zero());
  }

  void lose(std::string why) {
    row_.action = RecoveryAction::kLost;
    row_.from.reset();
    add_risk(std::move(why));
  }

  // Who has had to do with it may have its root file system. What has a service goes back to what that knows of.
  const NodeInventory* durable_taker() const {
    const NodeInventory* first = nullptr;
    for (const NodeName& node : question_.takers) {
      const NodeInventory* inventory = inventory_of(node);
      if (inventory == nullptr) continue;
      const Place* place = at(node);
      if (place != nullptr && place->row->owner) continue;
      if (place != nullptr) return inventory;
      if (first == nullptr) first = inventory;
    }
    return first;
  }

  const InventoryCopy* newest_durable() const {
    const InventoryCopy* newest = nullptr;
    if (durable_ == nullptr) return newest;
    for (const InventoryCopy& copy : *durable_) {
      if (usable(copy) && (newest == nullptr || copy.generation > newest->generation)) newest = &copy;
    }
    return newest;
  }

  // The owner's own before a standby's, if they are equal: nothing has to change hands.
  Place newest_copy() const {
    Place best;
    const auto rank = [&](const Place& place) {
      return std::tuple(place.copy->generation, place.node->life.node == owner_name());
    };
    for (const Place& place : places_) {
      for (const InventoryCopy& copy : place.row->copies) {
        if (!usable(copy)) continue;
        const Place candidate{place.node, place.row, &copy};
        if (best.copy == nullptr || rank(candidate) > rank(best)) best = candidate;
      }
    }
    return best;
  }

  void add_risk(std::string text) { row_.risk += (row_.risk.empty() ? "" : "; ") + std::move(text); }

  void add_owner_risk() {
    const auto owner = owner_name();
    if (!owner || reachable(*owner) || question_.dead.contains(*owner)) return;
    add_risk(std::format("node '{}' may still run it beyond a cut", owner->str()));
  }

  // `holder`: of what comes back; absent: the durable directory.
  void add_standby_risks(const InventoryCopy* best, const std::optional<NodeName>& holder) {
    if (record_ == nullptr) return;
    bool kept = false;
    std::string lost;
    for (const model::NodeLife& standby : record_->standbys) {
      if (!reachable(standby.node)) {
        add_risk(std::format("node '{}', which stood by, cannot be reached and may hold a newer generation", standby.node.str()));
      } else if (const Place* place = at(standby.node);
                 place != nullptr && place->node->life == standby && !place->row->copies.empty()) {
        kept = true;
      } else {
        lost += (lost.empty() ? "'" : ", '") + standby.node.str() + "'";
      }
    }
    const Place* owner = at(owner_name());
    const bool waits = owner != nullptr && owner->row->waits;
    // Whoever waits has lost it, whatever new standbys have got from its disk since.
    const bool from_standby = kept && best != nullptr && holder != owner_name();
    if (from_standby || (!waits && (kept || lost.empty()))) return;
    add_risk(std::format("{} the memory of its standbys is gone: what was committed after {} is lost",
                         lost.empty() ? "all of" : std::format("with node {}", lost),
                         best == nullptr ? "its start" : "this generation"));
  }

  model::OwnershipRecord empty_record(const model::NodeLife& owner) const {
    return {.container = row_.name,
            .owner = owner,
            .standbys = {},
            .term = {},
            .spec_digest = {},
            .image_digest = {},
            .desired = model::DesiredState::kRunning,
            .phase = model::RecordPhase::kStarting,
            .writer = owner,
            .nonce = {},
            .created = question_.now,
            .application = {}};
  }

  void write(const model::NodeLife& owner) {
    model::OwnershipRecord record = record_ != nullptr ? *record_ : empty_record(owner);
    record.owner = owner;
    record.standbys.clear();
    record.term = Term{highest_.value + 1};
    record.phase = row_.action == RecoveryAction::kAdoptRunning ? model::RecordPhase::kRunning : model::RecordPhase::kMoving;
    row_.write = std::move(record);
  }

  const RecoveryQuestion& question_;
  const model::OwnershipRecord* record_ = nullptr;
  Term highest_;
  std::vector<Place> places_;
  const std::vector<InventoryCopy>* durable_ = nullptr;
  RecoveryRow row_;
};

}  // namespace

std::vector<RecoveryRow> plan_recovery(const RecoveryQuestion& question) {
  std::set<ContainerName> names;
  for (const auto& [name, record] : question.records) names.insert(name);
  for (const NodeInventory& node : question.nodes) {
    for (const auto& [name, row] : node.rows) {
      // What a standby has not let go of yet, of a container that is removed, is none.
      if (row.owner || row.runs) names.insert(name);
    }
  }
  std::vector<RecoveryRow> rows;
  for (const ContainerName& name : names) {
    if (question.only.empty() || question.only.contains(name)) rows.push_back(Planner(question, name).plan());
  }
  return rows;
}

Result<NodeInventory> from_peer(const peer::v1::Inventory& message) {
  PERDURE_ASSIGN(NodeName node, NodeName::parse(message.node()));
  NodeInventory inventory{.life = {std::move(node), Incarnation{message.incarnation()}}, .rows = {}};
  for (const peer::v1::Inventory::Row& told : message.rows()) {
    PERDURE_ASSIGN(ContainerName name, ContainerName::parse(told.container()));
    InventoryRow row{.term = Term{told.term()},
                     .runs = told.runs(),
                     .owner = told.owner(),
                     .waits = told.waits(),
                     .copies = {},
                     .image_digest = told.image_digest(),
                     .spec_yaml = told.spec_yaml(),
                     .stopped = told.stopped()};
    for (const peer::v1::Inventory::Copy& copy : told.copies()) {
      row.copies.push_back({.generation = from_peer(copy.generation()),
                            .committed = copy.committed(),
                            .durable = copy.durable(),
                            .created = wall_time_of(copy.created_unix_ms())});
    }
    inventory.rows.insert_or_assign(std::move(name), std::move(row));
  }
  return inventory;
}

}  // namespace perdure::node
