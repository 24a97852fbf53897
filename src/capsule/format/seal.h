// Whether a capsule that has lain in memory for a while is what it was when it was decoded.
//
// The digests of a capsule's parts are of its encoded form, which is gone once it is decoded, and pages are moved when slabs are
// copied together. A seal is of the content: one digest (XXH3-64) per page with its number, per image, per file entry, and one for the
// manifest. What a delta takes over from its parent keeps the parent's digest and is not read: damage is not sealed anew, and sealing
// a delta costs what it brings. 8 bytes per page of 4096.
//
// Pure computations: thread-safe, blocking for as long as they compute (pool threads).
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "base/result.h"
#include "capsule/format/capsule.h"

namespace perdure::capsule {

struct Seal {
  using Pages = std::vector<std::uint64_t>;  // in the order of the object's pages
  struct Entry {
    std::uint64_t words = 0;  // of everything but the content
    Pages content;
  };
  std::uint64_t manifest = 0;
  std::vector<std::uint64_t> images;    // in the order of the capsule's
  std::map<std::string, Pages> memory;  // by the object's name
  std::vector<std::vector<Entry>> trees;
};
using SealRef = std::shared_ptr<const Seal>;

// What a capsule that has just been decoded is known by. `parent` and `parent_seal`: what it was decoded against; both or neither.
Seal seal_of(const Capsule& capsule, const Capsule* parent, const Seal* parent_seal);

// kCorrupt: names what is not what it was. Reads all of the capsule: 10 ms for 100 MB.
Status check_seal(const Capsule& capsule, const Seal& seal);

}  // namespace perdure::capsule
