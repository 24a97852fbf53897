#include "capsule/format/slab_reserve.h"

#include <sys/mman.h>

#include <iterator>

namespace perdure::capsule {

SlabReserve::~SlabReserve() {
  for (const auto& [data, bytes] : pieces_) ::munmap(data, bytes);
}

std::byte* SlabReserve::take(std::size_t bytes) {
  const std::scoped_lock guard(mutex_);
  const auto fitting = by_size_.lower_bound({bytes, nullptr});
  if (fitting == by_size_.end()) return nullptr;
  const auto [size, data] = *fitting;
  erase(pieces_.find(data));
  if (size > bytes) insert(data + bytes, size - bytes);
  return data;
}

bool SlabReserve::has(std::size_t bytes) const {
  const std::scoped_lock guard(mutex_);
  return !by_size_.empty() && by_size_.rbegin()->first >= bytes;
}

void SlabReserve::give(std::byte* data, std::size_t bytes) {
  if (bytes > limit_bytes_ || ::madvise(data, bytes, MADV_FREE) != 0) {
    ::munmap(data, bytes);
    return;
  }
  const std::scoped_lock guard(mutex_);
  while (kept_bytes_ + bytes > limit_bytes_) {
    const auto [size, smallest] = *by_size_.begin();
    erase(pieces_.find(smallest));
    ::munmap(smallest, size);
  }
  const auto behind = pieces_.lower_bound(data);
  if (behind != pieces_.begin()) {
    if (const auto before = std::prev(behind); before->first + before->second == data) {
      data = before->first;
      bytes += before->second;
      erase(before);
    }
  }
  if (behind != pieces_.end() && data + bytes == behind->first) {
    bytes += behind->second;
    erase(behind);
  }
  insert(data, bytes);
}

std::size_t SlabReserve::kept_bytes() const {
  const std::scoped_lock guard(mutex_);
  return kept_bytes_;
}

void SlabReserve::insert(std::byte* data, std::size_t bytes) {
  pieces_.emplace(data, bytes);
  by_size_.emplace(bytes, data);
  kept_bytes_ += bytes;
}

void SlabReserve::erase(std::map<std::byte*, std::size_t>::iterator piece) {
  by_size_.erase({piece->second, piece->first});
  kept_bytes_ -= piece->second;
  pieces_.erase(piece);
}

}  // namespace perdure::capsule
