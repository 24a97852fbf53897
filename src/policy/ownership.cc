#include "policy/ownership.h"

#include <algorithm>
#include <format>
#include <utility>

#include "base/assert.h"

namespace perdure::policy::ownership {

namespace {

std::string_view verb_of(DesiredState desired) {
  switch (desired) {
    case DesiredState::kRunning:
      return "start";
    case DesiredState::kStopped:
      return "stop";
    case DesiredState::kRemoved:
      return "remove";
  }
  return "?";
}

}  // namespace

Ownership::Ownership(OwnershipIdentity identity, const OwnershipOptions& options,
                     NonceSource nonces)
    : identity_(std::move(identity)),
      options_(options),
      nonces_(std::move(nonces)),
      wanted_(options.standbys) {
  PERDURE_ASSERT(nonces_ != nullptr);
}

std::vector<Effect> Ownership::handle(const Event& event, Instant now) {
  PERDURE_ASSERT(now >= now_);
  const bool begins =
      std::holds_alternative<Adopted>(event) || std::holds_alternative<Restarted>(event);
  if (ended() || begins == begun_) return {};
  now_ = now;
  begun_ = true;
  effects_.clear();
  std::visit([this](const auto& e) { on(e); }, event);
  if (!ended()) reconcile();
  return std::exchange(effects_, {});
}

// Each part looks at the state reached; a step that changes what an earlier part has looked at
// makes another round.
void Ownership::reconcile() {
  check_deadline();
  for (;;) {
    const std::size_t before = effects_.size();
    const MoveStep step = move_.step;
    advance_move();
    if (ended()) return;
    settle_desired();
    advance_learners();
    advance_commits();
    advance_store();
    if (ended()) return;
    if (effects_.size() == before && move_.step == step) break;
  }
  advance_grants({});
  advance_paces();
  advance_dismissals();
  advance_store();  // a dismissal may have been the last thing that a removal waited for
  note_lag();
  arm_timer();
}

void Ownership::on(const Adopted& event) {
  PERDURE_ASSERT(event.record.owner == identity_.self);
  take_stock(event.stock);
  known_told_ = true;
  settled_ = event.record.desired;
  judge(event.record, event.revision);
}

void Ownership::on(const Restarted& event) {
  take_stock(event.stock);
  term_ = event.term;
  revision_ = event.revision;
  removed_ = event.removed;
  read_wanted_ = restarted_ = true;
  if (!event.handing_over) return;
  move_.step = MoveStep::kSwapping;
  move_.target = event.handing_over->target;
  move_.generation = event.handing_over->generation;
  move_.term = event.handing_over->term;
  move_.standbys = event.handing_over->standbys;
  move_.deadline = now_ + options_.move_limit;
  move_.failure = "perdured was restarted in the middle";
  move_.restarted = move_.remembered = true;
}

void Ownership::take_stock(const Stock& stock) {
  committed_ = stock.committed;
  for (const Generation& generation : stock.generations) {
    if (committed_ && generation < *committed_) continue;
    generations_.insert(generation);
    captured_at_[generation] = now_;
  }
  if (committed_) generations_.insert(*committed_);
  if (stock.durable) durable_.insert(*stock.durable);
}

void Ownership::end() {
  knowledge_ = OwnershipKnowledge::kEnded;
  store_ = StoreStep::kIdle;
}

bool Ownership::owning() const {
  return knowledge_ == OwnershipKnowledge::kKnown && record_ && record_->owner == identity_.self &&
         move_.step < MoveStep::kTaking;
}

// ---- Peers ----

Ownership::Peer& Ownership::peer(const NodeName& node) {
  const auto [found, is_new] = peers_.try_emplace(node);
  if (is_new) found->second.since = now_;
  return found->second;
}

const Ownership::Peer* Ownership::find_peer(const NodeName& node) const {
  const auto found = peers_.find(node);
  return found == peers_.end() ? nullptr : &found->second;
}

const Ownership::Peer* Ownership::live_peer(const Life& life) const {
  const Peer* found = find_peer(life.node);
  return found != nullptr && found->up && found->incarnation == life.incarnation ? found : nullptr;
}

void Ownership::on(const PeerUp& event) {
  if (event.life.node == identity_.self.node) return;
  Peer& p = peer(event.life.node);
  const bool same_life = p.incarnation == event.life.incarnation;
  if (!same_life) {
    p.incarnation = event.life.incarnation;
    p.role = Role::kNone;
    p.grants = Grants::kUnknown;
    p.ends = false;
    if (std::exchange(p.pace, Pace::kNone) != Pace::kNone) {
      effects_.push_back(SetPace{event.life.node, Pace::kNone});
    }
    p.dismissing = p.dismissed = false;
  }
  // What it reports first after a connection is all it has; later reports may be older than an
  // acknowledgement that came on the other connection.
  if (!p.up || !same_life) {
    std::erase_if(p.held, [&](const Generation& g) { return !same_life || g > event.held; });
  }
  p.unseen = false;
  if (!p.up) {
    p.up = true;
    p.since = now_;
    if (is_target(event.life.node)) move_.told = false;
  }
  if (event.held) acknowledge(p, *event.held);
}

void Ownership::on(const PeerDown& event) {
  Peer& p = peer(event.node);
  if (!p.up) return;
  p.up = false;
  p.since = now_;
  p.role = Role::kNone;
  p.dismissing = false;
}

void Ownership::on(const PeerEnds& event) {
  const auto found = peers_.find(event.life.node);
  if (found == peers_.end() || found->second.incarnation != event.life.incarnation) return;
  found->second.ends = true;
  found->second.role = Role::kNone;
}

// Of whom nothing is asked any more nothing is known: that it has granted once says nothing about the day on which it is to be
// a standby again.
void Ownership::note_grants(const Life& life, Grants grants) {
  const bool asked = needs_ && (std::ranges::contains(needs_->required, life) || std::ranges::contains(needs_->asked, life));
  if (!asked) return;
  Peer& p = peer(life.node);
  if (!p.incarnation) p.incarnation = life.incarnation;
  if (p.incarnation != life.incarnation) return;
  p.grants = grants;
  // A node that nobody's answers reach must not drop the one that could take over from it: what it sends may arrive, the store's
  // answer would not. That it hears the store, this read proves.
  const bool stands_by = record_ && std::ranges::contains(record_->standbys, life);
  if (grants == Grants::kStopped && stands_by) read_wanted_ = true;
}

void Ownership::on(const Held& event) {
  Peer& p = peer(event.life.node);
  if (p.incarnation != event.life.incarnation) return;
  acknowledge(p, event.generation);
  p.progress = now_;
}

void Ownership::on(const HoldingShrank& event) {
  Peer& p = peer(event.life.node);
  if (p.incarnation != event.life.incarnation) return;
  std::erase_if(p.held, [&](const Generation& g) { return g > event.held; });
  if (event.held) acknowledge(p, *event.held);
}

// One of this life that is not known any more was discarded. What an earlier life or owner has made
// may be all there is.
void Ownership::acknowledge(Peer& p, const Generation& generation) {
  p.has_ours = true;
  // It has one of another owner's: the record names that one, or has.
  if (own_term_ && generation.term > *own_term_) read_wanted_ = true;
  const bool old = !generations_.empty() && generation < *generations_.begin();
  const bool own = generation.term == term_ && generation.incarnation == identity_.self.incarnation;
  if (!generations_.contains(generation) && own && !old) return;
  p.held.insert(generation);
  const bool of_earlier_life = generation.term == term_ && generation.incarnation < identity_.self.incarnation;
  if (of_earlier_life && generation > newest_of_earlier_life_) newest_of_earlier_life_ = generation;
}

std::optional<Generation> Ownership::holds(const Peer& p) {
  return p.held.empty() ? std::nullopt : std::optional(*p.held.rbegin());
}

// ---- Generations ----

std::optional<Generation> Ownership::newest() const {
  return generations_.empty() ? std::nullopt : std::optional(*generations_.rbegin());
}

void Ownership::on(const Captured& event) {
  generations_.insert(event.generation);
  captured_at_[event.generation] = now_;
  for (auto& [node, p] : peers_) {
    if (p.role == Role::kLearner && !p.goal) p.goal = event.generation;
    if (p.role == Role::kLearner && generations_.size() == 1) p.progress = now_;
  }
}

void Ownership::on(const Durable& event) {
  if (generations_.contains(event.generation)) durable_.insert(event.generation);
}

void Ownership::on(const GenerationsDiscarded& event) {
  for (const Generation& generation : event.generations) {
    generations_.erase(generation);
    captured_at_.erase(generation);
    durable_.erase(generation);
    if (committed_ == generation) committed_.reset();
    for (auto& [node, p] : peers_) p.held.erase(generation);
  }
  for (auto& [node, p] : peers_) {
    if (p.goal && std::ranges::contains(event.generations, *p.goal)) p.goal = newest();
  }
}

// Nothing older than the newest committed one is remembered.
void Ownership::on(const GoneBackTo& event) {
  if (generations_.insert(event.generation).second) captured_at_[event.generation] = now_;
  if (event.durable) durable_.insert(event.generation);
  newest_of_earlier_life_.reset();  // given up on purpose
}

// A generation counts when every standby of every record that may be in force holds it, or a later
// one; where such a record has none, when it is durable.
void Ownership::advance_commits() {
  if (!owning() || removed_) return;
  std::optional<Generation> bound = newest();
  const auto require = [&](const std::optional<Generation>& held) {
    bound = std::min(bound, held);
  };
  for (const auto& standbys : configurations()) {
    if (standbys.empty()) {  // durable_counts()
      require(durable_.empty() ? std::nullopt : std::optional(*durable_.rbegin()));
    }
    for (const Life& standby : standbys) {
      if (standby.node == identity_.self.node) continue;  // of a record that names another owner
      const Peer* p = find_peer(standby.node);
      const bool counts = p != nullptr && p->incarnation == standby.incarnation;
      const auto held = counts ? holds(*p) : std::nullopt;
      // What a later owner has made is later than anything here, and may have been made without it.
      require(held && held->term > record_->term ? std::nullopt : held);
    }
  }
  if (!bound) return;
  for (const Generation& generation : generations_) {
    if (generation > *bound) break;
    if (generation <= committed_) continue;
    committed_ = generation;
    effects_.push_back(Commit{generation});
  }
  if (!committed_) return;
  const auto forget_older = [&](std::set<Generation>& some) {
    while (some.size() > 1 && *some.begin() < *committed_) some.erase(some.begin());
  };
  forget_older(generations_);
  forget_older(durable_);
  std::erase_if(captured_at_, [&](const auto& row) { return row.first < *committed_; });
  for (auto& [node, p] : peers_) forget_older(p.held);
}

// ---- What an operator wants ----

std::optional<Refuse> Ownership::objection(const DesiredAsked& event) const {
  const auto refuse = [&](std::string why) {
    return Refuse{std::string(verb_of(event.desired)), std::move(why)};
  };
  if (frozen()) {
    return refuse(std::format("it is being moved to '{}'; ask again when that has ended",
                              move_.target->node.str()));
  }
  if (knowledge_ == OwnershipKnowledge::kUnknown) return refuse(reason_);
  if (knowledge_ == OwnershipKnowledge::kSuspended) {
    return refuse("another node is becoming its owner; ask again there");
  }
  const bool removed =
      (record_ && record_->desired == DesiredState::kRemoved) || wish_ == DesiredState::kRemoved;
  if (removed && event.desired != DesiredState::kRemoved) return refuse("it is being removed");
  return std::nullopt;
}

void Ownership::on(const DesiredAsked& event) {
  if (auto no = objection(event)) {
    effects_.push_back(*std::move(no));
    return;
  }
  if (move_.step != MoveStep::kNone && event.desired != DesiredState::kRunning) {
    fail_move(std::format("an operator wants to {} it", verb_of(event.desired)));
  }
  if (wish_ && *wish_ != event.desired) {
    effects_.push_back(Refuse{std::string(verb_of(*wish_)), "another wish came after it"});
  }
  wish_ = event.desired;
}

void Ownership::settle_desired() {
  if (!owning()) return;
  const bool may_change =
      (store_ == StoreStep::kSwapping || doubt_) && sent_ && sent_->desired != record_->desired;
  if (wish_ && record_->desired == *wish_ && !may_change) {
    wish_.reset();
    settled_.reset();
  }
  if (settled_ == record_->desired) return;
  settled_ = record_->desired;
  effects_.push_back(DesiredSettled{record_->desired});
}

Status Ownership::admit(const Event& event) const {
  std::optional<Refuse> no;
  if (const auto* desired = std::get_if<DesiredAsked>(&event)) no = objection(*desired);
  if (const auto* move = std::get_if<MoveAsked>(&event)) no = objection(*move);
  if (!no) return {};
  return fail(ErrorCode::kConflict,
              std::format("{} container '{}': {}", no->what, identity_.container.str(), no->why));
}

// ---- Time ----

void Ownership::arm_timer() {
  std::optional<Instant> next;
  const auto at = [&](Instant when) {
    if (when > now_ && (!next || when < *next)) next = when;
  };
  if (store_ != StoreStep::kIdle) at(store_deadline_);
  if (retry_at_) at(*retry_at_);
  if (move_.step != MoveStep::kNone && move_.step != MoveStep::kHandedOver) at(move_.deadline);
  if (move_.target_gone) at(*move_.target_gone + options_.standby_silence);
  const bool someone_is_missing = owning() && missing_standbys() > 0;
  for (const auto& [node, p] : peers_) {
    if (!p.up) at(p.since + options_.standby_silence);
    if (p.role == Role::kLearner) at(p.progress + options_.learner_limit);
    if (someone_is_missing) at(p.not_before);
    if (p.has_ours) at(p.dismiss_after);
    const auto first_missed = generations_.upper_bound(holds(p).value_or(Generation{}));
    if (first_missed == generations_.end() || p.pace != Pace::kEvery) continue;
    if (const auto when = captured_at_.find(*first_missed); when != captured_at_.end()) {
      at(when->second + options_.acknowledge_limit);
    }
  }
  if (!next || timer_ == next) return;
  timer_ = next;
  effects_.push_back(SetTimer{*next});
}

void Ownership::emit(Severity severity, std::string kind, std::string text) {
  effects_.push_back(Emit{severity, std::move(kind), std::move(text), {}});
}

// ---- What is shown ----

OwnershipStatus Ownership::status() const {
  OwnershipStatus status{.knowledge = knowledge_,
                         .reason = reason_,
                         .record = record_,
                         .revision = revision_,
                         .term = term_,
                         .store_reachable = store_reachable_,
                         .change_waits = doubt_ || store_ == StoreStep::kSwapping ||
                                         (owning() && wanted_record().has_value()),
                         .wanted = wanted_,
                         .peers = {},
                         .committed = committed_,
                         .move = move_.step,
                         .move_target = {}};
  if (move_.target) status.move_target = move_.target->node;
  for (const auto& [node, p] : peers_) {
    const bool recorded = record_ && std::ranges::contains(record_->standbys, node, &Life::node);
    const auto held = holds(p);
    const auto missed =
        std::ranges::count_if(generations_, [&](const auto& g) { return g > held; });
    if (!recorded && p.role == Role::kNone && !p.has_ours && p.refusal.empty()) continue;
    status.peers.push_back(
        {.node = node,
         .recorded = recorded,
         .learner = p.role != Role::kNone,
         .connected = p.up,
         .held = held,
         .behind = static_cast<std::uint64_t>(missed),
         .refusal = p.refusal,
         .retry_at = p.not_before > now_ ? std::optional(p.not_before) : std::nullopt});
  }
  return status;
}

std::string_view to_string(OwnershipKnowledge knowledge) {
  switch (knowledge) {
    case OwnershipKnowledge::kUnread:
      return "unread";
    case OwnershipKnowledge::kKnown:
      return "known";
    case OwnershipKnowledge::kUnknown:
      return "unknown";
    case OwnershipKnowledge::kSuspended:
      return "suspended";
    case OwnershipKnowledge::kEnded:
      return "ended";
  }
  return "?";
}

std::string_view to_string(MoveStep step) {
  switch (step) {
    case MoveStep::kNone:
      return "none";
    case MoveStep::kEnlisting:
      return "enlisting";
    case MoveStep::kPreparing:
      return "preparing";
    case MoveStep::kFreezing:
      return "freezing";
    case MoveStep::kShipping:
      return "shipping";
    case MoveStep::kSwapping:
      return "swapping";
    case MoveStep::kTaking:
      return "taking";
    case MoveStep::kTakingBack:
      return "taking back";
    case MoveStep::kHandedOver:
      return "handed over";
  }
  return "?";
}

}  // namespace perdure::policy::ownership
