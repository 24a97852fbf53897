#include "capsule/files/content.h"

#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "base/fd.h"

namespace perdure::capsule::files {
namespace {

// Files up to here are read without asking for holes first: three system calls cost more than
// reading.
constexpr std::uint64_t kHoleWorthBytes = 16384;

std::uint64_t page_floor(std::uint64_t bytes) {
  return bytes / kPageSize * kPageSize;
}
std::uint64_t page_ceiling(std::uint64_t bytes) {
  return page_floor(bytes + kPageSize - 1);
}

void add_segment(ContentPlan& plan, ContentSegment segment) {
  if (!plan.empty()) {
    ContentSegment& last = plan.back();
    const bool follows = last.first_page + last.page_count == segment.first_page;
    if (follows && last.as_before == segment.as_before &&
        (segment.as_before || last.sink_page + last.page_count == segment.sink_page)) {
      last.page_count += segment.page_count;
      return;
    }
  }
  plan.push_back(segment);
}

}  // namespace

const std::byte* PageCursor::at(std::uint64_t page) {
  while (run_ < runs_.size() && runs_[run_].end_page() <= page) ++run_;
  if (run_ == runs_.size() || runs_[run_].first_page > page) return nullptr;
  const PageRun& run = runs_[run_];
  return run.slab->bytes().data() + run.slab_offset + (page - run.first_page) * kPageSize;
}

Result<DataRange> next_data(const ContentSource& source, std::uint64_t at) {
  const std::uint64_t size = source.size_bytes;
  if (at >= size) return DataRange{size, size};
  if (size <= kHoleWorthBytes && source.allocated_bytes > 0)
    return DataRange{at, page_ceiling(size)};
  const off_t data = ::lseek(source.fd, static_cast<off_t>(source.offset + at), SEEK_DATA);
  if (data < 0 && errno == ENXIO) return DataRange{size, size};
  if (data < 0) return fail_errno("look for holes");
  const std::uint64_t begin = static_cast<std::uint64_t>(data) - source.offset;
  if (begin >= size) return DataRange{size, size};
  const off_t hole = ::lseek(source.fd, data, SEEK_HOLE);
  if (hole < 0 && errno == ENXIO) return DataRange{size, size};  // cut off since
  if (hole < 0) return fail_errno("look for holes");
  const std::uint64_t end = std::min(static_cast<std::uint64_t>(hole) - source.offset, size);
  return DataRange{std::max(page_floor(begin), at), page_ceiling(end)};
}

Result<ContentPlan> ContentReader::read_changes(const ContentSource& source,
                                                const PagedObject& before) {
  ContentPlan plan;
  PageCursor cursor(before);
  for (std::uint64_t at = 0; at < source.size_bytes;) {
    PERDURE_ASSIGN(const DataRange range, next_data(source, at));
    if (range.begin >= range.end) break;
    PERDURE_TRY(read_range(source, range.begin / kPageSize, range.end / kPageSize, cursor, plan));
    at = range.end;
  }
  return plan;
}

Status ContentReader::read_range(const ContentSource& source, std::uint64_t first_page,
                                 std::uint64_t end_page, PageCursor& before, ContentPlan& plan) {
  while (first_page < end_page) {
    const std::uint64_t offset = first_page * kPageSize;
    const std::uint64_t pages =
        std::min<std::uint64_t>(end_page - first_page, kReadBytes / kPageSize);
    const std::size_t wanted = std::min(pages * kPageSize, source.size_bytes - offset);
    PERDURE_ASSIGN(const std::size_t got,
                   read_at(source.fd, std::span(buffer_).first(wanted), source.offset + offset, "content"));
    bytes_read_ += got;
    const std::uint64_t whole = page_ceiling(got);
    std::memset(buffer_.data() + got, 0, whole - got);
    PERDURE_TRY(take_block(first_page, whole / kPageSize, before, plan));
    if (got < wanted) return {};
    first_page += pages;
  }
  return {};
}

Status ContentReader::take_block(std::uint64_t first_page, std::uint64_t page_count,
                                 PageCursor& before, ContentPlan& plan) {
  const auto equal = [&](std::uint64_t index) {
    const std::byte* old = before.at(first_page + index);
    return old != nullptr && std::memcmp(old, buffer_.data() + index * kPageSize, kPageSize) == 0;
  };
  for (std::uint64_t begin = 0; begin < page_count;) {
    const bool as_before = equal(begin);
    std::uint64_t end = begin + 1;
    while (end < page_count && equal(end) == as_before) ++end;
    ContentSegment segment{first_page + begin, end - begin, as_before, 0};
    if (!as_before) {
      PERDURE_ASSIGN(segment.sink_page,
                     sink_.push({buffer_.data() + begin * kPageSize, (end - begin) * kPageSize}));
    }
    add_segment(plan, segment);
    begin = end;
  }
  return {};
}

}  // namespace perdure::capsule::files
