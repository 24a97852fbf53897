// The slabs in which captured content lives from one capture to the next, and their upkeep: without
// it, one page that never changes again would keep alive everything that was captured together with
// it.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "base/fd.h"
#include "base/result.h"
#include "capsule/files/file_tracker.h"
#include "capsule/files/page_sink.h"
#include "capsule/format/paged_object.h"

namespace perdure::capsule::files {

using FileList = std::vector<std::shared_ptr<const KnownFile>>;

struct SlabStoreOptions {
  int staging = -1;  // open as long as the store
  std::string name;  // of the tree
  std::uint64_t max_memory_bytes = 0;
};

// A slab that is filled from front to back, in memory or in an unlinked file.
class SlabBuilder {
 public:
  enum class Where { kMemory, kFile };
  static Result<SlabBuilder> create(const SlabStoreOptions& options, Where where,
                                    std::uint64_t pages);
  Result<std::uint64_t> add(std::span<const std::byte> pages);  // the offset in the slab
  Result<SlabRef> finish();

 private:
  std::string purpose_;
  std::shared_ptr<Slab> memory_;
  UniqueFd file_;
  std::uint64_t used_bytes_ = 0;
};

// The pages of a sink, moved to slabs that are exactly as large as they.
class StoredPages {
 public:
  // In memory as long as `held_in_memory_bytes` and these stay within the options' limit.
  static Result<StoredPages> store(const PageSink& sink, const SlabStoreOptions& options,
                                   std::uint64_t held_in_memory_bytes);
  // Appends `page_count` pages of the sink as the object's pages from `first_page` on.
  Status append_to(PagedObject& object, std::uint64_t first_page, std::uint64_t sink_page,
                   std::uint64_t page_count) const;

 private:
  std::uint64_t memory_pages_ = 0;  // of the sink; those behind lie in its file
  SlabRef from_memory_;
  SlabRef from_file_;
};

struct HeldBytes {
  std::uint64_t memory = 0;
  std::uint64_t files = 0;
};
// Whole slabs, each once.
HeldBytes held_by(const FileList& files);

// More slabs than this are merged, smallest first: each is a mapping of its own, and a daemon may
// have 65530.
inline constexpr std::size_t kMaxSlabs = 64;
// Below this a slab is not copied for being half empty; merging takes care of it.
inline constexpr std::uint64_t kMinRepackPages = 16;

// Copies what is left of slabs that are mostly dead, and of the smallest when there are too many,
// into a new one. Hard links come behind the entry they link to and take its content. On failure
// nothing has changed.
Status repack(FileList& files, const SlabStoreOptions& options);

}  // namespace perdure::capsule::files
