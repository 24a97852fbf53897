// Commands for images.
#include <filesystem>
#include <format>

#include "cli/command_context.h"
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

}  // namespace perdure::cli
