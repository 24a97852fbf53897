#include "capsule/files/tree_walk.h"

#include <fcntl.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/sysmacros.h>
#include <time.h>

#include <algorithm>
#include <cerrno>
#include <format>

#include "capsule/format/validate.h"

namespace perdure::capsule::files {
namespace {

// Clones begin at multiples of this in their file: the largest block size of a file system with
// reflinks.
constexpr std::uint64_t kCloneAlignment = 65536;

std::int64_t coarse_wall_clock_ns() {
  timespec now{};
  ::clock_gettime(CLOCK_REALTIME_COARSE, &now);
  return now.tv_sec * 1'000'000'000 + now.tv_nsec;
}

bool vanished(const Error& error) {
  return error.code() == ErrorCode::kNotFound;
}

}  // namespace

bool is_linked(const FileEntry& entry, std::uint64_t links) {
  return links > 1 && entry.type != FileType::kDirectory && !is_whiteout(entry);
}

const PagedObject& content_before(const ChangedFile& file) {
  static const PagedObject nothing;
  return file.before == nullptr ? nothing : file.before->entry.content;
}

std::optional<std::size_t> KnownTree::index_of(std::string_view path) const {
  const auto found = by_path.find(path);
  if (found == by_path.end()) return std::nullopt;
  return found->second;
}

std::shared_ptr<const KnownFile> KnownTree::at(const InodeId& inode) const {
  const auto found = by_inode.find(inode);
  return found == by_inode.end() ? nullptr : files[found->second];
}

KnownTree make_known_tree(FileList sorted_files) {
  KnownTree tree;
  tree.files = std::move(sorted_files);
  tree.by_path.reserve(tree.files.size());
  tree.children.resize(tree.files.size());
  for (std::size_t i = 0; i < tree.files.size(); ++i) {
    const KnownFile& file = *tree.files[i];
    tree.by_path.emplace(file.entry.path, i);
    const std::string_view path = file.entry.path;
    const std::size_t slash = path.rfind('/');
    const auto above =
        tree.by_path.find(slash == path.npos ? std::string_view() : path.substr(0, slash));
    if (!path.empty() && above != tree.by_path.end()) {
      tree.children[above->second].push_back(static_cast<std::uint32_t>(i));
    }
    if (file.entry.content.page_count() > 0 && file.key.inode != 0) {
      tree.by_inode.emplace(InodeId{file.key.device, file.key.inode}, i);
    }
  }
  return tree;
}

TreeWalk::TreeWalk(const WalkInput& input, PageSink& sink, const MappedFiles& mapped)
    : input_(input), options_(*input.options), sink_(sink), reader_(sink), mapped_(mapped) {
  names_.resize(kMaxDepth + 1);
}

Error TreeWalk::name_error(Error error) const {
  return std::move(error).context(std::format("capture '{}' of {}", path_, options_.name));
}

Result<WalkResult> TreeWalk::run() {
  result_.instant_ns = coarse_wall_clock_ns();
  result_.unchanged.reserve(input_.known->files.size());
  PERDURE_TRY(walk_root());
  result_.stats.read.count = reader_.bytes_read();
  return std::move(result_);
}

Status TreeWalk::walk_root() {
  const UniqueFd root(::openat(input_.root, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!root) return fail(name_error(Error::last_errno("open")));
  auto stat = stat_of(root.get());
  if (!stat) return fail(name_error(std::move(stat).error()));
  device_ = device_of(*stat);
  const Seen seen{Place{root.get(), "."}, *stat, root.get(), input_.known->index_of("")};
  PERDURE_TRY(note(seen));
  if (is_unchanged(seen)) return walk_as_known(root.get(), 0, *seen.known);
  return walk(root.get(), 0, seen.known);
}

// A directory that has not changed holds the names that it held: no need to list and to look them
// up.
Status TreeWalk::walk_as_known(int directory, unsigned depth, std::size_t known) {
  const std::size_t length = path_.size();
  for (const std::uint32_t child : input_.known->children[known]) {
    const std::string& path = input_.known->files[child]->entry.path;
    path_ = path;
    PERDURE_TRY(
        visit(Place{directory, path.c_str() + (length > 0 ? length + 1 : 0)}, depth, child));
    path_.resize(length);
  }
  return {};
}

Status TreeWalk::walk(int directory, unsigned depth, std::optional<std::size_t> known) {
  if (auto read = names_[depth].read(directory, options_.max_files); !read) {
    return fail(name_error(std::move(read).error()));
  }
  const std::size_t length = path_.size();
  return names_[depth].for_each([&](const char* name) -> Status {
    if (length > 0) path_ += '/';
    path_ += name;
    auto visited =
        visit(Place{directory, name}, depth, known ? input_.known->index_of(path_) : std::nullopt);
    path_.resize(length);
    return visited;
  });
}

Status TreeWalk::visit(Place place, unsigned depth, std::optional<std::size_t> known) {
  auto stat = stat_at(place);
  if (!stat) {
    if (vanished(stat.error())) return {};  // running (warm-up), or shared with somebody else
    return fail(name_error(std::move(stat).error()));
  }
  if (device_of(*stat) != device_) {
    return fail(
        name_error(Error(ErrorCode::kUnsupported,
                         "is a mount or subvolume of its own: make it a volume of its own")));
  }
  if (is_protected(*stat)) {
    return fail(name_error(Error(ErrorCode::kUnsupported,
                                 "has the immutable or append-only flag, which a capsule cannot "
                                 "hold: clear it (chattr -ia)")));
  }
  if (path_.size() > kMaxPathBytes) {
    return fail(name_error(Error(ErrorCode::kUnsupported,
                                 std::format("the path is longer than {} bytes", kMaxPathBytes))));
  }
  const Seen seen{place, *stat, -1, known};
  return S_ISDIR(stat->stx_mode) ? descend(seen, depth + 1) : note(seen);
}

Status TreeWalk::descend(const Seen& seen, unsigned depth) {
  if (depth > kMaxDepth) {
    return fail(name_error(
        Error(ErrorCode::kUnsupported, std::format("lies deeper than {} directories", kMaxDepth))));
  }
  auto fd = open_beneath(seen.place.directory, seen.place.name, O_RDONLY | O_DIRECTORY | O_NOATIME);
  if (!fd) {
    if (vanished(fd.error())) return {};
    return fail(name_error(std::move(fd).error()));
  }
  Seen opened = seen;
  opened.fd = fd->get();
  PERDURE_TRY(note(opened));
  if (is_unchanged(opened)) return walk_as_known(fd->get(), depth, *opened.known);
  return walk(fd->get(), depth, opened.known);
}

Status TreeWalk::note(const Seen& seen) {
  if (++result_.stats.entries > options_.max_files) {
    return fail(ErrorCode::kNoSpace,
                std::format("{} holds more than {} files: raise the limit or leave files out of it",
                            options_.name, options_.max_files));
  }
  const bool mapped = S_ISREG(seen.stat.stx_mode) && mapped_.contains(seen.stat);
  return is_unchanged(seen) ? keep(seen, mapped) : take(seen, mapped);
}

Status TreeWalk::keep(const Seen& seen, bool mapped) {
  const auto& known = input_.known->files[*seen.known];
  if (known->entry.hard_link_to.empty()) {
    PERDURE_TRY(add_content_bytes(known->entry.content.page_count() * kPageSize));
  }
  if (mapped) {
    const auto fd = open_for_reading(seen.place);
    if (!fd || !has_no_unwritten_pages(fd->get(), seen.stat)) {
      result_.distrusted.push_back(known);
      return {};
    }
  }
  result_.unchanged.push_back(known);
  return {};
}

bool TreeWalk::is_unchanged(const Seen& seen) const {
  if (!seen.known) return false;
  const KnownFile& known = *input_.known->files[*seen.known];
  FileKey key = key_of(seen.stat);
  // Overlayfs links all whiteouts to one inode, whose ctime changes with every file that is
  // deleted.
  const bool whiteout =
      S_ISCHR(seen.stat.stx_mode) && seen.stat.stx_rdev_major == 0 && seen.stat.stx_rdev_minor == 0;
  if (whiteout && is_whiteout(known.entry)) key.changed_ns = known.key.changed_ns;
  return key == known.key && (known.trusted || (whiteout && known.key.inode != 0));
}

Status TreeWalk::take(const Seen& seen, bool mapped) {
  const auto type = type_of(seen.stat);
  if (!type) return fail(name_error(Error(ErrorCode::kUnsupported, "is of an unknown type")));
  ChangedFile file;
  file.key = key_of(seen.stat);
  file.links = seen.stat.stx_nlink;
  file.is_new = !seen.known;
  FileEntry& entry = file.entry;
  entry.path = path_;
  entry.type = *type;
  entry.mode = seen.stat.stx_mode & 07777;
  entry.uid = seen.stat.stx_uid;
  entry.gid = seen.stat.stx_gid;
  entry.modified_ns = file.key.modified_ns;
  if (*type == FileType::kRegular) entry.size_bytes = seen.stat.stx_size;
  if (*type == FileType::kCharacterDevice || *type == FileType::kBlockDevice) {
    entry.device = makedev(seen.stat.stx_rdev_major, seen.stat.stx_rdev_minor);
  }
  if (seen.known) file.before = input_.known->files[*seen.known];
  const bool linked = is_linked(entry, file.links);
  if (linked) {
    const auto [other, first] = linked_.emplace(id_of(seen.stat), result_.changed.size());
    if (!first) file.content_of = other->second;
  }
  if (!file.content_of) {
    auto taken =
        *type == FileType::kRegular ? take_regular(seen, file, mapped) : take_metadata(seen, file);
    if (!taken) {
      if (linked) linked_.erase(id_of(seen.stat));
      if (vanished(taken.error())) return {};
      return fail(name_error(std::move(taken).error()));
    }
  }
  ++(file.is_new ? result_.stats.entries_new : result_.stats.entries_changed);
  result_.changed.push_back(std::move(file));
  return {};
}

Status TreeWalk::take_metadata(const Seen& seen, ChangedFile& file) {
  if (is_whiteout(file.entry)) return {};
  if (seen.fd >= 0) {
    PERDURE_ASSIGN(file.entry.xattrs, read_xattrs(seen.fd));
    return {};
  }
  PERDURE_ASSIGN(file.entry.xattrs, read_xattrs_at(seen.place));
  if (file.entry.type == FileType::kSymlink) {
    PERDURE_ASSIGN(file.entry.target, read_target(seen.place, seen.stat.stx_size));
  }
  return {};
}

Status TreeWalk::take_regular(const Seen& seen, ChangedFile& file, bool mapped) {
  PERDURE_ASSIGN(const UniqueFd fd, open_for_reading(seen.place));
  struct stat opened{};
  if (::fstat(fd.get(), &opened) != 0) return fail_errno("stat");
  if (!S_ISREG(opened.st_mode) || opened.st_ino != seen.stat.stx_ino) {
    return fail(ErrorCode::kTransient, "was replaced while it was captured");
  }
  // Before it is read: what is written back meanwhile only makes this too cautious.
  file.may_change_unseen = mapped && !has_no_unwritten_pages(fd.get(), seen.stat);
  PERDURE_ASSIGN(file.entry.xattrs, read_xattrs(fd.get()));
  if (seen.stat.stx_size == 0) return {};
  PERDURE_TRY(
      add_content_bytes(std::min<std::uint64_t>(seen.stat.stx_size, seen.stat.stx_blocks * 512)));
  // A renamed file is compared with what it was under its old name.
  if (auto same_inode = input_.known->at(id_of(seen.stat))) file.before = std::move(same_inode);
  ++result_.stats.files_read;
  return take_content(fd.get(), seen, file);
}

Status TreeWalk::take_content(int fd, const Seen& seen, ChangedFile& file) {
  const std::uint64_t size = seen.stat.stx_size;
  if (input_.may_clone && !cloning_failed_ && size >= options_.clone_from.count) {
    PERDURE_ASSIGN(const bool cloned, clone(fd, size, file));
    if (cloned) return {};
  }
  const PagedObject& before = content_before(file);
  PERDURE_ASSIGN(file.plan, reader_.read_changes(
                                ContentSource{fd, 0, size, seen.stat.stx_blocks * 512}, before));
  return {};
}

Result<bool> TreeWalk::clone(int fd, std::uint64_t size_bytes, ChangedFile& file) {
  if (!result_.clones) {
    PERDURE_ASSIGN(result_.clones, open_unlinked_file(input_.staging, "clone"));
  }
  file_clone_range range{};
  range.src_fd = fd;
  range.dest_offset = result_.clones_end;
  if (::ioctl(result_.clones.get(), FICLONERANGE, &range) != 0) {
    if (errno == ENOSPC || errno == EDQUOT || errno == EIO) return fail_errno("clone");
    // Another file system (EXDEV): none will do. Else it is this file: no copy-on-write, a swap
    // file, …
    if (errno == EXDEV || errno == EOPNOTSUPP) cloning_failed_ = true;
    return false;
  }
  file.clone_offset = result_.clones_end;
  result_.clones_end += (size_bytes + kCloneAlignment - 1) / kCloneAlignment * kCloneAlignment;
  ++result_.stats.files_cloned;
  return true;
}

Status TreeWalk::add_content_bytes(std::uint64_t bytes) {
  content_bytes_ += bytes;
  if (content_bytes_ <= options_.max_bytes.count) return {};
  return fail(ErrorCode::kNoSpace,
              std::format("the tree holds more than {}: raise the limit or move data to a volume "
                          "that is not captured",
                          format_bytes(options_.max_bytes)));
}

}  // namespace perdure::capsule::files
