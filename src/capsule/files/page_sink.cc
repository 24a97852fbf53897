#include "capsule/files/page_sink.h"

#include <algorithm>
#include <cstring>

#include "base/assert.h"
#include "capsule/files/inode.h"

namespace perdure::capsule::files {

PageSink::PageSink(std::shared_ptr<ChunkPool> pool, int staging, std::string purpose)
    : pool_(std::move(pool)),
      staging_(staging),
      purpose_(std::move(purpose)),
      chunks_(std::move(pool_->chunks)),
      chunk_pages_(pool_->chunk_bytes / kPageSize) {
  pool_->chunks.clear();
}

PageSink::~PageSink() {
  const std::uint64_t used = (memory_pages_ + chunk_pages_ - 1) / chunk_pages_;
  chunks_.resize(std::min<std::uint64_t>(chunks_.size(), std::max<std::uint64_t>(used, 1)));
  if (pool_->chunks.size() < chunks_.size()) pool_->chunks = std::move(chunks_);
}

Result<std::uint64_t> PageSink::push(std::span<const std::byte> pages) {
  PERDURE_ASSERT(pages.size() % kPageSize == 0);
  const std::uint64_t first = page_count();
  while (!pages.empty()) {
    const std::uint64_t chunk = memory_pages_ / chunk_pages_;
    if (file_pages_ > 0 || chunk >= kMaxChunks) {
      PERDURE_TRY(write_to_file(pages));
      file_pages_ += pages.size() / kPageSize;
      break;
    }
    if (chunk == chunks_.size()) {
      PERDURE_ASSIGN(auto slab, Slab::allocate(pool_->chunk_bytes, Slab::Prefault::kNo));
      chunks_.push_back(std::move(slab));
    }
    const std::size_t offset = memory_pages_ % chunk_pages_ * kPageSize;
    const std::size_t size = std::min(pages.size(), pool_->chunk_bytes - offset);
    std::memcpy(chunks_[chunk]->writable().data() + offset, pages.data(), size);
    memory_pages_ += size / kPageSize;
    pages = pages.subspan(size);
  }
  return first;
}

std::span<const std::byte> PageSink::memory_at(std::uint64_t first) const {
  PERDURE_ASSERT(first < memory_pages_);
  const std::uint64_t in_chunk = first % chunk_pages_;
  const std::uint64_t count = std::min(chunk_pages_ - in_chunk, memory_pages_ - first);
  return chunks_[first / chunk_pages_]->bytes().subspan(in_chunk * kPageSize, count * kPageSize);
}

Status PageSink::write_to_file(std::span<const std::byte> pages) {
  const std::string what = "changed pages of " + purpose_;
  if (!file_) {
    PERDURE_ASSIGN(file_, open_unlinked_file(staging_, what));
  }
  return write_all(file_.get(), pages, what);
}

}  // namespace perdure::capsule::files
