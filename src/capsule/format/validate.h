// The rules that every capsule keeps, in memory and on disk. The encoder refuses to write what
// breaks them, the decoder to hand it out: nobody behind it needs to check a path again.
//
// Images, memory objects: sorted, unique, names of one path component. Trees: sorted by volume,
// unique. Entries: sorted by path, unique; components of 1 to 255 bytes, none "." or "..", no NUL;
// the directory above an entry is an entry itself and a directory (so no write ever goes through a
// symbolic link); the root "" may be left out. Targets only at symbolic links, content and size
// only at regular files and within the size, a device number only at device nodes; a hard link
// names an earlier entry of the same type that is itself no hard link, and carries no content.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

#include "base/result.h"
#include "capsule/format/capsule.h"

namespace perdure::capsule {

// Limits of a capsule. Far above what containers have; they keep a damaged or hostile file from
// taking the daemon's memory.
inline constexpr std::size_t kMaxPathBytes = 4095;         // PATH_MAX without its NUL
inline constexpr std::size_t kMaxNameBytes = 255;          // NAME_MAX
inline constexpr std::size_t kMaxXattrNameBytes = 255;     // XATTR_NAME_MAX
inline constexpr std::size_t kMaxXattrValueBytes = 65536;  // XATTR_SIZE_MAX
inline constexpr std::size_t kMaxXattrs = 1024;
inline constexpr std::size_t kMaxImages = 65536;  // CRIU writes about ten per process
inline constexpr std::size_t kMaxMemoryObjects = 65536;
inline constexpr std::size_t kMaxTrees = 256;  // volumes
inline constexpr std::size_t kMaxFileEntries = std::size_t{1} << 22;
inline constexpr std::uint64_t kMaxFileBytes = std::uint64_t{1} << 62;

// kInvalid, naming the object and the rule.
Status check_capsule(const Capsule& capsule);

// Relative, canonical, no way out of the tree; "" is the root.
bool is_tree_path(std::string_view path);
// One component of a path: 1 to 255 bytes, no '/', no NUL, not "." or "..".
bool is_component(std::string_view name);

}  // namespace perdure::capsule
