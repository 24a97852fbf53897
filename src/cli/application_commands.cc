// Commands that plan an application, and make a cluster run it.
#include <algorithm>
#include <format>
#include <map>
#include <utility>

#include "cli/command_context.h"
#include "cli/deployment.h"
#include "cli/health.h"
#include "cli/render_plan.h"
#include "cli/text.h"
#include "deploy/changes.h"
#include "deploy/recommendation.h"
#include "model/spec_yaml.h"

namespace perdure::cli {
namespace {

namespace v1 = control::v1;
using deploy::Change;

// For components to become ready and standbys to have caught up, of one container.
constexpr Duration kSettleTime = std::chrono::minutes(5);

struct Deployment {
  Planned planned;
  std::vector<model::ContainerSpec> specs{};  // of the plan's containers, in their order
  std::vector<NodeName> owners{};
  std::vector<Change> changes{};
};

bool runs_already(const Planned& planned, std::size_t container) {
  return std::ranges::contains(planned.view.containers, planned.plan.grouping.containers[container].name, &deploy::ContainerFacts::name);
}

// With the images of what runs already, without which nobody knows whether it is still the same.
Outcome<Deployment> prepare(CommandContext& context) {
  auto planned = make_plan(context, Specifications::kOfApplication);
  if (!planned) return std::unexpected(planned.error());
  Deployment deployment{*std::move(planned)};
  const deploy::Plan& plan = deployment.planned.plan;
  for (std::size_t i = 0; i < plan.grouping.containers.size(); ++i) {
    std::string image = deploy::no_digest();  // of what is made anew: not before it is agreed to
    if (runs_already(deployment.planned, i)) {
      auto built = image_of(context, deployment.planned, i);
      if (!built) return std::unexpected(built.error());
      image = *std::move(built);
    }
    auto spec = spec_of(deployment.planned, i, image);
    if (!spec) return std::unexpected(spec.error());
    deployment.specs.push_back(*std::move(spec));
    deployment.owners.push_back(plan.problem.nodes[*plan.placement.places[i].owner].name);
  }
  deployment.changes = deploy::changes_of(deployment.planned.application.name.str(), deployment.specs, deployment.owners,
                                          plan.grouping.dependencies, deployment.planned.view);
  return deployment;
}

bool changes_something(const Deployment& deployment) {
  return std::ranges::any_of(deployment.changes, [](const Change& change) { return change.kind != Change::Kind::kKeep; });
}

Outcome<void> say(const CommandContext& context, const std::string& line) {
  if (Status written = context.terminal().out(line + "\n"); !written) return std::unexpected(to_failure(written.error()));
  return {};
}

Outcome<void> remove_container(CommandContext& context, const ContainerName& name) {
  v1::Request request;
  request.mutable_remove()->set_name(name.str());
  request.mutable_remove()->set_force(true);
  if (auto removed = context.change(request, v1::Response::kRemove); !removed) return std::unexpected(removed.error());
  return say(context, std::format("{}: removed", name.str()));
}

class Applying {
 public:
  Applying(CommandContext& context, Deployment& deployment) : context_(context), deployment_(deployment) {}

  Outcome<ExitCode> run() {
    for (const Change& change : deployment_.changes) {
      if (auto done = apply(change); !done) {
        Failure failure = done.error();
        failure.message = std::format("{}: {}", change.name.str(), failure.message);
        failure.detail.push_back("what was done before it stays; run 'perdure apply' again to go on");
        return std::unexpected(std::move(failure));
      }
    }
    return unprotected_ ? ExitCode::kUnprotected : ExitCode::kOk;
  }

 private:
  Outcome<void> apply(const Change& change) {
    switch (change.kind) {
      case Change::Kind::kKeep:
        return {};
      case Change::Kind::kRemove:
        return remove_container(context_, change.name);
      case Change::Kind::kMove:
        return move(change);
      case Change::Kind::kReplace:
        if (auto removed = remove_container(context_, change.name); !removed) return removed;
        return start(change);
      case Change::Kind::kCreate:
        return start(change);
    }
    return {};
  }

  Outcome<void> move(const Change& change) {
    v1::Request request;
    request.mutable_move()->set_name(change.name.str());
    request.mutable_move()->set_node(change.to->str());
    const auto moved = context_.change(request, v1::Response::kMove);
    if (!moved && !is_on(change.name, *change.to)) return std::unexpected(moved.error());
    return say(context_, std::format("{}: moved to {}", change.name.str(), change.to->str()));
  }

  // Meanwhile it may have followed its sponsors by itself, which were moved before it.
  bool is_on(const ContainerName& name, const NodeName& node) {
    v1::Request request;
    request.mutable_inspect()->set_name(name.str());
    const auto found = context_.read(request, v1::Response::kInspect);
    return found && found->inspect().status().node() == node.str() && found->inspect().status().phase() == v1::PHASE_RUNNING;
  }

  // With its image, which was built before if the container ran already.
  Outcome<model::ContainerSpec> specification_of(const Change& change) {
    if (change.kind == Change::Kind::kReplace) return deployment_.specs[change.wanted];
    auto image = image_of(context_, deployment_.planned, change.wanted);
    if (!image) return std::unexpected(image.error());
    return spec_of(deployment_.planned, change.wanted, *image);
  }

  Outcome<void> start(const Change& change) {
    const auto spec = specification_of(change);
    if (!spec) return std::unexpected(spec.error());
    v1::Request request;
    v1::RunRequest& run = *request.mutable_run();
    run.set_spec_yaml(model::to_yaml(*spec));
    run.set_file_name(std::format("the specification of {}", change.name.str()));
    run.set_confirm_nic(true);  // who agreed to the plan agreed to its network
    run.set_node(change.to->str());
    run.set_settle_ns(kSettleTime.count());
    run.set_settled_standbys(static_cast<std::uint32_t>(deployment_.planned.plan.placement.places[change.wanted].standbys.size()));
    const auto started = context_.change(request, v1::Response::kRun);
    if (!started) return std::unexpected(started.error());
    const v1::ContainerStatus& status = started->run().status();
    const std::string trouble = trouble_of(status, run.settled_standbys());
    if (!trouble.empty()) unprotected_ = true;
    return say(context_, std::format("{}: runs on {}{}", change.name.str(), change.to->str(), trouble.empty() ? "" : ", but " + trouble));
  }

  static std::string trouble_of(const v1::ContainerStatus& status, std::uint32_t standbys) {
    for (const v1::ComponentStatus& component : status.components()) {
      if (component.state() == v1::COMPONENT_RUNNING || component.state() == v1::COMPONENT_FINISHED) continue;
      const std::string why = clean(component.trouble());
      return std::format("component {} is not ready after {}{}", component.name(), format_duration(kSettleTime),
                         why.empty() ? "" : ": " + why);
    }
    if (!is_protected(status)) return "is not protected: " + clean(status.protection().reason());
    const auto ready = static_cast<std::uint32_t>(ready_standbys(status));
    if (ready < standbys) return std::format("{} of {} standbys are not ready after {}", standbys - ready, standbys, format_duration(kSettleTime));
    return {};
  }

  CommandContext& context_;
  Deployment& deployment_;
  bool unprotected_ = false;
};

std::string warnings_of(const Deployment& deployment, const Style& style) {
  std::string text;
  for (const std::string& warning : deployment.planned.plan.warnings) text += wrap(warning, style.width, "", "  ");
  return text;
}

}  // namespace

Outcome<ExitCode> run_plan(CommandContext& context) {
  const auto planned = make_plan(context, Specifications::kNone);
  if (!planned) return std::unexpected(planned.error());
  const std::string format = context.invocation.text(kFormatOption);
  if (format.empty() || format == "text") return context.print(render_plan(planned->application, planned->plan, context.terminal().style()));
  if (format == "json") return context.print(deploy::json_of(planned->application, planned->plan));
  const deploy::Recommendation recommendation = format == "kubernetes" ? deploy::kubernetes_of(planned->application, planned->plan)
                                                                       : deploy::nomad_of(planned->application, planned->plan);
  for (const std::string& note : recommendation.notes) {
    context.terminal().err(wrap("note: " + note, context.terminal().err_width(), "", "  "));
  }
  return context.print(recommendation.text);
}

Outcome<ExitCode> run_diff(CommandContext& context) {
  const auto deployment = prepare(context);
  if (!deployment) return std::unexpected(deployment.error());
  const std::string name = deployment->planned.application.name.str();
  if (!changes_something(*deployment)) return context.print(std::format("{}: nothing would change\n", name));
  return context.print(std::format("{}:\n", name) + render_changes(deployment->changes, context.terminal().style()), ExitCode::kUnprotected);
}

Outcome<ExitCode> run_apply(CommandContext& context) {
  auto deployment = prepare(context);
  if (!deployment) return std::unexpected(deployment.error());
  const std::string name = deployment->planned.application.name.str();
  if (!changes_something(*deployment)) return context.print(std::format("{}: as the model says; nothing was changed\n", name));
  const Style style = context.question_style();
  const std::string what = std::format("Application {}:\n{}{}", name, render_changes(deployment->changes, style), warnings_of(*deployment, style));
  if (const auto agreed = context.confirm(what); !agreed) return std::unexpected(agreed.error());
  return Applying(context, *deployment).run();
}

Outcome<ExitCode> run_delete(CommandContext& context) {
  const std::string application = context.invocation.text(kApplicationArgument);
  const auto view = look_at_cluster(context, application, Specifications::kNone);
  if (!view) return std::unexpected(view.error());
  const std::vector<ContainerName> names = deploy::removal_order(application, *view);
  if (names.empty()) return std::unexpected(no_such_application(application));
  std::string what = std::format("Removes {} containers of application {}, with their memory, their files and their generations:\n",
                                 names.size(), application);
  for (const ContainerName& name : names) what += std::format("  {}\n", name.str());
  if (const auto agreed = context.confirm(what); !agreed) return std::unexpected(agreed.error());
  for (const ContainerName& name : names) {
    if (const auto removed = remove_container(context, name); !removed) return std::unexpected(removed.error());
  }
  return ExitCode::kOk;
}

}  // namespace perdure::cli
