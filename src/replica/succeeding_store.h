// A store that has taken the place of another: new generations go to it alone, those of the former are listed, loaded,
// marked and removed as if they were its own. So a container changes its durable directory without a moment in which a
// generation it may need is nowhere.
//
// As every store: calls block (pool threads only) and are thread-safe. Where a generation is in both, that of the newer store is
// meant. A delta whose parent only the former holds is refused like any whose parent is missing (kNotFound).
#pragma once

#include <memory>
#include <set>
#include <string_view>
#include <vector>

#include "replica/capsule_store.h"

namespace perdure::replica {

class SucceedingStore final : public CapsuleStore {
 public:
  SucceedingStore(std::shared_ptr<CapsuleStore> store, std::shared_ptr<CapsuleStore> former)
      : store_(std::move(store)), former_(std::move(former)) {}

  Result<StoreReceipt> put(const capsule::EncodedCapsule& encoded) override { return store_->put(encoded); }
  Result<std::vector<StoredGeneration>> list() override;
  Result<capsule::CapsuleRef> load(const Generation& generation) override;
  Result<RestorableGeneration> newest_restorable(const std::set<Generation>& skip) override;
  Status mark(const Generation& generation, std::string_view word, std::string_view why) override;
  Status unmark(const Generation& generation, std::string_view word) override;
  Status remove(const Generation& generation) override;
  Result<std::vector<Generation>> retain_only(const std::set<Generation>& keep) override;
  bool should_be_full(const Generation& parent) override { return store_->should_be_full(parent); }

 private:
  const std::shared_ptr<CapsuleStore> store_;
  const std::shared_ptr<CapsuleStore> former_;
};

}  // namespace perdure::replica
