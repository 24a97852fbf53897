#include "coord/coordination_contract.h"
#include "coord/memory_coordination.h"

namespace perdure::coord {
namespace {

class MemoryContractStore final : public ContractStore {
 public:
  explicit MemoryContractStore(io::Loop& loop) : first_(loop, store_), second_(loop, store_) {}
  Coordination& first() override { return first_; }
  Coordination& second() override { return second_; }
  void stop() override {
    first_.set_away(true);
    second_.set_away(true);
  }
  void start() override {
    first_.set_away(false);
    second_.set_away(false);
  }
  void cut_first() override { first_.set_away(true); }
  void heal_first() override { first_.set_away(false); }
  void freeze() override { first_.hold_requests(); }
  void thaw() override { first_.release_requests(); }
  void compact(Revision revision) override { store_.compact(revision); }

 private:
  MemoryStore store_;
  MemoryCoordination first_;
  MemoryCoordination second_;
};

}  // namespace

std::unique_ptr<ContractStore> make_contract_store(io::Loop& loop) { return std::make_unique<MemoryContractStore>(loop); }

}  // namespace perdure::coord
