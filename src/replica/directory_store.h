// Capsules as files of one directory: local, NFS, GlusterFS, CephFS. The directory is its own
// catalogue.
//
// A generation is one immutable file, TERM-INCARNATION-NUMBER.capsule (decimal, hexadecimal,
// decimal; zero-padded, so that names sort by age). It is written under a temporary name beside it,
// synced, renamed without ever replacing a file, and the directory is synced; then put() returns.
// Directory 0700, files 0600: they hold the container's memory.
//
// A directory that all nodes see (docs/shared-storage.md) has one writer too, the container's owner
// in the record, but no lock: that of a dead owner would stay. An owner that does not know yet that
// it is one no more may write at the same time. Neither damages the other: names hold term and
// incarnation, temporary ones those of the writer; a delta builds only on what its own writer
// stored in this life; nobody removes what a later life stored.
#pragma once

#include <atomic>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <shared_mutex>
#include <span>
#include <string>
#include <string_view>
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
  // Of the uncompressed content of one capsule: what loading may take of the owner's memory.
  Bytes content_limit{capsule::kMaxContentBytes};
  // The owner writes and holds the lock; others may look on and load meanwhile. kShared: writes
  // without a lock, as the life named below, which the record must name as the owner when the store
  // is opened: left-over files of earlier lives are removed then.
  enum class Access { kOwner, kReader, kShared } access = Access::kOwner;
  // Of the writer; kShared only. The term is the one it knows when it opens: a container begins, or comes back from a
  // move that failed, under a higher one, which what it puts names.
  Term term;
  Incarnation incarnation;
};
// Loading gives up beyond this: no chain this program wrote is longer.
inline constexpr std::size_t kMaxChain = 256;

class DirectoryStore final : public CapsuleStore {
 public:
  // As owner: takes the lock (kConflict: another process has the store open; on a shared directory
  // perhaps on another host) and removes temporary files that a crash left. kInvalid: options out
  // of range.
  static Result<std::unique_ptr<DirectoryStore>> open(DirectoryStoreOptions options,
                                                      std::shared_ptr<FileSystem> file_system);
  // The file system outlives the store.
  static Result<std::unique_ptr<DirectoryStore>> open(DirectoryStoreOptions options, FileSystem& file_system);

  // Also, when shared: kFenced: a later life has stored something here, or has removed our
  // temporary file. kNotFound: the parent was stored in another life.
  Result<StoreReceipt> put(const capsule::EncodedCapsule& encoded) override;
  Result<std::vector<StoredGeneration>> list() override;
  Result<capsule::CapsuleRef> load(const Generation& generation) override;
  Result<RestorableGeneration> newest_restorable(const std::set<Generation>& skip) override;
  Status mark(const Generation& generation, std::string_view word,
              std::string_view why) override;  // shared: kFenced for what a later life stored
  Status unmark(const Generation& generation, std::string_view word) override;
  Status remove(
      const Generation& generation) override;  // shared: kFenced for what a later life stored
  // Shared: what a later life stored stays.
  Result<std::vector<Generation>> retain_only(const std::set<Generation>& keep) override;
  bool should_be_full(const Generation& parent) override;

  const std::string& directory() const { return options_.directory; }

 private:
  // What one call has loaded; a generation that failed once is not read again in it.
  struct Loaded {
    capsule::CapsuleRef capsule;
    capsule::Digest digest;
  };
  using LoadedTable = std::map<Generation, Result<Loaded>>;
  struct Known {  // of a capsule that was in order when it was last looked at
    std::optional<Generation> parent;
    capsule::Digest digest;
    std::uint64_t size_bytes = 0;
  };
  struct Names {                                           // what lies in the directory, by name
    std::map<Generation, std::vector<std::string>> marks;  // words; generations without one as well
    std::vector<std::string> left_over;                    // temporary files; marks of nothing
  };

  DirectoryStore(DirectoryStoreOptions options, std::shared_ptr<FileSystem> file_system)
      : options_(std::move(options)),
        files_below_(std::move(file_system)),
        file_system_(*files_below_),
        term_(options_.term.value) {}
  std::string path_of(const std::string& name) const { return options_.directory + "/" + name; }
  std::string path_of(const Generation& generation) const;
  std::string path_of(const Generation& generation, std::string_view mark) const;
  bool shared() const { return options_.access == DirectoryStoreOptions::Access::kShared; }
  bool of_later_life(const Generation& generation) const;
  bool of_this_life(const Generation& generation) const;
  Status require_owner(std::string_view what) const;
  std::string temporary_name(const std::string& name);
  bool may_remove(std::string_view left_over) const;
  Status check_writer(const Generation& generation);
  Status remove_file(const std::string& path);
  Result<Names> names();
  Status remove_left_over();
  Result<std::vector<StoredGeneration>> list_locked();
  StoredGeneration examine(const Generation& generation, const std::vector<std::string>& marks);
  Result<capsule::CapsuleInfo> read_header(const Generation& generation, std::uint64_t size_bytes);
  Status check_identity(const Generation& generation, const capsule::Manifest& manifest) const;
  Status check_parent(const capsule::EncodedCapsule& encoded);
  Status write_new(const std::string& name, std::span<const std::span<const std::byte>> pieces);
  Result<Loaded> load_chain(const Generation& generation, LoadedTable& table, std::size_t depth);
  Result<Loaded> load_one(const Generation& generation, LoadedTable& table, std::size_t depth);
  Result<RestorableGeneration> search(const Names& found, const std::set<Generation>& skip);
  Status remove_files(const StoredGeneration& stored);
  void remember(const Generation& generation, const Known& known);
  void forget(const Generation& generation);

  const DirectoryStoreOptions options_;
  const std::shared_ptr<FileSystem> files_below_;
  FileSystem& file_system_;
  std::atomic<std::uint64_t> term_;  // of the writer; never falls
  std::unique_ptr<StoreLock> lock_;
  std::atomic<std::uint64_t> temporary_number_ = 0;
  // Shared: readers and put(). Exclusive: removal, so that no parent vanishes below a load or a
  // put.
  std::shared_mutex files_;
  std::mutex known_mutex_;
  std::map<Generation, Known> known_;
};

// "00000000000000000003-000000000000001f-00000000000000000042.capsule".
std::string file_name_of(const Generation& generation);
std::optional<Generation> generation_of_file(std::string_view name);

}  // namespace perdure::replica
