// The seam between a capsule store and the operating system, so that every call can be made to fail
// and a crash can be simulated at every step (memory_file_system.h). Small on purpose: it has what
// a store of immutable files needs and nothing else.
//
// All calls block: pool threads only. Thread-safe.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "base/result.h"
#include "capsule/format/slab.h"

namespace perdure::replica {

// A new file that is being written. Destruction closes it and leaves it where it is.
class NewFile {
 public:
  virtual ~NewFile() = default;
  // Appends the pieces one after the other. kNoSpace, kIo.
  virtual Status append(std::span<const std::span<const std::byte>> pieces) = 0;
  // The content is on stable storage when this succeeds. After a failure nothing is known about it.
  virtual Status sync() = 0;
};

// Held until destruction.
class StoreLock {
 public:
  virtual ~StoreLock() = default;
};

class FileSystem {
 public:
  virtual ~FileSystem() = default;

  // Creates what is missing of the path with mode 0700.
  virtual Status make_directories(const std::string& path) = 0;
  // Mode 0600. kExists.
  virtual Result<std::unique_ptr<NewFile>> create(const std::string& path) = 0;
  // Atomic. kExists: never replaces a file.
  virtual Status rename_new(const std::string& from, const std::string& to) = 0;
  virtual Status remove(const std::string& path) = 0;  // kNotFound
  // Names created, renamed or removed in the directory are on stable storage when this succeeds.
  virtual Status sync_directory(const std::string& path) = 0;
  virtual Result<std::vector<std::string>> list(const std::string& path) = 0;  // names, unsorted
  virtual Result<std::uint64_t> size(const std::string& path) = 0;             // kNotFound
  // Up to `size_bytes` from the beginning.
  virtual Result<std::string> read_prefix(const std::string& path, std::size_t size_bytes) = 0;
  // The whole file; at most `limit_bytes` (kNoSpace).
  virtual Result<capsule::SlabRef> load(const std::string& path, std::uint64_t limit_bytes) = 0;
  // kConflict: somebody else holds it.
  virtual Result<std::unique_ptr<StoreLock>> lock(const std::string& path) = 0;
};

// For who keeps a file system that others own and that outlives it.
inline std::shared_ptr<FileSystem> outliving(FileSystem& files) {
  return {std::shared_ptr<FileSystem>(), &files};
}

// The operating system's. load() maps files of local file systems and copies those of NFS, FUSE
// (GlusterFS), Ceph, CIFS and 9p into memory: a mapping would kill its reader when the server is
// gone.
class PosixFileSystem final : public FileSystem {
 public:
  Status make_directories(const std::string& path) override;
  Result<std::unique_ptr<NewFile>> create(const std::string& path) override;
  Status rename_new(const std::string& from, const std::string& to) override;
  Status remove(const std::string& path) override;
  Status sync_directory(const std::string& path) override;
  Result<std::vector<std::string>> list(const std::string& path) override;
  Result<std::uint64_t> size(const std::string& path) override;
  Result<std::string> read_prefix(const std::string& path, std::size_t size_bytes) override;
  Result<capsule::SlabRef> load(const std::string& path, std::uint64_t limit_bytes) override;
  Result<std::unique_ptr<StoreLock>> lock(const std::string& path) override;
};

// Writes everything, over EINTR and short transfers, many pieces per call. `what` is for the
// message.
Status write_pieces(int fd, std::span<const std::span<const std::byte>> pieces,
                    const std::string& what);

}  // namespace perdure::replica
