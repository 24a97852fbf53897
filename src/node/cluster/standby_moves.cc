// Becoming the owner: by a planned move, or because the owner is silent.
#include <algorithm>
#include <format>
#include <functional>
#include <ranges>
#include <thread>
#include <utility>

#include "base/assert.h"
#include "base/log.h"
#include "model/spec_yaml.h"
#include "node/cluster/owned_container.h"
#include "node/cluster/peer_codec.h"
#include "node/cluster/record_events.h"
#include "node/cluster/standby_held.h"
#include "node/policy_terms.h"

namespace perdure::node {
namespace {

namespace p1 = peer::v1;

// For what is left of a container that has moved away.
constexpr Duration kLeaveLook = std::chrono::milliseconds(20);
// What a container writes in this time is written by the restore; more often would cost the standby more than it saves.
constexpr Duration kStageAgain = std::chrono::seconds(10);
// Of what an owner says of a failover.
constexpr Duration kLongAgo = std::chrono::hours(24);
constexpr int kFailoversTold = 100;
constexpr std::size_t kReasonLimit = 1024;

// Also one that is older than what is committed by now: what follows is laid over it.
Result<capsule::CapsuleRef> fetch_newest(replica::StandbyTable& table, const ContainerName& name) {
  constexpr int kTries = 5;  // a newer one may take its place meanwhile
  for (int i = 1;; ++i) {
    const auto held = table.find(name);
    if (!held || !held->newest) return fail(ErrorCode::kNotFound, std::format("nothing of container '{}' is held there yet", name.str()));
    auto newest = table.fetch(name, held->newest->generation);
    if (newest || newest.error().code() != ErrorCode::kNotFound || i == kTries) return newest;
  }
}

struct Copy {
  capsule::CapsuleRef capsule;
  RestoreResult restored;
};

// What CRIU restores without complaint may be damaged all the same. The capsule is read beside the restore, which takes longer, on a
// thread of its own, for the pool's may be busy with other restores; until it is found in order the gate stays shut.
Result<Copy> restore_checked(replica::StandbyTable& table, ContainerBackend& backend, WithheldGate& gate, const ContainerName& name,
                             const Generation& generation, ContainerBackend::RestoreKind kind,
                             const std::vector<network::TcpTuple>& begun) {
  Copy copy;
  PERDURE_ASSIGN(copy.capsule, table.fetch(name, generation));
  Status checked;
  Result<RestoreResult> restored = [&] {
    const std::jthread checking([&] {
      const Instant begin = BootClock::now();
      checked = table.check(name, generation);
      if (checked) gate.release();
      log::info("{}: generation {} {}; looked at for {}", name.str(), to_string(generation), checked ? "is in order" : "is damaged",
                format_duration(BootClock::now() - begin));
    });
    return backend.restore(*copy.capsule, kind, begun);
  }();
  if (!checked) {
    if (Status killed = restored ? backend.kill_all() : Status{}; !killed) log::error("{}: {}", name.str(), killed.error().message());
    return fail(std::move(checked).error());
  }
  if (!restored) return fail(std::move(restored).error());
  copy.restored = *std::move(restored);
  return copy;
}

}  // namespace

void StandbyService::on_move_prepare(Request request) {
  prepare_move(std::move(request), environment_.clock.now() + kLeaveTime);
}

bool StandbyService::look_again(Instant leave_limit, std::function<void()> again) {
  if (environment_.clock.now() >= leave_limit) return false;
  leave_timers_.add(environment_.loop.after(kLeaveLook, std::move(again)));
  return true;
}

void StandbyService::prepare_move(Request request, Instant leave_limit) {
  const p1::MovePrepare& wanted = request.content.message.move_prepare();
  const auto name = ContainerName::parse(wanted.container());
  if (!name || !request.respond) return;
  const auto answer = [respond = request.respond](std::string refusal) {
    p1::Message message;
    message.mutable_move_prepared()->set_refusal(std::move(refusal));
    respond->answer(std::move(message));
  };
  if (Term{wanted.term()} < table_->term_of(*name)) {
    table_->count_fenced();
    return request.respond->refuse(Error(ErrorCode::kFenced, "a higher term is known here"), table_->term_of(*name));
  }
  if (handlers_.runs_here(*name)) {
    if (!look_again(leave_limit, [this, request, leave_limit] { prepare_move(request, leave_limit); })) {
      answer("it has not left the target yet");
    }
    return;
  }
  auto spec = model::read_spec(wanted.spec_yaml(), "specification from its owner");
  if (!spec) return answer(spec.error().message());
  Held& held = at(*name);
  if (held.busy && !held.dropping && !held.taking) {
    // What it is busy with makes the move shorter.
    held.when_idle.emplace_back([this, request = std::move(request)] { on_move_prepare(request); });
    return;
  }
  if (held.dropping || held.taking) return answer("the target is busy with it");
  prepare(*name, *spec, wanted.image_digest(), request.from.node,
          [this, name = *name, wanted, answer, respond = request.respond](const std::vector<std::string>& reasons) {
            if (!reasons.empty()) return answer(reasons.front());
            if (!wanted.has_bring()) return stage_newest(name, answer);
            bring(name, wanted, [this, name, answer, respond](const Status& brought) {
              if (brought) return stage_newest(name, answer);
              p1::Message message;
              message.mutable_move_prepared()->set_refusal(brought.error().message());
              message.mutable_move_prepared()->set_unusable(brought.error().code() == ErrorCode::kCorrupt ||
                                                            brought.error().code() == ErrorCode::kNotFound);
              respond->answer(std::move(message));
            });
          });
}

void StandbyService::stage_newest(const ContainerName& name, std::function<void(std::string)> answer) {
  Held& held = at(name);
  auto work = [table = table_, backend = held.backend, name, staged = held.staged]() -> Result<Generation> {
    PERDURE_ASSIGN(const capsule::CapsuleRef newest, fetch_newest(*table, name));
    if (staged != newest->manifest.generation) PERDURE_TRY(backend->stage(*newest));
    return newest->manifest.generation;
  };
  run(name, std::move(work), [answer = std::move(answer)](Held& prepared, Result<Generation> staged) {
    if (!staged) return answer(staged.error().message());
    prepared.staged = *staged;
    answer("");
  });
}

// So that a takeover writes only the files that have changed since, and does not start a CRIU first.
void StandbyService::stage_again(const ContainerName& name) {
  Held* held = find(name);
  if (held == nullptr || !held->prepared || held->busy || held->dropping || held->taking) return;
  const Instant now = environment_.clock.now();
  if (held->staged_at != Instant{} && now - held->staged_at < kStageAgain) return;
  held->staged_at = now;
  stage_newest(name, [name](const std::string& trouble) {
    if (!trouble.empty()) log::warning("{}: its files are not laid out here yet: {}", name.str(), trouble);
  });
}

void StandbyService::on_move_take(Request request) {
  const p1::MoveTake& take = request.content.message.move_take();
  const auto name = ContainerName::parse(take.container());
  if (!name || !request.respond) return;
  const Term term{take.term()};
  if (term < table_->term_of(*name)) {
    table_->count_fenced();
    return request.respond->refuse(Error(ErrorCode::kFenced, "a higher term is known here"), table_->term_of(*name));
  }
  Held* held = find(*name);
  if (handlers_.runs_here(*name)) {
    // The answer was lost: it runs here already.
    p1::Message message;
    message.mutable_move_taken()->set_running(true);
    return request.respond->answer(std::move(message));
  }
  if (held == nullptr || !held->prepared || held->dropping) {
    p1::Message message;
    message.mutable_move_taken()->set_error("it is not prepared there");
    return request.respond->answer(std::move(message));
  }
  held->take = take;
  held->failed_from = request.from.node;
  held->take_respond = request.respond;
  if (!take.ordered_by().empty()) ordered(*name, take);
  if (!held->taking) {
    held->taking = std::make_unique<policy::Taking>(*name, environment_.self, table_->term_of(*name),
                                                    policy::OwnershipOptions{}, random_nonce);
  }
  handle_taking(*name, policy::taking::Told{term, from_peer(take.generation())});
}

// Not silence but an operator's word: what follows is told and measured as a takeover all the same.
void StandbyService::ordered(const ContainerName& name, const p1::MoveTake& take) {
  const auto from = NodeName::parse(take.taken_from());
  if (!from || at(name).taking) return;
  const Instant now = environment_.clock.now();
  at(name).takeover = TakeoverTimes{.from = *from, .last_heard = now, .noticed = now, .swapped = now, .ordered_by = take.ordered_by()};
  control::v1::Event event;
  event.set_severity(control::v1::SEVERITY_WARNING);
  event.set_container(name.str());
  event.set_kind("takeover_ordered");
  event.set_text(std::format("{} has this node take it over from '{}', with generation {}", take.ordered_by(), from->str(),
                             to_string(from_peer(take.generation()))));
  event.set_generation(to_string(from_peer(take.generation())));
  environment_.events.append(std::move(event));
}

void StandbyService::found_unfinished(const ContainerName& container, Term term) {
  Held& held = at(container);
  if (held.taking) return;
  held.taking = std::make_unique<policy::Taking>(container, environment_.self, table_->term_of(container),
                                                 policy::OwnershipOptions{}, random_nonce);
  handle_taking(container, policy::taking::FoundUnfinished{term});
}

bool StandbyService::is_taking(const ContainerName& container) const {
  const auto found = held_.find(container);
  return found != held_.end() && found->second->taking;
}

// ---- A takeover ----

void StandbyService::owner_heard(const ContainerName& container) {
  const Held* held = find(container);
  if (held == nullptr || !held->taking) return environment_.leases.resume(container);
  handle_taking(container, policy::taking::OwnerHeard{});
}

// From here on the other standbys are asked for their grants, and the segment learns where the address is: what arrives meanwhile
// waits for the restored sockets.
void StandbyService::seized(const ContainerName& name, const policy::taking::Seized& seized) {
  Held& held = at(name);
  if (held.takeover) held.takeover->swapped = environment_.clock.now();
  // The former owner is granted nothing any more, whatever this node's view of the record shows until it has caught up.
  environment_.leases.watch(name, std::nullopt);
  held.gate = std::make_shared<WithheldGate>(held.backend->gate_deadline());
  environment_.leases.need(name, {.term = seized.record.term, .required = seized.record.standbys, .asked = {}}, held.gate);
  if (!held.takeover) return;
  measure(name, TakeoverMeter::Step::kSwapped, held.takeover->swapped);
  const Status submitted = environment_.pool.submit(
      environment_.loop, lifetime_, [backend = held.backend] { return backend->announce(); },
      [name](const Status& announced) {
        if (!announced) log::warning("{}: announce its addresses: {}", name.str(), announced.error().message());
      });
  if (!submitted) log::warning("{}: announce its addresses: {}", name.str(), submitted.error().message());
}

// ---- The machine ----

void StandbyService::handle_taking(const ContainerName& name, const policy::taking::Event& event) {
  Held* held = find(name);
  if (held == nullptr || !held->taking) return;
  held->taking_events.push_back(event);
  if (std::exchange(held->handling_taking, true)) return;
  while (!held->taking_events.empty()) {
    const policy::taking::Event next = std::move(held->taking_events.front());
    held->taking_events.erase(held->taking_events.begin());
    log::debug("{}: taking: {}", name.str(), policy::taking::to_string(next));
    for (const auto& effect : held->taking->handle(next, environment_.clock.now())) {
      log::debug("{}: taking: -> {}", name.str(), policy::taking::to_string(effect, environment_.clock.now()));
      perform_taking(name, effect);
    }
  }
  held->handling_taking = false;
  if (held->taking->ended()) {
    // Of a restore that goes on nobody wants to know any more; until it has ended it counts.
    if (!is_being_restored(name)) leave_turns(name);
    const bool claimed = held->taking->step() == policy::TakingStep::kClaimed;
    held->taking.reset();
    held->taking_timer.reset();
    takeover_ended(name, TakeoverMeter::End::kLost);  // unless it had another end
    held->takeover.reset();
    held->staged.reset();
    if (claimed) {
      environment_.leases.watch(name, std::nullopt);  // of a move: its source
      environment_.loop.post([this, token = lifetime_.token(), name] {
        if (token.alive()) held_.erase(name);
      });
    }
  }
}

void StandbyService::perform_taking(const ContainerName& name, const policy::taking::Effect& effect) {
  namespace own = policy::ownership;
  namespace taking = policy::taking;
  Held& held = at(name);
  if (const auto* read = std::get_if<own::ReadRecord>(&effect)) {
    read_for_taking(name, *read);
  } else if (const auto* swap = std::get_if<own::Swap>(&effect)) {
    swap_for_taking(name, *swap);
  } else if (const auto* timer = std::get_if<own::SetTimer>(&effect)) {
    held.taking_timer = environment_.loop.at(timer->at, [this, name] { handle_taking(name, own::TimerFired{}); });
  } else if (const auto* raise = std::get_if<own::RaiseTerm>(&effect)) {
    table_->raise_term(name, raise->term);
  } else if (std::holds_alternative<taking::ResumeGrants>(effect)) {
    environment_.leases.resume(name);
  } else if (const auto* seizure = std::get_if<taking::Seized>(&effect)) {
    seized(name, *seizure);
  } else if (const auto* restore = std::get_if<taking::RestoreCopy>(&effect)) {
    wait_for_turn(name, restore->generation);
  } else if (std::holds_alternative<taking::KillCopy>(effect)) {
    kill_copy(name);
  } else if (const auto* claim = std::get_if<taking::Claimed>(&effect)) {
    claimed(name, *claim);
  } else if (const auto* empty = std::get_if<taking::ClaimedEmpty>(&effect)) {
    claimed_empty(name, *empty);
  } else if (std::holds_alternative<taking::ClaimedBefore>(effect)) {
    handlers_.claimed_before(name);
  } else if (const auto* answer = std::get_if<taking::Answer>(&effect)) {
    answer_mover(held, *answer);
  } else if (const auto* emit = std::get_if<policy::Emit>(&effect)) {
    environment_.events.append(event_of(name, *emit));
  }
}

void StandbyService::read_for_taking(const ContainerName& name, const policy::ownership::ReadRecord& read) {
  environment_.records.read(
      name, environment_.clock.now() + policy::OwnershipOptions{}.swap_deadline,
      [this, token = lifetime_.token(), name, request = read.request](Result<std::optional<coord::StoredRecord>> found) {
        if (!token.alive()) return;
        handle_taking(name, read_event<policy::taking::Event>(request, found, environment_.view.revision()));
      });
}

void StandbyService::swap_for_taking(const ContainerName& name, const policy::ownership::Swap& swap) {
  environment_.records.swap(
      {.record = swap.record, .expected = swap.expected, .spec_yaml = {}, .nonce = swap.record.nonce},
      environment_.clock.now() + policy::OwnershipOptions{}.swap_deadline,
      [this, token = lifetime_.token(), name, request = swap.request](const coord::SwapOutcome& outcome) {
        if (!token.alive()) return;
        handle_taking(name, swap_event<policy::taking::Event>(request, outcome, environment_.view.revision()));
      });
}

void StandbyService::kill_copy(const ContainerName& name) {
  Held& held = at(name);
  held.restored.reset();
  held.taken_capsule.reset();
  if (!held.backend) return;
  // Also for a restore that goes on: whatever is found in order then, its gate stays shut.
  environment_.leases.shut(name, held.gate ? std::shared_ptr<GateDeadline>(held.gate) : held.backend->gate_deadline());
  run(name, [backend = held.backend] { return backend->kill_all(); }, [name](Held&, const Status& killed) {
    if (!killed) log::error("{}: {}", name.str(), killed.error().message());
  });
}

void StandbyService::answer_mover(Held& held, const policy::taking::Answer& answer) {
  if (!held.take_respond) return;
  p1::Message message;
  message.mutable_move_taken()->set_running(answer.error.empty());
  message.mutable_move_taken()->set_error(answer.error);
  if (held.restored) message.mutable_move_taken()->set_restored_ns(held.restored->total.count());
  std::exchange(held.take_respond, nullptr)->answer(std::move(message));
}

void StandbyService::restore_copy(const ContainerName& name, const Generation& generation) {
  if (Held& held = at(name); held.busy) {
    held.when_idle.emplace_back([this, name, generation] { restore_copy(name, generation); });
    return;
  }
  PERDURE_ASSERT(at(name).gate);
  at(name).gate->withhold();
  const bool goes_back = at(name).takeover.has_value() || at(name).take.goes_back();
  const auto kind = goes_back ? ContainerBackend::RestoreKind::kRolledBack : ContainerBackend::RestoreKind::kMovedHere;
  auto work = [table = table_, backend = at(name).backend, gate = at(name).gate, name, generation, kind,
               begun = goes_back ? at(name).young.all() : std::vector<network::TcpTuple>()] {
    return restore_checked(*table, *backend, *gate, name, generation, kind, begun);
  };
  run(name, std::move(work), [this, name](Held& held, Result<Copy> copy) {
    leave_turns(name);
    if (!copy) return handle_taking(name, policy::taking::RestoreFailed{copy.error().message()});
    held.taken_capsule = copy->capsule;
    held.restored = std::move(copy->restored);
    if (held.takeover) {
      held.takeover->restored = environment_.clock.now();
      measure(name, TakeoverMeter::Step::kRestored, held.takeover->restored);
    }
    handle_taking(name, policy::taking::Restored{});
  });
}

std::optional<FailedOverHere> StandbyService::failed_over(const Held& held) const {
  if (held.takeover || !held.take.has_failover() || !held.failed_from) return std::nullopt;
  const p1::MoveTake::Failover& told = held.take.failover();
  const Instant now = environment_.clock.now();
  const auto ago = [](std::int64_t time) { return std::clamp(Duration(time), Duration::zero(), kLongAgo); };
  FailedOverHere failover{.what = {.from = *held.failed_from, .reason = told.reason().substr(0, kReasonLimit), .ago = {}},
                          .failed = now - ago(told.failed_ago_ns()),
                          .noticed = now - ago(told.noticed_ago_ns())};
  for (const std::int64_t time : told.ago_ns() | std::views::take(kFailoversTold)) failover.what.ago.push_back(ago(time));
  std::ranges::sort(failover.what.ago, std::greater{});
  return failover;
}

TakenContainer StandbyService::taken_from(Held& held, const model::OwnershipRecord& record,
                                          coord::Revision revision) const {
  TakenContainer taken{.spec = *held.spec,
                       .image_digest = held.image_digest,
                       .backend = held.backend,
                       .capsule = held.taken_capsule,
                       .generation = held.taken_capsule ? held.taken_capsule->manifest.generation : Generation{},
                       .restored = std::exchange(held.restored, std::nullopt),
                       .record = record,
                       .revision = revision,
                       .restores = held.take.restores(),
                       .failures = held.take.failures(),
                       .created = record.created,
                       .takeover = held.takeover,
                       .failed_over = failed_over(held),
                       .asked = held.take.asked(),
                       .from_unreachable = held.take.from_unreachable()};
  if (held.take.created_unix_ms() > 0) taken.created = wall_time_of(held.take.created_unix_ms());
  for (const p1::MoveTake::HeldBy& row : held.take.held()) {
    const auto node = NodeName::parse(row.node());
    const auto holding = from_peer(row.newest());
    if (node && holding) taken.held_by.insert_or_assign({*node, Incarnation{row.incarnation()}}, *holding);
  }
  return taken;
}

void StandbyService::claimed(const ContainerName& name, const policy::taking::Claimed& claim) {
  Held& held = at(name);
  PERDURE_ASSERT(held.restored && held.taken_capsule && held.spec);
  held.backend->open_gate();
  takeover_ended(name, TakeoverMeter::End::kCompleted);
  handlers_.taken(taken_from(held, claim.record, claim.revision));
}

// Its policy looks for what others hold and what is durable, and decides.
void StandbyService::claimed_empty(const ContainerName& name, const policy::taking::ClaimedEmpty& claim) {
  Held& held = at(name);
  PERDURE_ASSERT(held.spec);
  log::error("{}: this node owns it, and nothing that is held here could be restored: {}", name.str(), claim.reason);
  held.restored.reset();
  held.taken_capsule.reset();
  held.gate->release();  // its policy looks after the gate from here on, and nothing is behind it
  takeover_ended(name, TakeoverMeter::End::kFailed);
  handlers_.taken(taken_from(held, claim.record, claim.revision));
}

void StandbyService::measure(const ContainerName& name, TakeoverMeter::Step step, Instant at) const {
  const auto held = held_.find(name);
  if (environment_.takeovers == nullptr || held == held_.end() || !held->second->takeover) return;
  environment_.takeovers->reached(name, step, at - held->second->takeover->last_heard);
}

void StandbyService::takeover_ended(const ContainerName& name, TakeoverMeter::End end) const {
  if (environment_.takeovers != nullptr) environment_.takeovers->ended(name, end);
}

}  // namespace perdure::node
