// A store below which another file system may be mounted, and unmounted: that something is not there counts only while the right one
// is.
//
// As every store: calls block (pool threads only) and are thread-safe. Each kNotFound is followed by `check`; its error
// takes the place of the kNotFound.
#pragma once

#include <functional>
#include <memory>
#include <set>
#include <string_view>
#include <utility>
#include <vector>

#include "replica/capsule_store.h"

namespace perdure::replica {

class CheckedStore final : public CapsuleStore {
 public:
  CheckedStore(std::unique_ptr<CapsuleStore> store, std::function<Status()> check)
      : store_(std::move(store)), check_(std::move(check)) {}

  Result<StoreReceipt> put(const capsule::EncodedCapsule& encoded) override { return checked(store_->put(encoded)); }
  Result<std::vector<StoredGeneration>> list() override { return checked(store_->list()); }
  Result<capsule::CapsuleRef> load(const Generation& generation) override { return checked(store_->load(generation)); }
  Result<RestorableGeneration> newest_restorable(const std::set<Generation>& skip) override {
    return checked(store_->newest_restorable(skip));
  }
  Status mark(const Generation& generation, std::string_view word, std::string_view why) override {
    return checked(store_->mark(generation, word, why));
  }
  Status unmark(const Generation& generation, std::string_view word) override { return checked(store_->unmark(generation, word)); }
  Status remove(const Generation& generation) override { return checked(store_->remove(generation)); }
  Result<std::vector<Generation>> retain_only(const std::set<Generation>& keep) override { return checked(store_->retain_only(keep)); }
  bool should_be_full(const Generation& parent) override { return store_->should_be_full(parent); }

 private:
  template <typename Answer>
  Answer checked(Answer answer) const {
    if (answer || answer.error().code() != ErrorCode::kNotFound) return answer;
    if (Status there = check_(); !there) return fail(std::move(there).error());
    return answer;
  }

  const std::unique_ptr<CapsuleStore> store_;
  const std::function<Status()> check_;
};

}  // namespace perdure::replica
