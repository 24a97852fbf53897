#include "capsule/format/capsule.h"

#include <format>

namespace perdure::capsule {

std::string to_string(const Digest& digest) {
  return std::format("{:016x}{:016x}", digest.high, digest.low);
}

Bytes full_size(const Capsule& capsule) {
  std::uint64_t bytes = 0;
  for (const Image& image : capsule.images) bytes += image.name.size() + image.bytes.size();
  for (const auto& [name, object] : capsule.memory) {
    bytes += name.size() + object.page_count() * kPageSize;
  }
  for (const FileTree& tree : capsule.trees) {
    for (const FileEntry& entry : tree.entries) {
      bytes += entry.path.size() + entry.target.size() + entry.hard_link_to.size();
      for (const auto& [key, value] : entry.xattrs) bytes += key.size() + value.size();
      bytes += entry.content.page_count() * kPageSize;
    }
  }
  return Bytes{bytes};
}

}  // namespace perdure::capsule
