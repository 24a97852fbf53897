// A capsule: the complete state of a container at one instant (docs/capsule-format.md).
//
// In memory a capsule is always complete: deltas exist only in encoded form (codec.h). Its bytes
// lie in slabs that it shares with the generations before it, so that a generation costs what
// changed.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/ids.h"
#include "base/units.h"
#include "capsule/format/paged_object.h"

namespace perdure::capsule {

// XXH3-128: finds every accident, is no protection against an adversary.
struct Digest {
  std::uint64_t high = 0;
  std::uint64_t low = 0;
  auto operator<=>(const Digest&) const = default;
};
std::string to_string(const Digest& digest);  // 32 hexadecimal digits

// One CRIU image file other than page contents ("core-1.img", "files.img"), as CRIU wrote it.
struct Image {
  std::string name;
  std::string bytes;
};

enum class FileType : std::uint8_t {
  kRegular,
  kDirectory,
  kSymlink,
  kCharacterDevice,
  kBlockDevice,
  kFifo,
  kSocket
};

// One entry of a captured tree. For the writable layer that is the overlay's upper directory as it
// lies on disk: whiteouts are character devices 0/0, opaque directories carry
// trusted.overlay.opaque.
struct FileEntry {
  std::string path;  // relative to the tree, no leading '/', no "." or ".."; "" is the tree's root
  FileType type = FileType::kRegular;
  std::uint32_t mode = 0;  // permission bits with suid, sgid and sticky
  std::uint32_t uid = 0;
  std::uint32_t gid = 0;
  std::uint64_t device = 0;      // rdev of device nodes
  std::int64_t modified_ns = 0;  // mtime since the epoch
  std::uint64_t size_bytes = 0;  // of regular files
  std::string target;            // of symlinks
  std::string hard_link_to;      // path of an earlier entry that is the same inode, or empty
  std::map<std::string, std::string> xattrs;
  PagedObject content;  // of regular files; absent pages are holes
};

struct FileTree {
  std::string volume;              // empty: the writable layer; else the captured volume's name
  std::vector<FileEntry> entries;  // sorted by path
};

// What a capture cost, measured where it happened.
struct CaptureStats {
  Duration frozen{};
  Duration wall{};
  Duration cpu{};
  Bytes memory;          // all pages of the state
  Bytes memory_changed;  // pages that differ from the parent
  Bytes files_changed;
};

// What a host must offer so that this capsule can be restored there.
struct Requirements {
  std::string criu_version;
  std::string kernel_release;
  std::string architecture;
  std::vector<std::string> cpu_features;  // flags of /proc/cpuinfo, sorted
  // They are the parent's and were not written again: in the manifest of an encoded delta only.
  bool cpu_features_from_parent = false;
};

struct Manifest {
  std::string container;
  Generation generation;
  std::optional<Generation> parent;  // of the encoded form; empty: full
  std::optional<Digest> parent_digest;
  std::string image_digest;  // the read-only root file system below the writable layer
  std::string spec_digest;
  std::string spec_yaml;               // canonical; an imported capsule brings its spec along
  std::vector<std::string> addresses;  // "192.0.2.7/24", "2001:db8::7/64", MAC "02:…"
  WallTime created{};
  Requirements requirements;
  CaptureStats stats;
  // Facts that the restoring side needs besides the images: pipe ids of stdio, external mounts, …
  std::map<std::string, std::string> restore_hints;
};

struct Capsule {
  Manifest manifest;
  std::vector<Image> images;  // sorted by name
  std::map<std::string, PagedObject>
      memory;                   // "mm-<pid>" and "shmem-<id>" -> pages by address / 4096
  std::vector<FileTree> trees;  // sorted by volume
};
using CapsuleRef = std::shared_ptr<const Capsule>;

// Size of everything in it, as if nothing were shared.
Bytes full_size(const Capsule& capsule);

}  // namespace perdure::capsule
