#include "replica/standby_spill.h"

#include <format>
#include <set>
#include <string_view>
#include <utility>
#include <vector>

#include "capsule/format/codec.h"

namespace perdure::replica {
namespace {

constexpr std::string_view kProvisional = "provisional";

}  // namespace

Result<capsule::EncodedCapsule> StandbySpill::form_of(const HeldGeneration& held,
                                                      const std::optional<Base>& base,
                                                      const capsule::SlabRef& received) {
  const bool delta = base && !store_->should_be_full(base->capsule->manifest.generation);
  if (received != nullptr) {
    PERDURE_ASSIGN(capsule::CapsuleInfo info, capsule::read_info(received->bytes()));
    const bool fits = info.manifest.parent
                          ? delta && info.manifest.parent == base->capsule->manifest.generation &&
                                info.manifest.parent_digest == base->stored
                          : true;
    if (fits) {
      capsule::EncodedCapsule encoded;
      encoded.manifest = std::move(info.manifest);
      encoded.digest = info.digest;
      encoded.size_bytes = info.size_bytes;
      encoded.pieces = {received->bytes()};
      encoded.owners = {received};
      return encoded;
    }
  }
  return capsule::encode(*held.capsule, delta ? base->capsule.get() : nullptr,
                         delta ? &base->stored : nullptr, {});
}

Result<StandbySpill::Written> StandbySpill::write(const HeldGeneration& held,
                                                  const std::optional<Base>& base,
                                                  const capsule::SlabRef& received) {
  PERDURE_ASSIGN(const capsule::EncodedCapsule encoded, form_of(held, base, received));
  auto put = store_->put(encoded);
  if (!put && put.error().code() == ErrorCode::kExists) {
    // Written and not promised, by a call that failed afterwards.
    PERDURE_TRY(store_->remove(held.holding.generation));
    put = store_->put(encoded);
  }
  if (!put) return fail(std::move(put).error());
  if (held.provisional) {
    PERDURE_TRY(store_->mark(held.holding.generation, kProvisional, "waits for its health probe"));
  }
  return Written{encoded.digest, put->size};
}

Result<capsule::CapsuleRef> StandbySpill::load(const HeldGeneration& held) {
  return store_->load(held.holding.generation);
}

Result<std::vector<HeldGeneration>> StandbySpill::list() {
  PERDURE_ASSIGN(const std::vector<StoredGeneration> stored, store_->list());
  std::vector<HeldGeneration> all;
  for (const StoredGeneration& one : stored) {
    if (one.corrupt || !one.info) continue;
    HeldGeneration held;
    held.holding = {one.generation, one.info->digest};
    held.stored = one.info->digest;
    held.stored_size = one.size;
    held.provisional = one.marks.contains(std::string(kProvisional));
    all.push_back(std::move(held));
  }
  return all;
}

Status StandbySpill::tidy(const HeldGenerations& held) {
  std::set<Generation> kept;
  for (const auto& [generation, one] : held.all()) {
    if (!one.stored) continue;
    kept.insert(generation);
    if (!one.provisional) PERDURE_TRY(store_->unmark(generation, kProvisional));
  }
  PERDURE_TRY(store_->retain_only(kept));
  return {};
}

}  // namespace perdure::replica
