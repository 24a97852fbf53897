#include "cli/deployment.h"

#include <algorithm>
#include <filesystem>
#include <format>
#include <utility>

#include "cli/text.h"
#include "image/agent_configuration.h"
#include "image/recipe.h"
#include "model/application/application_file.h"
#include "model/spec_yaml.h"

namespace perdure::cli {
namespace {

namespace v1 = control::v1;

Outcome<deploy::NodeFacts> facts_of(const v1::NodeRow& row) {
  const auto name = NodeName::parse(row.name());
  if (!name) return std::unexpected(to_failure(name.error()));
  deploy::NodeFacts facts{.name = *name,
                          .memory = Bytes{row.memory_bytes()},
                          .processors = {row.processors() * 1000},
                          .reachable = row.state() == v1::NODE_READY || row.state() == v1::NODE_CORDONED,
                          .takes_new = row.state() == v1::NODE_READY};
  for (std::size_t i = 0; i < facts.domains.size(); ++i) {
    const auto label = row.labels().find(std::string(model::kDomainLabels[i]));
    if (label != row.labels().end()) facts.domains[i] = label->second;
  }
  return facts;
}

Outcome<deploy::ContainerFacts> facts_of(const v1::ContainerStatus& row) {
  const auto name = ContainerName::parse(row.name());
  if (!name) return std::unexpected(to_failure(name.error()));
  const auto owner = NodeName::parse(row.node());
  if (!owner) return std::unexpected(to_failure(owner.error()));
  deploy::ContainerFacts facts{.name = *name,
                               .application = row.application(),
                               .owner = *owner,
                               .reserved = {Bytes{row.reserved_memory_bytes()}, {row.reserved_millicores()}, Bytes{row.reserved_disk_bytes()}},
                               .sponsors = {row.sponsors().begin(), row.sponsors().end()}};
  for (const v1::StandbyStatus& standby : row.standbys()) {
    const auto node = NodeName::parse(standby.node());
    if (node && standby.state() == v1::STANDBY_READY) facts.standbys.push_back(*node);
  }
  for (const std::string& text : row.addresses()) {
    const auto address = model::IpAddress::parse(text.substr(0, text.find('/')));
    if (address) facts.addresses.push_back(*address);
  }
  return facts;
}

// Components and what they inherit, so that containers that differ in name and address only have one image.
}  // namespace

Failure no_such_application(const std::string& application) {
  return Failure{.code = ExitCode::kNotFound,
                 .message = std::format("no container belongs to an application '{}'", application),
                 .remedy = "'perdure list --json' says to which application each container belongs"};
}

Outcome<deploy::ClusterView> look_at_cluster(CommandContext& context, const std::string& application, Specifications specifications) {
  v1::Request status;
  status.mutable_cluster_status();
  const auto cluster = context.read(status, v1::Response::kCluster);
  if (!cluster) return std::unexpected(cluster.error());
  if (cluster->cluster().id().empty()) {
    return std::unexpected(Failure{.code = ExitCode::kRefused,
                                   .message = "this host is in no cluster, and an application needs one",
                                   .remedy = "'perdure cluster init' makes one of this host; one node is enough to begin with"});
  }
  v1::Request list;
  list.mutable_list();
  const auto containers = context.read(list, v1::Response::kList);
  if (!containers) return std::unexpected(containers.error());
  deploy::ClusterView view;
  for (const v1::NodeRow& row : cluster->cluster().nodes()) {
    if (row.witness()) continue;
    auto node = facts_of(row);
    if (!node) return std::unexpected(node.error());
    view.nodes.push_back(*std::move(node));
  }
  for (const v1::ContainerStatus& row : containers->list().containers()) {
    auto container = facts_of(row);
    if (!container) return std::unexpected(container.error());
    if (specifications == Specifications::kOfApplication && row.application() == application && row.waits_for().empty()) {
      v1::Request inspect;
      inspect.mutable_inspect()->set_name(row.name());
      const auto inspected = context.read(inspect, v1::Response::kInspect);
      if (!inspected) return std::unexpected(inspected.error());
      container->spec_yaml = inspected->inspect().spec_yaml();
    }
    view.containers.push_back(*std::move(container));
  }
  return view;
}

Outcome<model::Application> read_model(const CommandContext& context, std::optional<model::ApplicationForm> form) {
  model::ComposeOptions options = context.services.host.compose;
  options.profiles = context.invocation.texts(kProfileOption);
  if (context.invocation.has(kEnvFileOption)) {
    std::error_code trouble;
    options.env_file = std::filesystem::absolute(context.invocation.text(kEnvFileOption), trouble);
  }
  auto read = model::read_any_application_file(context.invocation.text(kFileArgument), form, options);
  if (!read) return std::unexpected(to_failure(read.error()));
  for (const std::string& note : read->notes) context.terminal().err(wrap("note: " + note, context.terminal().err_width(), "", "  "));
  return std::move(read->application);
}

Outcome<Planned> make_plan(CommandContext& context, Specifications specifications) {
  auto application = read_model(context);
  if (!application) return std::unexpected(application.error());
  auto view = look_at_cluster(context, application->name.str(), specifications);
  if (!view) return std::unexpected(view.error());
  Planned planned{*std::move(application), *std::move(view), {}};
  planned.plan = deploy::make_plan(planned.application, planned.view);
  if (planned.plan.possible()) return planned;
  Failure failure{.code = ExitCode::kInvalid,
                  .message = std::format("application '{}' cannot be placed: {}", planned.application.name.str(), planned.plan.errors.front()),
                  .remedy = "change the model, add nodes, or free what others have reserved: 'perdure node list', 'perdure list'"};
  failure.detail.assign(planned.plan.errors.begin() + 1, planned.plan.errors.end());
  failure.detail.insert(failure.detail.end(), planned.plan.warnings.begin(), planned.plan.warnings.end());
  return std::unexpected(std::move(failure));
}

Outcome<model::ContainerSpec> spec_of(const Planned& planned, std::size_t container, const std::string& image) {
  const std::vector<std::vector<NodeName>> standbys = deploy::standbys_of(planned.plan);
  auto spec = deploy::derive_spec({planned.application, planned.plan.grouping, planned.plan.addresses, standbys}, container, image);
  if (!spec) return std::unexpected(to_failure(spec.error()));
  return *std::move(spec);
}

Outcome<image::BuiltImage> build_image_of(CommandContext& context, const model::Application& application, const placement::Grouping& grouping,
                                          std::size_t container) {
  const placement::PlannedContainer& of = grouping.containers[container];
  const auto recipe = image::recipe_of(application, of.components);
  if (!recipe) return std::unexpected(to_failure(recipe.error()));
  const auto spec = deploy::derive_image_spec(application, grouping, container);
  if (!spec) return std::unexpected(to_failure(spec.error()));
  image::BuildOptions options;
  options.configuration_source = model::to_yaml(*spec);
  options.configuration = [&spec](const std::string& root) -> Result<std::string> {
    PERDURE_ASSIGN(const agent::Configuration configuration, image::make_agent_configuration(*spec, image::PreparedImage{}, root));
    return agent::to_text(configuration);
  };
  options.fresh = context.invocation.has(kFreshOption);
  options.progress = [&](std::string_view text) { context.terminal().err(std::format("{}: {}\n", of.name.str(), clean(text))); };
  const auto built = context.services.host.build_image(*recipe, options);
  if (!built) return std::unexpected(to_failure(Error(built.error()).context(std::format("image of '{}'", of.name.str()))));
  return *built;
}

Outcome<std::string> image_of(CommandContext& context, const Planned& planned, std::size_t container) {
  const auto built = build_image_of(context, planned.application, planned.plan.grouping, container);
  if (!built) return std::unexpected(built.error());
  v1::Request add;
  add.mutable_image_add()->set_path(built->layout_dir);
  const auto added = context.change(add, v1::Response::kImageAdd);
  if (!added) return std::unexpected(added.error());
  return added->image_add().digest();
}

}  // namespace perdure::cli
