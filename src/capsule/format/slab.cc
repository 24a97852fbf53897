#include "capsule/format/slab.h"

#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <format>

#include "base/assert.h"
#include "base/fd.h"
#include "base/units.h"
#include "capsule/format/slab_reserve.h"

#ifndef MADV_POPULATE_READ
#define MADV_POPULATE_READ 22
#endif
#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23
#endif

namespace perdure::capsule {
namespace {

// From here on a slab is worth huge pages: they make faulting in three times and comparing a third
// faster.
constexpr std::size_t kHugePageThreshold = std::size_t{4} << 20;
// What a few generations under way need; smaller slabs than kMinReused would be more to keep book of than to map.
constexpr std::size_t kReserveBytes = std::size_t{64} << 20;
constexpr std::size_t kMinReused = std::size_t{64} << 10;

SlabReserve& reserve() {
  static SlabReserve* const kReserve = new SlabReserve(kReserveBytes);  // outlives every slab
  return *kReserve;
}

std::size_t whole_pages(std::size_t size_bytes) {
  return (size_bytes + kPageSize - 1) / kPageSize * kPageSize;
}

// What is used again comes in steps: generations of one container are nearly of the same size.
std::size_t mapped_size(std::size_t size_bytes) {
  return size_bytes < kMinReused ? whole_pages(size_bytes) : (size_bytes + kMinReused - 1) / kMinReused * kMinReused;
}

std::byte* map_memory(std::size_t bytes) {
  void* const data = ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (data == MAP_FAILED) return nullptr;
  if (bytes >= kHugePageThreshold) (void)::madvise(data, bytes, MADV_HUGEPAGE);
  return static_cast<std::byte*>(data);
}

// False: the host is out of memory.
bool fault_in(std::byte* data, std::size_t bytes) {
  while (::madvise(data, bytes, MADV_POPULATE_WRITE) != 0) {
    if (errno == EINTR) continue;
    if (errno != EINVAL) return false;
    // Before Linux 5.14.
    for (std::size_t at = 0; at < bytes; at += kPageSize) static_cast<volatile std::byte*>(data)[at] = std::byte{0};
    break;
  }
  return true;
}

Error no_memory(std::size_t size_bytes) {
  return Error(ErrorCode::kNoSpace,
               std::format("allocate {} for capsule pages: the host is out of memory",
                           format_bytes(Bytes{size_bytes})));
}

Status check_length(const UniqueFd& fd, std::size_t size_bytes, const std::string& name) {
  struct stat status{};
  if (::fstat(fd.get(), &status) != 0) return fail_errno(std::format("stat '{}'", name));
  if (static_cast<std::uint64_t>(status.st_size) < size_bytes) {
    return fail(ErrorCode::kCorrupt,
                std::format("'{}' has {} bytes, {} are needed", name, status.st_size, size_bytes));
  }
  return {};
}

}  // namespace

Result<std::shared_ptr<Slab>> Slab::allocate(std::size_t size_bytes, Prefault prefault) {
  if (size_bytes == 0) return std::shared_ptr<Slab>(new Slab(nullptr, 0, 0, false));
  if (size_bytes > SIZE_MAX - kMinReused) return fail(no_memory(size_bytes));
  const std::size_t mapped = mapped_size(size_bytes);
  std::byte* data = mapped < kMinReused ? nullptr : reserve().take(mapped);
  if (data == nullptr) data = map_memory(mapped);
  if (data == nullptr) return fail(no_memory(size_bytes));
  std::shared_ptr<Slab> slab(new Slab(data, size_bytes, mapped, false));
  if (prefault == Prefault::kYes && !fault_in(data, mapped)) return fail(no_memory(size_bytes));
  return slab;
}

void Slab::prepare(std::size_t size_bytes) {
  if (size_bytes < kMinReused || size_bytes > kReserveBytes / 4) return;
  const std::size_t mapped = mapped_size(size_bytes);
  if (reserve().has(mapped)) return;
  std::byte* const data = map_memory(mapped);
  if (data == nullptr) return;
  if (fault_in(data, mapped)) {
    reserve().give(data, mapped);
  } else {
    ::munmap(data, mapped);
  }
}

Result<std::shared_ptr<Slab>> Slab::map_file(const UniqueFd& fd, std::size_t size_bytes,
                                             const std::string& name, Read read) {
  PERDURE_TRY(check_length(fd, size_bytes, name));
  if (size_bytes == 0) return std::shared_ptr<Slab>(new Slab(nullptr, 0, 0, true));
  const std::size_t mapped = whole_pages(size_bytes);
  void* data = ::mmap(nullptr, mapped, PROT_READ, MAP_PRIVATE, fd.get(), 0);
  if (data == MAP_FAILED) return fail_errno(std::format("map '{}'", name));
  std::shared_ptr<Slab> slab(new Slab(static_cast<std::byte*>(data), size_bytes, mapped, true));
  while (read == Read::kNow && ::madvise(data, mapped, MADV_POPULATE_READ) != 0) {
    if (errno == EINTR) continue;
    if (errno == EINVAL) return read_file(fd, size_bytes, name);  // before Linux 5.14
    const int error = errno == EFAULT ? EIO : errno;  // EFAULT: reading it would have been a SIGBUS
    return fail(Error::from_errno(std::format("read '{}'", name), error));
  }
  return slab;
}

Result<std::shared_ptr<Slab>> Slab::read_file(const UniqueFd& fd, std::size_t size_bytes,
                                              const std::string& name) {
  PERDURE_TRY(check_length(fd, size_bytes, name));
  PERDURE_ASSIGN(std::shared_ptr<Slab> slab, allocate(size_bytes, Prefault::kNo));
  PERDURE_ASSIGN(const std::size_t got,
                 read_at(fd.get(), slab->writable(), 0, std::format("'{}'", name)));
  if (got < size_bytes) {
    return fail(ErrorCode::kCorrupt,
                std::format("'{}' ends after {} bytes, {} are needed", name, got, size_bytes));
  }
  return slab;
}

Slab::~Slab() {
  if (!is_file_ && mapped_bytes_ >= kMinReused) {
    reserve().give(data_, mapped_bytes_);
  } else if (mapped_bytes_ > 0) {
    ::munmap(data_, mapped_bytes_);
  }
}

std::span<std::byte> Slab::writable() {
  PERDURE_ASSERT(!is_file_);
  return {data_, size_bytes_};
}

void Slab::trim(std::size_t size_bytes) {
  PERDURE_ASSERT(!is_file_ && size_bytes <= size_bytes_);
  const std::size_t kept = whole_pages(size_bytes);
  if (kept < mapped_bytes_) ::munmap(data_ + kept, mapped_bytes_ - kept);
  mapped_bytes_ = kept;
  size_bytes_ = size_bytes;
}

}  // namespace perdure::capsule
