#include "replica/memory_file_system.h"

#include <algorithm>
#include <cstring>
#include <format>

namespace perdure::replica {
namespace {

std::string directory_of(const std::string& path) {
  return path.substr(0, path.rfind('/'));
}

}  // namespace

class MemoryNewFile final : public NewFile {
 public:
  MemoryNewFile(MemoryFileSystem& file_system, std::shared_ptr<MemoryFileSystem::Inode> inode)
      : file_system_(file_system), inode_(std::move(inode)) {}

  Status append(std::span<const std::span<const std::byte>> pieces) override {
    const std::scoped_lock guard(file_system_.mutex_);
    std::string bytes;
    for (const auto piece : pieces) {
      bytes.append(reinterpret_cast<const char*>(piece.data()), piece.size());
    }
    const bool dead = file_system_.crashed();
    Status status = file_system_.count_call("append");
    if (!status) bytes.resize(dead ? 0 : bytes.size() / 2);
    inode_->seen += bytes;
    return status;
  }

  Status sync() override {
    const std::scoped_lock guard(file_system_.mutex_);
    PERDURE_TRY(file_system_.count_call("sync"));
    inode_->stable = inode_->seen;
    return {};
  }

 private:
  MemoryFileSystem& file_system_;
  std::shared_ptr<MemoryFileSystem::Inode> inode_;
};

class MemoryLock final : public StoreLock {
 public:
  MemoryLock(std::shared_ptr<MemoryFileSystem::Locks> locks, std::string path)
      : locks_(std::move(locks)), path_(std::move(path)) {}
  ~MemoryLock() override {
    const std::scoped_lock guard(locks_->mutex);
    locks_->paths.erase(path_);
  }

 private:
  std::shared_ptr<MemoryFileSystem::Locks> locks_;
  std::string path_;
};

std::unique_ptr<MemoryFileSystem> MemoryFileSystem::clone() const {
  const std::scoped_lock guard(mutex_);
  auto copy = std::make_unique<MemoryFileSystem>();
  std::map<const Inode*, std::shared_ptr<Inode>> inodes;
  const auto copied = [&](const Names& names) {
    Names result;
    for (const auto& [path, inode] : names) {
      auto& target = inodes[inode.get()];
      if (target == nullptr) target = std::make_shared<Inode>(*inode);
      result[path] = target;
    }
    return result;
  };
  copy->seen_ = copied(seen_);
  copy->stable_ = copied(stable_);
  return copy;
}

Status MemoryFileSystem::count_call(const std::string& what) {
  const std::size_t call = calls_++;
  if (crash_call_ && call >= *crash_call_) {
    return fail(ErrorCode::kIo, std::format("{}: the host is gone", what));
  }
  if (failure_ && failure_->call == call) {
    return fail(failure_->code, std::format("{}: injected failure", what));
  }
  return {};
}

void MemoryFileSystem::restart_after_crash(Unsynced variant) {
  const std::scoped_lock guard(mutex_);
  const bool keep_names = variant == Unsynced::kKept || variant == Unsynced::kNamesWithoutData;
  const bool keep_data = variant == Unsynced::kKept || variant == Unsynced::kDataWithoutNames;
  (keep_names ? stable_ : seen_) = keep_names ? seen_ : stable_;
  for (const auto& [path, inode] : seen_) {
    (keep_data ? inode->stable : inode->seen) = keep_data ? inode->seen : inode->stable;
  }
  failure_.reset();
  crash_call_.reset();
  calls_ = 0;
  locks_ = std::make_shared<Locks>();
}

std::vector<std::string> MemoryFileSystem::paths() const {
  const std::scoped_lock guard(mutex_);
  std::vector<std::string> paths;
  for (const auto& [path, inode] : seen_) paths.push_back(path);
  return paths;
}

void MemoryFileSystem::flip_byte(const std::string& path, std::size_t at) {
  const std::scoped_lock guard(mutex_);
  seen_.at(path)->seen.at(at) ^= 1;
}

void MemoryFileSystem::truncate(const std::string& path, std::size_t size_bytes) {
  const std::scoped_lock guard(mutex_);
  seen_.at(path)->seen.resize(size_bytes);
}

void MemoryFileSystem::overwrite(const std::string& path, std::string bytes) {
  const std::scoped_lock guard(mutex_);
  seen_[path] = std::make_shared<Inode>(Inode{bytes, bytes});
}

Status MemoryFileSystem::make_directories(const std::string&) {
  return {};
}

Result<std::unique_ptr<NewFile>> MemoryFileSystem::create(const std::string& path) {
  const std::scoped_lock guard(mutex_);
  PERDURE_TRY(count_call("create"));
  if (seen_.contains(path)) return fail(ErrorCode::kExists, std::format("create '{}'", path));
  auto inode = std::make_shared<Inode>();
  seen_[path] = inode;
  return std::make_unique<MemoryNewFile>(*this, std::move(inode));
}

Status MemoryFileSystem::rename_new(const std::string& from, const std::string& to) {
  const std::scoped_lock guard(mutex_);
  PERDURE_TRY(count_call("rename"));
  if (seen_.contains(to)) return fail(ErrorCode::kExists, std::format("rename to '{}'", to));
  PERDURE_TRY(find(from));
  auto node = seen_.extract(from);
  node.key() = to;
  seen_.insert(std::move(node));
  return {};
}

Status MemoryFileSystem::remove(const std::string& path) {
  const std::scoped_lock guard(mutex_);
  PERDURE_TRY(count_call("remove"));
  if (seen_.erase(path) == 0) return fail(ErrorCode::kNotFound, std::format("remove '{}'", path));
  return {};
}

Status MemoryFileSystem::sync_directory(const std::string& path) {
  const std::scoped_lock guard(mutex_);
  PERDURE_TRY(count_call("sync directory"));
  const auto inside = [&](const auto& entry) { return directory_of(entry.first) == path; };
  std::erase_if(stable_, inside);
  for (const auto& entry : seen_) {
    if (inside(entry)) stable_.insert(entry);
  }
  return {};
}

Result<std::vector<std::string>> MemoryFileSystem::list(const std::string& path) {
  const std::scoped_lock guard(mutex_);
  if (crashed()) return fail(ErrorCode::kIo, "list: the host is gone");
  std::vector<std::string> names;
  for (const auto& [file, inode] : seen_) {
    if (directory_of(file) == path) names.push_back(file.substr(path.size() + 1));
  }
  std::ranges::reverse(names);  // nobody may rely on an order
  return names;
}

Result<std::shared_ptr<MemoryFileSystem::Inode>> MemoryFileSystem::find(const std::string& path) {
  if (crashed()) return fail(ErrorCode::kIo, "the host is gone");
  const auto found = seen_.find(path);
  if (found == seen_.end()) return fail(ErrorCode::kNotFound, std::format("'{}'", path));
  return found->second;
}

Result<std::uint64_t> MemoryFileSystem::size(const std::string& path) {
  const std::scoped_lock guard(mutex_);
  PERDURE_ASSIGN(const auto inode, find(path));
  return inode->seen.size();
}

Result<std::string> MemoryFileSystem::read_prefix(const std::string& path, std::size_t size_bytes) {
  const std::scoped_lock guard(mutex_);
  PERDURE_ASSIGN(const auto inode, find(path));
  if (const auto bad = unreadable_.find(path); bad != unreadable_.end()) {
    return fail(bad->second, std::format("read '{}': injected failure", path));
  }
  return inode->seen.substr(0, size_bytes);
}

Result<capsule::SlabRef> MemoryFileSystem::load(const std::string& path,
                                                std::uint64_t limit_bytes) {
  PERDURE_ASSIGN(const std::string bytes, read_prefix(path, SIZE_MAX));
  if (bytes.size() > limit_bytes) return fail(ErrorCode::kNoSpace, std::format("'{}'", path));
  PERDURE_ASSIGN(auto slab, capsule::Slab::allocate(bytes.size(), capsule::Slab::Prefault::kNo));
  std::ranges::copy(std::as_bytes(std::span(bytes)), slab->writable().begin());
  return slab;
}

Result<std::unique_ptr<StoreLock>> MemoryFileSystem::lock(const std::string& path) {
  const std::scoped_lock guard(mutex_, locks_->mutex);
  if (!locks_->paths.insert(path).second) {
    return fail(ErrorCode::kConflict, std::format("lock '{}': somebody else holds it", path));
  }
  return std::make_unique<MemoryLock>(locks_, path);
}

}  // namespace perdure::replica
