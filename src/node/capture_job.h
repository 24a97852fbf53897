// Everything between the policy's wish for a checkpoint and a committed generation.
#pragma once

#include <memory>
#include <optional>

#include "base/clock.h"
#include "base/ids.h"
#include "base/result.h"
#include "base/units.h"
#include "capsule/format/capsule.h"
#include "node/container_backend.h"
#include "replica/capsule_store.h"
#include "replica/generation_table.h"

namespace perdure::node {

// The last capture, measured.
struct CaptureReport {
  Generation generation;
  capsule::CaptureStats stats;
  Bytes full;
  Bytes kept;
  WallTime at{};
};

struct CaptureOutcome {
  CaptureReport report;
  std::optional<Generation> parent;  // empty: a full capsule
  double store_bandwidth = 0;        // bytes per second of the write; 0: not measured
};

struct CaptureJob {
  std::shared_ptr<ContainerBackend> backend;
  std::shared_ptr<replica::CapsuleStore> store;
  std::shared_ptr<replica::GenerationTable> table;
  std::shared_ptr<CancelFlag> cancel;
  Generation generation;
  RuntimeFacts facts;
  std::optional<Generation> parent;  // what a delta would build on
  double store_bandwidth = 0;        // bytes per second, for the choice of compression
  ContainerBackend::AfterCapture after = ContainerBackend::AfterCapture::kRunOn;

  // Captures, finds what changed, encodes, writes, commits. Blocks: on a pool thread. Errors of the
  // backend's capture(), the codec and the store; then nothing is committed.
  Result<CaptureOutcome> operator()() const;

 private:
  std::optional<replica::GenerationRecord> usable_parent() const;
};

}  // namespace perdure::node
