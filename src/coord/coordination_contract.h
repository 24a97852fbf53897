// What the contract's tests need of a store; one program has etcd behind it, the other its twin.
#pragma once

#include <memory>

#include "coord/coordination.h"
#include "io/loop.h"

namespace perdure::coord {

class ContractStore {
 public:
  virtual ~ContractStore() = default;
  virtual Coordination& first() = 0;
  virtual Coordination& second() = 0;
  // Nobody reaches the store; then it is back, with all that it had.
  virtual void stop() = 0;
  virtual void start() = 0;
  // `first` loses its way to the store, silently; `second` does not.
  virtual void cut_first() = 0;
  virtual void heal_first() = 0;
  // What is sent arrives and nothing comes back, until thaw().
  virtual void freeze() = 0;
  virtual void thaw() = 0;
  virtual void compact(Revision revision) = 0;
};

// nullptr: it cannot be had here; the test skips.
std::unique_ptr<ContractStore> make_contract_store(io::Loop& loop);

}  // namespace perdure::coord
