#include "image/tree_entries.h"

#include <dirent.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <sys/syscall.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <climits>
#include <cstdint>
#include <format>
#include <memory>
#include <string_view>

namespace perdure::image {
namespace {

constexpr std::size_t kMaxXattrBytes = std::size_t{64} << 10;  // XATTR_SIZE_MAX and XATTR_LIST_MAX

struct DirectoryCloser {
  void operator()(DIR* directory) const { ::closedir(directory); }
};

}  // namespace

Result<std::vector<std::string>> list_names(int directory_fd, const std::string& path) {
  PERDURE_ASSIGN(UniqueFd copy, duplicate(directory_fd));
  const std::unique_ptr<DIR, DirectoryCloser> directory(::fdopendir(copy.get()));
  if (directory == nullptr) return fail_errno(std::format("list '{}'", path));
  [[maybe_unused]] const int owned_by_directory = copy.release();
  std::vector<std::string> names;
  for (;;) {
    errno = 0;
    const dirent* entry = ::readdir(directory.get());
    if (entry == nullptr && errno != 0) return fail_errno(std::format("list '{}'", path));
    if (entry == nullptr) break;
    const std::string_view name = entry->d_name;
    if (name != "." && name != "..") names.emplace_back(name);
  }
  std::ranges::sort(names);
  return names;
}

Result<std::string> read_link(int directory_fd, const std::string& name, const std::string& path) {
  std::vector<char> target(PATH_MAX);
  const ssize_t length = ::readlinkat(directory_fd, name.c_str(), target.data(), target.size());
  if (length < 0) return fail_errno(std::format("read link '{}'", path));
  return std::string(target.data(), static_cast<std::size_t>(length));
}

std::string proc_path(int directory_fd, const std::string& name) {
  return std::format("/proc/self/fd/{}/{}", directory_fd, name);
}

Result<Attributes> read_attributes(int directory_fd, const std::string& name, const std::string& path) {
  const std::string place = proc_path(directory_fd, name.empty() ? "." : name);
  ssize_t length = ::llistxattr(place.c_str(), nullptr, 0);
  if (length == 0 || (length < 0 && errno == ENOTSUP)) return Attributes{};
  std::vector<char> list(kMaxXattrBytes);
  if (length > 0) length = ::llistxattr(place.c_str(), list.data(), list.size());
  if (length < 0) return fail_errno(std::format("list attributes of '{}'", path));
  Attributes attributes;
  for (std::string_view rest(list.data(), static_cast<std::size_t>(length)); !rest.empty();) {
    const std::string_view attribute = rest.substr(0, rest.find('\0'));
    if (belongs_to_image(attribute)) attributes.emplace_back(attribute, "");
    rest.remove_prefix(attribute.size() + 1);
  }
  std::ranges::sort(attributes);
  for (auto& [attribute, value] : attributes) {
    const ssize_t size = ::lgetxattr(place.c_str(), attribute.c_str(), list.data(), list.size());
    if (size < 0) return fail_errno(std::format("read attribute '{}' of '{}'", attribute, path));
    value.assign(list.data(), static_cast<std::size_t>(size));
  }
  return attributes;
}

Result<UniqueFd> open_directory_beneath(int root_fd, const std::string& path) {
  open_how how{};
  how.flags = O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC;
  how.resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS | RESOLVE_NO_XDEV;
  const std::string& name = path.empty() ? std::string(".") : path;
  for (;;) {
    UniqueFd fd(static_cast<int>(::syscall(SYS_openat2, root_fd, name.c_str(), &how, sizeof how)));
    if (fd) return fd;
    if (errno != EAGAIN && errno != EINTR) return fail_errno(std::format("open directory '{}'", path));
  }
}

}  // namespace perdure::image
