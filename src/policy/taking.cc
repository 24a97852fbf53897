#include "policy/taking.h"

#include <algorithm>
#include <format>
#include <utility>

#include "base/assert.h"

namespace perdure::policy {

Taking::Taking(ContainerName container, model::NodeLife self, Term known,
               const OwnershipOptions& options, NonceSource nonces)
    : container_(std::move(container)),
      self_(std::move(self)),
      options_(options),
      nonces_(std::move(nonces)),
      term_(known) {
  PERDURE_ASSERT(nonces_ != nullptr);
}

std::vector<taking::Effect> Taking::handle(const taking::Event& event, Instant now) {
  PERDURE_ASSERT(now >= now_);
  now_ = now;
  effects_.clear();
  std::visit([this](const auto& e) { on(e); }, event);
  advance();
  arm_timer();
  return std::exchange(effects_, {});
}

// ---- From the source, from the host ----

void Taking::on(const taking::Told& event) {
  if (event.term < term_) {
    effects_.push_back(
        taking::Answer{event.term, std::format("fenced: term {} is known here", term_.value)});
    return;
  }
  const bool again = step_ != TakingStep::kNew && event.term == term_;
  if (again) {
    if (ended()) effects_.push_back(taking::Answer{term_, error_});
    return;
  }
  if (step_ != TakingStep::kNew && !ended()) {
    abandon("it is being moved here once more");
  }
  if (restoring_) {
    effects_.push_back(taking::Answer{event.term, "the attempt before has not ended here"});
    return;
  }
  if (event.term > term_) effects_.push_back(ownership::RaiseTerm{event.term});
  term_ = event.term;
  generation_ = event.generation;
  error_.clear();
  record_.reset();
  revision_ = std::max(revision_, event.revision);
  step_ = TakingStep::kReading;
  read_wanted_ = true;
}

void Taking::on(const taking::FoundUnfinished& event) {
  if (step_ != TakingStep::kNew) return;
  if (event.term > term_) effects_.push_back(ownership::RaiseTerm{event.term});
  term_ = std::max(term_, event.term);
  step_ = TakingStep::kFencing;
  error_ = std::format("perdured on '{}' was restarted", self_.node.str());
  read_wanted_ = true;
}

void Taking::on(const taking::OwnerSilent& event) {
  if (step_ != TakingStep::kNew) return;
  takeover_ = true;
  silent_ = event.record.owner;
  record_ = event.record;
  revision_ = event.revision;
  holds_ = event.holds;
  if (event.record.term > term_) {
    term_ = event.record.term;
    effects_.push_back(ownership::RaiseTerm{term_});
  }
  if (!may_seize(event.record)) {
    return abandon("its record does not name this life a standby of a running container");
  }
  const bool moving = event.record.phase == model::RecordPhase::kMoving;
  step_ = moving ? TakingStep::kWaiting : TakingStep::kSwapping;
  if (moving) wait_until_ = now_ + 2 * options_.standby_silence;
}

void Taking::on(const taking::OwnerHeard&) {
  if (step_ != TakingStep::kWaiting && step_ != TakingStep::kSwapping) return;
  heard_ = true;
  if (store_ == StoreStep::kSwapping || in_doubt_) return;  // it may be ours already
  abandon("its owner is heard of again");
}

void Taking::on(const taking::Held& event) {
  if (step_ != TakingStep::kWaiting && step_ != TakingStep::kSwapping) return;
  const auto place = std::ranges::lower_bound(holds_, event.generation);
  if (place == holds_.end() || *place != event.generation) holds_.insert(place, event.generation);
}

bool Taking::may_seize(const model::OwnershipRecord& record) const {
  const model::NodeLife* own = record.standby(self_.node);
  return own != nullptr && *own == self_ && record.owner == silent_ && record.term == term_ &&
         record.desired == model::DesiredState::kRunning;
}

// The other standbys hold what this node holds; the former owner is none.
model::OwnershipRecord Taking::next_record() const {
  model::OwnershipRecord record = *record_;
  if (step_ == TakingStep::kClaiming) record.phase = model::RecordPhase::kRunning;
  if (step_ == TakingStep::kSwapping && !heard_) {
    record.owner = self_;
    record.term = Term{record.term.value + 1};
    record.phase = model::RecordPhase::kStarting;
    std::erase_if(record.standbys,
                  [&](const model::NodeLife& life) { return life.node == self_.node; });
  }
  return record;
}

void Taking::seized() {
  term_ = record_->term;
  effects_.push_back(ownership::RaiseTerm{term_});
  effects_.push_back(taking::Seized{*record_, revision_});
  step_ = TakingStep::kRestoring;
  restore_next();
}

void Taking::restore_next() {
  if (holds_.empty()) {
    step_ = TakingStep::kClaimed;
    effects_.push_back(taking::ClaimedEmpty{
        *record_, revision_, error_.empty() ? "nothing of it is held here" : error_});
    return;
  }
  generation_ = holds_.back();
  holds_.pop_back();
  restoring_ = true;
  effects_.push_back(taking::RestoreCopy{generation_});
}

void Taking::on(const taking::Restored&) {
  if (!std::exchange(restoring_, false)) return;
  if (step_ == TakingStep::kRestoring && takeover_) {
    // The record names this node already; who takes that back is a standby whose grant the gate
    // needs.
    step_ = TakingStep::kClaimed;
    effects_.push_back(taking::Claimed{*record_, revision_});
  } else if (step_ == TakingStep::kRestoring) {
    step_ = TakingStep::kClaiming;
  } else {
    effects_.push_back(taking::KillCopy{});
  }
}

// Nothing of ours is under way in the store yet: the source may take the term back.
void Taking::on(const taking::RestoreFailed& event) {
  if (!std::exchange(restoring_, false)) return;
  if (step_ == TakingStep::kRestoring && takeover_) {
    error_ = event.reason;
    effects_.push_back(Emit{Severity::kWarning, "passed_over",
                            std::format("generation {} could not be restored: {}",
                                        perdure::to_string(generation_), error_),
                            {}});
    restore_next();
  } else if (step_ == TakingStep::kRestoring) {
    abandon(event.reason);
  }
}

void Taking::abandon(std::string reason) {
  const bool has_copy = step_ >= TakingStep::kRestoring;
  step_ = TakingStep::kAbandoned;
  error_ = std::move(reason);
  if (has_copy || !takeover_) effects_.push_back(taking::KillCopy{});
  if (takeover_) {
    effects_.push_back(
        Emit{Severity::kInfo, "not_taken_over", "this node does not take it over: " + error_, {}});
    effects_.push_back(taking::ResumeGrants{});
    return;
  }
  effects_.push_back(Emit{Severity::kWarning, "not_taken", "it does not run here: " + error_, {}});
  effects_.push_back(taking::Answer{term_, error_});
}

// ---- The store ----

Duration Taking::doubled(Duration first, Duration most) const {
  Duration time = first;
  for (std::uint32_t n = 0; n < missed_ && time < most; ++n) time *= 2;
  return std::min(time, most);
}

void Taking::on(const ownership::RecordRead& event) {
  if (store_ != StoreStep::kReading || event.request != request_) return;
  store_ = StoreStep::kIdle;
  judge(event.record, event.revision);
}

void Taking::on(const ownership::ReadFailed& event) {
  if (store_ != StoreStep::kReading || event.request != request_) return;
  store_ = StoreStep::kIdle;
  read_wanted_ = true;
  const Duration pause = doubled(options_.first_retry, options_.read_retry);
  retry_at_ = now_ + pause;
  ++missed_;
  if (pause < options_.read_retry || step_ != TakingStep::kSwapping || std::exchange(waiting_told_, true)) return;
  effects_.push_back(Emit{Severity::kError, "waiting",
                          std::format("'{}' is silent, and etcd does not answer: it is not taken over before a majority of its "
                                      "members can be reached",
                                      silent_->node.str()),
                          event.reason});
}

void Taking::on(const ownership::SwapApplied& event) {
  if (store_ != StoreStep::kSwapping || event.request != request_) return;
  store_ = StoreStep::kIdle;
  if (step_ == TakingStep::kFencing) return abandon(error_);
  if (step_ == TakingStep::kSwapping) {
    // What was written may have been the record as it was, for the owner is heard of again.
    record_ = written_;
    revision_ = event.revision;
    in_doubt_ = false;
    return record_->owner == self_ ? seized() : abandon("its owner is heard of again");
  }
  record_->phase = model::RecordPhase::kRunning;
  judge(record_, event.revision);
}

void Taking::on(const ownership::SwapRefused& event) {
  if (store_ != StoreStep::kSwapping || event.request != request_) return;
  store_ = StoreStep::kIdle;
  if (event.revision == revision_) retry_at_ = now_ + options_.read_retry;
  judge(event.record, event.revision);
}

void Taking::on(const ownership::SwapUnknown& event) {
  if (store_ != StoreStep::kSwapping || event.request != request_) return;
  in_doubt();
}

void Taking::in_doubt() {
  store_ = StoreStep::kIdle;
  read_wanted_ = in_doubt_ = true;
  ++missed_;
  if (++unknowns_ > 1) retry_at_ = now_ + options_.read_retry;
}

void Taking::on(const ownership::RecordChanged& event) {
  if (event.revision == 0 || event.revision > revision_) read_wanted_ = true;
}

void Taking::on(const ownership::TimerFired&) {
  timer_.reset();
  if (store_ == StoreStep::kIdle || now_ < store_deadline_) return;
  if (store_ == StoreStep::kReading) {
    on(ownership::ReadFailed{request_, "no answer"});
  } else {
    in_doubt();
  }
}

void Taking::judge(const std::optional<model::OwnershipRecord>& record,
                   ownership::Revision revision) {
  read_wanted_ = false;
  missed_ = 0;
  if (ended()) return;
  if (!record && revision >= revision_) return abandon("the container was removed");
  const bool gone_back =
      !record || record->term < term_ || (record->term == term_ && revision < revision_);
  if (gone_back) {
    // Nobody can tell who owns it: nothing is opened, nothing is killed.
    read_wanted_ = true;
    retry_at_ = now_ + options_.reread;
    if (std::exchange(strange_told_, true)) return;
    effects_.push_back(Emit{Severity::kError,
                            "ownership_unknown",
                            "the store has gone back; what was restored here stays silent: run "
                            "'perdure cluster recover'",
                            {}});
    return;
  }
  const bool unchanged = revision == revision_;
  if (!unchanged) unknowns_ = 0;
  const auto seen = *record;
  record_ = seen;
  revision_ = revision;
  if (step_ == TakingStep::kWaiting || step_ == TakingStep::kSwapping) {
    return judge_silent(seen, unchanged);
  }
  if (seen.owner.node == self_.node) return judge_own(seen);
  if (seen.term > term_) effects_.push_back(ownership::RaiseTerm{seen.term});
  abandon(std::format("'{}' owns it, under term {}", seen.owner.node.str(), seen.term.value));
}

// What the record says while this node wants to be named. A swap that was refused, or has not come,
// leaves it as it was or changed by somebody else; one whose answer was lost may have been applied.
void Taking::judge_silent(const model::OwnershipRecord& record, bool unchanged) {
  if (record.owner == self_ && record.term > term_) return seized();
  if (!unchanged) in_doubt_ = false;
  if (record.term > term_) {
    term_ = record.term;
    effects_.push_back(ownership::RaiseTerm{term_});
  }
  if (!may_seize(record)) {
    return abandon(record.owner == silent_ ? "its record does not name this life a standby of a running container"
                                           : std::format("'{}' owns it, under term {}",
                                                         record.owner.node.str(), record.term.value));
  }
  // Nothing of ours is under way: the record need not be written before the owner is answered again.
  if (heard_ && !in_doubt_) abandon("its owner is heard of again");
}

void Taking::judge_own(const model::OwnershipRecord& record) {
  const bool runs = record.phase == model::RecordPhase::kRunning;
  if (record.owner != self_) {
    // An earlier life. What it did last decides; in a move that it has not ended, the source takes the term back. What it has
    // taken over nobody takes back: its former owner is no standby.
    if (runs || record.phase == model::RecordPhase::kStarting) {
      step_ = TakingStep::kClaimed;
      effects_.push_back(taking::ClaimedBefore{});
    } else if (step_ != TakingStep::kFencing) {
      abandon("the record names an earlier life of this node");
    }
    return;
  }
  if (record.term != term_) {
    abandon(std::format("the record's term is {}", record.term.value));
  } else if (runs) {
    step_ = TakingStep::kClaimed;
    effects_.push_back(taking::Claimed{record, revision_});
    effects_.push_back(taking::Answer{term_, {}});
  } else if (step_ == TakingStep::kReading) {
    step_ = TakingStep::kRestoring;
    restoring_ = true;
    effects_.push_back(taking::Seized{record, revision_});
    effects_.push_back(taking::RestoreCopy{generation_});
  }
}

// One request at a time: the record is read when it is not known, else written when it is our turn.
void Taking::advance() {
  if (step_ == TakingStep::kNew || ended() || store_ != StoreStep::kIdle) return;
  if (retry_at_ && now_ < *retry_at_) return;
  retry_at_.reset();
  if (step_ == TakingStep::kWaiting && now_ >= wait_until_) step_ = TakingStep::kSwapping;
  const bool writes = step_ == TakingStep::kClaiming || step_ == TakingStep::kFencing ||
                      step_ == TakingStep::kSwapping;
  if (!read_wanted_ && !writes) return;
  store_deadline_ = now_ + (read_wanted_ ? doubled(options_.first_deadline, options_.swap_deadline) : options_.swap_deadline);
  if (read_wanted_) {
    store_ = StoreStep::kReading;
    effects_.push_back(ownership::ReadRecord{++request_});
    return;
  }
  store_ = StoreStep::kSwapping;
  model::OwnershipRecord record = next_record();
  record.writer = self_;
  record.nonce = nonces_();
  written_ = record;
  effects_.push_back(ownership::Swap{++request_, std::move(record), revision_});
}

void Taking::arm_timer() {
  // Only what advance() goes by now: a timer for anything else would fire again and again.
  std::optional<Instant> next;
  if (store_ != StoreStep::kIdle) {
    next = store_deadline_;
  } else if (retry_at_) {
    next = retry_at_;
  } else if (step_ == TakingStep::kWaiting) {
    next = wait_until_;
  }
  if (ended() || !next || timer_ == next) return;
  timer_ = next;
  effects_.push_back(ownership::SetTimer{*next});
}

// ---- Words ----

std::string_view to_string(TakingStep step) {
  switch (step) {
    case TakingStep::kNew:
      return "new";
    case TakingStep::kWaiting:
      return "waiting";
    case TakingStep::kSwapping:
      return "swapping";
    case TakingStep::kReading:
      return "reading";
    case TakingStep::kRestoring:
      return "restoring";
    case TakingStep::kClaiming:
      return "claiming";
    case TakingStep::kFencing:
      return "fencing";
    case TakingStep::kClaimed:
      return "claimed";
    case TakingStep::kAbandoned:
      return "abandoned";
  }
  return "?";
}

namespace taking {
namespace {

struct EventText {
  std::string operator()(const Told& e) const {
    return std::format("told term {} {}", e.term.value, perdure::to_string(e.generation));
  }
  std::string operator()(const FoundUnfinished& e) const {
    return std::format("found-unfinished term {}", e.term.value);
  }
  std::string operator()(const OwnerSilent& e) const {
    return std::format("owner-silent revision {}: {}, {} held", e.revision,
                       ownership::to_string(e.record), e.holds.size());
  }
  std::string operator()(const OwnerHeard&) const { return "owner-heard"; }
  std::string operator()(const Held& e) const { return "held " + perdure::to_string(e.generation); }
  std::string operator()(const Restored&) const { return "restored"; }
  std::string operator()(const RestoreFailed& e) const { return "restore-failed " + e.reason; }
  std::string operator()(const auto& e) const { return ownership::to_string(ownership::Event(e)); }
};

struct EffectText {
  Instant origin;
  std::string operator()(const RestoreCopy& e) const {
    return "restore " + perdure::to_string(e.generation);
  }
  std::string operator()(const KillCopy&) const { return "kill-copy"; }
  std::string operator()(const ResumeGrants&) const { return "resume-grants"; }
  std::string operator()(const Seized& e) const {
    return std::format("seized revision {}: {}", e.revision, ownership::to_string(e.record));
  }
  std::string operator()(const ClaimedEmpty& e) const {
    return std::format("claimed-empty revision {}: {}: {}", e.revision,
                       ownership::to_string(e.record), e.reason);
  }
  std::string operator()(const Claimed& e) const {
    return std::format("claimed revision {}: {}", e.revision, ownership::to_string(e.record));
  }
  std::string operator()(const ClaimedBefore&) const { return "claimed-before"; }
  std::string operator()(const Answer& e) const {
    return std::format("answer term {} {}", e.term.value, e.error.empty() ? "running" : e.error);
  }
  std::string operator()(const auto& e) const {
    return ownership::to_string(ownership::Effect(e), origin);
  }
};

}  // namespace

std::string to_string(const Event& event) {
  return std::visit(EventText{}, event);
}

std::string to_string(const Effect& effect, Instant origin) {
  return std::visit(EffectText{origin}, effect);
}

}  // namespace taking

}  // namespace perdure::policy
