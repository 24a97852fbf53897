#include "cli/commands.h"

#include <cstdlib>
#include <format>

#include "cli/command_context.h"
#include "cli/help.h"
#include "cli/json_output.h"
#include "cli/program.h"
#include "cli/render.h"

namespace perdure::cli {
namespace {

namespace v1 = control::v1;

CommandFunction function_of(CommandId id) {
  switch (id) {
    case CommandId::kRun:
      return run_run;
    case CommandId::kStatus:
      return run_status;
    case CommandId::kList:
      return run_list;
    case CommandId::kInspect:
      return run_inspect;
    case CommandId::kExplain:
      return run_explain;
    case CommandId::kLogs:
      return run_logs;
    case CommandId::kCheckpoint:
      return run_checkpoint;
    case CommandId::kGenerations:
      return run_generations;
    case CommandId::kRestore:
      return run_restore;
    case CommandId::kExport:
      return run_export;
    case CommandId::kImport:
      return run_import;
    case CommandId::kStop:
      return run_stop;
    case CommandId::kStart:
      return run_start;
    case CommandId::kRemove:
      return run_remove;
    case CommandId::kEvents:
      return run_events;
    case CommandId::kDoctor:
      return run_doctor;
    case CommandId::kVersion:
      return run_version;
    case CommandId::kLab:
      return run_lab;
    case CommandId::kSpec:
      return run_spec;
    case CommandId::kCompletion:
      return run_completion;
    case CommandId::kHelp:
      return run_help;
    case CommandId::kComplete:
      return run_complete;
    case CommandId::kClusterInit:
      return run_cluster_init;
    case CommandId::kClusterJoin:
      return run_cluster_join;
    case CommandId::kClusterLeave:
      return run_cluster_leave;
    case CommandId::kClusterStatus:
      return run_cluster_status;
    case CommandId::kClusterToken:
      return run_cluster_token;
    case CommandId::kClusterRotateKeys:
      return run_cluster_rotate_keys;
    case CommandId::kClusterRecover:
      return run_cluster_recover;
    case CommandId::kClusterTiming:
      return run_cluster_timing;
    case CommandId::kNodeList:
      return run_node_list;
    case CommandId::kNodeDrain:
      return run_node_drain;
    case CommandId::kNodeCordon:
    case CommandId::kNodeUncordon:
      return run_node_cordon;
    case CommandId::kNodeRemove:
      return run_node_remove;
    case CommandId::kNodeLabel:
      return run_node_label;
    case CommandId::kMove:
      return run_move;
    case CommandId::kTakeover:
      return run_takeover;
    case CommandId::kPlan:
      return run_plan;
    case CommandId::kDiff:
      return run_diff;
    case CommandId::kApply:
      return run_apply;
    case CommandId::kDelete:
      return run_delete;
    case CommandId::kImageAdd:
      return run_image_add;
    case CommandId::kImageBuild:
      return run_image_build;
    case CommandId::kModelCheck:
      return run_model_check;
    case CommandId::kModelReference:
      return run_model_reference;
    case CommandId::kModelSchema:
      return run_model_schema;
    case CommandId::kModelConvert:
      return run_model_convert;
    case CommandId::kModelDraw:
      return run_model_draw;
    case CommandId::kModelProfile:
      return run_model_profile;
  }
  return run_help;
}

// How to find out what became of a change.
std::string where_it_shows(const Command& command, const std::string& container) {
  if (!container.empty() && group_of(command) == nullptr) return "inspect " + container;
  const CommandGroup* group = group_of(command);
  if (group == nullptr) return "list";
  return group->name == "node" ? "node list" : "cluster status";
}

Style error_style(const Terminal& terminal) {
  return Style{.width = terminal.err_width(), .colour = false};
}

ExitCode report(const Failure& failure, bool as_json, Terminal& terminal) {
  terminal.err(as_json ? failure_to_json_line(failure)
                       : render_failure(failure, error_style(terminal)));
  return failure.code;
}

bool is_yes(const std::optional<std::string>& answer) {
  return answer == "y" || answer == "Y" || answer == "yes";
}

std::string socket_path(const Invocation& invocation) {
  if (invocation.has(kSocketOption)) return invocation.text(kSocketOption);
  const char* from_environment = std::getenv("PERDURE_SOCKET");
  return from_environment != nullptr && *from_environment != '\0' ? from_environment
                                                                  : std::string(kDefaultSocket);
}

ExitCode report(const UsageError& error, Terminal& terminal) {
  const Failure failure{
      .code = ExitCode::kUsage,
      .message = error.message,
      .remedy = error.topic.command != nullptr
                    ? std::format("'perdure help {}' explains it", error.topic.command->name)
                : error.topic.group != nullptr
                    ? std::format("'perdure help {}' lists its commands", error.topic.group->name)
                    : "'perdure help' lists the commands"};
  return report(failure, false, terminal);
}

ExitCode write_or_fail(Terminal& terminal, std::string_view text) {
  const Status written = terminal.out(text);
  return written ? ExitCode::kOk : report(to_failure(written.error()), false, terminal);
}

}  // namespace

std::optional<std::string> CommandContext::generation() const {
  if (!invocation.has(kGenerationOption)) return std::nullopt;
  return invocation.text(kGenerationOption);
}

Outcome<v1::Response> CommandContext::read(v1::Request request, v1::Response::BodyCase final) {
  return session.call(
      std::move(request),
      CallOptions{.final = final,
                  .silence = invocation.duration(kTimeoutOption).value_or(kReadSilence),
                  .on_stream = {},
                  .on_question = {},
                  .fd = -1,
                  .doing = std::string(invocation.command().name),
                  .unknown = ""});
}

Outcome<v1::Response> CommandContext::change(v1::Request request, v1::Response::BodyCase final,
                                             int fd) {
  const Command& command = invocation.command();
  std::string object = invocation.text(kNameArgument);
  if (object.empty()) object = invocation.text(kNodeArgument);
  // perdured may keep silent while it waits out a deadline that was asked for.
  const Duration silence =
      kChangeSilence + invocation.duration(kDeadlineOption).value_or(Duration::zero());
  return session.call(
      std::move(request),
      CallOptions{.final = final,
                  .silence = invocation.duration(kTimeoutOption).value_or(silence),
                  .on_stream = {},
                  .on_question = [this](const v1::Question& question) { return answer(question); },
                  .fd = fd,
                  .doing = std::string(command.name) + (object.empty() ? "" : " " + object),
                  .unknown = std::format(
                      "whether it was done is not known: 'perdure {}' shows how things are",
                      where_it_shows(command, name()))});
}

Outcome<void> CommandContext::confirm(std::string_view what_will_happen) {
  if (invocation.has(kYesOption)) return {};
  terminal().err(what_will_happen);
  if (!terminal().can_ask()) {
    return std::unexpected(Failure{
        .code = ExitCode::kRefused,
        .message =
            "this needs a confirmation, and there is no terminal to ask on; nothing was changed",
        .remedy = "repeat the command with --yes"});
  }
  if (is_yes(terminal().ask("Go on? [y/N] ", std::nullopt))) return {};
  return std::unexpected(
      Failure{.code = ExitCode::kRefused, .message = "not confirmed; nothing was changed"});
}

Outcome<v1::Response> CommandContext::change_with_question(v1::Request request,
                                                           v1::Response::BodyCase final,
                                                           void (*agree)(v1::Request&)) {
  auto response = change(request, final);
  if (response || !response.error().needs_confirmation) return response;
  const auto confirmed =
      confirm(wrap(clean(response.error().message), question_style().width, "", "  "));
  if (!confirmed) return std::unexpected(confirmed.error());
  agree(request);
  return change(std::move(request), final);
}

bool CommandContext::answer(const v1::Question& question) {
  terminal().err(wrap(clean(question.text()), terminal().err_width(), "", "  "));
  if (invocation.has(kYesOption)) return true;
  if (!terminal().can_ask()) return false;
  const Duration limit(question.deadline_ns());
  const auto prompt = std::format("Yes or no, within {}? [y/N] ", format_duration(limit));
  return is_yes(terminal().ask(prompt, limit));
}

Outcome<ExitCode> CommandContext::print(std::string_view text, ExitCode code) const {
  if (Status written = terminal().out(text); !written)
    return std::unexpected(to_failure(written.error()));
  return code;
}

ExitCode run_command(const Invocation& invocation, Services& services) {
  CommandContext context(invocation, services);
  const auto outcome = function_of(invocation.command().id)(context);
  return outcome ? *outcome : report(outcome.error(), context.json(), services.terminal);
}

ExitCode run_program(const std::vector<std::string>& arguments, Terminal& terminal,
                     const Clock& clock,
                     const std::function<std::unique_ptr<Connector>(std::string)>& connector_for,
                     const HostServices& host) {
  const CommandLine line = parse_command_line(arguments);
  if (const auto* help = std::get_if<HelpWanted>(&line)) {
    return write_or_fail(terminal, help_of(help->topic, terminal.style()));
  }
  if (std::holds_alternative<VersionWanted>(line)) {
    return write_or_fail(terminal, std::format("perdure {}\n", kProgramVersion));
  }
  if (const auto* error = std::get_if<UsageError>(&line)) return report(*error, terminal);
  const auto& invocation = std::get<Invocation>(line);
  const auto connector = connector_for(socket_path(invocation));
  Services services{.terminal = terminal,
                    .connector = *connector,
                    .clock = clock,
                    .host = host};
  return run_command(invocation, services);
}

}  // namespace perdure::cli
