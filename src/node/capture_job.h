// Everything between the policy's wish for a checkpoint and a generation in the owner's memory.
#pragma once

#include <memory>
#include <optional>

#include "base/clock.h"
#include "base/ids.h"
#include "base/result.h"
#include "base/units.h"
#include "capsule/format/capsule.h"
#include "node/container_backend.h"
#include "replica/generation_table.h"

namespace perdure::node {

// The last capture, measured.
struct CaptureReport {
  Generation generation;
  capsule::CaptureStats stats;
  Bytes full;
  Bytes kept;  // what had to be written for it; 0: not yet
  WallTime at{};
};

struct CaptureOutcome {
  CaptureReport report;
  capsule::CapsuleRef capsule;
  capsule::CapsuleRef base;  // of `before`, as `capsule` shares its pages; nullptr: none
  Instant thawed{};
};

struct CaptureJob {
  std::shared_ptr<ContainerBackend> backend;
  std::shared_ptr<replica::GenerationTable> table;
  std::shared_ptr<CancelFlag> cancel;
  Generation generation;
  RuntimeFacts facts;
  std::optional<Generation> before;  // whose pages it may share
  ContainerBackend::AfterCapture after = ContainerBackend::AfterCapture::kRunOn;

  // Captures, finds what changed, keeps it in the table. Blocks: on a pool thread. Errors of the backend's capture() and of
  // the table; then the table is as before. After kStayFrozen an error that comes after the capture leaves the container frozen:
  // the caller resumes it.
  Result<CaptureOutcome> operator()() const;
};

}  // namespace perdure::node
