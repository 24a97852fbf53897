// Between a directory of CRIU images and a capsule: page contents leave the images and become paged objects
// on capture; pagemap and pages images are made from them on restore.
#pragma once

#include <cstdint>
#include <functional>
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

// Images of a capsule that are to be others by the time CRIU reads them: what they say depends on something that is being
// found out meanwhile. CRIU waits for these alone.
struct LateImages {
  std::vector<std::string> names;  // empty: there are none
  int ready_fd = -1;               // readable once take() will not wait
  std::function<std::vector<Image>()> take;  // called once; what it leaves out is as captured
};

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
  // Nothing, if there is no image of that name. Whoever has found the one before sees the change.
  void change(const Image& image);

 private:
  std::map<std::string, ServedImage> served_;
};

}  // namespace perdure::capsule
