#include "replica/succeeding_store.h"

#include <algorithm>
#include <format>
#include <ranges>
#include <string>
#include <utility>

namespace perdure::replica {
namespace {

// What the first answers, unless it does not know the generation.
template <typename Call>
auto in_either(CapsuleStore& first, CapsuleStore& second, const Call& call) {
  auto answer = call(first);
  if (answer || answer.error().code() != ErrorCode::kNotFound) return answer;
  auto other = call(second);
  if (!other && other.error().code() == ErrorCode::kNotFound) return answer;
  return other;
}

}  // namespace

Result<std::vector<StoredGeneration>> SucceedingStore::list() {
  PERDURE_ASSIGN(std::vector<StoredGeneration> all, store_->list());
  PERDURE_ASSIGN(std::vector<StoredGeneration> before, former_->list());
  std::set<Generation> newer;
  for (const StoredGeneration& one : all) newer.insert(one.generation);
  for (StoredGeneration& one : before) {
    if (!newer.contains(one.generation)) all.push_back(std::move(one));
  }
  std::ranges::sort(all, {}, &StoredGeneration::generation);
  return all;
}

Result<capsule::CapsuleRef> SucceedingStore::load(const Generation& generation) {
  return in_either(*store_, *former_, [&](CapsuleStore& store) { return store.load(generation); });
}

Result<RestorableGeneration> SucceedingStore::newest_restorable(const std::set<Generation>& skip) {
  PERDURE_ASSIGN(const std::vector<StoredGeneration> all, list());
  std::vector<SkippedGeneration> skipped;
  std::string reasons;
  for (const StoredGeneration& one : all | std::views::reverse) {
    auto loaded = skip.contains(one.generation)
                      ? Result<capsule::CapsuleRef>(fail(ErrorCode::kInvalid, "passed over on request"))
                      : load(one.generation);
    if (loaded) return RestorableGeneration{one.generation, one.info->digest, *std::move(loaded), std::move(skipped)};
    if (ends_search(loaded.error().code())) return fail(std::move(loaded).error());
    reasons += std::format("; {}: {}", to_string(one.generation), loaded.error().message());
    skipped.push_back({one.generation, std::move(loaded).error()});
  }
  return fail(ErrorCode::kNotFound, "no generation can be restored" + reasons);
}

Status SucceedingStore::mark(const Generation& generation, std::string_view word, std::string_view why) {
  return in_either(*store_, *former_, [&](CapsuleStore& store) { return store.mark(generation, word, why); });
}

Status SucceedingStore::unmark(const Generation& generation, std::string_view word) {
  PERDURE_TRY(store_->unmark(generation, word));
  return former_->unmark(generation, word);
}

Status SucceedingStore::remove(const Generation& generation) {
  return in_either(*store_, *former_, [&](CapsuleStore& store) { return store.remove(generation); });
}

Result<std::vector<Generation>> SucceedingStore::retain_only(const std::set<Generation>& keep) {
  PERDURE_ASSIGN(std::vector<Generation> removed, store_->retain_only(keep));
  PERDURE_ASSIGN(const std::vector<Generation> before, former_->retain_only(keep));
  removed.insert(removed.end(), before.begin(), before.end());
  return removed;
}

}  // namespace perdure::replica
