// Memory of slabs that are gone, kept for the next ones. A page that the kernel has to find, clear and map costs ten
// times what copying into one does that is there (docs/replication.md).
//
// The kernel may take the memory back when it is short of it (MADV_FREE). Thread-safe.
#pragma once

#include <cstddef>
#include <map>
#include <mutex>
#include <set>
#include <utility>

namespace perdure::capsule {

// Anonymous, private, writable mappings of whole pages. Their content is whatever was there before, or zero.
class SlabReserve {
 public:
  explicit SlabReserve(std::size_t limit_bytes) : limit_bytes_(limit_bytes) {}
  SlabReserve(const SlabReserve&) = delete;
  SlabReserve& operator=(const SlabReserve&) = delete;
  ~SlabReserve();

  // nullptr: nothing that is large enough.
  std::byte* take(std::size_t bytes);
  bool has(std::size_t bytes) const;
  // Unmapped if it is larger than the limit; else the smallest pieces go that it leaves no room for.
  void give(std::byte* data, std::size_t bytes);
  std::size_t kept_bytes() const;

 private:
  void insert(std::byte* data, std::size_t bytes);
  void erase(std::map<std::byte*, std::size_t>::iterator piece);

  const std::size_t limit_bytes_;
  mutable std::mutex mutex_;
  std::map<std::byte*, std::size_t> pieces_;
  std::set<std::pair<std::size_t, std::byte*>> by_size_;
  std::size_t kept_bytes_ = 0;
};

}  // namespace perdure::capsule
