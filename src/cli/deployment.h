// What the commands for applications have in common: the cluster as a plan sees it, and images that are built where they are asked for.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "cli/command_context.h"
#include "deploy/cluster_view.h"
#include "deploy/derive_spec.h"
#include "deploy/plan.h"
#include "model/application/application.h"
#include "model/application/application_file.h"

namespace perdure::cli {

// Of which containers the specification is fetched, one question each.
enum class Specifications { kNone, kOfApplication };

// Refused on a host that is in no cluster.
Outcome<deploy::ClusterView> look_at_cluster(CommandContext& context, const std::string& application, Specifications specifications);

// The model in the command's FILE, which has that form if it is given. What has no effect is said on standard error.
Outcome<model::Application> read_model(const CommandContext& context, std::optional<model::ApplicationForm> form = std::nullopt);

struct Planned {
  model::Application application;
  deploy::ClusterView view;
  deploy::Plan plan;
};
// kInvalid with all reasons if it cannot be carried out.
Outcome<Planned> make_plan(CommandContext& context, Specifications specifications);

// Of one container: built here, or found among what was built.
Outcome<image::BuiltImage> build_image_of(CommandContext& context, const model::Application& application, const placement::Grouping& grouping,
                                          std::size_t container);
// Of one container of the plan: built here, or found among what was built; then known to the cluster. The answer is its digest.
Outcome<std::string> image_of(CommandContext& context, const Planned& planned, std::size_t container);

Failure no_such_application(const std::string& application);

Outcome<model::ContainerSpec> spec_of(const Planned& planned, std::size_t container, const std::string& image);

}  // namespace perdure::cli
