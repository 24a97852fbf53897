#include "capsule/files/file_tracker.h"

#include <fcntl.h>
#include <linux/fs.h>
#include <linux/magic.h>
#include <sys/ioctl.h>
#include <sys/vfs.h>

#include <algorithm>
#include <format>
#include <map>
#include <unordered_set>
#include <utility>
#include <vector>

#include "base/assert.h"
#include "capsule/files/content.h"
#include "capsule/files/mapped_files.h"
#include "capsule/files/slab_store.h"
#include "capsule/files/tree_walk.h"

namespace perdure::capsule {
namespace {

using files::ChangedFile;
using files::FileList;
using files::InodeId;

constexpr std::uint64_t kMinArenaBytes = 65536;

// Whose ctime is the kernel's own clock and rises with every change, mapped stores' first faults
// included.
bool ctime_is_proof(int root) {
  struct statfs fs{};
  if (::fstatfs(root, &fs) != 0) return false;
  switch (static_cast<unsigned long>(fs.f_type)) {
    case EXT4_SUPER_MAGIC:  // ext2 and ext3 too
    case XFS_SUPER_MAGIC:
    case BTRFS_SUPER_MAGIC:
    case F2FS_SUPER_MAGIC:
      return true;
    default:
      return false;
  }
}

bool try_clone(int staging) {
  const auto from = files::open_unlinked_file(staging, "probe");
  const auto to = files::open_unlinked_file(staging, "probe");
  const std::vector<std::byte> block(kPageSize, std::byte{1});
  if (!from || !to || !write_all(from->get(), block, "probe")) return false;
  file_clone_range range{};
  range.src_fd = from->get();
  return ::ioctl(to->get(), FICLONERANGE, &range) == 0;
}

// Whether `inner` is `outer` or lies beneath it.
Result<bool> lies_in(int inner, int outer) {
  PERDURE_ASSIGN(const auto wanted, files::stat_of(outer));
  PERDURE_ASSIGN(UniqueFd at, duplicate(inner));
  for (;;) {
    PERDURE_ASSIGN(const auto here, files::stat_of(at.get()));
    if (files::id_of(here) == files::id_of(wanted)) return true;
    UniqueFd up(::openat(at.get(), "..", O_PATH | O_DIRECTORY | O_CLOEXEC));
    if (!up) return fail_errno("open '..'");
    PERDURE_ASSIGN(const auto above, files::stat_of(up.get()));
    if (files::id_of(above) == files::id_of(here)) return false;
    at = std::move(up);
  }
}

// Of each inode with several names, the first by path keeps the content; the others become links to
// it. All say the same of the inode: what this capture read, if it read it under any of the names,
// and trusted only if all are.
void resolve_links(FileList& sorted, const std::unordered_set<const KnownFile*>& fresh) {
  std::map<InodeId, std::vector<std::size_t>> groups;
  for (std::size_t i = 0; i < sorted.size(); ++i) {
    const KnownFile& file = *sorted[i];
    if (files::is_linked(file.entry, file.links)) {
      groups[InodeId{file.key.device, file.key.inode}].push_back(i);
    }
  }
  for (const auto& [inode, members] : groups) {
    std::shared_ptr<const KnownFile> source = sorted[members.front()];
    bool trusted = true;
    for (const std::size_t member : members) {
      if (fresh.contains(sorted[member].get())) source = sorted[member];
      trusted = trusted && sorted[member]->trusted;
    }
    const std::string first = sorted[members.front()]->entry.path;
    for (const std::size_t member : members) {
      auto& file = sorted[member];
      const std::string wanted = member == members.front() ? std::string() : first;
      const bool outdated = fresh.contains(source.get()) && !fresh.contains(file.get());
      if (file->entry.hard_link_to == wanted && file->trusted == trusted && !outdated) continue;
      auto copy = std::make_shared<KnownFile>(outdated ? *source : *file);
      copy->entry.path = file->entry.path;
      copy->entry.hard_link_to = wanted;
      copy->trusted = trusted;
      file = std::move(copy);
    }
  }
}

// Appends the pages [first, end) of `from`, which has them all.
Status append_pages(PagedObject& object, const PagedObject& from, std::uint64_t first,
                    std::uint64_t end) {
  const auto& runs = from.runs();
  auto run = std::ranges::upper_bound(runs, first, {}, &PageRun::end_page);
  for (; first < end; ++run) {
    PERDURE_ASSERT(run != runs.end() && run->first_page <= first);
    const std::uint64_t count = std::min(run->end_page(), end) - first;
    PERDURE_TRY(object.append(PageRun{first, count, run->slab,
                                      run->slab_offset + (first - run->first_page) * kPageSize}));
    first += count;
  }
  return {};
}

Result<PagedObject> assemble(const ChangedFile& file, const files::StoredPages& stored) {
  PagedObject content;
  for (const files::ContentSegment& segment : file.plan) {
    if (segment.as_before) {
      PERDURE_TRY(append_pages(content, files::content_before(file), segment.first_page,
                               segment.first_page + segment.page_count));
    } else {
      PERDURE_TRY(
          stored.append_to(content, segment.first_page, segment.sink_page, segment.page_count));
    }
  }
  return content;
}

FileTree tree_of(const FileList& list, const std::string& volume) {
  FileTree tree;
  tree.volume = volume;
  tree.entries.reserve(list.size());
  for (const auto& file : list) {
    FileEntry& entry = tree.entries.emplace_back(file->entry);
    if (entry.hard_link_to.empty()) continue;
    entry.content = {};
    entry.xattrs.clear();
  }
  return tree;
}

}  // namespace

struct FileSnapshot::Data {
  const void* tracker = nullptr;
  std::shared_ptr<int> held;  // alive as long as this snapshot
  std::unique_ptr<files::PageSink> sink;
  files::WalkResult walk;
};

FileSnapshot::FileSnapshot(std::unique_ptr<Data> data) : data_(std::move(data)) {}
FileSnapshot::FileSnapshot(FileSnapshot&&) noexcept = default;
FileSnapshot& FileSnapshot::operator=(FileSnapshot&&) noexcept = default;
FileSnapshot::~FileSnapshot() = default;
const FileStats& FileSnapshot::stats() const {
  return data_->walk.stats;
}

struct FileTracker::Impl {
  UniqueFd root;
  UniqueFd staging;
  UniqueFd merged;
  FileTrackerOptions options;
  bool ctime_is_proof = false;
  bool may_clone = false;
  std::shared_ptr<files::ChunkPool> pool = std::make_shared<files::ChunkPool>();
  files::OverlayPaths overlay_paths;
  std::weak_ptr<int> outstanding;
  files::KnownTree known;
  FileStats stats;

  files::SlabStoreOptions store_options() const {
    return {staging.get(), options.name, options.max_memory.count};
  }
  Status read_clones(files::WalkResult& walk, files::PageSink& sink) const;
  Result<FileList> build(FileSnapshot::Data& data) const;
  bool is_trusted(const ChangedFile& file, std::int64_t instant_ns) const;
  Status absorb(FileSnapshot snapshot);
};

Status FileTracker::Impl::read_clones(files::WalkResult& walk, files::PageSink& sink) const {
  files::ContentReader reader(sink);
  for (ChangedFile& file : walk.changed) {
    if (!file.clone_offset) continue;
    const files::ContentSource source{walk.clones.get(), *file.clone_offset, file.entry.size_bytes,
                                      file.entry.size_bytes};
    auto plan = reader.read_changes(source, files::content_before(file));
    if (!plan) {
      return fail(std::move(plan).error().context(
          std::format("capture '{}' of {}", file.entry.path, options.name)));
    }
    file.plan = std::move(*plan);
  }
  return {};
}

bool FileTracker::Impl::is_trusted(const ChangedFile& file, std::int64_t instant_ns) const {
  return ctime_is_proof && !file.may_change_unseen &&
         file.key.changed_ns < instant_ns - options.racy_margin.count();
}

Result<FileList> FileTracker::Impl::build(FileSnapshot::Data& data) const {
  PERDURE_TRY(read_clones(data.walk, *data.sink));
  PERDURE_ASSIGN(const auto stored, files::StoredPages::store(*data.sink, store_options(),
                                                              stats.held_in_memory.count));
  FileList list = std::move(data.walk.unchanged);
  for (const auto& known_file : data.walk.distrusted) {
    auto copy = std::make_shared<KnownFile>(*known_file);
    copy->trusted = false;
    list.push_back(std::move(copy));
  }
  std::vector<std::shared_ptr<const KnownFile>> built;  // by index of changed
  for (ChangedFile& file : data.walk.changed) {
    auto known_file = std::make_shared<KnownFile>();
    known_file->key = file.key;
    known_file->links = file.links;
    known_file->trusted = is_trusted(file, data.walk.instant_ns);
    if (file.content_of) {
      const FileEntry& other = built[*file.content_of]->entry;
      file.entry.xattrs = other.xattrs;
      file.entry.target = other.target;
      file.entry.content = other.content;
    } else {
      PERDURE_ASSIGN(file.entry.content, assemble(file, stored));
    }
    known_file->entry = std::move(file.entry);
    built.push_back(std::move(known_file));
  }
  std::unordered_set<const KnownFile*> fresh;
  for (const auto& file : built) fresh.insert(file.get());
  list.insert(list.end(), built.begin(), built.end());
  std::ranges::sort(list, {},
                    [](const auto& file) -> const std::string& { return file->entry.path; });
  resolve_links(list, fresh);
  PERDURE_TRY(files::repack(list, store_options()));
  return list;
}

Status FileTracker::Impl::absorb(FileSnapshot snapshot) {
  FileSnapshot::Data* data = snapshot.data_.get();
  if (data == nullptr || data->tracker != this) {
    return fail(ErrorCode::kInvalid,
                "finish capture of " + options.name + ": not a snapshot of it");
  }
  const Instant start = BootClock::now();
  FileStats result = data->walk.stats;
  const bool as_before =
      data->walk.unchanged.size() == known.files.size() && data->walk.changed.empty();
  if (as_before) {
    result.content = stats.content;
    result.held_in_memory = stats.held_in_memory;
    result.held_in_files = stats.held_in_files;
    result.finish = BootClock::now() - start;
    stats = result;
    return {};
  }
  PERDURE_ASSIGN(FileList list, build(*data));
  result.changed.count = data->sink->page_count() * kPageSize;
  for (const auto& file : list) {
    if (file->entry.hard_link_to.empty())
      result.content.count += file->entry.content.page_count() * kPageSize;
  }
  const files::HeldBytes held = files::held_by(list);
  result.held_in_memory.count = held.memory;
  result.held_in_files.count = held.files;
  known = files::make_known_tree(std::move(list));
  result.finish = BootClock::now() - start;
  stats = result;
  return {};
}

FileTracker::FileTracker(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
FileTracker::~FileTracker() = default;

Result<std::unique_ptr<FileTracker>> FileTracker::create(UniqueFd root, UniqueFd staging,
                                                         UniqueFd merged,
                                                         FileTrackerOptions options) {
  const std::string what = "track " + options.name;
  auto inside = lies_in(staging.get(), root.get());
  if (!inside) return fail(std::move(inside).error().context(what));
  if (*inside) {
    return fail(ErrorCode::kInvalid, what + ": the staging directory lies inside the tree");
  }
  PERDURE_TRY(files::open_unlinked_file(staging.get(), what + ": staging directory"));
  auto impl = std::make_unique<Impl>();
  impl->ctime_is_proof = ctime_is_proof(root.get());
  impl->may_clone = try_clone(staging.get());
  impl->pool->chunk_bytes = std::max(options.arena.count, kMinArenaBytes) / kPageSize * kPageSize;
  PERDURE_ASSIGN(auto chunk, Slab::allocate(impl->pool->chunk_bytes, Slab::Prefault::kYes));
  impl->pool->chunks.push_back(std::move(chunk));
  impl->root = std::move(root);
  impl->staging = std::move(staging);
  impl->merged = std::move(merged);
  impl->options = std::move(options);
  return std::unique_ptr<FileTracker>(new FileTracker(std::move(impl)));
}

Result<FileSnapshot> FileTracker::snapshot(const FrozenHints& hints) {
  Impl& impl = *impl_;
  if (!impl.outstanding.expired()) {
    return fail(ErrorCode::kInvalid,
                "capture " + impl.options.name + ": another capture is under way");
  }
  const Instant start = BootClock::now();
  auto mapped =
      files::MappedFiles::find(hints, impl.root.get(), impl.merged.get(), impl.overlay_paths);
  if (!mapped) return fail(std::move(mapped).error().context("capture " + impl.options.name));

  auto data = std::make_unique<FileSnapshot::Data>();
  data->tracker = impl_.get();
  data->held = std::make_shared<int>(0);
  data->sink = std::make_unique<files::PageSink>(impl.pool, impl.staging.get(), impl.options.name);
  const files::WalkInput input{impl.root.get(), impl.staging.get(), &impl.options, &impl.known,
                               impl.may_clone};
  files::TreeWalk walk(input, *data->sink, *mapped);
  PERDURE_ASSIGN(data->walk, walk.run());
  if (walk.cloning_failed()) impl.may_clone = false;
  FileStats& stats = data->walk.stats;
  stats.entries_gone = impl.known.files.size() - data->walk.unchanged.size() -
                       data->walk.distrusted.size() - stats.entries_changed;
  stats.snapshot = BootClock::now() - start;
  impl.outstanding = data->held;
  return FileSnapshot(std::move(data));
}

Result<FileTree> FileTracker::finish(FileSnapshot snapshot) {
  PERDURE_TRY(impl_->absorb(std::move(snapshot)));
  return tree_of(impl_->known.files, impl_->options.volume);
}

Status FileTracker::warm_up(const FrozenHints& hints) {
  PERDURE_ASSIGN(FileSnapshot taken, snapshot(hints));
  return impl_->absorb(std::move(taken));
}

void FileTracker::set_merged(UniqueFd merged) {
  impl_->merged = std::move(merged);
  impl_->overlay_paths.clear();
}

void FileTracker::adopt(const FileTree& tree) {
  FileList list;
  std::map<std::string_view, const FileEntry*> linked_to;
  for (const FileEntry& entry : tree.entries) linked_to.emplace(entry.path, &entry);
  for (const FileEntry& entry : tree.entries) {
    auto file = std::make_shared<KnownFile>();
    file->entry = entry;
    const auto other = linked_to.find(entry.hard_link_to);
    if (!entry.hard_link_to.empty() && other != linked_to.end()) {
      file->entry.content = other->second->content;
      file->entry.xattrs = other->second->xattrs;
    }
    list.push_back(std::move(file));
  }
  const files::HeldBytes held = files::held_by(list);
  impl_->stats = {};
  impl_->stats.held_in_memory.count = held.memory;
  impl_->stats.held_in_files.count = held.files;
  impl_->known = files::make_known_tree(std::move(list));
}

const KnownFile* FileTracker::known(std::string_view path) const {
  const auto index = impl_->known.index_of(path);
  return index ? impl_->known.files[*index].get() : nullptr;
}
const FileStats& FileTracker::last_stats() const {
  return impl_->stats;
}
bool FileTracker::can_clone() const {
  return impl_->may_clone;
}

}  // namespace perdure::capsule
