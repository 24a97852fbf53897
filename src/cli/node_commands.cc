// Commands of single nodes, and the move of a container from one to another.
#include <algorithm>
#include <format>

#include "cli/command_context.h"
#include "cli/json_output.h"
#include "cli/labels.h"
#include "cli/render_cluster.h"
#include "cli/words.h"

namespace perdure::cli {
namespace {

namespace v1 = control::v1;

std::string node_of(const CommandContext& context) {
  return context.invocation.text(kNodeArgument);
}

Outcome<v1::NodeListReply> nodes_now(CommandContext& context) {
  v1::Request request;
  request.mutable_node_list();
  auto response = context.read(std::move(request), v1::Response::kNodeList);
  if (!response) return std::unexpected(response.error());
  return std::move(*response->mutable_node_list());
}

Outcome<v1::NodeRow> find_node(CommandContext& context) {
  const auto nodes = nodes_now(context);
  if (!nodes) return std::unexpected(nodes.error());
  const auto found = std::ranges::find(nodes->nodes(), node_of(context), &v1::NodeRow::name);
  if (found == nodes->nodes().end()) {
    return std::unexpected(
        Failure{.code = ExitCode::kNotFound,
                .message = std::format("there is no node '{}'", node_of(context)),
                .remedy = "'perdure node list' shows which there are"});
  }
  return *found;
}

Outcome<ExitCode> change_node(CommandContext& context, v1::Request request, auto render) {
  const auto response = context.change(std::move(request), v1::Response::kNodeList);
  if (!response) return std::unexpected(response.error());
  return context.print(context.json() ? to_json(response->node_list())
                                      : render(response->node_list(), context.terminal().style()));
}

}  // namespace

Outcome<ExitCode> run_node_list(CommandContext& context) {
  const auto nodes = nodes_now(context);
  if (!nodes) return std::unexpected(nodes.error());
  return context.print(context.json() ? to_json(*nodes)
                                      : render_node_list(*nodes, context.terminal().style()));
}

Outcome<ExitCode> run_node_drain(CommandContext& context) {
  if (!context.invocation.has(kYesOption)) {
    const auto node = find_node(context);
    if (!node) return std::unexpected(node.error());
    const auto confirmed = context.confirm(describe_drain(*node, context.question_style()));
    if (!confirmed) return std::unexpected(confirmed.error());
  }
  v1::Request request;
  request.mutable_node_drain()->set_node(node_of(context));
  const auto response = context.change(std::move(request), v1::Response::kNodeDrain);
  if (!response) return std::unexpected(response.error());
  const v1::NodeDrainReply& reply = response->node_drain();
  return context.print(
      context.json() ? to_json(reply) : render_drain(reply, context.terminal().style()),
      reply.failures().empty() ? ExitCode::kOk : ExitCode::kFailure);
}

Outcome<ExitCode> run_node_cordon(CommandContext& context) {
  v1::Request request;
  request.mutable_node_cordon()->set_node(node_of(context));
  request.mutable_node_cordon()->set_cordon(context.invocation.command().id ==
                                            CommandId::kNodeCordon);
  return change_node(context, std::move(request), render_cordon);
}

Outcome<ExitCode> run_node_remove(CommandContext& context) {
  v1::Request request;
  v1::NodeRemoveRequest& remove = *request.mutable_node_remove();
  remove.set_node(node_of(context));
  remove.set_force(context.invocation.has(kForceOption));
  const auto node = find_node(context);
  if (!node) return std::unexpected(node.error());
  if (context.invocation.has(kYesOption)) {
    context.terminal().err(manager_warning(*node, context.question_style()));
  } else if (const auto confirmed =
                 context.confirm(describe_node_remove(remove, *node, context.question_style()));
             !confirmed) {
    return std::unexpected(confirmed.error());
  }
  return change_node(context, std::move(request),
                     [&](const v1::NodeListReply& reply, const Style& style) {
                       return render_node_remove(reply, node->name(), style);
                     });
}

Outcome<ExitCode> run_node_label(CommandContext& context) {
  v1::Request request;
  v1::NodeLabelRequest& label = *request.mutable_node_label();
  label.set_node(node_of(context));
  if (std::string problem =
          put_labels(context.invocation.texts(kLabelArgument), *label.mutable_labels());
      !problem.empty()) {
    return std::unexpected(Failure{.code = ExitCode::kUsage,
                                   .message = "KEY=VALUE: " + problem,
                                   .remedy = "'perdure help node label' explains it"});
  }
  return change_node(context, std::move(request), render_node_labels);
}

Outcome<ExitCode> run_move(CommandContext& context) {
  v1::Request request;
  request.mutable_move()->set_name(context.name());
  request.mutable_move()->set_node(node_of(context));
  const auto response = context.change(std::move(request), v1::Response::kMove);
  if (!response) return std::unexpected(response.error());
  const v1::MoveReply& reply = response->move();
  return context.print(
      context.json() ? to_json(reply) : render_move(reply, context.terminal().style()),
      is_safe(reply.status().protection().state()) ? ExitCode::kOk : ExitCode::kUnprotected);
}

Outcome<ExitCode> run_takeover(CommandContext& context) {
  v1::Request request;
  v1::TakeoverRequest& takeover = *request.mutable_takeover();
  takeover.set_name(context.name());
  takeover.set_node(context.invocation.text(kToOption));
  takeover.set_force(context.invocation.has(kForceOption));
  takeover.set_confirmed(context.invocation.has(kYesOption));
  const auto response = context.change_with_question(
      std::move(request), v1::Response::kTakeover,
      [](v1::Request& agreed) { agreed.mutable_takeover()->set_confirmed(true); });
  if (!response) return std::unexpected(response.error());
  const v1::TakeoverReply& reply = response->takeover();
  return context.print(
      context.json() ? to_json(reply) : render_takeover(reply, context.terminal().style()),
      is_safe(reply.status().protection().state()) ? ExitCode::kOk : ExitCode::kUnprotected);
}

}  // namespace perdure::cli
