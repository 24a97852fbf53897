// A file mapped shared and writable by the test itself, and what the kernel says of it.
#pragma once

#include <sys/mman.h>

#include "capsule/files/test_tree.h"

namespace perdure::capsule::test {

class MappedFile {
 public:
  explicit MappedFile(const std::string& path) {
    const UniqueFd fd(::open(path.c_str(), O_RDWR | O_CLOEXEC));
    data_ = static_cast<char*>(
        ::mmap(nullptr, kPageSize, PROT_READ | PROT_WRITE, MAP_SHARED, fd.get(), 0));
    EXPECT_NE(data_, MAP_FAILED);
  }
  ~MappedFile() { ::munmap(data_, kPageSize); }
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;
  void store(char value) { *static_cast<volatile char*>(data_) = value; }
  void protect(int protection) { ::mprotect(data_, kPageSize, protection); }
  void* data() const { return data_; }

 private:
  char* data_;
};

inline FrozenHints own_hints() {
  const pid_t self = ::getpid();
  auto hints = collect_shared_writable_mappings({&self, 1});
  EXPECT_TRUE(hints) << hints.error().message();
  return hints.value_or(FrozenHints{});
}

}  // namespace perdure::capsule::test
