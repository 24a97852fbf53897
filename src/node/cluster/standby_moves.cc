// A planned move to this node: prepared, taken, claimed.
#include <format>
#include <utility>

#include "base/assert.h"
#include "base/log.h"
#include "model/spec_yaml.h"
#include "node/cluster/owned_container.h"
#include "node/cluster/peer_codec.h"
#include "node/cluster/standby_held.h"

namespace perdure::node {
namespace {

namespace v1 = peer::v1;

// For what is left of a container that has moved away.
constexpr Duration kLeaveTime = std::chrono::seconds(10);
constexpr Duration kLeaveLook = std::chrono::milliseconds(20);

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

}  // namespace

void StandbyService::on_move_prepare(Request request) {
  prepare_move(std::move(request), environment_.clock.now() + kLeaveTime);
}

void StandbyService::prepare_move(Request request, Instant leave_limit) {
  const v1::MovePrepare& wanted = request.content.message.move_prepare();
  const auto name = ContainerName::parse(wanted.container());
  if (!name || !request.respond) return;
  const auto answer = [respond = request.respond](std::string refusal) {
    v1::Message message;
    message.mutable_move_prepared()->set_refusal(std::move(refusal));
    respond->answer(std::move(message));
  };
  if (Term{wanted.term()} < table_->term_of(*name)) {
    table_->count_fenced();
    return request.respond->refuse(Error(ErrorCode::kFenced, "a higher term is known here"), table_->term_of(*name));
  }
  if (handlers_.runs_here(*name)) {
    // It has just moved away from here, and is moved back.
    if (environment_.clock.now() >= leave_limit) return answer("it has not left the target yet");
    leave_timers_.add(environment_.loop.after(
        kLeaveLook, [this, request = std::move(request), leave_limit] { prepare_move(request, leave_limit); }));
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
  prepare(*name, *std::move(spec), wanted.image_digest(), request.from.node,
          [this, name = *name, answer](const std::vector<std::string>& reasons) {
            if (!reasons.empty()) return answer(reasons.front());
            stage_newest(name, answer);
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

void StandbyService::on_move_take(Request request) {
  const v1::MoveTake& take = request.content.message.move_take();
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
    v1::Message message;
    message.mutable_move_taken()->set_running(true);
    return request.respond->answer(std::move(message));
  }
  if (held == nullptr || !held->prepared || held->dropping) {
    v1::Message message;
    message.mutable_move_taken()->set_error("it is not prepared there");
    return request.respond->answer(std::move(message));
  }
  held->take = take;
  held->take_respond = request.respond;
  if (!held->taking) {
    held->taking = std::make_unique<policy::Taking>(*name, environment_.self, table_->term_of(*name),
                                                    policy::OwnershipOptions{}, random_nonce);
  }
  handle_taking(*name, policy::taking::Told{term, from_peer(take.generation())});
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
    const bool claimed = held->taking->step() == policy::TakingStep::kClaimed;
    held->taking.reset();
    held->taking_timer.reset();
    held->staged.reset();
    if (claimed) {
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
  const Instant deadline = environment_.clock.now() + policy::OwnershipOptions{}.swap_deadline;
  const auto later = [this, token = lifetime_.token(), name](const taking::Event& event) {
    if (token.alive()) handle_taking(name, event);
  };
  if (const auto* read = std::get_if<own::ReadRecord>(&effect)) {
    environment_.records.read(name, deadline, [this, later, request = read->request](
                                                  Result<std::optional<coord::StoredRecord>> found) {
      if (!found) return later(own::ReadFailed{request, found.error().message()});
      if (!*found) return later(own::RecordRead{request, std::nullopt, environment_.view.revision()});
      later(own::RecordRead{request, (*found)->record, (*found)->revision});
    });
  } else if (const auto* swap = std::get_if<own::Swap>(&effect)) {
    environment_.records.swap(
        {.record = swap->record, .expected = swap->expected, .spec_yaml = {}, .nonce = swap->record.nonce}, deadline,
        [this, later, request = swap->request](coord::SwapOutcome outcome) {
          using Kind = coord::SwapOutcome::Kind;
          const coord::Revision revision = outcome.now ? outcome.now->revision : environment_.view.revision();
          if (outcome.kind == Kind::kApplied) return later(own::SwapApplied{request, revision});
          if (outcome.kind == Kind::kUnknown) {
            return later(own::SwapUnknown{request, outcome.error ? outcome.error->message() : "no answer"});
          }
          later(own::SwapRefused{request, outcome.now ? std::optional(outcome.now->record) : std::nullopt, revision});
        });
  } else if (const auto* timer = std::get_if<own::SetTimer>(&effect)) {
    held.taking_timer = environment_.loop.at(timer->at, [later] { later(own::TimerFired{}); });
  } else if (const auto* raise = std::get_if<own::RaiseTerm>(&effect)) {
    table_->raise_term(name, raise->term);
  } else if (const auto* restore = std::get_if<taking::RestoreCopy>(&effect)) {
    restore_copy(name, restore->generation);
  } else if (std::holds_alternative<taking::KillCopy>(effect)) {
    held.restored.reset();
    held.taken_capsule.reset();
    if (held.backend) {
      run(name, [backend = held.backend] { return backend->kill_all(); }, [name](Held&, const Status& killed) {
        if (!killed) log::error("{}: {}", name.str(), killed.error().message());
      });
    }
  } else if (const auto* claim = std::get_if<taking::Claimed>(&effect)) {
    claimed(name, *claim);
  } else if (std::holds_alternative<taking::ClaimedBefore>(effect)) {
    handlers_.claimed_before(name);
  } else if (const auto* answer = std::get_if<taking::Answer>(&effect)) {
    if (!held.take_respond) return;
    v1::Message message;
    message.mutable_move_taken()->set_running(answer->error.empty());
    message.mutable_move_taken()->set_error(answer->error);
    if (held.restored) message.mutable_move_taken()->set_restored_ns(held.restored->total.count());
    std::exchange(held.take_respond, nullptr)->answer(std::move(message));
  } else if (const auto* emit = std::get_if<policy::Emit>(&effect)) {
    control::v1::Event event;
    event.set_severity(static_cast<control::v1::Severity>(static_cast<int>(emit->severity) + 1));
    event.set_container(name.str());
    event.set_kind(emit->kind);
    event.set_text(emit->text);
    event.set_reason(emit->reason);
    environment_.events.append(std::move(event));
  }
}

void StandbyService::restore_copy(const ContainerName& name, const Generation& generation) {
  struct Copy {
    capsule::CapsuleRef capsule;
    RestoreResult restored;
  };
  const auto kind = at(name).take.goes_back() ? ContainerBackend::RestoreKind::kRolledBack
                                              : ContainerBackend::RestoreKind::kMovedHere;
  auto work = [table = table_, backend = at(name).backend, name, generation, kind]() -> Result<Copy> {
    Copy copy;
    PERDURE_ASSIGN(copy.capsule, table->fetch(name, generation));
    PERDURE_ASSIGN(copy.restored, backend->restore(*copy.capsule, kind));
    return copy;
  };
  run(name, std::move(work), [this, name](Held& held, Result<Copy> copy) {
    if (!copy) return handle_taking(name, policy::taking::RestoreFailed{copy.error().message()});
    held.taken_capsule = copy->capsule;
    held.restored = std::move(copy->restored);
    handle_taking(name, policy::taking::Restored{});
  });
}

void StandbyService::claimed(const ContainerName& name, const policy::taking::Claimed& claim) {
  Held& held = at(name);
  PERDURE_ASSERT(held.restored && held.taken_capsule && held.spec);
  held.backend->open_gate();
  TakenContainer taken{.spec = *held.spec,
                       .image_digest = held.image_digest,
                       .backend = held.backend,
                       .capsule = held.taken_capsule,
                       .generation = held.taken_capsule->manifest.generation,
                       .restored = *std::move(held.restored),
                       .record = claim.record,
                       .revision = claim.revision,
                       .restores = held.take.restores(),
                       .failures = held.take.failures(),
                       .created = wall_time_of(held.take.created_unix_ms())};
  for (const v1::MoveTake::HeldBy& row : held.take.held()) {
    const auto node = NodeName::parse(row.node());
    const auto holding = from_peer(row.newest());
    if (node && holding) taken.held_by.insert_or_assign({*node, Incarnation{row.incarnation()}}, *holding);
  }
  handlers_.taken(std::move(taken));
}

}  // namespace perdure::node
