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
  // Listens in `directory`. The catalogue must outlive the server.
  static Result<ImageServer> listen(const std::string& directory, const ImageCatalogue& catalogue);

  // Serves until `done_fd` is readable (CRIU's pidfd) or the deadline passes (kTimeout).
  Status serve(int done_fd, Instant deadline);

 private:
  struct Transfer {
    UniqueFd pipe;
    const ServedImage* image = nullptr;
    std::size_t run = 0;        // of a pages image
    std::size_t offset = 0;     // within the bytes or the run
  };

  ImageServer(UniqueFd listener, const ImageCatalogue& catalogue)
      : listener_(std::move(listener)), catalogue_(&catalogue) {}
  Status answer_request();
  Status continue_transfer(Transfer& transfer, bool& finished);

  UniqueFd listener_;
  UniqueFd connection_;
  const ImageCatalogue* catalogue_;
  std::list<Transfer> transfers_;
  bool requests_ended_ = false;
};

}  // namespace perdure::capsule
