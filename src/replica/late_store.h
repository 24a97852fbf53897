// A store that its first user opens: opening may take as long as the storage below it likes, and whoever makes a store is
// not to wait for that.
//
// As every store: calls block (pool threads only) and are thread-safe. Those that come while it is being opened wait
// for it. What failed to open is opened anew by the next call, which fails with its error if that fails as well.
#pragma once

#include <functional>
#include <memory>
#include <mutex>
#include <set>
#include <string_view>
#include <vector>

#include "replica/capsule_store.h"

namespace perdure::replica {

using StoreOpener = std::function<Result<std::unique_ptr<CapsuleStore>>()>;

class LateStore final : public CapsuleStore {
 public:
  // `open` is called on the threads of the users, one at a time, until it succeeds once; what it refers to outlives this.
  explicit LateStore(StoreOpener open) : open_(std::move(open)) {}

  Result<StoreReceipt> put(const capsule::EncodedCapsule& encoded) override;
  Result<std::vector<StoredGeneration>> list() override;
  Result<capsule::CapsuleRef> load(const Generation& generation) override;
  Result<RestorableGeneration> newest_restorable(const std::set<Generation>& skip) override;
  Status mark(const Generation& generation, std::string_view word, std::string_view why) override;
  Status unmark(const Generation& generation, std::string_view word) override;
  Status remove(const Generation& generation) override;
  Result<std::vector<Generation>> retain_only(const std::set<Generation>& keep) override;
  bool should_be_full(const Generation& parent) override;  // does not wait: true until it has been opened

 private:
  Result<CapsuleStore*> opened();
  CapsuleStore* if_opened();

  const StoreOpener open_;
  std::mutex opening_;
  std::mutex mutex_;  // never held for long
  std::unique_ptr<CapsuleStore> store_;
};

}  // namespace perdure::replica
