// One capsule as one self-contained file, to be carried elsewhere: `perdure export` and `perdure
// import`. The same format as in a store (docs/capsule-format.md), always full.
#pragma once

#include <cstdint>
#include <string_view>

#include "base/fd.h"
#include "base/result.h"
#include "base/units.h"
#include "capsule/format/capsule.h"
#include "capsule/format/codec.h"

namespace perdure::replica {

// To a file, pipe or socket; `what` names it in errors. A regular file is synced. On a failure the
// caller removes what was written.
struct ExportReceipt {
  capsule::Digest digest;
  Bytes size;
};
Result<ExportReceipt> write_export(int fd, const capsule::Capsule& capsule, std::string_view what,
                                   const capsule::CodecOptions& options);

struct ImportedCapsule {
  capsule::Digest digest;
  capsule::CapsuleRef capsule;
};
// From a file, pipe or socket, to its end. kCorrupt: does not verify, ends early, or has bytes
// behind its end. kInvalid: a delta (export writes full ones only). kNoSpace: larger than the
// limit, encoded or decoded; told from the header, before the content is read.
Result<ImportedCapsule> read_import(int fd, Bytes limit, std::string_view what);

}  // namespace perdure::replica
