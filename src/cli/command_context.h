// What every command has at hand while it runs.
#pragma once

#include <string>

#include "cli/commands.h"
#include "cli/session.h"

namespace perdure::cli {

class CommandContext {
 public:
  CommandContext(const Invocation& given, Services& all)
      : invocation(given), services(all), session(all.connector, all.terminal, all.clock) {}

  const Invocation& invocation;
  Services& services;
  Session session;

  Terminal& terminal() const { return services.terminal; }
  bool json() const { return invocation.has(kJsonOption); }
  // Of standard error, where questions are.
  Style question_style() const { return Style{.width = terminal().err_width(), .colour = false}; }
  std::string name() const { return invocation.text(kNameArgument); }
  std::optional<std::string> generation() const;

  // Asks perdured a question that changes nothing.
  Outcome<control::v1::Response> read(control::v1::Request request,
                                      control::v1::Response::BodyCase final);
  // Asks it to change something; the failure says how to find out what became of it.
  Outcome<control::v1::Response> change(control::v1::Request request,
                                        control::v1::Response::BodyCase final, int fd = -1);

  // Shows what will happen and asks. Success at once with --yes; a refusal where nobody can be
  // asked.
  Outcome<void> confirm(std::string_view what_will_happen);

  // Sends a request that the daemon may refuse until it is confirmed; `agree` makes it the one that
  // says yes.
  Outcome<control::v1::Response> change_with_question(control::v1::Request request,
                                                      control::v1::Response::BodyCase final,
                                                      void (*agree)(control::v1::Request&));

  // A question of perdured while it works: yes with --yes, no where nobody can be asked.
  bool answer(const control::v1::Question& question);

  // Writes the result; a failure if standard output does not take it.
  Outcome<ExitCode> print(std::string_view text, ExitCode code = ExitCode::kOk) const;
};

using CommandFunction = Outcome<ExitCode> (*)(CommandContext&);

// read_commands.cc
Outcome<ExitCode> run_status(CommandContext& context);
Outcome<ExitCode> run_list(CommandContext& context);
Outcome<ExitCode> run_inspect(CommandContext& context);
Outcome<ExitCode> run_logs(CommandContext& context);
Outcome<ExitCode> run_generations(CommandContext& context);
Outcome<ExitCode> run_explain(CommandContext& context);
Outcome<ExitCode> run_events(CommandContext& context);
Outcome<ExitCode> run_doctor(CommandContext& context);
Outcome<ExitCode> run_version(CommandContext& context);
Outcome<ExitCode> run_complete(CommandContext& context);
// change_commands.cc
Outcome<ExitCode> run_run(CommandContext& context);
Outcome<ExitCode> run_start(CommandContext& context);
Outcome<ExitCode> run_stop(CommandContext& context);
Outcome<ExitCode> run_checkpoint(CommandContext& context);
Outcome<ExitCode> run_restore(CommandContext& context);
Outcome<ExitCode> run_remove(CommandContext& context);
// archive_commands.cc
Outcome<ExitCode> run_export(CommandContext& context);
Outcome<ExitCode> run_import(CommandContext& context);
// cluster_commands.cc
Outcome<ExitCode> run_cluster_init(CommandContext& context);
Outcome<ExitCode> run_cluster_join(CommandContext& context);
Outcome<ExitCode> run_cluster_leave(CommandContext& context);
Outcome<ExitCode> run_cluster_status(CommandContext& context);
Outcome<ExitCode> run_cluster_token(CommandContext& context);
Outcome<ExitCode> run_cluster_rotate_keys(CommandContext& context);
Outcome<ExitCode> run_cluster_recover(CommandContext& context);
Outcome<ExitCode> run_cluster_timing(CommandContext& context);
// node_commands.cc
Outcome<ExitCode> run_node_list(CommandContext& context);
Outcome<ExitCode> run_node_drain(CommandContext& context);
Outcome<ExitCode> run_node_cordon(CommandContext& context);  // and uncordon
Outcome<ExitCode> run_node_remove(CommandContext& context);
Outcome<ExitCode> run_node_label(CommandContext& context);
Outcome<ExitCode> run_move(CommandContext& context);
Outcome<ExitCode> run_takeover(CommandContext& context);
// application_commands.cc
Outcome<ExitCode> run_plan(CommandContext& context);
Outcome<ExitCode> run_diff(CommandContext& context);
Outcome<ExitCode> run_apply(CommandContext& context);
Outcome<ExitCode> run_delete(CommandContext& context);
// image_commands.cc
Outcome<ExitCode> run_image_add(CommandContext& context);
Outcome<ExitCode> run_image_build(CommandContext& context);
// model_commands.cc
Outcome<ExitCode> run_model_check(CommandContext& context);
Outcome<ExitCode> run_model_reference(CommandContext& context);
Outcome<ExitCode> run_model_schema(CommandContext& context);
Outcome<ExitCode> run_model_convert(CommandContext& context);
Outcome<ExitCode> run_model_draw(CommandContext& context);
Outcome<ExitCode> run_model_profile(CommandContext& context);
// local_commands.cc
Outcome<ExitCode> run_spec(CommandContext& context);
Outcome<ExitCode> run_lab(CommandContext& context);
Outcome<ExitCode> run_completion(CommandContext& context);
Outcome<ExitCode> run_help(CommandContext& context);

}  // namespace perdure::cli
