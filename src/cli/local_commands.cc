// Commands that need no perdured.
#include "cli/command_context.h"
#include "cli/completion.h"
#include "cli/help.h"
#include "cli/manual.h"
#include "model/spec_yaml.h"

namespace perdure::cli {

Outcome<ExitCode> run_spec(CommandContext& context) {
  if (!context.invocation.has(kCheckOption))
    return context.print(spec_reference(context.terminal().style()));
  const auto spec = model::read_spec_file(context.invocation.text(kCheckOption));
  if (!spec) return std::unexpected(to_failure(spec.error()));
  return context.print(spec->name.str() + ": the specification is right\n");
}

Outcome<ExitCode> run_lab(CommandContext& context) {
  return std::unexpected(context.services.host.become_lab(context.invocation.rest()));
}

Outcome<ExitCode> run_completion(CommandContext& context) {
  return context.print(completion_script(context.invocation.text(kShellArgument)));
}

Outcome<ExitCode> run_help(CommandContext& context) {
  const std::string name = context.invocation.text(kCommandArgument);
  const Topic topic{.command = find_command(name), .group = find_group(name)};
  return context.print(help_of(topic, context.terminal().style()));
}

}  // namespace perdure::cli
