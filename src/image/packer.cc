// Packer: a walk over the tree that stops whenever the caller's buffer is full.
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <format>
#include <map>
#include <optional>
#include <utility>
#include <vector>

#include "base/fd.h"
#include "base/units.h"
#include "image/archive.h"
#include "image/archive_format.h"
#include "image/oci_layout.h"
#include "image/sha256.h"
#include "image/tree_entries.h"

namespace perdure::image {
namespace {

std::unexpected<Error> changed(const std::string& path) {
  return fail(ErrorCode::kTransient,
              std::format("'{}' changed while it was read: leave the root file system alone and try again", path));
}

std::unexpected<Error> too_much(const std::string& path, std::string_view why) {
  return fail(ErrorCode::kInvalid, std::format("root file system at '{}': {}", path, why));
}

}  // namespace

class Packer::Walk {
 public:
  Walk(std::string root_path, UniqueFd root, std::string description)
      : root_path_(std::move(root_path)), root_(std::move(root)), description_(std::move(description)) {}

  Result<std::size_t> read(std::span<std::byte> into) {
    if (error_) return fail(*error_);
    const auto filled = fill(into);
    if (!filled) error_ = filled.error();
    return filled;
  }
  bool finished() const { return stage_ == Stage::kEnded && taken_ == records_.size() && !error_; }

 private:
  enum class Stage { kBegin, kTree, kEnded };
  struct Level {
    std::vector<std::string> names;
    std::size_t next = 0;
    std::size_t path_bytes = 0;  // of path_, up to and with this directory
  };
  struct InodeId {
    std::uint64_t device = 0;
    std::uint64_t inode = 0;
    auto operator<=>(const InodeId&) const = default;
  };

  Result<std::size_t> fill(std::span<std::byte> into);
  Status advance();
  Status begin();
  Status enter(const std::string& name, const struct stat& info);
  Status leave();
  Status add(const std::string& name);
  Status open_file(const std::string& name, const struct stat& info);
  Status next_extent();
  Result<std::optional<std::string>> link_target(const std::string& name, const struct stat& info);
  Result<EntryMeta> meta_of(const std::string& name, const struct stat& info) const;
  Status count_content(std::uint64_t bytes);

  std::string tree_path(const std::string& name) const {
    return path_.empty() ? name : name.empty() ? path_ : path_ + "/" + name;
  }
  std::string shown(const std::string& name) const { return root_path_ + "/" + tree_path(name); }

  const std::string root_path_;
  const UniqueFd root_;
  const std::string description_;
  Stage stage_ = Stage::kBegin;
  dev_t device_ = 0;
  UniqueFd directory_;  // the one that is walked
  std::string path_;    // of directory_, from the root
  std::vector<Level> levels_;
  std::map<InodeId, std::string> linked_;  // first name of each inode that has several

  std::vector<std::byte> records_;  // made and not yet taken
  std::size_t taken_ = 0;
  UniqueFd file_;
  std::string file_name_;
  std::uint64_t file_size_ = 0;
  std::uint64_t file_position_ = 0;  // next byte to hand out or to look for data at
  std::uint64_t extent_end_ = 0;     // of the data that file_position_ is in
  std::size_t data_left_ = 0;        // of the data record that has been begun

  std::uint64_t entries_ = 0;
  std::uint64_t content_bytes_ = 0;
  std::optional<Error> error_;
};

Result<std::size_t> Packer::Walk::fill(std::span<std::byte> into) {
  std::size_t filled = 0;
  while (filled < into.size()) {
    const auto room = into.subspan(filled);
    if (taken_ < records_.size()) {
      const std::size_t size = std::min(room.size(), records_.size() - taken_);
      std::copy_n(records_.begin() + static_cast<std::ptrdiff_t>(taken_), size, room.begin());
      taken_ += size;
      filled += size;
    } else if (data_left_ > 0) {
      const auto piece = room.first(std::min(room.size(), data_left_));
      PERDURE_ASSIGN(const std::size_t got, read_at(file_.get(), piece, file_position_, shown(file_name_)));
      if (got < piece.size()) return changed(shown(file_name_));
      file_position_ += got;
      data_left_ -= got;
      filled += got;
    } else if (stage_ == Stage::kEnded) {
      break;
    } else {
      records_.clear();
      taken_ = 0;
      PERDURE_TRY(advance());
    }
  }
  return filled;
}

// Makes the next records, or begins the next data.
Status Packer::Walk::advance() {
  if (stage_ == Stage::kBegin) return begin();
  if (file_) return next_extent();
  Level& level = levels_.back();
  if (level.next == level.names.size()) return leave();
  return add(level.names[level.next++]);
}

Status Packer::Walk::begin() {
  const auto magic = std::as_bytes(std::span(kArchiveMagic));
  records_.assign(magic.begin(), magic.end());
  RecordWriter(records_, RecordType::kHeader).put_bytes(description_);
  stage_ = Stage::kTree;
  struct stat info{};
  if (::fstat(root_.get(), &info) != 0) return fail_errno(std::format("stat '{}'", root_path_));
  device_ = info.st_dev;
  PERDURE_ASSIGN(directory_, duplicate(root_.get()));
  return enter("", info);
}

Status Packer::Walk::count_content(std::uint64_t bytes) {
  if (bytes > kMaxArchiveContentBytes - content_bytes_) {
    return too_much(root_path_, std::format("more than {} cannot travel: use tar archives of less or a shared volume",
                                            format_bytes(Bytes{kMaxArchiveContentBytes})));
  }
  content_bytes_ += bytes;
  return {};
}

Result<EntryMeta> Packer::Walk::meta_of(const std::string& name, const struct stat& info) const {
  PERDURE_ASSIGN(Attributes attributes, read_attributes(directory_.get(), name, shown(name)));
  std::size_t bytes = 0;
  for (const auto& [attribute, value] : attributes) bytes += attribute.size() + value.size();
  if (attributes.size() > kMaxAttributes || bytes > kMaxRecordBytes / 2) {
    return too_much(shown(name), "its extended attributes are too many to travel");
  }
  return EntryMeta{.mode = info.st_mode,
                   .uid = info.st_uid,
                   .gid = info.st_gid,
                   .modified_s = info.st_mtim.tv_sec,
                   .modified_ns = static_cast<std::uint32_t>(info.st_mtim.tv_nsec),
                   .attributes = std::move(attributes)};
}

Status Packer::Walk::enter(const std::string& name, const struct stat& info) {
  if (levels_.size() > kMaxTreeDepth)
    return too_much(shown(name), std::format("deeper than {} directories", kMaxTreeDepth));
  PERDURE_ASSIGN(const EntryMeta meta, meta_of(name, info));
  RecordWriter record(records_, RecordType::kDirectory);
  record.put_meta(meta);
  record.put_text(name);
  // A mount is an empty directory to an overlay, and to the digest.
  if (info.st_dev != device_) {
    RecordWriter(records_, RecordType::kLeave);
    return {};
  }
  if (!name.empty()) {
    path_ = tree_path(name);
    PERDURE_ASSIGN(directory_, open_directory_beneath(root_.get(), path_));
  }
  PERDURE_ASSIGN(std::vector<std::string> names, list_names(directory_.get(), shown("")));
  levels_.push_back({std::move(names), 0, path_.size()});
  return {};
}

Status Packer::Walk::leave() {
  RecordWriter(records_, RecordType::kLeave);
  levels_.pop_back();
  if (levels_.empty()) {
    RecordWriter(records_, RecordType::kEnd);
    stage_ = Stage::kEnded;
    return {};
  }
  path_.resize(levels_.back().path_bytes);
  PERDURE_ASSIGN(directory_, open_directory_beneath(root_.get(), path_));
  return {};
}

Status Packer::Walk::add(const std::string& name) {
  struct stat info{};
  if (::fstatat(directory_.get(), name.c_str(), &info, AT_SYMLINK_NOFOLLOW) != 0) {
    return errno == ENOENT ? changed(shown(name)) : fail_errno(std::format("stat '{}'", shown(name)));
  }
  if (++entries_ > kMaxArchiveEntries) {
    return too_much(root_path_, std::format("more than {} files cannot travel", kMaxArchiveEntries));
  }
  if (tree_path(name).size() > kMaxTreePathBytes) return too_much(shown(name), "the path is too long to travel");
  if (S_ISDIR(info.st_mode)) return enter(name, info);
  if (S_ISREG(info.st_mode)) PERDURE_TRY(count_content(static_cast<std::uint64_t>(info.st_size)));
  PERDURE_ASSIGN(const auto first_name, link_target(name, info));
  if (first_name) {
    RecordWriter record(records_, RecordType::kLink);
    record.put_text(*first_name);
    record.put_text(name);
    return {};
  }
  if (S_ISREG(info.st_mode)) return open_file(name, info);
  PERDURE_ASSIGN(const EntryMeta meta, meta_of(name, info));
  if (S_ISLNK(info.st_mode)) {
    PERDURE_ASSIGN(const std::string target, read_link(directory_.get(), name, shown(name)));
    RecordWriter record(records_, RecordType::kSymlink);
    record.put_meta(meta);
    record.put_text(target);
    record.put_text(name);
    return {};
  }
  RecordWriter record(records_, RecordType::kNode);
  record.put_meta(meta);
  record.put_number(info.st_rdev, 8);
  record.put_text(name);
  return {};
}

Result<std::optional<std::string>> Packer::Walk::link_target(const std::string& name, const struct stat& info) {
  if (info.st_nlink < 2) return std::nullopt;
  const auto [found, first] = linked_.try_emplace({info.st_dev, info.st_ino}, tree_path(name));
  return first ? std::nullopt : std::optional(found->second);
}

Status Packer::Walk::open_file(const std::string& name, const struct stat& info) {
  PERDURE_ASSIGN(const EntryMeta meta, meta_of(name, info));
  // O_NONBLOCK: what has become a FIFO since must not hang us.
  file_ = UniqueFd(::openat(directory_.get(), name.c_str(), O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC));
  if (!file_) return fail_errno(std::format("open '{}'", shown(name)));
  struct stat opened{};
  if (::fstat(file_.get(), &opened) != 0) return fail_errno(std::format("stat '{}'", shown(name)));
  if (opened.st_ino != info.st_ino || opened.st_dev != info.st_dev || opened.st_size != info.st_size) {
    return changed(shown(name));
  }
  file_name_ = name;
  file_size_ = static_cast<std::uint64_t>(info.st_size);
  file_position_ = 0;
  extent_end_ = 0;
  RecordWriter record(records_, RecordType::kFile);
  record.put_meta(meta);
  record.put_number(file_size_, 8);
  record.put_text(name);
  return {};
}

Status Packer::Walk::next_extent() {
  if (file_position_ == extent_end_ && file_position_ < file_size_) {
    const off_t from = ::lseek(file_.get(), static_cast<off_t>(file_position_), SEEK_DATA);
    if (from < 0 && errno != ENXIO) return fail_errno(std::format("look for data in '{}'", shown(file_name_)));
    file_position_ = from < 0 ? file_size_ : std::min(static_cast<std::uint64_t>(from), file_size_);
    extent_end_ = file_position_;
    if (file_position_ < file_size_) {
      const off_t end = ::lseek(file_.get(), from, SEEK_HOLE);
      if (end < 0) return fail_errno(std::format("look for holes in '{}'", shown(file_name_)));
      extent_end_ = std::min(static_cast<std::uint64_t>(end), file_size_);
    }
  }
  if (file_position_ == extent_end_) {
    file_.reset();
    return {};
  }
  data_left_ = static_cast<std::size_t>(std::min<std::uint64_t>(extent_end_ - file_position_, kMaxDataBytes));
  RecordWriter record(records_, RecordType::kData);
  record.put_number(file_position_, kDataHeadBytes);
  record.announce(data_left_);
  return {};
}

Packer::Packer(std::unique_ptr<Walk> walk) : walk_(std::move(walk)) {}
Packer::~Packer() = default;

Result<std::unique_ptr<Packer>> Packer::open(const PreparedImage& image) {
  if (digest_hex(image.digest).empty()) {
    return fail(ErrorCode::kInvalid, std::format("'{}' is no digest of an image", image.digest.substr(0, 80)));
  }
  PERDURE_ASSIGN(UniqueFd root, perdure::open_file(image.lower_dir, O_RDONLY | O_DIRECTORY | O_NOFOLLOW));
  std::string tree = image.tree_digest;
  if (tree.empty()) {
    PERDURE_ASSIGN(tree, digest_tree(image.lower_dir, ""));
  }
  const ImageDescription description{image.digest, tree, image.lower_dir, image.defaults};
  std::string text = to_json(description);
  if (text.size() > kMaxRecordBytes) {
    return too_much(image.lower_dir, "its defaults are too long to travel");
  }
  return std::unique_ptr<Packer>(new Packer(std::make_unique<Walk>(image.lower_dir, std::move(root), std::move(text))));
}

Result<std::size_t> Packer::read(std::span<std::byte> into) {
  return walk_->read(into);
}
bool Packer::finished() const {
  return walk_->finished();
}

}  // namespace perdure::image
