#include "capsule/format/paged_object.h"

#include <algorithm>
#include <cstring>
#include <format>
#include <utility>

namespace perdure::capsule {
namespace {

// Compared at once while everything is equal; page by page only around a difference.
constexpr std::uint64_t kBulkPages = 16;

bool equal_bytes(const std::byte* a, const std::byte* b, std::uint64_t pages) {
  return a == b || std::memcmp(a, b, pages * kPageSize) == 0;
}

// Pages from `at` on, at most `limit`, that are all equal or all different.
std::uint64_t equal_pages(const std::byte* a, const std::byte* b, std::uint64_t limit) {
  std::uint64_t count = 0;
  while (limit - count >= kBulkPages &&
         equal_bytes(a + count * kPageSize, b + count * kPageSize, kBulkPages)) {
    count += kBulkPages;
  }
  while (count < limit && equal_bytes(a + count * kPageSize, b + count * kPageSize, 1)) ++count;
  return count;
}

std::uint64_t different_pages(const std::byte* a, const std::byte* b, std::uint64_t limit) {
  std::uint64_t count = 0;
  while (count < limit && !equal_bytes(a + count * kPageSize, b + count * kPageSize, 1)) ++count;
  return count;
}

PageRun part_of(const PageRun& run, std::uint64_t first_page, std::uint64_t page_count) {
  return PageRun{first_page, page_count, run.slab,
                 run.slab_offset + (first_page - run.first_page) * kPageSize};
}

// The first run that ends behind `page`.
std::vector<PageRun>::const_iterator run_behind(const std::vector<PageRun>& runs,
                                                std::uint64_t page) {
  return std::ranges::upper_bound(runs, page, {}, &PageRun::end_page);
}

// Both runs hold the pages [first, first + count).
void compare_overlap(const PageRun& here, const PageRun& there, std::uint64_t first,
                     std::uint64_t count, const PagedObject::Segment& segment) {
  const std::byte* a = part_of(here, first, count).bytes().data();
  const std::byte* b = part_of(there, first, count).bytes().data();
  std::uint64_t done = a == b ? count : equal_pages(a, b, count);
  if (done > 0) {
    const PageRun same = part_of(there, first, done);
    segment(part_of(here, first, done), &same);
  }
  while (done < count) {
    const std::uint64_t offset = done * kPageSize;
    const std::uint64_t changed = different_pages(a + offset, b + offset, count - done);
    if (changed > 0) segment(part_of(here, first + done, changed), nullptr);
    done += changed;
    const std::uint64_t equal =
        equal_pages(a + done * kPageSize, b + done * kPageSize, count - done);
    if (equal > 0) {
      const PageRun same = part_of(there, first + done, equal);
      segment(part_of(here, first + done, equal), &same);
    }
    done += equal;
  }
}

}  // namespace

Status PagedObject::append(PageRun run) {
  if (run.page_count == 0) return {};
  if (run.slab == nullptr || run.page_count > kMaxPageNumber ||
      run.first_page > kMaxPageNumber - run.page_count) {
    return fail(ErrorCode::kInvalid, std::format("page run {}+{}: beyond page {} or without a slab",
                                                 run.first_page, run.page_count, kMaxPageNumber));
  }
  const std::size_t slab_bytes = run.slab->bytes().size();
  if (run.slab_offset > slab_bytes || run.page_count > (slab_bytes - run.slab_offset) / kPageSize) {
    return fail(ErrorCode::kInvalid,
                std::format("page run {}+{} at offset {}: leaves its slab of {} bytes",
                            run.first_page, run.page_count, run.slab_offset, slab_bytes));
  }
  if (!runs_.empty() && run.first_page < runs_.back().end_page()) {
    return fail(ErrorCode::kInvalid,
                std::format("page run {}+{}: overlaps or precedes page {}", run.first_page,
                            run.page_count, runs_.back().end_page()));
  }
  push(std::move(run));
  return {};
}

void PagedObject::push(PageRun run) {
  page_count_ += run.page_count;
  if (!runs_.empty()) {
    PageRun& last = runs_.back();
    if (last.end_page() == run.first_page && last.slab == run.slab &&
        last.slab_offset + last.page_count * kPageSize == run.slab_offset) {
      last.page_count += run.page_count;
      return;
    }
  }
  runs_.push_back(std::move(run));
}

std::span<const std::byte> PagedObject::page(std::uint64_t number) const {
  const auto run = run_behind(runs_, number);
  if (run == runs_.end() || run->first_page > number) return {};
  return part_of(*run, number, 1).bytes();
}

PagedObject PagedObject::overlaid_with(const PagedObject& patch) const {
  PagedObject result;
  auto above = patch.runs_.begin();
  std::uint64_t covered = 0;  // end of what the patch has supplied so far
  for (const PageRun& run : runs_) {
    std::uint64_t at = std::max(run.first_page, covered);
    while (at < run.end_page()) {
      while (above != patch.runs_.end() && above->first_page <= at) {
        covered = above->end_page();
        at = std::max(at, covered);
        result.push(*above++);
      }
      if (at >= run.end_page()) break;
      const std::uint64_t end =
          above == patch.runs_.end() ? run.end_page() : std::min(run.end_page(), above->first_page);
      result.push(part_of(run, at, end - at));
      at = end;
    }
  }
  for (; above != patch.runs_.end(); ++above) result.push(*above);
  return result;
}

void PagedObject::compare_with(const PagedObject& parent, const Segment& segment) const {
  auto there = parent.runs_.begin();
  for (const PageRun& here : runs_) {
    std::uint64_t at = here.first_page;
    while (at < here.end_page()) {
      while (there != parent.runs_.end() && there->end_page() <= at) ++there;
      const bool beyond = there == parent.runs_.end() || there->first_page >= here.end_page();
      if (beyond || there->first_page > at) {
        const std::uint64_t end = beyond ? here.end_page() : there->first_page;
        segment(part_of(here, at, end - at), nullptr);
        at = end;
        continue;
      }
      const std::uint64_t end = std::min(here.end_page(), there->end_page());
      compare_overlap(here, *there, at, end - at, segment);
      at = end;
    }
  }
}

PagedObject PagedObject::changed_since(const PagedObject& parent) const {
  PagedObject changed;
  compare_with(parent, [&](const PageRun& here, const PageRun* in_parent) {
    if (in_parent == nullptr) changed.push(here);
  });
  return changed;
}

PagedObject PagedObject::shared_with(const PagedObject& parent) const {
  PagedObject shared;
  compare_with(parent, [&](const PageRun& here, const PageRun* in_parent) {
    shared.push(in_parent == nullptr ? here : *in_parent);
  });
  return shared;
}

bool PagedObject::same_as(const PagedObject& other) const {
  if (page_count_ != other.page_count_) return false;
  auto there = other.runs_.begin();
  std::uint64_t used = 0;  // pages of *there that are compared already
  for (const PageRun& here : runs_) {
    std::uint64_t at = here.first_page;
    while (at < here.end_page()) {
      if (there == other.runs_.end() || there->first_page + used != at) return false;
      const std::uint64_t count = std::min(here.end_page(), there->end_page()) - at;
      if (!equal_bytes(part_of(here, at, count).bytes().data(),
                       part_of(*there, at, count).bytes().data(), count)) {
        return false;
      }
      at += count;
      used += count;
      if (used == there->page_count) {
        ++there;
        used = 0;
      }
    }
  }
  return true;
}

}  // namespace perdure::capsule
