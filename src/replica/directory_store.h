// Capsules as files of one directory: local, NFS, GlusterFS, CephFS. The directory is its own
// catalogue.
//
// A generation is one immutable file, TERM-INCARNATION-NUMBER.capsule (decimal, hexadecimal,
// decimal; zero-padded, so that names sort by age). It is written under a temporary name beside it,
// synced, renamed without ever replacing a file, and the directory is synced; then put() returns.
// Directory 0700, files 0600: they hold the container's memory.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <shared_mutex>
#include <string>
#include <vector>

#include "replica/capsule_store.h"
#include "replica/file_system.h"

namespace perdure::replica {

struct DirectoryStoreOptions {
  // One store, one directory. It is created when missing.
  std::string directory;
  // Capsules of another container in the directory are treated as damaged. Empty: any.
  std::string container;
  // Generations in a chain from a full one to its last delta. Longer chains take longer to load and
  // pin more old files; shorter ones write more. Range 1 (never a delta) to kMaxChain.
  std::size_t max_chain = 16;
  // The owner writes and holds the lock; others may look on and load meanwhile.
  enum class Access { kOwner, kReader } access = Access::kOwner;
};
// Loading gives up beyond this: no chain this program wrote is longer.
inline constexpr std::size_t kMaxChain = 256;

class DirectoryStore final : public CapsuleStore {
 public:
  // As owner: takes the lock (kConflict: another process has the store open; on a shared directory
  // perhaps on another host) and removes temporary files that a crash left. The file system must
  // outlive the store.
  static Result<std::unique_ptr<DirectoryStore>> open(DirectoryStoreOptions options,
                                                      FileSystem& file_system);

  Result<StoreReceipt> put(const capsule::EncodedCapsule& encoded) override;
  Result<std::vector<StoredGeneration>> list() override;
  Result<capsule::CapsuleRef> load(const Generation& generation) override;
  Result<RestorableGeneration> newest_restorable(const std::set<Generation>& skip) override;
  Status remove(const Generation& generation) override;
  Result<std::vector<Generation>> retain_only(const std::set<Generation>& keep) override;
  bool should_be_full(const Generation& parent) override;

  const std::string& directory() const { return options_.directory; }

 private:
  // What load() has verified so far; a generation that failed once is not read again in one call.
  struct Loaded {
    capsule::CapsuleRef capsule;
    capsule::Digest digest;
  };
  using LoadedTable = std::map<Generation, Result<Loaded>>;
  struct Known {  // of a file that verified when it was last looked at
    std::optional<Generation> parent;
    capsule::Digest digest;
    std::uint64_t size_bytes = 0;
  };

  DirectoryStore(DirectoryStoreOptions options, FileSystem& file_system)
      : options_(std::move(options)), file_system_(file_system) {}
  std::string path_of(const Generation& generation) const;
  Status require_owner(const char* what) const;
  Status remove_left_overs();
  Result<std::vector<Generation>> generations();  // by the names, oldest first
  StoredGeneration examine(const Generation& generation);
  Result<capsule::CapsuleInfo> read_header(const Generation& generation, std::uint64_t size_bytes);
  Status check_parent(const capsule::EncodedCapsule& encoded);
  Status write(const capsule::EncodedCapsule& encoded, const std::string& temporary);
  Status publish(const std::string& temporary, const std::string& path);
  Result<Loaded> load_chain(const Generation& generation, LoadedTable& table, std::size_t depth);
  Result<Loaded> load_one(const Generation& generation, LoadedTable& table, std::size_t depth);
  Status remove_files(const std::vector<Generation>& newest_first);

  const DirectoryStoreOptions options_;
  FileSystem& file_system_;
  std::unique_ptr<StoreLock> lock_;
  // Shared: readers and put(). Exclusive: removal, so that no parent vanishes below a load or a
  // put.
  std::shared_mutex files_;
  std::mutex known_mutex_;
  std::map<Generation, Known> known_;
};

}  // namespace perdure::replica
