#include "node/cluster/unsealing.h"

#include <fcntl.h>
#include <stdio.h>

#include <filesystem>
#include <format>
#include <set>

#include "capsule/format/codec.h"
#include "io/atomic_file.h"
#include "replica/directory_store.h"

namespace perdure::node {
namespace {

// What a mark condemns is taken only where there is nothing else. Nothing: nothing is stored.
Result<capsule::CapsuleRef> newest_of(replica::CapsuleStore& store) {
  PERDURE_ASSIGN(const auto all, store.list());
  if (all.empty()) return capsule::CapsuleRef();
  std::set<Generation> marked;
  for (const replica::StoredGeneration& one : all) {
    if (!one.marks.empty()) marked.insert(one.generation);
  }
  auto found = store.newest_restorable(marked);
  if (!found && found.error().code() == ErrorCode::kNotFound) found = store.newest_restorable({});
  if (!found) return fail(std::move(found).error());
  // Nobody goes back behind what may be in order.
  for (const replica::SkippedGeneration& one : found->skipped) {
    if (replica::may_be_read_later(one.reason.code())) return fail(one.reason);
  }
  return found->capsule;
}

Status put_in(const std::string& directory, const capsule::Capsule& capsule, replica::FileSystem& files) {
  replica::DirectoryStoreOptions options;
  options.directory = directory;
  options.container = capsule.manifest.container;
  PERDURE_ASSIGN(auto store, replica::DirectoryStore::open(options, files));
  capsule::Capsule whole = capsule;
  whole.manifest.parent.reset();
  whole.manifest.parent_digest.reset();
  PERDURE_ASSIGN(const auto encoded, capsule::encode(whole, nullptr, nullptr, {}));
  PERDURE_TRY(store->put(encoded));
  return {};
}

Status put_in_place_of(const std::string& directory, const std::string& fresh) {
  const bool is_there = std::filesystem::exists(directory);
  const int renamed = ::renameat2(AT_FDCWD, fresh.c_str(), AT_FDCWD, directory.c_str(), is_there ? RENAME_EXCHANGE : RENAME_NOREPLACE);
  if (renamed != 0) return fail_errno(std::format("put '{}' in the place of '{}'", fresh, directory));
  PERDURE_TRY(io::sync_directory(std::filesystem::path(directory).parent_path()));
  return io::remove_tree(fresh);
}

}  // namespace

void Keeping::give_up() {
  const std::scoped_lock lock(mutex_);
  given_up_ = true;
}

Status Keeping::in_time(const std::function<Status()>& change) {
  const std::scoped_lock lock(mutex_);
  if (given_up_) return fail(ErrorCode::kCancelled, "nobody waits for it any more");
  return change();
}

Status keep_newest_alone(replica::CapsuleStore& store, const capsule::CapsuleRef& in_memory, const ContainerName& container,
                         const std::string& directory, replica::FileSystem& files, Keeping& keeping) {
  const auto newest = in_memory != nullptr ? Result<capsule::CapsuleRef>(in_memory) : newest_of(store);
  if (!newest) return fail(Error(newest.error()).context(std::format("the newest generation of container '{}'", container.str())));
  if (*newest == nullptr) return keeping.in_time([&] { return io::remove_tree(directory); });
  // No container is called so: a name has no point.
  const std::string fresh = directory + ".new";
  PERDURE_TRY(io::remove_tree(fresh));
  Status kept = put_in(fresh, **newest, files);
  if (kept) kept = keeping.in_time([&] { return put_in_place_of(directory, fresh); });
  if (!kept) {
    (void)io::remove_tree(fresh);
    return fail(std::move(kept).error().context(std::format("store container '{}' without the cluster's keys", container.str())));
  }
  return {};
}

}  // namespace perdure::node
