#include "replica/generation_table.h"

#include <algorithm>
#include <format>
#include <utility>

namespace perdure::replica {
namespace {

bool restorable(const GenerationRecord& record) {
  return record.bad.empty() && !record.provisional;
}

void set_capsule(GenerationRecord& record, capsule::CapsuleRef capsule) {
  record.footprint = capsule::footprint_of(capsule);
  record.capsule = std::move(capsule);
}

}  // namespace

std::string_view to_string(GenerationState state) {
  switch (state) {
    case GenerationState::kCaptured:
      return "captured";
    case GenerationState::kProvisional:
      return "provisional";
    case GenerationState::kDurable:
      return "durable";
    case GenerationState::kCommitted:
      return "committed";
    case GenerationState::kBad:
      return "bad";
  }
  return "unknown";
}

GenerationState GenerationRecord::state() const {
  if (!bad.empty()) return GenerationState::kBad;
  if (provisional) return GenerationState::kProvisional;
  if (committed) return GenerationState::kCommitted;
  return durable ? GenerationState::kDurable : GenerationState::kCaptured;
}

Result<GenerationTable::Records::iterator> GenerationTable::at(const Generation& generation) {
  const auto found = records_.find(generation);
  if (found == records_.end()) {
    return fail(ErrorCode::kNotFound, std::format("generation {}: not in the table of this daemon",
                                                  to_string(generation)));
  }
  return found;
}

GenerationTable::Records::iterator GenerationTable::newest_committed_locked() {
  for (auto record = records_.end(); record != records_.begin();) {
    --record;
    if (record->second.committed && restorable(record->second)) return record;
  }
  return records_.end();
}

Bytes GenerationTable::memory_locked() const {
  capsule::FootprintSum sum;
  for (const auto& [generation, record] : records_) sum.add(record.footprint);
  return sum.bytes();
}

// The capsule that is missed least; end() if each is needed.
GenerationTable::Records::iterator GenerationTable::victim_locked(const Generation& newcomer) {
  const auto committed = newest_committed_locked();
  const auto oldest_where = [&](auto&& droppable) {
    return std::ranges::find_if(records_, [&](const auto& entry) {
      const auto& [generation, record] = entry;
      return record.capsule != nullptr && generation != newcomer && !bases_.contains(generation) &&
             (committed == records_.end() || generation != committed->first) && droppable(record);
    });
  };
  auto victim = oldest_where([](const auto& record) { return !record.bad.empty(); });
  if (victim != records_.end()) return victim;
  victim = oldest_where([](const auto& record) { return record.durable; });
  if (victim != records_.end() || committed == records_.end()) return victim;
  // In memory only. Never committed and passed by one that is: of no use any more. Committed: its
  // standbys have it.
  const auto superseded = [&](const auto& record) { return record.generation < committed->first; };
  victim =
      oldest_where([&](const auto& record) { return superseded(record) && !record.committed; });
  return victim != records_.end() ? victim : oldest_where(superseded);
}

// Lets go of capsules until the budget holds.
Status GenerationTable::fit(const Generation& newcomer) {
  for (;;) {
    const std::uint64_t used = memory_locked().count;
    if (used <= options_.memory_budget.count) return {};
    const auto victim = victim_locked(newcomer);
    if (victim == records_.end()) {
      return fail(
          ErrorCode::kNoSpace,
          std::format("generation {}: {} of memory are needed beside what is committed, not "
                      "yet durable, or the base of a delta; {} are allowed; raise the memory "
                      "budget of the container",
                      to_string(newcomer), format_bytes(Bytes{used}),
                      format_bytes(options_.memory_budget)));
    }
    if (victim->second.durable) {
      set_capsule(victim->second, nullptr);
    } else {
      records_.erase(victim);
    }
  }
}

void GenerationTable::discard_superseded(const capsule::Manifest& newcomer) {
  if (!newcomer.parent) return;
  std::erase_if(records_, [&](const auto& entry) {
    const Generation& old = entry.first;
    return old.number > newcomer.parent->number &&
           std::tie(old.term, old.incarnation) <
               std::tie(newcomer.generation.term, newcomer.generation.incarnation);
  });
}

void GenerationTable::bound_records() {
  while (records_.size() > options_.max_generations) {
    const auto committed = newest_committed_locked();
    auto oldest = records_.begin();
    if (oldest == committed) ++oldest;
    if (std::next(oldest) == records_.end()) return;  // the newcomer
    records_.erase(oldest);
  }
}

Status GenerationTable::add(capsule::CapsuleRef capsule, const capsule::Digest& digest,
                            Probe probe) {
  const std::scoped_lock guard(mutex_);
  const Generation generation = capsule->manifest.generation;
  if (records_.contains(generation)) {
    return fail(ErrorCode::kExists,
                std::format("generation {}: in the table already", to_string(generation)));
  }
  if (!records_.empty() && generation < records_.rbegin()->first) {
    return fail(ErrorCode::kInvalid,
                std::format("generation {}: older than the newest one, {}", to_string(generation),
                            to_string(records_.rbegin()->first)));
  }
  GenerationRecord record;
  record.generation = generation;
  record.digest = digest;
  record.manifest = capsule->manifest;
  set_capsule(record, std::move(capsule));
  record.provisional = probe == Probe::kPending;
  const auto added = records_.emplace(generation, std::move(record)).first;
  if (Status status = fit(generation); !status) {
    records_.erase(added);
    return status;
  }
  discard_superseded(added->second.manifest);
  bound_records();
  return {};
}

Status GenerationTable::supply(capsule::CapsuleRef capsule) {
  const std::scoped_lock guard(mutex_);
  const Generation generation = capsule->manifest.generation;
  const auto [record, added] = records_.try_emplace(generation);
  const GenerationRecord before = record->second;
  GenerationRecord supplied;
  supplied.generation = generation;
  supplied.manifest = capsule->manifest;
  supplied.committed = true;
  if (before.bad.empty()) {  // what is stored of it is in order
    supplied.digest = before.digest;
    supplied.stored_size = before.stored_size;
    supplied.durable = before.durable;
  }
  set_capsule(supplied, std::move(capsule));
  record->second = std::move(supplied);
  if (Status status = fit(generation); !status) {
    if (added) {
      records_.erase(record);
    } else {
      record->second = before;
    }
    return status;
  }
  bound_records();
  return {};
}

Result<capsule::CapsuleRef> GenerationTable::compact(const Generation& generation) {
  const capsule::CapsuleRef capsule = in_memory(generation);
  if (capsule == nullptr) return capsule;
  PERDURE_ASSIGN(auto compacted, capsule::compact(*capsule));
  if (compacted.slabs_released == 0) return capsule;
  auto smaller = std::make_shared<const capsule::Capsule>(std::move(compacted.capsule));
  const std::scoped_lock guard(mutex_);
  const auto record = records_.find(generation);
  if (record != records_.end() && record->second.capsule == capsule) set_capsule(record->second, smaller);
  return smaller;
}

Status GenerationTable::confirm(const Generation& generation) {
  const std::scoped_lock guard(mutex_);
  PERDURE_ASSIGN(const auto record, at(generation));
  record->second.provisional = false;
  return {};
}

void GenerationTable::keep_in_memory(std::set<Generation> bases) {
  const std::scoped_lock guard(mutex_);
  bases_ = std::move(bases);
}

capsule::CapsuleRef GenerationTable::in_memory(const Generation& generation) const {
  const std::scoped_lock guard(mutex_);
  const auto found = records_.find(generation);
  return found == records_.end() ? nullptr : found->second.capsule;
}

Status GenerationTable::mark_durable(const Generation& generation, Bytes stored_size,
                                     std::optional<capsule::Digest> digest) {
  const std::scoped_lock guard(mutex_);
  PERDURE_ASSIGN(const auto record, at(generation));
  record->second.durable = true;
  if (digest) record->second.digest = *digest;
  record->second.stored_size = stored_size;
  return {};
}

Status GenerationTable::mark_committed(const Generation& generation) {
  const std::scoped_lock guard(mutex_);
  PERDURE_ASSIGN(const auto record, at(generation));
  if (!restorable(record->second)) {
    return fail(ErrorCode::kInvalid,
                std::format("commit generation {}: it is {}", to_string(generation),
                            to_string(record->second.state())));
  }
  record->second.committed = true;
  return {};
}

Status GenerationTable::mark_bad(const Generation& generation, std::string why) {
  const std::scoped_lock guard(mutex_);
  PERDURE_ASSIGN(const auto record, at(generation));
  record->second.bad = why.empty() ? "no reason given" : std::move(why);
  return {};
}

Status GenerationTable::forget(const Generation& generation) {
  const std::scoped_lock guard(mutex_);
  PERDURE_ASSIGN(const auto record, at(generation));
  if (record == newest_committed_locked()) {
    return fail(
        ErrorCode::kConflict,
        std::format("forget generation {}: it is the newest committed one", to_string(generation)));
  }
  records_.erase(record);
  return {};
}

std::optional<GenerationRecord> GenerationTable::find(const Generation& generation) const {
  const std::scoped_lock guard(mutex_);
  const auto found = records_.find(generation);
  if (found == records_.end()) return std::nullopt;
  return found->second;
}

template <typename Wanted>
std::optional<GenerationRecord> GenerationTable::newest_where(Wanted&& wanted) const {
  const std::scoped_lock guard(mutex_);
  for (auto entry = records_.rbegin(); entry != records_.rend(); ++entry) {
    if (wanted(entry->second)) return entry->second;
  }
  return std::nullopt;
}

std::optional<GenerationRecord> GenerationTable::newest() const {
  return newest_where([](const GenerationRecord&) { return true; });
}

std::optional<GenerationRecord> GenerationTable::newest_committed() const {
  return newest_where(
      [](const GenerationRecord& record) { return record.committed && restorable(record); });
}

std::optional<GenerationRecord> GenerationTable::newest_durable() const {
  return newest_where(
      [](const GenerationRecord& record) { return record.durable && restorable(record); });
}

std::vector<GenerationRecord> GenerationTable::all() const {
  const std::scoped_lock guard(mutex_);
  std::vector<GenerationRecord> all;
  for (const auto& [generation, record] : records_) all.push_back(record);
  return all;
}

Bytes GenerationTable::memory() const {
  const std::scoped_lock guard(mutex_);
  return memory_locked();
}

void GenerationTable::rebuild(const std::vector<StoredGeneration>& stored, GenerationState as) {
  const std::scoped_lock guard(mutex_);
  for (const StoredGeneration& one : stored) {
    GenerationRecord record;
    record.generation = one.generation;
    record.durable = true;
    record.committed = as == GenerationState::kCommitted;
    record.stored_size = one.size;
    if (one.info) {
      record.digest = one.info->digest;
      record.manifest = one.info->manifest;
    }
    if (one.corrupt) {
      record.bad = one.corrupt->message();
    } else if (!one.marks.empty()) {
      const auto& [word, why] = *one.marks.begin();
      record.bad = why.empty() ? word : word + ": " + why;
    }
    records_.emplace(one.generation, std::move(record));
  }
  bound_records();
}

Result<capsule::CapsuleRef> GenerationTable::load(const Generation& generation,
                                                  CapsuleStore& store) {
  {
    const std::scoped_lock guard(mutex_);
    PERDURE_ASSIGN(const auto record, at(generation));
    if (record->second.capsule != nullptr) return record->second.capsule;
  }
  auto loaded = store.load(generation);
  const std::scoped_lock guard(mutex_);
  const auto record = records_.find(generation);
  if (record == records_.end()) return loaded;  // forgotten meanwhile
  if (!loaded) {
    if (loaded.error().code() == ErrorCode::kCorrupt) record->second.bad = loaded.error().message();
    return loaded;
  }
  set_capsule(record->second, *loaded);
  if (!fit(generation)) set_capsule(record->second, nullptr);
  return loaded;
}

}  // namespace perdure::replica
