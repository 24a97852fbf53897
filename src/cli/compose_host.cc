#include "cli/compose_host.h"

#include <unistd.h>

#include <string_view>
#include <utility>

#include "image/oci_layout.h"

namespace perdure::cli {
namespace {

Result<model::ComposeImage> find_image(const model::OciRoot& root) {
  PERDURE_ASSIGN(image::OciImage image, image::read_oci_image(root.path, root.tag, image::oci_architecture(image::host_machine())));
  return model::ComposeImage{.entrypoint = std::move(image.defaults.entrypoint),
                             .command = std::move(image.defaults.command),
                             .working_directory = std::move(image.defaults.working_directory),
                             .user = std::move(image.defaults.user)};
}

}  // namespace

model::ComposeOptions compose_options() {
  model::ComposeOptions options{.find_image = find_image};
  for (char** variable = environ; variable != nullptr && *variable != nullptr; ++variable) {
    const std::string_view text(*variable);
    const auto equals = text.find('=');
    if (equals != std::string_view::npos) options.environment.emplace(text.substr(0, equals), text.substr(equals + 1));
  }
  return options;
}

}  // namespace perdure::cli
