#include <algorithm>
#include <format>
#include <string_view>
#include <unordered_map>

#include "capsule/files/file_restore.h"
#include "capsule/files/inode.h"
#include "capsule/format/validate.h"

namespace perdure::capsule {
namespace {

// Also bounds the depth: the walk holds a descriptor per level.
bool is_path(std::string_view path) {
  if (path.size() > kMaxPathBytes || path.find('\0') != std::string_view::npos) return false;
  if (static_cast<unsigned>(std::ranges::count(path, '/')) >= kMaxDepth + 1) return false;
  while (!path.empty()) {
    const std::size_t slash = path.find('/');
    const std::string_view name = path.substr(0, slash);
    if (name.empty() || name.size() > kMaxNameBytes || name == "." || name == "..") return false;
    if (slash == std::string_view::npos) return true;
    path.remove_prefix(slash + 1);
    if (path.empty()) return false;
  }
  return true;  // the root
}

std::string_view directory_of(std::string_view path) {
  const std::size_t slash = path.rfind('/');
  return slash == std::string_view::npos ? std::string_view() : path.substr(0, slash);
}

// What is wrong with an entry by itself, or an empty text.
std::string_view fault_of(const FileEntry& entry) {
  const bool regular = entry.type == FileType::kRegular;
  const bool device =
      entry.type == FileType::kCharacterDevice || entry.type == FileType::kBlockDevice;
  if (!is_path(entry.path)) return "is no path within a tree";
  if (entry.path.empty() && entry.type != FileType::kDirectory) return "the root is no directory";
  if ((entry.mode & ~07777u) != 0) return "has more than permission bits";
  if (entry.type > FileType::kSocket) return "is of an unknown type";
  if (!device && entry.device != 0) return "has a device number and is no device";
  if (!regular && (entry.size_bytes != 0 || entry.content.page_count() != 0))
    return "is no file and has content";
  if (entry.size_bytes > kMaxFileBytes) return "is larger than any file";
  const auto& runs = entry.content.runs();
  if (!runs.empty() && runs.back().end_page() > (entry.size_bytes + kPageSize - 1) / kPageSize) {
    return "has content beyond its size";
  }
  const bool symlink = entry.type == FileType::kSymlink && entry.hard_link_to.empty();
  if (symlink && (entry.target.empty() || entry.target.size() > kMaxPathBytes ||
                  entry.target.find('\0') != std::string::npos)) {
    return "has no target that a symlink can have";
  }
  if (entry.type != FileType::kSymlink && !entry.target.empty())
    return "has a target and is no symlink";
  for (const auto& [name, value] : entry.xattrs) {
    if (name.empty() || name.size() > kMaxXattrNameBytes || name.find('\0') != std::string::npos ||
        value.size() > kMaxXattrValueBytes) {
      return "has an xattr that no file can have";
    }
  }
  return {};
}

}  // namespace

Status validate(const FileTree& tree) {
  std::unordered_map<std::string_view, const FileEntry*> earlier;
  earlier.reserve(tree.entries.size());
  const FileEntry* previous = nullptr;
  for (const FileEntry& entry : tree.entries) {
    std::string_view fault = fault_of(entry);
    if (fault.empty() && previous != nullptr && previous->path >= entry.path)
      fault = "comes out of order";
    if (fault.empty() && !entry.path.empty()) {
      const auto above = directory_of(entry.path);
      const auto found = earlier.find(above);
      const bool is_directory =
          found != earlier.end() && found->second->type == FileType::kDirectory;
      if (!is_directory && !(above.empty() && found == earlier.end()))
        fault = "lies in no directory of the tree";
    }
    if (fault.empty() && !entry.hard_link_to.empty()) {
      const auto found = earlier.find(entry.hard_link_to);
      if (found == earlier.end() || found->second->type != entry.type ||
          !found->second->hard_link_to.empty() || entry.type == FileType::kDirectory ||
          entry.content.page_count() != 0) {
        fault = "is a hard link to nothing that could be linked to";
      }
    }
    if (!fault.empty()) {
      return fail(ErrorCode::kCorrupt,
                  std::format("tree '{}': entry '{}' {}", tree.volume, entry.path, fault));
    }
    earlier.emplace(entry.path, &entry);
    previous = &entry;
  }
  return {};
}

}  // namespace perdure::capsule
