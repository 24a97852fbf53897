// One capsule as one self-contained file, to be carried elsewhere: `perdure export` and `perdure
// import`. The same format as in a store (docs/capsule-format.md), always full; in a cluster sealed (pki/sealing.h).
#pragma once

#include <cstdint>
#include <string_view>

#include "base/fd.h"
#include "base/result.h"
#include "base/units.h"
#include "capsule/format/capsule.h"
#include "capsule/format/codec.h"
#include "pki/key_ring.h"

namespace perdure::replica {

// To a file, pipe or socket; `what` names it in errors. A regular file is synced. On a failure the
// caller removes what was written. With a ring it is sealed under its newest key. kPermission: the ring is empty.
struct ExportReceipt {
  capsule::Digest digest;
  Bytes size;  // as written
};
Result<ExportReceipt> write_export(int fd, const capsule::Capsule& capsule, std::string_view what,
                                   const capsule::CodecOptions& options, const pki::KeyRing* ring = nullptr);

struct ImportedCapsule {
  capsule::Digest digest;
  capsule::CapsuleRef capsule;
};
// From a file, pipe or socket, to its end. kCorrupt: does not verify, ends early, or has bytes
// behind its end. kInvalid: a delta (export writes full ones only). kNoSpace: larger than the
// limit, encoded or decoded; told from the header, before the content is read. kPermission: sealed
// under a key that the ring does not hold, or there is no ring; names its number.
Result<ImportedCapsule> read_import(int fd, Bytes limit, std::string_view what, const pki::KeyRing* ring = nullptr);

}  // namespace perdure::replica
