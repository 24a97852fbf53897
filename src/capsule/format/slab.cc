#include "capsule/format/slab.h"

#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <format>

#include "base/assert.h"
#include "base/fd.h"
#include "base/units.h"

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

std::size_t whole_pages(std::size_t size_bytes) {
  return (size_bytes + kPageSize - 1) / kPageSize * kPageSize;
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
  if (size_bytes > SIZE_MAX - kPageSize) return fail(no_memory(size_bytes));
  const std::size_t mapped = whole_pages(size_bytes);
  void* data = ::mmap(nullptr, mapped, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (data == MAP_FAILED) return fail(no_memory(size_bytes));
  std::shared_ptr<Slab> slab(new Slab(static_cast<std::byte*>(data), size_bytes, mapped, false));
  if (mapped >= kHugePageThreshold) (void)::madvise(data, mapped, MADV_HUGEPAGE);
  if (prefault == Prefault::kYes) {
    while (::madvise(data, mapped, MADV_POPULATE_WRITE) != 0) {
      if (errno == EINTR) continue;
      if (errno == EINVAL) {  // before Linux 5.14
        for (std::size_t at = 0; at < mapped; at += kPageSize) {
          static_cast<volatile std::byte*>(data)[at] = std::byte{0};
        }
        break;
      }
      return fail(no_memory(size_bytes));
    }
  }
  return slab;
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
  if (mapped_bytes_ > 0) ::munmap(data_, mapped_bytes_);
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
