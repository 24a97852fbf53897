#include "image/tree_writer.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <cerrno>
#include <format>
#include <utility>

#include "image/tree_entries.h"

namespace perdure::image {
namespace {

constexpr mode_t kAllPermissions = 07777;
constexpr mode_t kWhileWritten = 0600;

ErrorCode code_of(int error_number) {
  // An archive that names something twice, or links what cannot be linked.
  if (error_number == EEXIST || error_number == ENOENT || error_number == ELOOP || error_number == ENOTDIR) {
    return ErrorCode::kCorrupt;
  }
  if (error_number == ENOTSUP) return ErrorCode::kUnsupported;
  return Error::from_errno("", error_number).code();
}

}  // namespace

std::string TreeWriter::shown(const std::string& name) const {
  return std::format("{}/{}{}{}", root_path_, path_, path_.empty() || name.empty() ? "" : "/", name);
}

std::unexpected<Error> TreeWriter::refused(std::string_view what, const std::string& name) const {
  const int error_number = errno;
  const Error error = Error::from_errno(std::format("{} '{}'", what, shown(name)), error_number);
  return fail(code_of(error_number), error.message());
}

Status TreeWriter::header(std::string_view description) {
  description_ = description;
  return {};
}

Status TreeWriter::set_times(const std::string& name, std::int64_t seconds, std::uint32_t nanoseconds) const {
  const timespec modified{.tv_sec = seconds, .tv_nsec = static_cast<long>(nanoseconds)};
  const timespec times[2] = {modified, modified};
  if (::utimensat(directory_.get(), name.c_str(), times, AT_SYMLINK_NOFOLLOW) != 0) return refused("set time of", name);
  return {};
}

// Owner before mode and attributes: chown takes set-user-id bits and capabilities away.
Status TreeWriter::set_metadata(const std::string& name, const EntryMeta& meta) const {
  if (::fchownat(directory_.get(), name.c_str(), meta.uid, meta.gid, AT_SYMLINK_NOFOLLOW) != 0) {
    return refused("set owner of", name);
  }
  const std::string place = proc_path(directory_.get(), name);
  for (const auto& [attribute, value] : meta.attributes) {
    if (::lsetxattr(place.c_str(), attribute.c_str(), value.data(), value.size(), XATTR_CREATE) != 0) {
      return refused(std::format("set attribute '{}' of", attribute), name);
    }
  }
  // A symlink has no mode of its own; nothing else is one here, so nothing is followed.
  if (S_ISLNK(meta.mode)) return {};
  if (::fchmodat(directory_.get(), name.c_str(), meta.mode & kAllPermissions, 0) != 0)
    return refused("set mode of", name);
  return {};
}

Status TreeWriter::enter_directory(const std::string& name, const EntryMeta& meta) {
  const bool is_root = levels_.empty();
  if (!is_root && ::mkdirat(directory_.get(), name.c_str(), 0700) != 0) return refused("make directory", name);
  if (!is_root && !path_.empty()) path_ += '/';
  path_ += name;
  PERDURE_ASSIGN(directory_, open_directory_beneath(root_.get(), path_));
  levels_.push_back({path_.size(), meta.modified_s, meta.modified_ns});
  return set_metadata(".", meta);
}

Status TreeWriter::leave_directory() {
  const Level left = levels_.back();
  PERDURE_TRY(set_times(".", left.modified_s, left.modified_ns));
  levels_.pop_back();
  if (levels_.empty()) return {};
  path_.resize(levels_.back().path_bytes);
  PERDURE_ASSIGN(directory_, open_directory_beneath(root_.get(), path_));
  return {};
}

Status TreeWriter::begin_file(const std::string& name, const EntryMeta& meta, std::uint64_t size_bytes) {
  file_ = UniqueFd(
      ::openat(directory_.get(), name.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, kWhileWritten));
  if (!file_) return refused("create", name);
  file_name_ = name;
  file_meta_ = meta;
  // What no data covers is a hole.
  if (::ftruncate(file_.get(), static_cast<off_t>(size_bytes)) != 0) return refused("resize", name);
  return {};
}

Status TreeWriter::data(std::uint64_t offset, std::span<const std::byte> bytes) {
  while (!bytes.empty()) {
    const ssize_t written = ::pwrite(file_.get(), bytes.data(), bytes.size(), static_cast<off_t>(offset));
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) return refused("write", file_name_);
    offset += static_cast<std::uint64_t>(written);
    bytes = bytes.subspan(static_cast<std::size_t>(written));
  }
  return {};
}

Status TreeWriter::end_file() {
  file_.reset();
  PERDURE_TRY(set_metadata(file_name_, file_meta_));
  return set_times(file_name_, file_meta_.modified_s, file_meta_.modified_ns);
}

Status TreeWriter::symlink(const std::string& name, const EntryMeta& meta, const std::string& target) {
  if (::symlinkat(target.c_str(), directory_.get(), name.c_str()) != 0) return refused("make link", name);
  PERDURE_TRY(set_metadata(name, meta));
  return set_times(name, meta.modified_s, meta.modified_ns);
}

Status TreeWriter::node(const std::string& name, const EntryMeta& meta, std::uint64_t device) {
  if (::mknodat(directory_.get(), name.c_str(), (meta.mode & S_IFMT) | kWhileWritten, device) != 0) {
    return refused("make device node", name);
  }
  PERDURE_TRY(set_metadata(name, meta));
  return set_times(name, meta.modified_s, meta.modified_ns);
}

Result<std::uint64_t> TreeWriter::link(const std::string& name, const std::string& target) {
  const auto slash = target.rfind('/');
  const std::string above = slash == std::string::npos ? "" : target.substr(0, slash);
  const std::string below = slash == std::string::npos ? target : target.substr(slash + 1);
  auto directory = open_directory_beneath(root_.get(), above);
  if (!directory) {
    return fail(ErrorCode::kCorrupt, std::format("link '{}': {}", shown(name), directory.error().message()));
  }
  if (::linkat(directory->get(), below.c_str(), directory_.get(), name.c_str(), 0) != 0) {
    return refused(std::format("link '{}' to", target), name);
  }
  struct stat info{};
  if (::fstatat(directory_.get(), name.c_str(), &info, AT_SYMLINK_NOFOLLOW) != 0) return refused("stat", name);
  return S_ISREG(info.st_mode) ? static_cast<std::uint64_t>(info.st_size) : 0;
}

}  // namespace perdure::image
