// Manifest <-> protobuf. Internal to the format.
#pragma once

#include "base/result.h"
#include "capsule/format/capsule.h"

namespace perdure::capsule::v1 {
class Manifest;
}

namespace perdure::capsule {

void write_manifest(const Manifest& manifest, v1::Manifest& message);
Result<Manifest> read_manifest(const v1::Manifest& message);  // kCorrupt

}  // namespace perdure::capsule
