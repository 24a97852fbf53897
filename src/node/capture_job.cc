#include "node/capture_job.h"

#include <time.h>

#include <chrono>
#include <utility>

#include "base/log.h"
#include "capsule/format/sharing.h"

namespace perdure::node {
namespace {

Duration thread_cpu() {
  timespec ts{};
  ::clock_gettime(CLOCK_THREAD_CPUTIME_ID, &ts);
  return std::chrono::seconds(ts.tv_sec) + std::chrono::nanoseconds(ts.tv_nsec);
}

}  // namespace

Result<CaptureOutcome> CaptureJob::operator()() const {
  const Duration cpu_before = thread_cpu();
  PERDURE_ASSIGN(capsule::Capsule captured, backend->capture(generation, facts, *cancel, after));
  const std::string container = captured.manifest.container;
  const std::optional<replica::GenerationRecord> base = usable_parent();
  log::debug("{}: checkpoint: encoding {}", container, base ? "what changed" : "everything");
  CaptureOutcome outcome;
  if (base) {
    auto shared = capsule::share_unchanged(std::move(captured), *base->capsule);
    captured = std::move(shared.capsule);
    captured.manifest.stats.memory_changed = shared.memory_changed;
    captured.manifest.stats.files_changed = shared.files_changed;
    outcome.parent = base->generation;
  }
  PERDURE_ASSIGN(auto compacted, capsule::compact(captured));
  auto capsule = std::make_shared<capsule::Capsule>(std::move(compacted.capsule));
  capsule::CodecOptions options;
  options.bytes_per_second = store_bandwidth;
  PERDURE_ASSIGN(const capsule::EncodedCapsule encoded,
                 capsule::encode(*capsule, base ? base->capsule.get() : nullptr,
                                 base ? &base->digest : nullptr, options));
  PERDURE_ASSIGN(const replica::StoreReceipt receipt, store->put(encoded));
  log::debug("{}: checkpoint: committing", container);
  capsule->manifest.stats.cpu += thread_cpu() - cpu_before;
  PERDURE_TRY(table->add(capsule, encoded.digest, replica::GenerationTable::Probe::kNone));
  PERDURE_TRY(table->mark_durable(generation, receipt.size));
  PERDURE_TRY(table->mark_committed(generation));
  const double seconds = std::chrono::duration<double>(receipt.took).count();
  outcome.store_bandwidth = seconds > 0 ? static_cast<double>(receipt.size.count) / seconds : 0;
  outcome.report = {generation, capsule->manifest.stats, capsule::full_size(*capsule), receipt.size,
                    capsule->manifest.created};
  return outcome;
}

std::optional<replica::GenerationRecord> CaptureJob::usable_parent() const {
  if (!parent || store->should_be_full(*parent)) return std::nullopt;
  auto record = table->find(*parent);
  if (!record || !record->durable) return std::nullopt;
  if (record->capsule == nullptr) {
    auto loaded = table->load(*parent, *store);
    if (!loaded) return std::nullopt;
    record->capsule = *loaded;
  }
  return record;
}

}  // namespace perdure::node
