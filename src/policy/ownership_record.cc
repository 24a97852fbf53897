// Ownership: the record, as it is known and as it must become.
#include <algorithm>
#include <format>
#include <utility>

#include "base/assert.h"
#include "policy/ownership.h"

namespace perdure::policy::ownership {

namespace {

bool says_the_same(OwnershipRecord one, const OwnershipRecord& other) {
  one.writer = other.writer;
  one.nonce = other.nonce;
  return one == other;
}

}  // namespace

// ---- Answers of the store ----

void Ownership::on(const RecordRead& event) {
  if (store_ != StoreStep::kReading || event.request != request_) return;
  store_ = StoreStep::kIdle;
  judge(event.record, event.revision);
}

void Ownership::on(const ReadFailed& event) {
  if (store_ != StoreStep::kReading || event.request != request_) return;
  store_ = StoreStep::kIdle;
  if (std::exchange(store_reachable_, false)) {
    emit(Severity::kWarning, "store_lost",
         std::format("the record cannot be read: {}; changes wait, the container goes on",
                     event.reason));
  }
  retry_at_ = now_ + options_.read_retry;
}

void Ownership::on(const SwapApplied& event) {
  if (event.request != request_) return;
  if (store_ == StoreStep::kRemoving) {
    effects_.push_back(RemovalComplete{});
    return end();
  }
  if (store_ != StoreStep::kSwapping) return;
  store_ = StoreStep::kIdle;
  judge(std::exchange(in_flight_, std::nullopt), event.revision);
}

void Ownership::on(const SwapRefused& event) {
  if (event.request != request_) return;
  if (store_ != StoreStep::kSwapping && store_ != StoreStep::kRemoving) return;
  store_ = StoreStep::kIdle;
  // Refused for another reason than the record's revision: nothing is known to have changed.
  if (event.record && event.revision == revision_) retry_at_ = now_ + options_.read_retry;
  judge(event.record, event.revision);
}

void Ownership::on(const SwapUnknown& event) {
  if (event.request != request_) return;
  if (store_ != StoreStep::kSwapping && store_ != StoreStep::kRemoving) return;
  store_ = StoreStep::kIdle;
  doubt_ = read_wanted_ = true;
  if (++unknowns_ > 1) retry_at_ = now_ + options_.read_retry;
}

void Ownership::on(const RecordChanged& event) {
  if (event.revision == 0) {
    read_wanted_ = true;
  } else {
    hint_ = std::max(hint_, event.revision);
  }
  if (store_reachable_ && hint_ > revision_) retry_at_.reset();
}

void Ownership::on(const StoreForeign& event) {
  store_ = StoreStep::kIdle;
  lose_sight(event.reason);
}

void Ownership::check_deadline() {
  if (store_ == StoreStep::kIdle || now_ < store_deadline_) return;
  if (store_ == StoreStep::kReading) {
    on(ReadFailed{request_, "no answer"});
  } else {
    on(SwapUnknown{request_, "no answer"});
  }
}

// ---- What the record says ----

// The truth as of now: nothing is assumed about it, also not that a swap of ours led to it.
void Ownership::judge(const std::optional<Record>& record, Revision revision) {
  read_wanted_ = false;
  hint_ = 0;
  store_reachable_ = true;
  if (!record) {
    const bool wanted = removed_ && (!record_ || record_->desired == DesiredState::kRemoved);
    if (move_.step >= MoveStep::kTaking && revision > revision_) {
      emit(Severity::kInfo, "removed",
           std::format("'{}' owned it and has removed it", move_.target->node.str()));
      effects_.push_back(EndCopy{});
      return end();
    }
    if (!wanted) return lose_sight("the store has no record of it");
    effects_.push_back(RemovalComplete{});
    return end();
  }
  if (record->term < term_) {
    return lose_sight(
        std::format("the record's term is {}, but {} is known here: the store has "
                    "gone back",
                    record->term.value, term_.value));
  }
  if (record->term == term_ && revision < revision_) {
    return lose_sight(
        std::format("the record's revision is {}, but {} is known here: the store "
                    "has gone back",
                    revision, revision_));
  }
  if (!record_ || revision != revision_) {
    doubt_ = false;
    unknowns_ = 0;
    const auto before = record_ ? record_->standbys : std::vector<Life>{};
    sent_.reset();
    record_ = record;
    revision_ = revision;
    if (record_->owner.node == identity_.self.node) note_standbys(before, record_->standbys);
  }
  if (record_->owner.node == identity_.self.node) {
    judge_own(*record_);
  } else {
    judge_foreign(*record_);
  }
}

void Ownership::judge_own(const Record& record) {
  if (record.owner.incarnation > identity_.self.incarnation) {
    return lose_sight("the record names a later life of this node's perdured");
  }
  if (move_.step == MoveStep::kHandedOver) {
    return lose_sight("the record names this node again, but a newer state may be elsewhere");
  }
  raise_term(record.term);
  own_term_ = record.term;
  const bool taken_back = move_.step == MoveStep::kTaking || move_.step == MoveStep::kTakingBack;
  if (record.owner != identity_.self) {
    // After a restart: this life's name has to be in the record before anything else is done; that
    // swap also outdates what the earlier life may have under way.
    if (taken_back) move_.step = MoveStep::kSwapping;
    return;
  }
  const bool suspended = knowledge_ == OwnershipKnowledge::kSuspended;
  restarted_ = false;
  know();
  if (taken_back) {
    finish_move_back();
  } else if (suspended && move_.step == MoveStep::kNone) {
    effects_.push_back(HandOverFailed{"the record names this node again", term_});
  }
}

void Ownership::judge_foreign(const Record& record) {
  const bool expected = own_move(record);
  if (own_term_ && record.term <= *own_term_ && !expected) {
    return lose_sight(std::format("the record names '{}' the owner, under the term of this node",
                                  record.owner.node.str()));
  }
  raise_term(record.term);
  const bool runs = record.phase == model::RecordPhase::kRunning;
  if (expected && runs && move_.step != MoveStep::kHandedOver) handed_over();
  if (move_.step == MoveStep::kHandedOver) {
    // Who is no standby any more keeps nothing, and what is stopped needs no processes anywhere.
    // Until then the frozen copy is one more capsule.
    retry_at_ = now_ + options_.reread;
    const bool stands_by = std::ranges::contains(record.standbys, identity_.self.node, &Life::node);
    if (!runs || (stands_by && record.desired == DesiredState::kRunning)) return;
    effects_.push_back(EndCopy{});
    return end();
  }
  if (expected) {
    knowledge_ = OwnershipKnowledge::kKnown;
    reason_.clear();
    if (move_.step != MoveStep::kSwapping) return;
    if (move_.restarted) move_.failure.clear();
    move_.step = move_.failure.empty() ? MoveStep::kTaking : MoveStep::kTakingBack;
    move_.told = false;
    return;
  }
  if (runs) {
    emit(
        Severity::kError, "ownership_lost",
        std::format("'{}' owns it now, under term {}", record.owner.node.str(), record.term.value));
    if (move_.step != MoveStep::kNone) {
      effects_.push_back(MoveFailed{move_.target->node, std::format("'{}' found this node silent meanwhile and owns it now",
                                                                    record.owner.node.str())});
    }
    effects_.push_back(OwnershipLost{record.owner, record.term});
    return end();
  }
  known_told_ = false;
  retry_at_ = now_ + options_.reread;
  if (knowledge_ == OwnershipKnowledge::kSuspended) return;
  knowledge_ = OwnershipKnowledge::kSuspended;
  effects_.push_back(Suspend{record.owner, record.term});
}

void Ownership::know() {
  knowledge_ = OwnershipKnowledge::kKnown;
  reason_.clear();
  if (std::exchange(known_told_, true)) return;
  effects_.push_back(OwnershipKnown{});
}

void Ownership::lose_sight(std::string reason) {
  known_told_ = false;
  retry_at_ = now_ + options_.reread;
  if (knowledge_ == OwnershipKnowledge::kUnknown && reason_ == reason) return;
  knowledge_ = OwnershipKnowledge::kUnknown;
  reason_ = std::move(reason);
  emit(Severity::kError, "ownership_unknown",
       reason_ + "; nothing is killed or changed: run 'perdure cluster recover'");
  effects_.push_back(OwnershipUnknown{reason_});
}

void Ownership::raise_term(Term term) {
  if (term <= term_) return;
  term_ = term;
  effects_.push_back(RaiseTerm{term});
}

// ---- What it must say ----

std::vector<std::vector<model::NodeLife>> Ownership::configurations() const {
  std::vector<std::vector<Life>> all;
  if (record_) all.push_back(record_->standbys);
  if (sent_ && (store_ == StoreStep::kSwapping || doubt_)) all.push_back(sent_->standbys);
  return all;
}

bool Ownership::durable_counts() const {
  const auto all = configurations();
  return all.empty() || std::ranges::any_of(all, [](const auto& standbys) { return standbys.empty(); });
}

// The gate needs the grants of everybody who may become the owner by the store's next answer. Told before a swap goes out that
// names one more, and reduced only when it is known that a record without one is in force.
void Ownership::advance_grants(const std::vector<Life>& about_to_be_named) {
  const bool mine = record_ && record_->owner.node == identity_.self.node &&
                    knowledge_ != OwnershipKnowledge::kUnknown && knowledge_ != OwnershipKnowledge::kSuspended;
  if (!mine) {
    if (std::exchange(needs_, std::nullopt)) effects_.push_back(RenewNothing{});
    return;
  }
  std::set<Life> required;
  for (const auto& standbys : configurations()) required.insert(standbys.begin(), standbys.end());
  required.insert(about_to_be_named.begin(), about_to_be_named.end());
  std::erase_if(required, [&](const Life& life) { return life.node == identity_.self.node; });
  NeedGrants needs{.term = record_->term,
                   .required = {required.begin(), required.end()},
                   .asked = {},
                   .inherits = restarted_};
  for (const auto& [node, p] : peers_) {
    const bool learner = p.role == Role::kLearner && p.up;
    if (learner && !required.contains({node, *p.incarnation})) needs.asked.push_back({node, *p.incarnation});
  }
  if (needs == needs_) return;
  for (auto& [node, p] : peers_) {
    if (!p.incarnation) continue;
    const Life life{node, *p.incarnation};
    if (!required.contains(life) && !std::ranges::contains(needs.asked, life)) p.grants = Grants::kUnknown;
  }
  needs_ = needs;
  effects_.push_back(std::move(needs));
}

Ownership::Set Ownership::possible_standbys() const {
  Set nodes;
  for (const auto& standbys : configurations()) {
    for (const Life& standby : standbys) nodes.insert(standby.node);
  }
  return nodes;
}

std::optional<OwnershipRecord> Ownership::wanted_record() const {
  if (!record_ || knowledge_ == OwnershipKnowledge::kUnknown ||
      knowledge_ == OwnershipKnowledge::kSuspended) {
    return std::nullopt;
  }
  if (move_.step == MoveStep::kTakingBack) return take_back_record();
  Record record = *record_;
  if (record.owner.node != identity_.self.node) return std::nullopt;
  if (record.owner != identity_.self) {
    record.owner = identity_.self;
    return record;
  }
  if (move_.step == MoveStep::kSwapping && move_.failure.empty()) return handover_record();
  if (frozen()) return std::nullopt;
  if (wish_) record.desired = *wish_;
  if (runs_ && record.desired == DesiredState::kRunning) {
    record.phase = model::RecordPhase::kRunning;
  }
  record.standbys = wanted_standbys();
  if (says_the_same(record, *record_)) return std::nullopt;
  return record;
}

// After a swap whose outcome is not known, with the record as it was: the same once more, or, where
// it has become pointless, the record as it is. Either makes the lost one fail.
OwnershipRecord Ownership::retried_record() const {
  const bool hands_over = sent_->owner.node != identity_.self.node;
  if (hands_over) return move_.failure.empty() ? *sent_ : *record_;
  const auto lists = [](const Record& record, const Life& standby) {
    return std::ranges::contains(record.standbys, standby);
  };
  const bool adds_a_dead_one = std::ranges::any_of(sent_->standbys, [&](const Life& s) {
    return !lists(*record_, s) && live_peer(s) == nullptr;
  });
  const bool drops_the_last_one = std::ranges::any_of(record_->standbys, [&](const Life& s) {
    return !lists(*sent_, s) && !must_drop(s) && !covered(s, sent_->standbys);
  });
  const bool pointless = adds_a_dead_one || drops_the_last_one;
  return pointless && record_->owner == identity_.self ? *record_ : *sent_;
}

bool Ownership::record_goes() const {
  if (!owning() || !removed_ || record_->desired != DesiredState::kRemoved) return false;
  const bool confirmed = std::ranges::all_of(record_->standbys, [&](const Life& standby) {
    const Peer* p = find_peer(standby.node);
    return p != nullptr && p->dismissed;
  });
  return confirmed && std::ranges::none_of(peers_, [](const auto& row) {
           return row.second.up && row.second.has_ours;
         });
}

void Ownership::advance_store() {
  if (store_ != StoreStep::kIdle || (retry_at_ && now_ < *retry_at_)) return;
  retry_at_.reset();
  const bool lost = knowledge_ == OwnershipKnowledge::kUnknown ||
                    knowledge_ == OwnershipKnowledge::kSuspended ||
                    move_.step == MoveStep::kHandedOver;
  if (read_wanted_ || hint_ > revision_ || lost) {
    send_read();
  } else if (doubt_ && sent_) {
    send_swap(retried_record());
  } else if (record_goes()) {
    store_ = StoreStep::kRemoving;
    store_deadline_ = now_ + options_.swap_deadline;
    effects_.push_back(RemoveRecord{++request_, revision_});
  } else if (auto record = wanted_record()) {
    send_swap(*std::move(record));
  }
}

void Ownership::send_read() {
  store_ = StoreStep::kReading;
  store_deadline_ = now_ + options_.swap_deadline;
  effects_.push_back(ReadRecord{++request_});
}

void Ownership::send_swap(Record record) {
  record.writer = identity_.self;
  record.nonce = nonces_();
  // In doubt, what was sent first still counts: see configurations().
  if (!doubt_ || !says_the_same(record, *record_)) sent_ = record;
  in_flight_ = record;
  advance_grants(record.standbys);
  store_ = StoreStep::kSwapping;
  store_deadline_ = now_ + options_.swap_deadline;
  effects_.push_back(Swap{++request_, std::move(record), revision_});
}

}  // namespace perdure::policy::ownership
