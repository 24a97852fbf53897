// What a container's image is made of (the Integration Module's input, paper III-B).
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <vector>

#include "base/result.h"
#include "model/application/application.h"

namespace perdure::image {

// At most one base: packages, a directory or an OCI image; without one the image begins empty. Files come on top, in their order.
struct Recipe {
  std::string suite{};                  // of Debian, for packages
  std::vector<std::string> packages{};  // sorted, each once
  std::optional<std::string> directory{};
  std::optional<model::OciRoot> oci{};
  std::vector<model::CopiedFile> files{};
  bool operator==(const Recipe&) const = default;
};

// Of those components of the application that share a container. kInvalid: they do not go together, because they bring different
// bases, or different files to one place; the message names them.
Result<Recipe> recipe_of(const model::Application& application, const std::vector<std::size_t>& members);

}  // namespace perdure::image
