// From the root file system that a spec names to a directory that an overlay can use as its lower
// layer.
//
// A root is a directory (used in place, never written), a tar archive (.tar, .tar.gz, .tar.zst),
// an OCI image layout, or the digest of one of those that was prepared before. Archives and layouts
// are unpacked once into IMAGES_DIR/<digest>/rootfs, beside image.json, which keeps what the image says about command, environment and user.
//
// Content-addressed: the same input gives the same digest on every node. Idempotent, and safe to
// call from several threads and processes at once: one unpacks under a lock, the others wait for
// it. A half image is never visible: unpacking happens beside and ends with a rename; what a crash
// left is cleared by the next call for the same digest.
#pragma once

#include <chrono>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "base/clock.h"
#include "base/result.h"
#include "model/spec.h"

namespace perdure::image {

// What the image's own configuration says (OCI image spec, "config"); all empty for directories and
// tars.
struct ImageDefaults {
  std::vector<std::string> entrypoint;
  std::vector<std::string> command;
  std::vector<std::string> environment;  // NAME=value
  std::string working_directory;
  std::string user;  // user[:group], names or numbers

  bool operator==(const ImageDefaults&) const = default;
};

struct PreparedImage {
  // "sha256:<64 hex>": of the archive's bytes, of the layout's manifest, or of a directory's tree
  // (sorted names, types, modes, owners, link targets, contents, and the extended attributes that
  // belong to an image; no times).
  std::string digest;
  std::string lower_dir;  // absolute; nobody writes below it
  ImageDefaults defaults;
  // Of the tree at lower_dir when it was prepared, as `digest` is of directories; for those it is the
  // same. Empty: prepared before tree digests were kept.
  std::string tree_digest = {};
};

struct PrepareOptions {
  std::string images_dir;  // created when missing, mode 0700
  // A 441 MB root unpacks in about 5 s here; the limit stops what hangs on a dead network file
  // system.
  Duration deadline = std::chrono::minutes(10);
  std::function<void(std::string_view)> progress{};  // may be empty; called from the calling thread
};

// kNotFound: no such source or tag. kInvalid: the source is no such thing, or an archive that
// leaves its root ("..", through a link). kCorrupt: a layout whose blobs do not match their
// digests. kNoSpace, kTimeout.
Result<PreparedImage> prepare_root(const model::RootFilesystem& root,
                                   const PrepareOptions& options);

// An image that is here under its digest, whatever a specification says of its source. kNotFound; kInvalid: no digest.
Result<PreparedImage> find_prepared(const std::string& images_dir, const std::string& digest);

// Digest of a directory's tree as in PreparedImage::digest. The answer is remembered in CACHE_DIR
// under a digest of names, inodes, sizes and change times, so that an unchanged tree is only
// walked, not read; an empty CACHE_DIR always reads.
Result<std::string> digest_tree(const std::string& directory, const std::string& cache_dir);

}  // namespace perdure::image
