// Commands for applications; they need no perdured.
#include <algorithm>

#include "cli/command_context.h"
#include "cli/manual.h"
#include "cli/text.h"
#include "model/application/application_yaml.h"
#include "model/application/derive.h"

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

}  // namespace

Outcome<ExitCode> run_model_check(CommandContext& context) {
  const auto application = model::read_application_file(context.invocation.text(kFileArgument));
  if (!application) return std::unexpected(to_failure(application.error()));
  return context.print(application->name.str() + ": the model is right\n\n" +
                       render_model(*application, context.terminal().style()));
}

Outcome<ExitCode> run_model_reference(CommandContext& context) {
  return context.print(application_reference(context.terminal().style()));
}

}  // namespace perdure::cli
