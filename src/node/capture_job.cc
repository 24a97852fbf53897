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
  // Now, and not when it was new: until a generation is where it has to go nothing is done that can wait.
  capsule::CapsuleRef base;
  if (before) {
    PERDURE_ASSIGN(base, table->compact(*before));
  }
  PERDURE_ASSIGN(Captured taken, backend->capture(generation, facts, *cancel, after));
  capsule::Capsule captured = std::move(taken.capsule);
  const std::string container = captured.manifest.container;
  log::debug("{}: checkpoint: comparing", container);
  if (base) {
    auto shared = capsule::share_unchanged(std::move(captured), *base);
    captured = std::move(shared.capsule);
    captured.manifest.stats.memory_changed = shared.memory_changed;
    captured.manifest.stats.files_changed = shared.files_changed;
  }
  auto capsule = std::make_shared<capsule::Capsule>(std::move(captured));
  capsule->manifest.stats.cpu += thread_cpu() - cpu_before;
  PERDURE_TRY(table->add(capsule, {}, replica::GenerationTable::Probe::kNone));
  CaptureOutcome outcome;
  outcome.report = {generation, capsule->manifest.stats, capsule::full_size(*capsule), {}, capsule->manifest.created};
  outcome.capsule = std::move(capsule);
  outcome.base = std::move(base);
  outcome.thawed = taken.thawed;
  return outcome;
}

}  // namespace perdure::node
