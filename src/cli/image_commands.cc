// Commands for images.
#include <filesystem>
#include <format>

#include "cli/command_context.h"
#include "cli/deployment.h"
#include "cli/json_output.h"
#include "cli/text.h"

namespace perdure::cli {

namespace v1 = control::v1;

Outcome<ExitCode> run_image_add(CommandContext& context) {
  const std::string source = context.invocation.text(kSourceArgument);
  std::error_code error;
  const std::filesystem::path path = std::filesystem::absolute(source, error).lexically_normal();
  if (error) {
    return std::unexpected(to_failure(Error(ErrorCode::kIo, std::format("find '{}': {}", source, error.message()))));
  }
  v1::Request request;
  request.mutable_image_add()->set_path(path.has_filename() ? path.string() : path.parent_path().string());
  request.mutable_image_add()->set_tag(context.invocation.text(kTagOption));
  const auto response = context.change(request, v1::Response::kImageAdd);
  if (!response) return std::unexpected(response.error());
  const v1::ImageAddReply& reply = response->image_add();
  return context.print(context.json() ? to_json(reply) : clean(reply.digest()) + "\n");
}

Outcome<ExitCode> run_image_build(CommandContext& context) {
  const auto application = read_model(context);
  if (!application) return std::unexpected(application.error());
  const placement::Grouping grouping = placement::group_components(*application);
  if (!grouping.conflicts.empty()) {
    Failure failure{.code = ExitCode::kInvalid, .message = grouping.conflicts.front()};
    failure.detail.assign(grouping.conflicts.begin() + 1, grouping.conflicts.end());
    return std::unexpected(std::move(failure));
  }
  for (std::size_t i = 0; i < grouping.containers.size(); ++i) {
    const auto built = build_image_of(context, *application, grouping, i);
    if (!built) return std::unexpected(built.error());
    const std::string line = std::format("{} {} {}\n", grouping.containers[i].name.str(), built->digest, built->layout_dir);
    if (Status written = context.terminal().out(line); !written) return std::unexpected(to_failure(written.error()));
  }
  return ExitCode::kOk;
}

}  // namespace perdure::cli
