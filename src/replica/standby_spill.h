// The disk side of one container on a standby: what did not fit into memory, in a store of its own.
//
// A generation lies there in the form it was received in, if that builds on what is there; else in
// a form made here, which has another digest. Pool threads; one caller at a time (the container's
// turn).
#pragma once

#include <memory>
#include <optional>

#include "base/ids.h"
#include "base/result.h"
#include "base/units.h"
#include "capsule/format/capsule.h"
#include "capsule/format/slab.h"
#include "replica/capsule_store.h"
#include "replica/held_generations.h"

namespace perdure::replica {

class StandbySpill {
 public:
  explicit StandbySpill(std::shared_ptr<CapsuleStore> store) : store_(std::move(store)) {}

  // What a delta on disk may build on: a generation that is there, and its capsule.
  struct Base {
    capsule::CapsuleRef capsule;
    capsule::Digest stored;
  };
  struct Written {
    capsule::Digest digest;
    Bytes size;
  };
  // `received`: the bytes that `held` came in, if they are still at hand. Provisional ones are
  // marked, so that they are that also after a restart. Errors of the store.
  Result<Written> write(const HeldGeneration& held, const std::optional<Base>& base,
                        const capsule::SlabRef& received);
  Result<capsule::CapsuleRef> load(const HeldGeneration& held);
  // What is there and whole, none of it in memory; what is damaged is left out.
  Result<std::vector<HeldGeneration>> list();
  // Removes what is not held any more, and the marks of what is provisional no more.
  Status tidy(const HeldGenerations& held);

 private:
  Result<capsule::EncodedCapsule> form_of(const HeldGeneration& held,
                                          const std::optional<Base>& base,
                                          const capsule::SlabRef& received);
  std::shared_ptr<CapsuleStore> store_;
};

}  // namespace perdure::replica
