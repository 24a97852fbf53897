// Between a directory of CRIU images and a capsule: page contents leave the images and become paged objects
// on capture; pagemap and pages images are made from them on restore.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "base/fd.h"
#include "base/result.h"
#include "capsule/format/capsule.h"

namespace perdure::capsule {

struct ImageSet {
  std::vector<Image> images;                  // sorted by name; no pagemap, no pages
  std::map<std::string, PagedObject> memory;  // "mm-<pid>", "shmem-<id>"
};

// Reads everything that CRIU left in the directory; pages are mapped, not copied (the files lie on a tmpfs
// and are unlinked by the caller). Log, statistics and sockets are left out. kCorrupt names the file.
Result<ImageSet> read_image_directory(const std::string& directory);

// What CRIU asks for during a restore: "pagemap-7.img" from mm-7, and so on.
struct ServedImage {
  std::string bytes;                       // if `pages` is null
  const PagedObject* pages = nullptr;      // page contents, run after run
};

class ImageCatalogue {
 public:
  // `capsule` must outlive the catalogue. kCorrupt when an object has no valid name.
  static Result<ImageCatalogue> build(const Capsule& capsule);
  const ServedImage* find(const std::string& name) const;

 private:
  std::map<std::string, ServedImage> served_;
};

}  // namespace perdure::capsule
