#include "node/kept_generations.h"

#include <algorithm>
#include <format>
#include <functional>
#include <ranges>
#include <utility>

#include "base/log.h"

namespace perdure::node {

KeptGenerations::KeptGenerations(StepRunner& runner, const Clock& clock, const ContainerName& name,
                                 std::shared_ptr<replica::CapsuleStore> store)
    : runner_(runner),
      clock_(clock),
      name_(name),
      store_(std::move(store)),
      table_(std::make_shared<replica::GenerationTable>(replica::GenerationTableOptions{})) {}

std::vector<policy::GenerationInfo> KeptGenerations::infos_of(
    const std::vector<replica::StoredGeneration>& listed) {
  std::vector<policy::GenerationInfo> infos;
  const Instant now = clock_.now();
  for (const replica::StoredGeneration& stored : listed) {
    policy::GenerationInfo info;
    info.id = stored.generation;
    info.state = policy::CommitState::kCommitted;
    info.durable = true;
    if (stored.info) {
      info.parent = stored.info->manifest.parent;
      const auto age = clock_.wall() - stored.info->manifest.created;
      info.captured_at = now - std::max<Duration>(age, Duration::zero());
    }
    for (const policy::Mark mark :
         {policy::Mark::kSuspect, policy::Mark::kCorrupt, policy::Mark::kAbandoned}) {
      const auto found = stored.marks.find(std::string(to_string(mark)));
      if (found == stored.marks.end()) continue;
      info.mark = mark;
      mark_reasons_[info.id] = found->second;
    }
    if (stored.corrupt) {
      info.mark = policy::Mark::kCorrupt;
      mark_reasons_[info.id] = stored.corrupt->message();
    }
    infos.push_back(info);
  }
  return infos;
}

void KeptGenerations::found_damaged(const Generation& generation, const Error& error, std::vector<policy::GenerationInfo>& infos) {
  mark_reasons_[generation] = error.message();
  for (policy::GenerationInfo& info : infos) {
    if (info.id == generation) info.mark = policy::Mark::kCorrupt;
  }
  (void)table_->mark_bad(generation, error.message());
}

void KeptGenerations::mark(const policy::DiscardGeneration& effect) {
  mark_reasons_[effect.generation] = effect.reason;
  if (store_ == nullptr) return;
  runner_.run(
      [store = store_, effect] {
        return store->mark(effect.generation, policy::to_string(effect.mark), effect.reason);
      },
      [this](const Status& marked) { warn_unless_gone(marked); });
}

void KeptGenerations::unmark(const Generation& generation) {
  mark_reasons_.erase(generation);
  if (store_ == nullptr) return;
  runner_.run(
      [store = store_, generation]() -> Status {
        for (const policy::Mark mark : {policy::Mark::kSuspect, policy::Mark::kAbandoned}) {
          PERDURE_TRY(store->unmark(generation, policy::to_string(mark)));
        }
        return {};
      },
      [this](const Status& unmarked) { warn_unless_gone(unmarked); });
}

// One after the other, newest first: what builds on a generation goes before it.
void KeptGenerations::remove(const Generation& generation) {
  mark_reasons_.erase(generation);
  deletions_.push_back(generation);
  if (!deleting_) remove_pending();
}

void KeptGenerations::remove_pending() {
  if (store_ == nullptr) return deletions_.clear();
  deleting_ = true;
  std::vector<Generation> pending = std::exchange(deletions_, {});
  std::ranges::sort(pending, std::greater{}, &Generation::number);
  runner_.run(
      [store = store_, table = table_, pending]() {
        std::vector<std::string> failures;
        for (const Generation& generation : pending) {
          Status done = table->forget(generation);
          if (done || done.error().code() == ErrorCode::kNotFound) done = store->remove(generation);
          if (done || done.error().code() == ErrorCode::kNotFound) continue;
          failures.push_back(std::format("delete generation {}: {}", to_string(generation),
                                         done.error().message()));
        }
        return failures;
      },
      [this](const std::vector<std::string>& failures) {
        for (const std::string& failure : failures) log::warning("{}: {}", name_.str(), failure);
        deleting_ = false;
        if (!deletions_.empty()) remove_pending();
      });
}

void KeptGenerations::remove_before(const Generation& first, std::function<void(const Status&)> done) {
  if (store_ == nullptr) return;
  runner_.run(
      [store = store_, first]() -> Status {
        PERDURE_ASSIGN(const std::vector<replica::StoredGeneration> all, store->list());
        for (const replica::StoredGeneration& one : all | std::views::reverse) {
          if (one.generation >= first) continue;
          Status removed = store->remove(one.generation);
          if (!removed && removed.error().code() != ErrorCode::kNotFound) return removed;
        }
        return {};
      },
      [this, done = std::move(done)](const Status& removed) {
        warn_unless_gone(removed);
        done(removed);
      });
}

void KeptGenerations::warn_unless_gone(const Status& done) const {
  if (!done && done.error().code() != ErrorCode::kNotFound) {
    log::warning("{}: {}", name_.str(), done.error().message());
  }
}

std::string KeptGenerations::mark_reason(const Generation& generation) const {
  const auto found = mark_reasons_.find(generation);
  return found == mark_reasons_.end() ? std::string() : found->second;
}

}  // namespace perdure::node
