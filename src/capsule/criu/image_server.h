// Serves images to `criu restore --stream` (criu/img-streamer.c): CRIU connects to a socket in its images
// directory and asks for one file after another; each answer is a yes or no and then a pipe from CRIU, into
// which the content goes. Pages go from their slabs into the pipe without being assembled first.
#pragma once

#include <list>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/fd.h"
#include "base/result.h"
#include "capsule/criu/image_set.h"

namespace perdure::capsule {

class ImageServer {
 public:
  // Listens in `directory`. Catalogue and late images must outlive the server; these go into that when they are ready.
  static Result<ImageServer> listen(const std::string& directory, ImageCatalogue& catalogue, const LateImages& late);

  // Serves until `done_fd` is readable (CRIU's pidfd) or the deadline passes (kTimeout).
  Status serve(int done_fd, Instant deadline);

 private:
  struct Transfer {
    UniqueFd pipe;
    const ServedImage* image = nullptr;
    bool waits = false;         // its content is not known yet
    std::size_t run = 0;        // of a pages image
    std::size_t offset = 0;     // within the bytes or the run
  };

  ImageServer(UniqueFd listener, ImageCatalogue& catalogue, const LateImages& late)
      : listener_(std::move(listener)), catalogue_(&catalogue), late_(&late), late_is_due_(!late.names.empty()) {}
  Status answer_request();
  Status continue_transfer(Transfer& transfer, bool& finished);
  bool is_awaited(const std::string& name) const;
  void take_late_images();

  UniqueFd listener_;
  UniqueFd connection_;
  ImageCatalogue* catalogue_;
  const LateImages* late_;
  bool late_is_due_;
  std::list<Transfer> transfers_;
  bool requests_ended_ = false;
};

}  // namespace perdure::capsule
