// The generations of one container that are kept: its store, its table, and the marks and deletions
// that the policy asks for.
//
// Loop thread only; what blocks goes to the pool through the runner, which must outlive this.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/ids.h"
#include "node/step_runner.h"
#include "policy/container_events.h"
#include "replica/capsule_store.h"
#include "replica/generation_table.h"

namespace perdure::node {

class KeptGenerations {
 public:
  KeptGenerations(StepRunner& runner, const Clock& clock, const ContainerName& name,
                  std::shared_ptr<replica::CapsuleStore> store);
  KeptGenerations(const KeptGenerations&) = delete;
  KeptGenerations& operator=(const KeptGenerations&) = delete;

  const std::shared_ptr<replica::CapsuleStore>& store() const { return store_; }
  const std::shared_ptr<replica::GenerationTable>& table() const { return table_; }
  // For a removal: with the last reference the store's lock and directory go. Nothing is asked of the store afterwards.
  std::shared_ptr<replica::CapsuleStore> take_store() { return std::move(store_); }
  // Instead of the one before, from the next call on.
  void use_store(std::shared_ptr<replica::CapsuleStore> store) { store_ = std::move(store); }

  // What the store lists, for the policy. Remembers the marks' reasons.
  std::vector<policy::GenerationInfo> infos_of(const std::vector<replica::StoredGeneration>& listed);

  // It was listed, and turned out to be damaged when it was loaded.
  void found_damaged(const Generation& generation, const Error& error, std::vector<policy::GenerationInfo>& infos);

  void mark(const policy::DiscardGeneration& effect);
  void unmark(const Generation& generation);
  void remove(const Generation& generation);
  // What the store holds from before `first`: what a former owner has left, say.
  void remove_before(const Generation& first, std::function<void(const Status&)> done);
  // Why a generation is marked; empty: it is not.
  std::string mark_reason(const Generation& generation) const;

 private:
  void warn_unless_gone(const Status& done) const;
  void remove_pending();

  StepRunner& runner_;
  const Clock& clock_;
  const ContainerName name_;
  std::shared_ptr<replica::CapsuleStore> store_;
  std::shared_ptr<replica::GenerationTable> table_;
  std::map<Generation, std::string> mark_reasons_;
  std::vector<Generation> deletions_;
  bool deleting_ = false;
};

}  // namespace perdure::node
