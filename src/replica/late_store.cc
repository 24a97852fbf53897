#include "replica/late_store.h"

namespace perdure::replica {

CapsuleStore* LateStore::if_opened() {
  const std::scoped_lock guard(mutex_);
  return store_.get();
}

Result<CapsuleStore*> LateStore::opened() {
  if (CapsuleStore* store = if_opened()) return store;
  const std::scoped_lock one_at_a_time(opening_);
  if (CapsuleStore* store = if_opened()) return store;
  PERDURE_ASSIGN(auto store, open_());
  const std::scoped_lock guard(mutex_);
  store_ = std::move(store);
  return store_.get();
}

Result<StoreReceipt> LateStore::put(const capsule::EncodedCapsule& encoded) {
  PERDURE_ASSIGN(CapsuleStore* const store, opened());
  return store->put(encoded);
}

Result<std::vector<StoredGeneration>> LateStore::list() {
  PERDURE_ASSIGN(CapsuleStore* const store, opened());
  return store->list();
}

Result<capsule::CapsuleRef> LateStore::load(const Generation& generation) {
  PERDURE_ASSIGN(CapsuleStore* const store, opened());
  return store->load(generation);
}

Result<RestorableGeneration> LateStore::newest_restorable(const std::set<Generation>& skip) {
  PERDURE_ASSIGN(CapsuleStore* const store, opened());
  return store->newest_restorable(skip);
}

Status LateStore::mark(const Generation& generation, std::string_view word, std::string_view why) {
  PERDURE_ASSIGN(CapsuleStore* const store, opened());
  return store->mark(generation, word, why);
}

Status LateStore::unmark(const Generation& generation, std::string_view word) {
  PERDURE_ASSIGN(CapsuleStore* const store, opened());
  return store->unmark(generation, word);
}

Status LateStore::remove(const Generation& generation) {
  PERDURE_ASSIGN(CapsuleStore* const store, opened());
  return store->remove(generation);
}

Result<std::vector<Generation>> LateStore::retain_only(const std::set<Generation>& keep) {
  PERDURE_ASSIGN(CapsuleStore* const store, opened());
  return store->retain_only(keep);
}

bool LateStore::should_be_full(const Generation& parent) {
  CapsuleStore* const store = if_opened();
  return store == nullptr || store->should_be_full(parent);
}

}  // namespace perdure::replica
