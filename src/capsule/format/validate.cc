#include "capsule/format/validate.h"

#include <algorithm>
#include <format>
#include <string>

namespace perdure::capsule {
namespace {

constexpr std::uint32_t kModeBits = 07777;

bool has_nul(std::string_view text) {
  return text.find('\0') != std::string_view::npos;
}

// For messages: what is not printable ASCII as \xNN, cut short.
std::string printable(std::string_view text) {
  constexpr std::size_t kShown = 120;
  std::string result = "'";
  for (const char c : text.substr(0, kShown)) {
    if (c >= ' ' && c <= '~') {
      result += c;
    } else {
      result += std::format("\\x{:02x}", static_cast<unsigned char>(c));
    }
  }
  return result + (text.size() > kShown ? "…'" : "'");
}

std::unexpected<Error> broken(const FileTree& tree, const FileEntry& entry, std::string_view rule) {
  return fail(ErrorCode::kInvalid,
              std::format("{} entry {}: {}",
                          tree.volume.empty() ? std::string("writable layer")
                                              : "volume " + printable(tree.volume),
                          printable(entry.path), rule));
}

const FileEntry* find_before(const FileTree& tree, std::size_t end, std::string_view path) {
  const auto last = tree.entries.begin() + static_cast<std::ptrdiff_t>(end);
  const auto found = std::lower_bound(
      tree.entries.begin(), last, path,
      [](const FileEntry& entry, std::string_view wanted) { return entry.path < wanted; });
  return found != last && found->path == path ? &*found : nullptr;
}

Status check_place(const FileTree& tree, std::size_t index) {
  const FileEntry& entry = tree.entries[index];
  if (!is_tree_path(entry.path)) {
    return broken(tree, entry, "not a relative path of ordinary components");
  }
  if (index > 0 && tree.entries[index - 1].path >= entry.path) {
    return broken(tree, entry, "not in rising order, or twice");
  }
  if (entry.path.empty()) {
    if (entry.type != FileType::kDirectory) return broken(tree, entry, "the root is no directory");
    return {};
  }
  const auto slash = entry.path.rfind('/');
  if (slash == std::string::npos) return {};
  const FileEntry* above = find_before(tree, index, std::string_view(entry.path).substr(0, slash));
  if (above == nullptr || above->type != FileType::kDirectory) {
    return broken(tree, entry, "the directory above it is missing or no directory");
  }
  return {};
}

Status check_kind(const FileTree& tree, const FileEntry& entry) {
  if (entry.type > FileType::kSocket) return broken(tree, entry, "unknown type");
  if (entry.mode & ~kModeBits) return broken(tree, entry, "mode has more than permission bits");
  const bool symlink = entry.type == FileType::kSymlink;
  const bool device =
      entry.type == FileType::kCharacterDevice || entry.type == FileType::kBlockDevice;
  if (symlink == entry.target.empty() || entry.target.size() > kMaxPathBytes ||
      has_nul(entry.target)) {
    return broken(tree, entry, "a symbolic link, and only one, has a target of 1 to 4095 bytes");
  }
  if (entry.device != 0 && !device) return broken(tree, entry, "device number without a device");
  if (entry.type != FileType::kRegular &&
      (entry.size_bytes != 0 || entry.content.page_count() != 0)) {
    return broken(tree, entry, "content without a regular file");
  }
  if (entry.size_bytes > kMaxFileBytes) return broken(tree, entry, "impossible size");
  const std::uint64_t pages = (entry.size_bytes + kPageSize - 1) / kPageSize;
  if (!entry.content.runs().empty() && entry.content.runs().back().end_page() > pages) {
    return broken(tree, entry, "content behind the end of the file");
  }
  return {};
}

Status check_hard_link(const FileTree& tree, std::size_t index) {
  const FileEntry& entry = tree.entries[index];
  if (entry.hard_link_to.empty()) return {};
  const FileEntry* original = find_before(tree, index, entry.hard_link_to);
  if (original == nullptr || original->type != entry.type || entry.type == FileType::kDirectory ||
      !original->hard_link_to.empty()) {
    return broken(tree, entry, "a hard link names an earlier entry of its type, no directory");
  }
  if (entry.content.page_count() != 0) return broken(tree, entry, "a hard link with content");
  return {};
}

Status check_xattrs(const FileTree& tree, const FileEntry& entry) {
  if (entry.xattrs.size() > kMaxXattrs) return broken(tree, entry, "too many xattrs");
  for (const auto& [name, value] : entry.xattrs) {
    if (name.empty() || name.size() > kMaxXattrNameBytes || has_nul(name) ||
        value.size() > kMaxXattrValueBytes) {
      return broken(tree, entry, "an xattr's name or value is too long or empty");
    }
  }
  return {};
}

Status check_tree(const FileTree& tree) {
  if (!tree.volume.empty() && !is_component(tree.volume)) {
    return fail(ErrorCode::kInvalid, std::format("volume {}: not a name", printable(tree.volume)));
  }
  if (tree.entries.size() > kMaxFileEntries) {
    return fail(ErrorCode::kInvalid,
                std::format("volume {}: {} files, at most {} can be kept in a capsule",
                            printable(tree.volume), tree.entries.size(), kMaxFileEntries));
  }
  for (std::size_t i = 0; i < tree.entries.size(); ++i) {
    PERDURE_TRY(check_place(tree, i));
    PERDURE_TRY(check_kind(tree, tree.entries[i]));
    PERDURE_TRY(check_hard_link(tree, i));
    PERDURE_TRY(check_xattrs(tree, tree.entries[i]));
  }
  return {};
}

Status check_counts(const Capsule& capsule) {
  if (capsule.images.size() > kMaxImages || capsule.memory.size() > kMaxMemoryObjects ||
      capsule.trees.size() > kMaxTrees) {
    return fail(ErrorCode::kInvalid,
                std::format("capsule with {} images, {} memory objects and {} trees: at most {}, "
                            "{} and {}",
                            capsule.images.size(), capsule.memory.size(), capsule.trees.size(),
                            kMaxImages, kMaxMemoryObjects, kMaxTrees));
  }
  return {};
}

}  // namespace

bool is_component(std::string_view name) {
  return !name.empty() && name.size() <= kMaxNameBytes && name != "." && name != ".." &&
         name.find('/') == std::string_view::npos && !has_nul(name);
}

bool is_tree_path(std::string_view path) {
  if (path.empty()) return true;
  if (path.size() > kMaxPathBytes) return false;
  for (;;) {
    const auto slash = path.find('/');
    if (!is_component(path.substr(0, slash))) return false;
    if (slash == std::string_view::npos) return true;
    path.remove_prefix(slash + 1);
  }
}

Status check_capsule(const Capsule& capsule) {
  if (auto name = ContainerName::parse(capsule.manifest.container); !name) {
    return fail(std::move(name).error());
  }
  PERDURE_TRY(check_counts(capsule));
  for (std::size_t i = 0; i < capsule.images.size(); ++i) {
    const std::string& name = capsule.images[i].name;
    if (!is_component(name) || (i > 0 && capsule.images[i - 1].name >= name)) {
      return fail(
          ErrorCode::kInvalid,
          std::format("image {}: not a name, not in rising order, or twice", printable(name)));
    }
  }
  for (const auto& [name, object] : capsule.memory) {
    if (!is_component(name)) {
      return fail(ErrorCode::kInvalid,
                  std::format("memory object {}: not a name", printable(name)));
    }
  }
  for (std::size_t i = 0; i < capsule.trees.size(); ++i) {
    if (i > 0 && capsule.trees[i - 1].volume >= capsule.trees[i].volume) {
      return fail(ErrorCode::kInvalid, std::format("volume {}: not in rising order, or twice",
                                                   printable(capsule.trees[i].volume)));
    }
    PERDURE_TRY(check_tree(capsule.trees[i]));
  }
  return {};
}

}  // namespace perdure::capsule
