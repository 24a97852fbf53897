// Inside of digest_tree(): the walk, and digests that are remembered for what has not changed.
#pragma once

#include <string>

#include "base/result.h"
#include "image/image.h"

namespace perdure::image {

// Digest of a regular file's bytes, remembered in CACHE_DIR (may be empty: never) under its path,
// inode, size and change time. kTransient: the file changed while it was read.
Result<std::string> digest_file(const std::string& path, const std::string& cache_dir);

}  // namespace perdure::image
