#include "replica/store_destination.h"

#include <algorithm>
#include <chrono>
#include <format>
#include <utility>
#include <vector>

namespace perdure::replica {
namespace {

// Of the newest write in the mean: a disk that others use goes up and down.
constexpr double kNewestWeight = 0.3;
// A smaller write measures the latency of a sync, not a bandwidth.
constexpr std::uint64_t kMeasuredBytes = std::uint64_t{256} << 10;

struct Stored {
  HoldReceipt receipt;
  Bytes written;
};

Result<Stored> held_already(CapsuleStore& store, const Generation& generation) {
  PERDURE_ASSIGN(const std::vector<StoredGeneration> all, store.list());
  for (const StoredGeneration& one : all) {
    if (one.generation != generation) continue;
    if (one.corrupt) return fail(one.corrupt->code(), one.corrupt->message());
    // A delta is worth what its bases are: whoever takes the answer for a yes lets go of them.
    if (auto loaded = store.load(generation); !loaded) return fail(std::move(loaded).error());
    return Stored{{{generation, one.info->digest}, one.size, true, {}}, {}};
  }
  return fail(ErrorCode::kIo,
              std::format("generation {}: there, and gone again", to_string(generation)));
}

Result<Stored> try_write(CapsuleStore& store, const capsule::EncodedCapsule& encoded) {
  auto put = store.put(encoded);
  if (put) {
    return Stored{{{encoded.manifest.generation, encoded.digest}, put->size, true, put->took},
                  put->size};
  }
  if (put.error().code() != ErrorCode::kExists) return fail(std::move(put).error());
  auto held = held_already(store, encoded.manifest.generation);
  const bool damaged = !held && (held.error().code() == ErrorCode::kCorrupt || held.error().code() == ErrorCode::kNotFound);
  if (!damaged) return held;
  PERDURE_TRY(store.remove(encoded.manifest.generation));
  return fail(ErrorCode::kIo,
              "what was stored of it was damaged, and is removed: " + held.error().message());
}

Result<Stored> write(CapsuleStore& store, const capsule::EncodedCapsule& encoded) {
  auto written = try_write(store, encoded);
  // To a shipper kTransient is a node that will report again; a directory does not.
  if (!written && written.error().code() == ErrorCode::kTransient)
    return fail(ErrorCode::kIo, written.error().message());
  return written;
}

}  // namespace

StoreDestination::StoreDestination(io::Loop& loop, io::Pool& pool,
                                   std::shared_ptr<CapsuleStore> store)
    : loop_(loop), pool_(pool), store_(std::move(store)) {}

bool StoreDestination::wants_full(const Holding& base) const {
  return store_->should_be_full(base.generation);
}

void StoreDestination::ship(const Shipment& shipment, Done done) {
  const auto shared_done = std::make_shared<Done>(std::move(done));
  Status submitted = pool_.submit(
      loop_, lifetime_,
      [store = store_, encoded = shipment.encoded, patience = shipment.patience] {
        const io::Patience nobody_waits(patience);
        return write(*store, *encoded);
      },
      [this, shared_done](Result<Stored> stored) {
        if (!stored) return (*shared_done)(fail(std::move(stored).error()));
        const double seconds = std::chrono::duration<double>(stored->receipt.took).count();
        if (stored->written.count >= kMeasuredBytes && seconds > 0) {
          const double now = static_cast<double>(stored->written.count) / seconds;
          bytes_per_second_ = bytes_per_second_ == 0
                                  ? now
                                  : kNewestWeight * now + (1 - kNewestWeight) * bytes_per_second_;
        }
        (*shared_done)(std::move(stored->receipt));
      });
  if (submitted) return;
  loop_.post([token = lifetime_.token(), shared_done, message = submitted.error().message()] {
    if (token.alive()) (*shared_done)(fail(ErrorCode::kIo, message));
  });
}

}  // namespace perdure::replica
