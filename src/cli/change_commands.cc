// Commands that change something.
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <format>

#include "base/fd.h"
#include "cli/command_context.h"
#include "cli/json_output.h"
#include "cli/render.h"
#include "cli/words.h"
#include "control_limits.h"

namespace perdure::cli {
namespace {

namespace v1 = control::v1;

ExitCode protection_code(const v1::ContainerStatus& status) {
  return is_safe(status.protection().state()) ? ExitCode::kOk : ExitCode::kUnprotected;
}

Result<v1::RunRequest> read_spec_request(const std::string& file) {
  v1::RunRequest run;
  std::error_code error;
  std::filesystem::path directory = std::filesystem::current_path(error);
  if (file == "-") {
    // Not through /dev/stdin, which cannot be opened when it is a socket (as under sshd).
    PERDURE_ASSIGN(*run.mutable_spec_yaml(),
                   read_rest(STDIN_FILENO, control::kMaxSpecBytes, "standard input"));
    run.set_file_name("standard input");
  } else {
    PERDURE_ASSIGN(*run.mutable_spec_yaml(), read_file(file, control::kMaxSpecBytes));
    run.set_file_name(file);
    if (!error) directory = std::filesystem::absolute(file, error).parent_path();
  }
  if (error)
    return fail(ErrorCode::kIo,
                std::format("find the directory of '{}': {}", file, error.message()));
  run.set_base_directory(directory.string());
  return run;
}

const v1::GenerationRow* choose(const v1::GenerationsReply& reply,
                                const std::optional<std::string>& wanted) {
  const auto& rows = reply.generations();
  const auto found = std::ranges::find_if(rows, [&](const v1::GenerationRow& row) {
    return wanted ? row.generation() == *wanted : row.committed() && row.bad().empty();
  });
  return found == rows.end() ? nullptr : &*found;
}

// What a restore would do, as text for the question before it.
Outcome<std::string> preview_restore(CommandContext& context) {
  v1::Request inspect;
  inspect.mutable_inspect()->set_name(context.name());
  const auto status = context.read(inspect, v1::Response::kInspect);
  if (!status) return std::unexpected(status.error());
  v1::Request generations;
  generations.mutable_generations()->set_name(context.name());
  const auto rows = context.read(generations, v1::Response::kGenerations);
  if (!rows) return std::unexpected(rows.error());
  const auto wanted = context.generation();
  const v1::GenerationRow* target = choose(rows->generations(), wanted);
  if (target == nullptr) {
    return std::unexpected(Failure{
        .code = ExitCode::kNotFound,
        .message = std::format("{} has no {}", context.name(),
                               wanted ? "generation " + *wanted : "committed generation"),
        .remedy = std::format("'perdure generations {}' shows what there is", context.name())});
  }
  const Style style{.width = context.terminal().err_width(), .colour = false};
  return describe_restore(status->inspect().status(), *target, style);
}

Outcome<ExitCode> print_reply(const CommandContext& context, const auto& reply, auto render,
                              ExitCode code = ExitCode::kOk) {
  return context.print(context.json() ? to_json(reply) : render(reply, context.terminal().style()),
                       code);
}

}  // namespace

Outcome<ExitCode> run_run(CommandContext& context) {
  auto run = read_spec_request(context.invocation.text(kSpecArgument));
  if (!run) return std::unexpected(to_failure(run.error()));
  run->set_confirm_nic(context.invocation.has(kYesOption));
  run->set_node(context.invocation.text(kNodeOption));
  v1::Request request;
  *request.mutable_run() = std::move(*run);
  const auto response = context.change_with_question(
      request, v1::Response::kRun,
      [](v1::Request& agreed) { agreed.mutable_run()->set_confirm_nic(true); });
  if (!response) return std::unexpected(response.error());
  return print_reply(context, response->run(), render_run,
                     protection_code(response->run().status()));
}

Outcome<ExitCode> run_start(CommandContext& context) {
  v1::Request request;
  request.mutable_start()->set_name(context.name());
  request.mutable_start()->set_confirm_nic(context.invocation.has(kYesOption));
  const auto response = context.change_with_question(
      request, v1::Response::kStart,
      [](v1::Request& agreed) { agreed.mutable_start()->set_confirm_nic(true); });
  if (!response) return std::unexpected(response.error());
  return print_reply(context, response->start(), render_start,
                     protection_code(response->start().status()));
}

Outcome<ExitCode> run_stop(CommandContext& context) {
  v1::Request request;
  request.mutable_stop()->set_name(context.name());
  const auto deadline = context.invocation.duration(kDeadlineOption);
  if (deadline) request.mutable_stop()->set_deadline_ns(deadline->count());
  const auto response = context.change(request, v1::Response::kStop);
  if (!response) return std::unexpected(response.error());
  return print_reply(context, response->stop(), render_stop);
}

Outcome<ExitCode> run_checkpoint(CommandContext& context) {
  v1::Request request;
  request.mutable_checkpoint()->set_name(context.name());
  const auto response = context.change(request, v1::Response::kCheckpoint);
  if (!response) return std::unexpected(response.error());
  return print_reply(context, response->checkpoint(), render_checkpoint);
}

Outcome<ExitCode> run_restore(CommandContext& context) {
  if (!context.invocation.has(kYesOption)) {
    const auto preview = preview_restore(context);
    if (!preview) return std::unexpected(preview.error());
    if (const auto confirmed = context.confirm(*preview); !confirmed)
      return std::unexpected(confirmed.error());
  }
  v1::Request request;
  request.mutable_restore()->set_name(context.name());
  if (const auto wanted = context.generation()) request.mutable_restore()->set_generation(*wanted);
  const auto response = context.change(request, v1::Response::kRestore);
  if (!response) return std::unexpected(response.error());
  return print_reply(context, response->restore(), render_restore,
                     protection_code(response->restore().status()));
}

Outcome<ExitCode> run_remove(CommandContext& context) {
  const bool keep_capsules = context.invocation.has(kKeepCapsulesOption);
  if (!context.invocation.has(kYesOption)) {
    v1::Request inspect;
    inspect.mutable_inspect()->set_name(context.name());
    const auto status = context.read(inspect, v1::Response::kInspect);
    if (!status) return std::unexpected(status.error());
    const Style style{.width = context.terminal().err_width(), .colour = false};
    const auto confirmed =
        context.confirm(describe_remove(status->inspect().status(), keep_capsules, style));
    if (!confirmed) return std::unexpected(confirmed.error());
  }
  v1::Request request;
  request.mutable_remove()->set_name(context.name());
  request.mutable_remove()->set_force(context.invocation.has(kForceOption));
  request.mutable_remove()->set_keep_capsules(keep_capsules);
  const auto response = context.change(request, v1::Response::kRemove);
  if (!response) return std::unexpected(response.error());
  return print_reply(context, response->remove(), render_remove);
}

}  // namespace perdure::cli
