// A file system in memory that fails and crashes on demand. Test programs only. Files may be used by any threads, as those
// of the real one; faults are set by one while no other uses it.
//
// It keeps two states: what programs see, and what is on stable storage. Content gets there by
// sync() of the file, names by sync_directory(). A crash throws away what programs saw; how much of
// what was never synced survives is up to the variant, because a real kernel writes some of it back
// on its own.
#pragma once

#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "replica/file_system.h"

namespace perdure::replica {

class MemoryFileSystem final : public FileSystem {
 public:
  // A deep copy, without locks, to try several futures of one past.
  std::unique_ptr<MemoryFileSystem> clone() const;

  // Counts calls that change something; they are numbered from 0.
  std::size_t calls() const { return calls_; }
  void restart_counting() { calls_ = 0; }
  // Call number `call` fails once with `code`; an append has then written half.
  void fail_at(std::size_t call, ErrorCode code) { failure_ = {call, code}; }
  // From call number `call` on nothing has any effect and everything fails: the host is gone. The
  // call itself happens half (an append) or not at all.
  void crash_at(std::size_t call) { crash_call_ = call; }
  void clear_failure() { failure_.reset(); }
  bool crashed() const { return crash_call_ && calls_ > *crash_call_; }

  enum class Unsynced {
    kLost,              // only what was synced
    kKept,              // everything that programs saw
    kNamesWithoutData,  // names as programs saw them, unsynced content lost
    kDataWithoutNames,  // names as synced, content as programs saw it
  };
  static constexpr Unsynced kAllVariants[] = {
      Unsynced::kLost, Unsynced::kKept, Unsynced::kNamesWithoutData, Unsynced::kDataWithoutNames};
  // The state that a host finds when it comes up again. Locks are gone, faults are cleared.
  void restart_after_crash(Unsynced variant);

  std::vector<std::string> paths() const;
  // Behind the back of the store: decay and operators.
  void flip_byte(const std::string& path, std::size_t at);
  void truncate(const std::string& path, std::size_t size_bytes);
  void overwrite(const std::string& path, std::string bytes);
  void fail_reading(const std::string& path, ErrorCode code) { unreadable_.emplace(path, code); }

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

 private:
  friend class MemoryLock;
  friend class MemoryNewFile;
  struct Inode {
    std::string seen;
    std::string stable;
  };
  // They outlive a crash of the file system that gave them.
  struct Locks {
    std::mutex mutex;
    std::set<std::string> paths;
  };
  using Names = std::map<std::string, std::shared_ptr<Inode>>;

  // Counts a changing call; the error that it is to give, if any.
  Status count_call(const std::string& what);
  Result<std::shared_ptr<Inode>> find(const std::string& path);

  mutable std::mutex mutex_;  // of all below
  Names seen_;
  Names stable_;
  std::size_t calls_ = 0;
  struct Failure {
    std::size_t call;
    ErrorCode code;
  };
  std::optional<Failure> failure_;
  std::optional<std::size_t> crash_call_;
  std::map<std::string, ErrorCode> unreadable_;
  std::shared_ptr<Locks> locks_ = std::make_shared<Locks>();
};

}  // namespace perdure::replica
