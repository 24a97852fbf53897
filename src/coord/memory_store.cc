#include <algorithm>
#include <format>
#include <utility>

#include "coord/etcd_messages.h"
#include "coord/memory_state.h"

namespace perdure::coord {

MemoryStore::MemoryStore() : state_(std::make_shared<State>()) {}
MemoryStore::~MemoryStore() = default;

Revision MemoryStore::revision() const { return state_->revision; }

std::optional<KeyValue> MemoryStore::get(const std::string& key) const {
  const auto found = state_->values.find(key);
  return found == state_->values.end() ? std::nullopt : std::optional(found->second);
}

void MemoryStore::compact(Revision revision) {
  state_->compacted = std::clamp(revision, state_->compacted, state_->revision);
  state_->log.erase(state_->log.begin(), state_->log.upper_bound(state_->compacted));
}

std::shared_ptr<const MemoryStore::Backup> MemoryStore::backup() const {
  return std::make_shared<const Backup>(Backup{state_->values, state_->revision});
}

void MemoryStore::restore(const std::shared_ptr<const Backup>& backup) {
  state_->values = backup->values;
  for (auto& [key, value] : state_->values) value.lease = 0;
  state_->revision = backup->revision;
  state_->compacted = backup->revision;
  state_->log.clear();
  state_->leases.clear();
  ++state_->cluster_id;
  state_->tell();
}

void MemoryStore::expire(LeaseId lease) { state_->expire(lease); }

void MemoryStore::set_leader(bool present) {
  state_->leader = present;
  state_->tell();
}

Snapshot MemoryStore::State::snapshot(const std::string& prefix) const {
  Snapshot result{revision, {}, cluster_id};
  for (auto at = values.lower_bound(prefix); at != values.end() && at->first.starts_with(prefix); ++at) {
    result.values.push_back(at->second);
  }
  return result;
}

Result<TransactionResult> MemoryStore::State::commit(const Transaction& transaction) {
  TransactionResult result{true, revision, {}};
  for (const Condition& condition : transaction.conditions) {
    const auto found = values.find(condition.key);
    const Revision modified = found == values.end() ? 0 : found->second.modified;
    if (modified != condition.modified) result.applied = false;
    result.found.push_back(found == values.end() ? std::nullopt : std::optional(found->second));
  }
  if (!result.applied) return result;
  result.found.clear();
  for (const Write& write : transaction.writes) {
    if (write.lease != 0 && !leases.contains(write.lease)) {
      return fail(ErrorCode::kIo, std::format("commit '{}': lease {:x} not found", write.key, write.lease));
    }
  }
  std::vector<Change> changes;
  const Revision next = revision + 1;
  for (const Write& write : transaction.writes) {
    if (write.value) {
      KeyValue& value = values[write.key];
      value = KeyValue{write.key, *write.value, value.created == 0 ? next : value.created, next, write.lease};
      changes.push_back(Change{write.key, value, next});
    } else if (values.erase(write.key) > 0) {
      changes.push_back(Change{write.key, std::nullopt, next});
    }
  }
  if (changes.empty()) return result;
  revision = next;
  result.revision = next;
  log.emplace(next, std::move(changes));
  tell();
  return result;
}

LeaseId MemoryStore::State::grant() {
  leases.insert(next_lease);
  return next_lease++;
}

void MemoryStore::State::expire(LeaseId lease) {
  if (leases.erase(lease) == 0) return;
  Transaction transaction;
  for (const auto& [key, value] : values) {
    if (value.lease == lease) transaction.writes.push_back(Write{key, std::nullopt});
  }
  const auto done = commit(transaction);
  if (done && transaction.writes.empty()) tell();
}

void MemoryStore::State::tell() {
  for (const auto& [id, listener] : std::map(listeners)) {
    if (listeners.contains(id)) listener();
  }
}

}  // namespace perdure::coord
