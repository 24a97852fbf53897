// Requests that bring a container somewhere and wait until it is there.
#include <algorithm>
#include <format>

#include "node/control_request.h"
#include "node/status_codec.h"

namespace perdure::node {
namespace {

namespace v1 = control::v1;
using policy::Phase;

// How long a request waits; what it asked for goes on afterwards.
//
// Retries of captures that fail for a passing reason are over by then.
constexpr Duration kCheckpointLimit = std::chrono::minutes(2);
// Attempts with older generations included.
constexpr Duration kRestoreLimit = std::chrono::minutes(10);
// Beyond the container's own deadline: a capture that is cancelled, the kill, the last processes.
constexpr Duration kStopSlack = std::chrono::minutes(1);
constexpr Duration kRemoveSlack = std::chrono::minutes(5);
// For the standbys of what has been removed to confirm it.
constexpr Duration kReleaseWait = std::chrono::seconds(5);
constexpr Duration kLongestStop = std::chrono::minutes(10);  // as in a specification
// A last generation is worth this much of an operator's patience.
constexpr Duration kLastCheckpointLimit = std::chrono::seconds(15);
// A requested capture that fails for a passing reason (a connection in its handshake) is tried this often.
constexpr std::uint64_t kCheckpointAttempts = 3;

bool runs(Phase phase) {
  return phase == Phase::kTrial || phase == Phase::kProtected || phase == Phase::kUnprotected;
}

v1::Error capture_error(const ContainerService& service) {
  v1::Error error;
  error.set_code(service.status().phase == Phase::kUnprotected ? v1::ERROR_UNSUPPORTED : v1::ERROR_TRANSIENT);
  error.set_message(std::format("checkpoint of container '{}': {}", service.spec().name.str(),
                                service.last_capture_error()));
  error.set_remedy(service.status().remedy);
  for (std::string& line : criu_lines(service.last_capture_error())) error.add_detail(std::move(line));
  return error;
}

// ---- checkpoint ----

// Whether the checkpoint that was asked for is there, or cannot be had.
class CheckpointWatch {
 public:
  CheckpointWatch(const ContainerService& service, Instant asked)
      : asked_(asked), failures_(service.capture_failures()) {}

  const policy::GenerationInfo* committed(const ContainerService& service) const {
    const policy::GenerationInfo* newest = policy::newest_good(service.generations());
    return newest != nullptr && newest->captured_at >= asked_ ? newest : nullptr;
  }
  bool failed(const ContainerService& service) const {
    const std::uint64_t failures = service.capture_failures() - failures_;
    const bool for_good = service.status().phase == Phase::kUnprotected && failures > 0;
    return for_good || failures >= kCheckpointAttempts;
  }

 private:
  Instant asked_;
  std::uint64_t failures_;
};

class CheckpointRequest final : public ContainerRequest {
 public:
  using ContainerRequest::ContainerRequest;

  void begin() override {
    ContainerService* service = find_or_fail(message().checkpoint().name());
    if (service == nullptr) return;
    watch_.emplace(*service, node().clock().now());
    if (Status asked = service->ask(policy::OperatorCheckpoint{}); !asked) return fail(asked.error());
    wait_for(*service, kCheckpointLimit);
  }

 protected:
  void look(ContainerService& service) override {
    if (const policy::GenerationInfo* generation = watch_->committed(service)) return reply(service, *generation);
    if (watch_->failed(service)) return fail(capture_error(service));
    if (!runs(service.status().phase)) {
      fail(Error(ErrorCode::kConflict, std::format("container '{}' does not run any more: it is {}", name(),
                                                   to_string(service.status().phase))));
    }
  }

 private:
  void reply(const ContainerService& service, const policy::GenerationInfo& generation) {
    const std::string id = to_string(generation.id);
    v1::Response response;
    v1::CheckpointReply& checkpoint = *response.mutable_checkpoint();
    checkpoint.set_name(name());
    for (v1::GenerationRow& row : generation_rows(service, node().clock())) {
      if (row.generation() == id) *checkpoint.mutable_generation() = std::move(row);
    }
    if (service.last_capture()) *checkpoint.mutable_capture() = to_proto(*service.last_capture());
    finish(std::move(response));
  }

  std::optional<CheckpointWatch> watch_;
};

// ---- restore ----

class RestoreRequest final : public ContainerRequest {
 public:
  using ContainerRequest::ContainerRequest;

  void begin() override {
    ContainerService* service = find_or_fail(message().restore().name());
    if (service == nullptr) return;
    const auto generation = wanted(*service);
    if (!generation) return fail(generation.error(), std::format("'perdure generations {}' shows what there is",
                                                                 service->spec().name.str()));
    if (Status admitted = service->admit(policy::OperatorRestore{*generation}); !admitted) return fail(admitted.error());
    settle(*service, model::DesiredState::kRunning, [this, generation = *generation](ContainerService& settled) {
      restores_before_ = settled.record().restores;
      if (Status asked = settled.ask(policy::OperatorRestore{generation}); !asked) return fail(asked.error());
      wait_for(settled, kRestoreLimit);
    });
  }

 protected:
  void look(ContainerService& service) override {
    const Phase phase = service.status().phase;
    if (runs(phase) && service.record().restores > restores_before_) {
      v1::Response response;
      *response.mutable_restore()->mutable_status() = status_of(service, node().clock());
      if (service.last_restore()) *response.mutable_restore()->mutable_restore() = to_proto(*service.last_restore());
      return finish(std::move(response));
    }
    if (phase == Phase::kFailed || phase == Phase::kStopped) return fail(given_up(service, "was not restored"));
  }

 private:
  Result<Generation> wanted(const ContainerService& service) const {
    if (message().restore().has_generation()) return parse_generation(message().restore().generation());
    const policy::GenerationInfo* newest = policy::newest_good(service.generations());
    if (newest != nullptr) return newest->id;
    return perdure::fail(ErrorCode::kNotFound,
                         std::format("container '{}' has no committed generation", service.spec().name.str()));
  }

  std::uint64_t restores_before_ = 0;
};

// ---- stop ----

class StopRequest final : public ContainerRequest {
 public:
  using ContainerRequest::ContainerRequest;

  void begin() override {
    ContainerService* service = find_or_fail(message().stop().name());
    if (service == nullptr) return;
    if (message().stop().has_deadline_ns()) {
      deadline_ = std::clamp<Duration>(Duration(message().stop().deadline_ns()), Duration::zero(), kLongestStop);
    }
    if (service->status().phase == Phase::kProtected) {
      last_checkpoint_.emplace(*service, node().clock().now());
      if (!service->ask(policy::OperatorCheckpoint{})) last_checkpoint_.reset();
      patience_ = node().loop().after(kLastCheckpointLimit, [this] {
        if (ContainerService* found = is_finished() || stopping_ ? nullptr : find_or_fail(name())) stop(*found);
      });
    }
    if (!last_checkpoint_ && !stop(*service)) return;
    wait_for(*service, deadline_.value_or(service->spec().stop.deadline) + kLastCheckpointLimit + kStopSlack);
  }

 protected:
  void look(ContainerService& service) override {
    const Phase phase = service.status().phase;
    if (!stopping_) {
      const bool waits = phase == Phase::kProtected && !last_checkpoint_->committed(service) &&
                         !last_checkpoint_->failed(service);
      if (waits || !stop(service)) return;
      return look(service);
    }
    if (phase == Phase::kStopped) {
      v1::Response response;
      *response.mutable_stop()->mutable_status() = status_of(service, node().clock());
      response.mutable_stop()->set_killed(service.stop_was_kill());
      return finish(std::move(response));
    }
    if (phase == Phase::kFailed) return fail(given_up(service, "could not be stopped"));
  }

 private:
  // False: refused, and said so.
  bool stop(ContainerService& service) {
    stopping_ = true;
    service.set_stop_deadline_passed(false);
    if (ended_meanwhile(service)) return true;
    if (Status admitted = service.admit(policy::OperatorStop{deadline_}); !admitted) {
      fail(admitted.error());
      return false;
    }
    settle(service, model::DesiredState::kStopped, [this](ContainerService& settled) {
      if (ended_meanwhile(settled)) return;
      if (Status asked = settled.ask(policy::OperatorStop{deadline_}); !asked) fail(asked.error());
    });
    return !is_finished();
  }

  // It was stopped, or ended by itself, while its last checkpoint was waited for: look() answers.
  bool ended_meanwhile(const ContainerService& service) const {
    return last_checkpoint_ && service.status().phase == Phase::kStopped;
  }

  std::optional<Duration> deadline_;
  std::optional<CheckpointWatch> last_checkpoint_;
  io::Timer patience_;
  bool stopping_ = false;
};

// ---- remove ----

class RemoveRequest final : public ContainerRequest {
 public:
  using ContainerRequest::ContainerRequest;

  void begin() override {
    const v1::RemoveRequest& remove = message().remove();
    ContainerService* service = find_or_fail(remove.name());
    if (service == nullptr) return;
    was_running_ = is_active(service->status().phase);
    if (was_running_ && !remove.force()) {
      return fail(Error(ErrorCode::kConflict, std::format("container '{}' is {}", remove.name(),
                                                          to_string(service->status().phase))),
                  std::format("stop it first with 'perdure stop {}', or remove it with --force", remove.name()));
    }
    for (const replica::GenerationRecord& record : service->table().all()) bytes_ += record.stored_size.count;
    kept_ = service->paths().capsules;
    service->keep_capsules(remove.keep_capsules() ? ContainerBackend::Capsules::kKeep
                                                  : ContainerBackend::Capsules::kDelete);
    if (Status admitted = service->admit(policy::OperatorRemove{}); !admitted) return fail(admitted.error());
    settle(*service, model::DesiredState::kRemoved, [this](ContainerService& settled) {
      if (Status asked = settled.ask(policy::OperatorRemove{}); !asked) return fail(asked.error());
      wait_for(settled, settled.spec().stop.deadline + kRemoveSlack);
    });
  }

 protected:
  void look(ContainerService& service) override {
    if (service.status().phase == Phase::kFailed) fail(given_up(service, "could not be removed"));
  }

  void gone(const std::string& error) override {
    if (!error.empty()) {
      return fail(Error(ErrorCode::kIo, std::format("container '{}' is stopped, but not all of it could be removed: {}",
                                                    name(), error)),
                  "remove what the message names, then restart perdured and remove the container again");
    }
    ContainerCluster* cluster = node().cluster();
    if (cluster == nullptr || !cluster->member()) return removed(false);
    // Whoever has removed it wants to use its name and its addresses again.
    cluster->when_released(ContainerName::parse(name()).value(), [this, token = lifetime_.token()] {
      if (token.alive() && !is_finished()) removed(false);
    });
    release_limit_ = node().loop().after(kReleaseWait, [this] {
      if (!is_finished()) removed(true);
    });
  }

 private:
  void removed(bool still_claimed) {
    v1::Response response;
    v1::RemoveReply& reply = *response.mutable_remove();
    reply.set_name(name());
    reply.set_was_running(was_running_);
    reply.set_still_claimed(still_claimed);
    if (message().remove().keep_capsules()) {
      reply.set_kept_capsules(kept_);
    } else {
      reply.set_freed_bytes(bytes_);
    }
    finish(std::move(response));
  }

  bool was_running_ = false;
  io::Timer release_limit_;
  std::uint64_t bytes_ = 0;
  std::string kept_;
};

}  // namespace

std::unique_ptr<ControlRequest> make_change_request(RequestSetup setup) {
  switch (setup.message.body_case()) {
    case v1::Request::kStop: return std::make_unique<StopRequest>(std::move(setup));
    case v1::Request::kCheckpoint: return std::make_unique<CheckpointRequest>(std::move(setup));
    case v1::Request::kRestore: return std::make_unique<RestoreRequest>(std::move(setup));
    case v1::Request::kRemove: return std::make_unique<RemoveRequest>(std::move(setup));
    default: return nullptr;
  }
}

}  // namespace perdure::node
