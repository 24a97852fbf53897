// How generations share memory: what a new generation keeps of its own, when slabs are copied
// together, and what a set of generations costs. All pure computations on values; pool threads,
// never while frozen.
#pragma once

#include <cstdint>
#include <set>
#include <utility>
#include <vector>

#include "base/units.h"
#include "capsule/format/capsule.h"

namespace perdure::capsule {

struct SharedCapsule {
  Capsule capsule;       // the child; pages that did not change lie in the parent's slabs
  Bytes memory_changed;  // pages of the child's memory that the parent lacks or holds with other
                         // bytes
  Bytes files_changed;   // the same of file contents
};
// Objects are matched by name, files by volume and path. After it, compact() frees what the capture
// allocated and nobody refers to.
SharedCapsule share_unchanged(Capsule child, const Capsule& parent);

// When pages are copied together. A page is copied at most once per halving of its slab, so the
// work is amortised over the changes that emptied it.
struct CompactionPolicy {
  // A slab of which the capsule uses less than this is copied: memory held is at most twice memory
  // used.
  double minimum_live_fraction = 0.5;
  // More slabs than this are merged, smallest first: every slab is a mapping, of which Linux allows
  // a process 65530 (vm.max_map_count), and a run must not fall apart into single pages.
  std::size_t maximum_slabs = 64;
};
struct CompactionResult {
  Capsule capsule;
  Bytes copied;
  std::size_t slabs_released = 0;  // by this capsule; freed once no other generation holds them
};
// File-backed slabs stay: they need no memory of their own. On kNoSpace the capsule of the caller
// is still what it was.
Result<CompactionResult> compact(const Capsule& capsule, const CompactionPolicy& policy = {});

// What a capsule in memory costs. A large one has tens of thousands of runs to look at: taken once per capsule.
struct Footprint {
  // In memory, each whole. Mapped files are left out: page cache, taken back by the kernel when memory is short.
  std::vector<std::pair<const Slab*, std::uint64_t>> slabs;
  std::uint64_t other_bytes = 0;  // runs, images and file entries, which are not shared
  bool maps_files = false;
};
Footprint footprint_of(const CapsuleRef& capsule);  // nullptr: nothing

// Of several capsules: slabs that they share counted once.
class FootprintSum {
 public:
  void add(const Footprint& footprint);
  Bytes bytes() const { return bytes_; }

 private:
  std::set<const Slab*> seen_;
  Bytes bytes_;
};

}  // namespace perdure::capsule
