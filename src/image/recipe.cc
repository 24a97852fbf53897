#include "image/recipe.h"

#include <algorithm>
#include <format>
#include <map>

#include "model/application/derive.h"

namespace perdure::image {

Result<Recipe> recipe_of(const model::Application& application, const std::vector<std::size_t>& members) {
  const auto name = [&](std::size_t member) { return application.components[member].name(); };
  if (const auto others = model::other_bases_of(application, members); !others.empty()) {
    return fail(ErrorCode::kInvalid,
                std::format("components '{}' and '{}' share a container and bring different root file systems: give them one, or "
                            "let them be apart",
                            name(others.front().first), name(others.front().second)));
  }
  Recipe recipe{.suite = application.suite};
  std::map<std::string, std::size_t> brought;  // places, by who brings them
  for (const std::size_t member : members) {
    const model::Artefact& artefact = application.components[member].artefact;
    recipe.packages.insert(recipe.packages.end(), artefact.packages.begin(), artefact.packages.end());
    if (artefact.directory) recipe.directory = artefact.directory;
    if (artefact.oci) recipe.oci = artefact.oci;
    for (const model::CopiedFile& file : artefact.files) {
      const auto [before, fresh] = brought.try_emplace(file.to, member);
      if (fresh) {
        recipe.files.push_back(file);
      } else if (!std::ranges::contains(recipe.files, file)) {
        return fail(ErrorCode::kInvalid,
                    std::format("components '{}' and '{}' share a container and bring different files to '{}': give them another "
                                "place, or let the components be apart",
                                name(before->second), name(member), file.to));
      }
    }
  }
  std::ranges::sort(recipe.packages);
  const auto same = std::ranges::unique(recipe.packages);
  recipe.packages.erase(same.begin(), same.end());
  return recipe;
}

}  // namespace perdure::image
