// The content of one file as the difference from what was captured before.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "base/result.h"
#include "capsule/files/page_sink.h"
#include "capsule/format/paged_object.h"

namespace perdure::capsule::files {

// Goes through the pages of an object in rising order, without searching.
class PageCursor {
 public:
  explicit PageCursor(const PagedObject& object) : runs_(object.runs()) {}
  // The bytes of the page, or null. Numbers must not fall from call to call.
  const std::byte* at(std::uint64_t page);

 private:
  const std::vector<PageRun>& runs_;
  std::size_t run_ = 0;
};

// Pages of a file: as they were before, or in the sink from `sink_page` on. What no segment covers
// is a hole.
struct ContentSegment {
  std::uint64_t first_page = 0;
  std::uint64_t page_count = 0;
  bool as_before = false;
  std::uint64_t sink_page = 0;
};
using ContentPlan = std::vector<ContentSegment>;

// `size_bytes` bytes of an open file, from `offset` (a multiple of the page size) on.
struct ContentSource {
  int fd = -1;
  std::uint64_t offset = 0;
  std::uint64_t size_bytes = 0;
  std::uint64_t allocated_bytes =
      0;  // st_blocks * 512: tells whether looking for holes is worth it
};

// Reads blocks of this size: they stay in the processor's second-level cache between read and
// comparison.
inline constexpr std::size_t kReadBytes = std::size_t{256} << 10;

// Reads files and pushes the pages that differ from `before` into the sink.
class ContentReader {
 public:
  explicit ContentReader(PageSink& sink) : sink_(sink), buffer_(kReadBytes) {}
  // Bytes behind the end of the file, should it be shorter than `size_bytes` by now, are a hole.
  Result<ContentPlan> read_changes(const ContentSource& source, const PagedObject& before);
  std::uint64_t bytes_read() const { return bytes_read_; }

 private:
  Status read_range(const ContentSource& source, std::uint64_t first_page, std::uint64_t end_page,
                    PageCursor& before, ContentPlan& plan);
  Status take_block(std::uint64_t first_page, std::uint64_t page_count, PageCursor& before,
                    ContentPlan& plan);

  PageSink& sink_;
  std::vector<std::byte> buffer_;
  std::uint64_t bytes_read_ = 0;
};

// [begin, end) of the next data at or behind `at`, rounded to pages; begin == end: none up to
// `size_bytes`.
struct DataRange {
  std::uint64_t begin = 0;
  std::uint64_t end = 0;
};
Result<DataRange> next_data(const ContentSource& source, std::uint64_t at);

}  // namespace perdure::capsule::files
