#include "node/cluster/owned_container.h"

#include <sys/random.h>

#include <algorithm>
#include <format>
#include <utility>
#include <variant>

#include "base/assert.h"
#include "base/log.h"
#include "node/cluster/peer_codec.h"
#include "node/cluster/peer_destination.h"
#include "node/cluster/record_events.h"
#include "node/policy_terms.h"
#include "node/status_codec.h"

namespace perdure::node {
namespace {

namespace own = policy::ownership;
namespace p1 = peer::v1;

// A standby fetches the root file system before it answers.
constexpr Duration kEnlistTime = std::chrono::minutes(30);
constexpr Duration kDismissTime = std::chrono::minutes(1);
// Files of the newest generation are laid out; a gigabyte on a slow disk.
constexpr Duration kPrepareTime = std::chrono::minutes(10);
// Of a connection that begins so shortly before this host dies, nobody else hears. A look costs a microsecond.
constexpr Duration kConnectionsLook = std::chrono::milliseconds(20);

replica::Pace to_replica(own::Pace pace) {
  return pace == own::Pace::kEvery ? replica::Pace::kEveryGeneration : replica::Pace::kNewestOnly;
}

// May get lost: a standby that missed it holds what no later generation builds on, until two newer ones are committed.
p1::Message discard_notice(const ContainerName& container, Term term, const own::GenerationsDiscarded& event) {
  p1::Message message;
  p1::DiscardNotice& notice = *message.mutable_discard();
  notice.set_container(container.str());
  notice.set_term(term.value);
  for (const Generation& generation : event.generations) *notice.add_generations() = to_peer(generation);
  return message;
}

}  // namespace

model::Nonce random_nonce() {
  model::Nonce nonce;
  const ssize_t got = ::getrandom(nonce.data(), nonce.size(), 0);
  PERDURE_ASSERT(got == static_cast<ssize_t>(nonce.size()));  // never fails for so few bytes once the kernel is up
  return nonce;
}

OwnedContainer::OwnedContainer(OwnedEnvironment environment, policy::OwnershipIdentity identity,
                               policy::OwnershipOptions options, OwnedSide* side, Handlers handlers)
    : environment_(std::move(environment)),
      identity_(std::move(identity)),
      options_(options),
      side_(side),
      handlers_(std::move(handlers)),
      machine_(identity_, options_, random_nonce) {}

OwnedContainer::~OwnedContainer() = default;

// ---- Events in, effects out ----

void OwnedContainer::handle(const own::Event& event) {
  pending_.push_back(event);
  if (handling_ || ended_) return;
  handling_ = true;
  while (!pending_.empty() && !ended_) {
    const own::Event next = std::move(pending_.front());
    pending_.erase(pending_.begin());
    log::debug("{}: ownership: {}", identity_.container.str(), own::to_string(next));
    if (const auto* restarted = std::get_if<own::Restarted>(&next)) {
      // The machine says RaiseTerm and Remember of what changes only.
      term_ = restarted->term;
      handing_over_ = restarted->handing_over;
    }
    if (const auto* discarded = std::get_if<own::GenerationsDiscarded>(&next)) {
      if (committed_ && std::ranges::contains(discarded->generations, *committed_)) committed_.reset();
      const p1::Message notice = discard_notice(identity_.container, own_term_, *discarded);
      for (const auto& [node, pace] : paces_) {
        if (pace != own::Pace::kNone) environment_.peers.notice(node, notice);
      }
    }
    const auto effects = machine_.handle(next, environment_.clock.now());
    // Found running before this life's first event, which is what the machine begins with.
    if (std::holds_alternative<own::Restarted>(next) && runs_) pending_.push_back(own::ContainerRuns{});
    for (const own::Effect& effect : effects) {
      // Whatever is said because of this event is said under the term that it has brought.
      if (const auto* needs = std::get_if<own::NeedGrants>(&effect)) own_term_ = needs->term;
    }
    for (const own::Effect& effect : effects) {
      log::debug("{}: ownership: -> {}", identity_.container.str(), own::to_string(effect, environment_.clock.now()));
      perform(effect);
    }
  }
  handling_ = false;
  notify();
  if (side_ != nullptr && !ended_) side_->durable_counts(machine_.durable_counts());
  tell_ready_standbys();
  if (machine_.ended() && !std::exchange(ended_, true)) {
    // With what it has captured: it may destroy this.
    environment_.loop.post([ended = handlers_.ended, token = lifetime_.token()] {
      if (token.alive()) ended();
    });
  }
}

void OwnedContainer::move_to(const NodeName& target, MoveCause cause) {
  move_cause_ = cause;
  handle(own::MoveAsked{target});
}

void OwnedContainer::fail_over(FailoverOrder order) {
  move_cause_ = MoveCause::kOther;
  frozen_at_ = environment_.clock.now();
  failover_ = std::move(order);
  handle(own::FailOverAsked{failover_->what.target, failover_->what.generation});
}

void OwnedContainer::tell_ready_standbys() {
  if (side_ == nullptr || ended_) return;
  std::vector<NodeName> ready = machine_.ready_standbys();
  if (ready_standbys_ == ready) return;
  ready_standbys_ = ready;
  side_->tell(policy::StandbysReady{std::move(ready)});
}

void OwnedContainer::runs() {
  runs_ = true;
  handle(own::ContainerRuns{});
  handlers_.runs();
}

struct OwnedContainer::Performer {
  OwnedContainer& self;
  OwnedSide* side() const { return self.side_; }
  void tell(const policy::Event& event) const {
    if (self.side_ != nullptr) self.side_->tell(event);
  }
  void tell_moved() const {
    if (self.environment_.on_moved) self.environment_.on_moved(*self.move_);
  }

  void operator()(const own::ReadRecord& it) { self.read(it); }
  void operator()(const own::Swap& it) { self.swap(it); }
  void operator()(const own::RemoveRecord& it) { self.remove(it); }
  void operator()(const own::Enlist& it) { self.enlist(it); }
  void operator()(const own::NeedGrants& it) { self.need_grants(it); }
  void operator()(const own::RenewNothing&) { self.environment_.leases.forget(self.identity_.container); }
  void operator()(const own::SetPace& it) { self.set_pace(it); }
  void operator()(const own::Dismiss& it) { self.dismiss(it); }
  void operator()(const own::Commit& it) { self.commit(it); }
  void operator()(const policy::Emit& it) { self.emit(it); }
  void operator()(const own::SetTimer& it) {
    self.timer_ = self.environment_.loop.at(it.at, [owner = &self] { owner->handle(own::TimerFired{}); });
  }
  void operator()(const own::RaiseTerm& it) {
    self.term_ = it.term;
    if (side() == nullptr) return;
    if (Status kept = side()->remember(it.term, self.handing_over_); !kept) {
      log::error("{}: {}", self.identity_.container.str(), kept.error().message());
    }
    tell(policy::TermRaised{it.term});
  }
  void operator()(const own::Remember& it) {
    self.handing_over_ = it.handing_over;
    if (side() == nullptr) return;
    if (Status kept = side()->remember(self.term_, it.handing_over); !kept) {
      log::error("{}: {}", self.identity_.container.str(), kept.error().message());
      if (it.handing_over) self.handle(own::NotRemembered{kept.error().message()});
    }
  }
  void operator()(const own::TellTerm& it) { self.say_term(it.node, it.term, {}); }
  void operator()(const own::AskPrepare& it) { self.ask_prepare(it); }
  void operator()(const own::BeginHandover& it) { self.begin_handover(it); }
  void operator()(const own::TellTake& it) { self.tell_take(it); }
  void operator()(const own::HandedOver& it) {
    if (!self.move_) self.move_ = MoveResult{.target = it.target.node, .failure = {}, .generation = {}};
    self.move_->target = it.target.node;
    self.move_->failure.clear();
    self.move_->frozen = self.environment_.clock.now() - self.frozen_at_;
    self.move_->generation = self.handed_;
    self.move_->bytes = self.handed_bytes_;
    tell_moved();
  }
  void operator()(const own::EndCopy&) {
    self.shut_gate();
    tell(policy::HandedOver{});
  }
  void operator()(const own::HandOverFailed& it) {
    self.failover_.reset();
    tell(policy::HandOverFailed{it.reason, it.term});
  }
  void operator()(const own::MoveFailed& it) {
    self.move_ = MoveResult{.target = it.target, .failure = it.reason, .generation = {}};
    tell_moved();
  }
  void operator()(const own::Suspend& it) {
    self.shut_gate();
    tell(policy::OwnershipUnknown{std::format("node '{}' is becoming its owner", it.owner.node.str()), true});
  }
  void operator()(const own::OwnershipLost& it) {
    self.shut_gate();
    tell(policy::OwnershipLost{it.owner.node, it.term});
  }
  void operator()(const own::OwnershipUnknown& it) { tell(policy::OwnershipUnknown{.reason = it.reason}); }
  void operator()(const own::OwnershipKnown&) { tell(policy::OwnershipKnown{}); }
  void operator()(const own::DesiredSettled& it) { self.settled_ = it.desired; }
  void operator()(const own::RemovalComplete&) {}
  void operator()(const own::Refuse& it) { self.refusal_ = it.why; }
};

void OwnedContainer::perform(const own::Effect& effect) { std::visit(Performer{*this}, effect); }

void OwnedContainer::emit(const policy::Emit& effect) {
  environment_.events.append(event_of(identity_.container, effect));
}

// ---- The record ----

void OwnedContainer::read(const own::ReadRecord& effect) {
  environment_.records.read(
      identity_.container, call_deadline(),
      [this, token = lifetime_.token(), request = effect.request](Result<std::optional<coord::StoredRecord>> read) {
        if (token.alive()) handle(read_event<own::Event>(request, read, environment_.store_revision()));
      });
}

void OwnedContainer::swap(const own::Swap& effect) {
  environment_.records.swap(
      {.record = effect.record, .expected = effect.expected, .spec_yaml = {}, .nonce = effect.record.nonce},
      call_deadline(), [this, token = lifetime_.token(), request = effect.request](const coord::SwapOutcome& outcome) {
        if (token.alive()) handle(swap_event<own::Event>(request, outcome, environment_.store_revision()));
      });
}

void OwnedContainer::remove(const own::RemoveRecord& effect) {
  environment_.records.remove(identity_.container, effect.expected, call_deadline(),
                              [this, token = lifetime_.token(), request = effect.request](Result<bool> removed) {
                                if (!token.alive()) return;
                                if (removed && *removed) {
                                  return handle(own::SwapApplied{request, environment_.store_revision()});
                                }
                                // Changed, gone already, or not known: the machine reads.
                                handle(own::SwapUnknown{request, removed ? "the record has changed"
                                                                         : removed.error().message()});
                              });
}

// ---- Grants ----

void OwnedContainer::need_grants(const own::NeedGrants& effect) {
  const std::shared_ptr<GateDeadline> gate = side_ == nullptr ? nullptr : side_->gate_deadline();
  policy::lease::Needs needs{.term = effect.term, .required = effect.required, .asked = effect.asked};
  if (effect.inherits && gate) needs.inherited = gate->get();
  environment_.leases.need(identity_.container, needs, gate);
}

void OwnedContainer::shut_gate() {
  environment_.leases.shut(identity_.container, side_ == nullptr ? nullptr : side_->gate_deadline());
}

// ---- Standbys ----

void OwnedContainer::enlist(const own::Enlist& effect) {
  if (side_ == nullptr) return;
  p1::Message message;
  p1::EnlistRequest& request = *message.mutable_enlist();
  request.set_container(identity_.container.str());
  request.set_term(own_term_.value);
  request.set_spec_yaml(side_->spec_yaml());
  request.set_spec_digest(machine_.status().record ? machine_.status().record->spec_digest : std::string());
  request.set_image_digest(side_->image_digest());
  request.set_memory_bytes(side_->state_bytes());
  if (environment_.host) *request.mutable_host() = to_peer(environment_.host());
  environment_.peers.request(
      effect.node, Channel::kControl, std::move(message), {}, kEnlistTime,
      [this, token = lifetime_.token(), node = effect.node](std::expected<PeerMessage, PeerRefusal> answer) {
        if (!token.alive()) return;
        if (!answer) {
          if (answer.error().error.code() == ErrorCode::kFenced) return handle(own::RecordChanged{});
          if (answer.error().error.code() == ErrorCode::kTransient) return;  // PeerDown says it
          return handle(own::EnlistRefused{node, answer.error().error.message()});
        }
        const p1::EnlistReply& reply = answer->message.enlisted();
        if (reply.reasons_size() > 0) {
          std::string reasons;
          for (const std::string& reason : reply.reasons()) reasons += (reasons.empty() ? "" : "; ") + reason;
          return handle(own::EnlistRefused{node, reasons});
        }
        const PeerState* peer = environment_.peers.find(node);
        if (peer == nullptr) return;
        std::optional<Generation> held;
        holdings_.erase(node);
        if (reply.has_newest()) {
          if (const auto holding = from_peer(reply.newest())) {
            holdings_.insert_or_assign(node, *holding);
            held = holding->generation;
          }
        }
        handle(own::Enlisted{peer->life, held});
      });
}

void OwnedContainer::set_pace(const own::SetPace& effect) {
  if (side_ == nullptr) return;
  const own::Pace before = std::exchange(paces_[effect.node], effect.pace);
  const std::string& name = effect.node.str();
  if (effect.pace == own::Pace::kNone) {
    if (before != own::Pace::kNone) side_->shipper().remove(name);
    return;
  }
  if (before != own::Pace::kNone) return side_->shipper().set_pace(name, to_replica(effect.pace));
  PeerDestinationOptions options{.node = effect.node,
                                 .container = identity_.container,
                                 .term = [this] { return own_term_; },
                                 .committed = [this] { return committed_; },
                                 .fenced = [this, token = lifetime_.token()](Term) {
                                   if (token.alive()) handle(own::RecordChanged{});
                                 }};
  const auto held = holdings_.find(effect.node);
  side_->shipper().add(name, std::make_unique<PeerDestination>(environment_.peers, environment_.clock, options),
                       to_replica(effect.pace),
                       held == holdings_.end() ? std::nullopt : std::optional(held->second));
  tell_connections(effect.node, young_.all());
  if (!connections_timer_.active()) look_for_connections();
}

bool OwnedContainer::is_stood_by() const {
  return std::ranges::any_of(paces_, [](const auto& pace) { return pace.second != own::Pace::kNone; });
}

void OwnedContainer::look_for_connections() {
  if (side_ == nullptr || ended_ || !is_stood_by()) return connections_timer_.reset();
  connections_timer_ = environment_.loop.after(kConnectionsLook, [this] { look_for_connections(); });
  const std::vector<network::TcpTuple> begun = side_->take_begun();
  young_.add(begun);
  for (const auto& [node, pace] : paces_) {
    if (pace != own::Pace::kNone) tell_connections(node, begun);
  }
}

// May get lost, as all notices: whoever was cut off is told again when it is back.
void OwnedContainer::tell_connections(const NodeName& node, std::span<const network::TcpTuple> begun) {
  if (begun.empty()) return;
  p1::Message message;
  p1::ConnectionsNotice& notice = *message.mutable_connections();
  notice.set_container(identity_.container.str());
  notice.set_term(own_term_.value);
  to_peer(begun, notice);
  environment_.peers.notice(node, std::move(message));
}

void OwnedContainer::dismiss(const own::Dismiss& effect) {
  p1::Message message;
  p1::DismissRequest& request = *message.mutable_dismiss();
  request.set_container(identity_.container.str());
  request.set_term(own_term_.value);
  request.set_everything(effect.everything);
  request.set_reason(effect.reason);
  holdings_.erase(effect.node);
  facts_.erase(effect.node);
  environment_.peers.request(
      effect.node, Channel::kControl, std::move(message), {}, kDismissTime,
      [this, token = lifetime_.token(), node = effect.node](std::expected<PeerMessage, PeerRefusal> answer) {
        if (!token.alive()) return;
        if (answer) return handle(own::Dismissed{node});
        if (answer.error().error.code() == ErrorCode::kFenced) return handle(own::RecordChanged{});
        if (answer.error().error.code() == ErrorCode::kTransient) return;  // PeerDown says it
        handle(own::DismissRefused{node, answer.error().error.message()});
      });
}

void OwnedContainer::say_term(const NodeName& node, Term term, std::optional<Generation> committed) {
  p1::Message message;
  p1::CommitNotice& notice = *message.mutable_commit();
  notice.set_container(identity_.container.str());
  notice.set_term(term.value);
  if (committed) *notice.mutable_generation() = to_peer(*committed);
  environment_.peers.notice(node, std::move(message));
}

void OwnedContainer::commit(const own::Commit& effect) {
  if (std::exchange(committed_, effect.generation) != effect.generation) young_.generation_added();
  if (side_ != nullptr) side_->tell(policy::Committed{effect.generation});
  for (const auto& [node, pace] : paces_) {
    if (pace != own::Pace::kNone) say_term(node, own_term_, effect.generation);
  }
}

void OwnedContainer::peer_holds(const model::NodeLife& life, const std::optional<replica::Holding>& held) {
  holdings_.erase(life.node);
  if (held) holdings_.insert_or_assign(life.node, *held);
  const auto pace = paces_.find(life.node);
  if (side_ != nullptr && pace != paces_.end() && pace->second != own::Pace::kNone) {
    side_->shipper().reconnected(life.node.str(), held);
    tell_connections(life.node, young_.all());
  }
  handle(own::PeerUp{life, held ? std::optional(held->generation) : std::nullopt});
}

void OwnedContainer::held(const NodeName& node, const replica::HoldReceipt& receipt) {
  holdings_.insert_or_assign(node, receipt.holding);
  facts_[node] = {receipt.held.count, receipt.on_disk};
  const PeerState* peer = environment_.peers.find(node);
  if (peer != nullptr) handle(own::Held{peer->life, receipt.holding.generation});
}

void OwnedContainer::shipping_failed(const NodeName& node, const Error& error) {
  log::debug("{}: shipping to {}: {}", identity_.container.str(), node.str(), error.message());
  if (error.code() == ErrorCode::kFenced) handle(own::RecordChanged{});
}

OwnedContainer::StandbyFacts OwnedContainer::facts_of(const NodeName& node) const {
  const auto found = facts_.find(node);
  return found == facts_.end() ? StandbyFacts{} : found->second;
}

// ---- Moves ----

void OwnedContainer::ask_prepare(const own::AskPrepare& effect) {
  p1::Message message;
  message.mutable_move_prepare()->set_container(identity_.container.str());
  message.mutable_move_prepare()->set_term(term_.value);
  if (side_ != nullptr) {
    message.mutable_move_prepare()->set_spec_yaml(side_->spec_yaml());
    message.mutable_move_prepare()->set_image_digest(side_->image_digest());
  }
  environment_.peers.request(
      effect.target, Channel::kControl, std::move(message), {}, kPrepareTime,
      [this, token = lifetime_.token(), target = effect.target](std::expected<PeerMessage, PeerRefusal> answer) {
        if (!token.alive()) return;
        handle(own::MovePrepared{target, answer ? answer->message.move_prepared().refusal()
                                                : answer.error().error.message()});
      });
}

void OwnedContainer::begin_handover(const own::BeginHandover& effect) {
  frozen_at_ = environment_.clock.now();
  shipped_before_ = 0;
  if (side_ != nullptr) {
    if (const auto shipped = side_->shipper().status(effect.target.str())) shipped_before_ = shipped->shipped_bytes;
  }
  const Status asked = side_ == nullptr ? Status(fail(ErrorCode::kConflict, "it does not run here"))
                                        : side_->ask_policy(policy::OperatorMove{effect.target});
  if (!asked) handle(own::HandoverCaptureFailed{asked.error().message()});
}

void OwnedContainer::add_failover(p1::MoveTake& take) const {
  if (!failover_) return;
  const Instant now = environment_.clock.now();
  take.set_goes_back(true);
  p1::MoveTake::Failover& failover = *take.mutable_failover();
  failover.set_reason(failover_->what.reason);
  for (const Duration ago : failover_->what.ago) failover.add_ago_ns((ago + (now - frozen_at_)).count());
  if (failover_->failed_at) failover.set_failed_ago_ns((now - *failover_->failed_at).count());
  if (failover_->noticed_at) failover.set_noticed_ago_ns((now - *failover_->noticed_at).count());
}

void OwnedContainer::tell_take(const own::TellTake& effect) {
  if (side_ != nullptr) {
    const auto shipped = side_->shipper().status(effect.target.node.str());
    if (shipped && shipped->held && shipped->held->generation == effect.generation) {
      handed_ = effect.generation;
      handed_bytes_ = shipped->shipped_bytes - shipped_before_;
      handlers_.handing_over(effect.term, *shipped->held);
    }
  }
  p1::Message message;
  p1::MoveTake& take = *message.mutable_move_take();
  take.set_container(identity_.container.str());
  take.set_term(effect.term.value);
  *take.mutable_generation() = to_peer(effect.generation);
  take.set_record_revision(effect.revision);
  take.set_from_unreachable(move_cause_ == MoveCause::kUnreachable);
  take.set_asked(move_cause_ == MoveCause::kAsked);
  add_failover(take);
  if (side_ != nullptr) {
    const OwnedSide::Counters counters = side_->counters();
    take.set_restores(counters.restores);
    take.set_failures(counters.failures);
    take.set_created_unix_ms(unix_ms(counters.created));
  }
  for (const auto& [node, holding] : holdings_) {
    const PeerState* peer = environment_.peers.find(node);
    if (peer == nullptr || node == effect.target.node) continue;
    p1::MoveTake::HeldBy& held = *take.add_held();
    held.set_node(node.str());
    held.set_incarnation(peer->life.incarnation.value);
    *held.mutable_newest() = to_peer(holding);
  }
  environment_.peers.request(
      effect.target.node, Channel::kControl, std::move(message), {}, options_.move_limit,
      [this, token = lifetime_.token(), target = effect.target.node,
       term = effect.term](std::expected<PeerMessage, PeerRefusal> answer) {
        if (!token.alive()) return;
        if (!answer) {
          // Silence: the machine has a limit of its own, and tells again when the target comes back.
          log::warning("{}: move to {}: {}", identity_.container.str(), target.str(), answer.error().error.message());
          return;
        }
        const p1::MoveTaken& taken = answer->message.move_taken();
        handle(own::Taken{target, term, taken.running() ? std::string() : std::string(taken.error())});
      });
}

// ---- Listeners ----

std::uint64_t OwnedContainer::add_listener(Listener listener) {
  listeners_[next_listener_] = std::move(listener);
  return next_listener_++;
}

void OwnedContainer::notify() {
  std::vector<std::uint64_t> ids;
  for (const auto& [id, listener] : listeners_) ids.push_back(id);
  for (const std::uint64_t id : ids) {
    const auto found = listeners_.find(id);
    if (found == listeners_.end()) continue;
    const Listener listener = found->second;  // it may remove itself
    listener();
  }
}

}  // namespace perdure::node
