// The images below IMAGES_DIR as a whole: what is there, and what nobody needs any more.
#pragma once

#include <cstdint>
#include <set>
#include <string>
#include <vector>

#include "base/result.h"
#include "base/units.h"
#include "image/image.h"

namespace perdure::image {

// Sorted by digest; directories that are used in place are not among them. An IMAGES_DIR that is missing holds nothing.
Result<std::vector<PreparedImage>> list_prepared(const std::string& images_dir);

struct RemovedImages {
  std::vector<std::string> digests;
  Bytes freed;  // on disk
};

// Removes the images that are not IN_USE, and what crashes left of images that were being made or removed. IN_USE are
// the images of all containers and those that are fetched or given now. Besides, an image stays that is being unpacked,
// that lies below a mounted overlay, or that this does not know. Safe beside any other call of this room; an image is
// removed from sight first, so an interrupted call leaves no half one. Those of one IMAGES_DIR remove one at a time:
// kConflict.
Result<RemovedImages> remove_unused(const std::string& images_dir, const std::set<std::string>& in_use);

}  // namespace perdure::image
