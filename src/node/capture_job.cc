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
  const capsule::CapsuleRef base = before ? table->in_memory(*before) : nullptr;
  log::debug("{}: checkpoint: comparing", container);
  if (base) {
    auto shared = capsule::share_unchanged(std::move(captured), *base);
    captured = std::move(shared.capsule);
    captured.manifest.stats.memory_changed = shared.memory_changed;
    captured.manifest.stats.files_changed = shared.files_changed;
  }
  PERDURE_ASSIGN(auto compacted, capsule::compact(captured));
  auto capsule = std::make_shared<capsule::Capsule>(std::move(compacted.capsule));
  capsule->manifest.stats.cpu += thread_cpu() - cpu_before;
  PERDURE_TRY(table->add(capsule, {}, replica::GenerationTable::Probe::kNone));
  CaptureOutcome outcome;
  outcome.report = {generation, capsule->manifest.stats, capsule::full_size(*capsule), {}, capsule->manifest.created};
  outcome.capsule = std::move(capsule);
  return outcome;
}

}  // namespace perdure::node
