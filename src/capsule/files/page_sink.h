// Where pages go that a capture finds changed: into memory that is already faulted in, then into
// further memory, then into an unlinked file, so that neither page faults nor the daemon's memory
// grow with what a container writes.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "base/fd.h"
#include "base/result.h"
#include "capsule/format/slab.h"

namespace perdure::capsule::files {

inline constexpr std::size_t kMaxChunks =
    8;  // of memory, each as large as the arena; then the file

// Chunks that are faulted in, between two captures. As many as the last capture used are kept.
struct ChunkPool {
  std::size_t chunk_bytes = 0;
  std::vector<std::shared_ptr<Slab>> chunks;
};

class PageSink {
 public:
  // `staging` must stay open; `purpose` is for messages.
  PageSink(std::shared_ptr<ChunkPool> pool, int staging, std::string purpose);
  ~PageSink();  // gives the chunks back to the pool
  PageSink(const PageSink&) = delete;
  PageSink& operator=(const PageSink&) = delete;

  // Takes whole pages; pages of successive calls are numbered in a row. The number of the first
  // one. kNoSpace: neither memory nor the staging directory has room.
  Result<std::uint64_t> push(std::span<const std::byte> pages);

  std::uint64_t page_count() const { return memory_pages_ + file_pages_; }
  std::uint64_t memory_pages() const { return memory_pages_; }
  std::uint64_t file_pages() const { return file_pages_; }

  // Pages from `first` on that lie in one piece, at most to the end of a chunk; `first` is in
  // memory.
  std::span<const std::byte> memory_at(std::uint64_t first) const;
  // Holds the pages behind those in memory; invalid when there are none.
  const UniqueFd& file() const { return file_; }

 private:
  Status write_to_file(std::span<const std::byte> pages);

  std::shared_ptr<ChunkPool> pool_;
  int staging_;
  std::string purpose_;
  std::vector<std::shared_ptr<Slab>> chunks_;
  std::uint64_t chunk_pages_;
  std::uint64_t memory_pages_ = 0;
  std::uint64_t file_pages_ = 0;
  UniqueFd file_;
};

}  // namespace perdure::capsule::files
