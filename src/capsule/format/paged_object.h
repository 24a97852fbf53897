// A paged object: the memory of one process, one shared mapping, or the content of one file, as
// pages of 4 KiB that lie in slabs. Pages that are absent read as zeros (a hole of a file) or do
// not exist (memory).
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "base/result.h"
#include "capsule/format/slab.h"

namespace perdure::capsule {

// Page numbers are below this: 2^52 pages are all of a 64-bit address space.
inline constexpr std::uint64_t kMaxPageNumber = std::uint64_t{1} << 52;

// `page_count` pages from `first_page` on (page number = address or file offset / 4096); their
// bytes lie one after the other in `slab` from `slab_offset` on. The last page of a file is padded
// with zeros.
struct PageRun {
  std::uint64_t first_page = 0;
  std::uint64_t page_count = 0;
  SlabRef slab;
  std::uint64_t slab_offset = 0;

  std::uint64_t end_page() const { return first_page + page_count; }
  std::span<const std::byte> bytes() const {
    return slab->bytes().subspan(slab_offset, page_count * kPageSize);
  }
};

class PagedObject {
 public:
  // Runs must come in rising order and must not overlap; adjacent runs of one slab are joined, an
  // empty run is nothing. kInvalid otherwise, when a run leaves its slab, or beyond kMaxPageNumber.
  Status append(PageRun run);

  const std::vector<PageRun>& runs() const { return runs_; }
  std::uint64_t page_count() const { return page_count_; }
  // The 4096 bytes of a page, or an empty span.
  std::span<const std::byte> page(std::uint64_t number) const;

  // This object with the pages of `patch` over it.
  PagedObject overlaid_with(const PagedObject& patch) const;
  // Pages of this object that `parent` lacks or holds with other bytes. Runs that refer to the same
  // bytes of the same slab are equal without being read.
  PagedObject changed_since(const PagedObject& parent) const;
  // The same pages with the same bytes, but those that `parent` holds too refer to the parent's
  // slabs: what was captured anew and did not change can be freed. Same cost as changed_since().
  PagedObject shared_with(const PagedObject& parent) const;
  // The same page numbers with the same bytes.
  bool same_as(const PagedObject& other) const;

  // The comparison behind them: this object's pages in rising order, cut into segments that are
  // equal in the parent (`in_parent` != nullptr: the parent's pages of the same numbers) or not.
  using Segment = std::function<void(const PageRun& here, const PageRun* in_parent)>;
  void compare_with(const PagedObject& parent, const Segment& segment) const;

 private:
  void push(PageRun run);  // of runs known to be in order

  std::vector<PageRun> runs_;
  std::uint64_t page_count_ = 0;
};

}  // namespace perdure::capsule
