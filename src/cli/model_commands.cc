// Commands for applications; they need no perdured.
#include <format>

#include "cli/command_context.h"
#include "cli/deployment.h"
#include "cli/manual.h"
#include "cli/text.h"
#include "cli/output_file.h"
#include "deploy/drawing/draw.h"
#include "model/application/application_file.h"
#include "model/application/application_plantuml.h"
#include "model/application/application_xmi.h"
#include "model/application/application_yaml.h"
#include "model/application/derive.h"
#include "placement/grouping.h"

namespace perdure::cli {
namespace {

std::string how_often(const model::Component& component) {
  if (model::state_of(component) == model::StateKind::kStateless) return "";
  const auto sensitivity = model::state_sensitivity_of(component);
  return "every " + format_duration(sensitivity.value_or(model::CheckpointSpec{}.interval));
}

std::string tolerances(const model::Dependency& dependency) {
  std::string text;
  if (dependency.delay_tolerance) text += ", " + format_duration(*dependency.delay_tolerance) + " away";
  if (dependency.outage_tolerance) text += ", " + format_duration(*dependency.outage_tolerance) + " without it";
  return text;
}

std::string render_model(const model::Application& application, const Style& style) {
  const std::vector<Column> columns = {{"COMPONENT"}, {"STATE"}, {"KEPT"}, {"RECOVERED"}, {"REQUIRES"}};
  const std::vector<model::Dependency> dependencies = model::dependencies_of(application);
  std::vector<std::vector<Cell>> rows;
  for (std::size_t i = 0; i < application.components.size(); ++i) {
    const model::Component& component = application.components[i];
    const bool stateful = model::state_of(component) == model::StateKind::kStateful;
    const bool alone = model::recovery_scope_of(component) == model::RecoveryScope::kComponent;
    std::vector<Cell> row = {{component.name()}, {stateful ? "stateful" : "stateless"}, {how_often(component)},
                             {alone ? "alone" : "with its container"}, {}};
    // One line for each sponsor.
    bool first = true;
    for (const model::Dependency& dependency : dependencies) {
      if (dependency.dependent != i) continue;
      if (!first) {
        rows.push_back(std::move(row));
        row = {{" "}, {" "}, {" "}, {" "}, {}};
      }
      row.back().text = application.components[dependency.sponsor].name() + tolerances(dependency);
      first = false;
    }
    rows.push_back(std::move(row));
  }
  return render_table(columns, rows, style);
}

std::string closeness_of(const placement::Grouping& grouping, const placement::ContainerDependency& dependency) {
  if (dependency.within == placement::Closeness::kAnywhere) return "";
  std::string names;
  for (const std::size_t sponsor : dependency.sponsors) {
    names += (names.empty() ? "" : " or ") + grouping.containers[sponsor].name.str();
  }
  return std::format("the {} of {}", placement::to_string(dependency.within), names);
}

std::string render_containers(const model::Application& application, const placement::Grouping& grouping, const Style& style) {
  const std::vector<Column> columns = {{"CONTAINER"}, {"STATE"}, {"COMPONENTS"}, {"HAS TO BE IN"}};
  std::vector<std::vector<Cell>> rows;
  std::string reasons;
  for (std::size_t i = 0; i < grouping.containers.size(); ++i) {
    const placement::PlannedContainer& container = grouping.containers[i];
    std::string components;
    for (const std::size_t component : container.components) {
      components += (components.empty() ? "" : ", ") + application.components[component].name();
    }
    std::string places;
    for (const placement::ContainerDependency& dependency : grouping.dependencies) {
      if (dependency.dependent != i) continue;
      const std::string place = closeness_of(grouping, dependency);
      if (!place.empty()) places += (places.empty() ? "" : ", ") + place;
    }
    const bool stateful = container.state == model::StateKind::kStateful;
    rows.push_back({{container.name.str()}, {stateful ? "stateful" : "stateless"}, {components}, {places}});
    if (container.components.size() > 1) {
      reasons += wrap(std::format("{}: {}", container.name.str(), container.why), style.width, "", "  ");
    }
  }
  return render_table(columns, rows, style) + (reasons.empty() ? "" : "\n" + reasons);
}

Outcome<placement::Grouping> group(const CommandContext& context, const model::Application& application) {
  placement::Grouping grouping = placement::group_components(application);
  if (grouping.conflicts.empty()) return grouping;
  std::string text;
  for (const std::string& conflict : grouping.conflicts) {
    text += std::format("{}{}: {}", text.empty() ? "" : "\n", context.invocation.text(kFileArgument), conflict);
  }
  return std::unexpected(to_failure(Error(ErrorCode::kInvalid, text)));
}

}  // namespace

Outcome<ExitCode> run_model_check(CommandContext& context) {
  const auto application = read_model(context);
  if (!application) return std::unexpected(application.error());
  const auto grouping = group(context, *application);
  if (!grouping) return std::unexpected(grouping.error());
  const Style style = context.terminal().style();
  return context.print(application->name.str() + ": the model is right\n\n" + render_model(*application, style) + "\n" +
                       render_containers(*application, *grouping, style));
}

Outcome<ExitCode> run_model_reference(CommandContext& context) {
  return context.print(application_reference(context.terminal().style()));
}

namespace {

// Of a command that writes to --output FILE, or to standard output.
Outcome<void> check_output(const Invocation& invocation) {
  if (!invocation.has(kForceOption) || invocation.has(kOutputOption)) return {};
  return std::unexpected(Failure{.code = ExitCode::kUsage, .message = "--force replaces a file, and none is named", .remedy = "give --output FILE"});
}

Outcome<ExitCode> give(CommandContext& context, const std::string& text) {
  const Invocation& invocation = context.invocation;
  if (!invocation.has(kOutputOption)) return context.print(text);
  const Existing existing = invocation.has(kForceOption) ? Existing::kReplace : Existing::kRefuse;
  if (const Status written = write_output_file(invocation.text(kOutputOption), text, existing); !written) {
    return std::unexpected(to_failure(written.error()));
  }
  return ExitCode::kOk;
}

// Nothing is written that would be read as something else: a file has limits that another form does not have.
Result<std::string> convert(const model::Application& application, std::string_view word) {
  const auto form = model::find_application_form(word);
  if (!form) return model::to_plantuml(application);
  std::string text = *form == model::ApplicationForm::kXmi ? model::to_xmi(application) : model::to_yaml(application);
  const auto again = model::read_application_form(*form, text, word);
  if (!again) return fail(ErrorCode::kInvalid, std::format("the model cannot be written as {}: {}", word, again.error().message()));
  if (again->application != application) return fail(ErrorCode::kInvalid, std::format("the model cannot be written as {}: it would be another one", word));
  return text;
}

}  // namespace

Outcome<ExitCode> run_model_convert(CommandContext& context) {
  const Invocation& invocation = context.invocation;
  if (!invocation.has(kToOption)) {
    return std::unexpected(Failure{.code = ExitCode::kUsage, .message = "the form to write is missing", .remedy = "give --to yaml, xmi or plantuml"});
  }
  if (auto right = check_output(invocation); !right) return std::unexpected(right.error());
  const auto application = read_model(context, model::find_application_form(invocation.text(kFromOption)));
  if (!application) return std::unexpected(application.error());
  const auto text = convert(*application, invocation.text(kToOption));
  if (!text) return std::unexpected(to_failure(text.error()));
  return give(context, *text);
}

namespace {

Outcome<std::string> draw_model(CommandContext& context) {
  const auto application = read_model(context);
  if (!application) return std::unexpected(application.error());
  const auto grouping = group(context, *application);
  if (!grouping) return std::unexpected(grouping.error());
  auto picture = deploy::draw(*application, *grouping, nullptr);
  if (!picture) return std::unexpected(to_failure(picture.error()));
  return *std::move(picture);
}

Outcome<std::string> draw_plan(CommandContext& context) {
  const auto planned = make_plan(context, Specifications::kNone);
  if (!planned) return std::unexpected(planned.error());
  auto picture = deploy::draw(planned->application, planned->plan.grouping, &planned->plan);
  if (!picture) return std::unexpected(to_failure(picture.error()));
  return *std::move(picture);
}

}  // namespace

Outcome<ExitCode> run_model_draw(CommandContext& context) {
  if (auto right = check_output(context.invocation); !right) return std::unexpected(right.error());
  const auto picture = context.invocation.has(kPlacementOption) ? draw_plan(context) : draw_model(context);
  if (!picture) return std::unexpected(picture.error());
  return give(context, *picture);
}

Outcome<ExitCode> run_model_profile(CommandContext& context) { return context.print(model::uml_profile_xmi()); }

Outcome<ExitCode> run_model_schema(CommandContext& context) { return context.print(model::application_json_schema()); }

}  // namespace perdure::cli
