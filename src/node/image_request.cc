// image add: an archive or a layout becomes an image of this node.
#include <memory>

#include "image/image.h"
#include "model/spec_yaml.h"
#include "node/telling_request.h"

namespace perdure::node {
namespace {

namespace v1 = control::v1;

class ImageAddRequest final : public TellingRequest {
 public:
  using TellingRequest::TellingRequest;

  void begin() override {
    const v1::ImageAddRequest& add = message().image_add();
    auto root = model::parse_image_source(add.path(), add.tag());
    if (!root) return fail(root.error());
    auto slot = take_transfer();
    if (!slot) return fail(slot.error());
    image::PrepareOptions options;
    options.images_dir = node().host().paths.images();
    options.progress = begin_telling("unpack", "", "reading the image");
    auto work = [slot = *std::move(slot), root = *std::move(root), options = std::move(options)] {
      return image::prepare_root(root, options);
    };
    const Status submitted =
        node().pool().submit(node().loop(), lifetime_, std::move(work),
                             [this](Result<image::PreparedImage> prepared) { reply(std::move(prepared)); });
    if (!submitted) fail(submitted.error(), "try again in a moment");
  }

 private:
  void reply(const Result<image::PreparedImage>& prepared) {
    if (!prepared) return fail(prepared.error());
    v1::Response response;
    response.mutable_image_add()->set_digest(prepared->digest);
    response.mutable_image_add()->set_source(message().image_add().path());
    finish(std::move(response));
  }
};

}  // namespace

std::unique_ptr<ControlRequest> make_image_request(RequestSetup setup) {
  return std::make_unique<ImageAddRequest>(std::move(setup));
}

}  // namespace perdure::node
