// A slab: a block of bytes that many pages of many generations refer to. Written once, then
// immutable and shared; freed when the last page that lies in it is gone.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>

#include "base/fd.h"
#include "base/result.h"

namespace perdure::capsule {

inline constexpr std::size_t kPageSize = 4096;

class Slab {
 public:
  // Anonymous; what is in it is undefined until it is written: memory of slabs that are gone is used
  // again. `prefault` touches every page now, so that a later capture does not pay for it while the
  // container is frozen. kNoSpace when memory is short.
  enum class Prefault { kNo, kYes };
  static Result<std::shared_ptr<Slab>> allocate(std::size_t size_bytes, Prefault prefault);
  // Has the memory of one slab of that size faulted in for the next allocate(), off whose path it
  // takes its time; nothing if it is there already, or for a slab too large to keep memory for. The
  // kernel may take it back when it is short.
  static void prepare(std::size_t size_bytes);

  // A private read-only mapping of the first `size_bytes` of a file that nobody changes any more (a
  // decoded capsule, a cloned file); needs no memory of its own. The descriptor may be closed
  // afterwards. kCorrupt: the file is shorter. `read` kNow: all pages are read in this call, so
  // that a file that cannot be read is kIo here and no SIGBUS later. Only for local file systems:
  // over a network use read_file(), for a server that goes away would take the reader of a mapping
  // with it.
  enum class Read { kNow, kLater };
  static Result<std::shared_ptr<Slab>> map_file(const UniqueFd& fd, std::size_t size_bytes,
                                                const std::string& name, Read read = Read::kLater);
  // The same bytes as a copy in anonymous memory.
  static Result<std::shared_ptr<Slab>> read_file(const UniqueFd& fd, std::size_t size_bytes,
                                                 const std::string& name);

  Slab(const Slab&) = delete;
  Slab& operator=(const Slab&) = delete;
  ~Slab();

  std::span<const std::byte> bytes() const { return {data_, size_bytes_}; }
  // Only before the slab is shared, and only for allocated ones.
  std::span<std::byte> writable();
  // Gives the memory behind the first `size_bytes` back to the host. Same conditions as writable().
  void trim(std::size_t size_bytes);
  bool is_file() const { return is_file_; }

 private:
  Slab(std::byte* data, std::size_t size_bytes, std::size_t mapped_bytes, bool is_file)
      : data_(data), size_bytes_(size_bytes), mapped_bytes_(mapped_bytes), is_file_(is_file) {}
  std::byte* data_;
  std::size_t size_bytes_;
  std::size_t mapped_bytes_;  // size_bytes_ rounded up to whole pages
  bool is_file_;
};
using SlabRef = std::shared_ptr<const Slab>;

}  // namespace perdure::capsule
