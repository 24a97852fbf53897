// export and import: the archive goes through a descriptor that is passed to perdured.
#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>
#include <format>

#include "base/fd.h"
#include "cli/archive_file.h"
#include "cli/command_context.h"
#include "cli/json_output.h"
#include "cli/render.h"

namespace perdure::cli {
namespace {

namespace v1 = control::v1;

// To standard output: then what is said goes to standard error, whatever its form.
Outcome<ExitCode> export_to_stdout(CommandContext& context, const v1::Request& request) {
  if (context.terminal().out_is_terminal()) {
    return std::unexpected(Failure{.code = ExitCode::kUsage,
                                   .message = "an archive is not written to a terminal",
                                   .remedy = "name a file, or pipe it to another program"});
  }
  const auto response = context.change(request, v1::Response::kExport, STDOUT_FILENO);
  if (!response) return std::unexpected(response.error());
  const Style style{.width = context.terminal().err_width(), .colour = false};
  context.terminal().err(context.json()
                             ? to_json(response->export_())
                             : render_export(response->export_(), "standard output", style));
  return ExitCode::kOk;
}

}  // namespace

Outcome<ExitCode> run_export(CommandContext& context) {
  v1::Request request;
  request.mutable_export_()->set_name(context.name());
  if (const auto wanted = context.generation()) request.mutable_export_()->set_generation(*wanted);
  const std::string path = context.invocation.text(kFileArgument);
  if (path == "-") return export_to_stdout(context, request);

  auto file = ArchiveFile::create(path);
  if (!file) return std::unexpected(to_failure(file.error()));
  const auto response = context.change(request, v1::Response::kExport, file->fd());
  if (!response) return std::unexpected(response.error());
  if (Status published = file->publish(response->export_().bytes()); !published) {
    return std::unexpected(to_failure(published.error()));
  }
  return context.print(context.json()
                           ? to_json(response->export_())
                           : render_export(response->export_(), path, context.terminal().style()));
}

Outcome<ExitCode> run_import(CommandContext& context) {
  const std::string path = context.invocation.text(kFileArgument);
  UniqueFd file;
  if (path != "-") {
    auto opened = open_file(path, O_RDONLY);
    if (!opened) return std::unexpected(to_failure(opened.error()));
    file = std::move(*opened);
  }
  v1::Request request;
  request.mutable_import();
  if (context.invocation.has(kNameOption))
    request.mutable_import()->set_name(context.invocation.text(kNameOption));
  const auto response =
      context.change(request, v1::Response::kImport, file ? file.get() : STDIN_FILENO);
  if (!response) return std::unexpected(response.error());
  return context.print(context.json()
                           ? to_json(response->import())
                           : render_import(response->import(), context.terminal().style()));
}

}  // namespace perdure::cli
