#include "image/agent_configuration.h"

#include <algorithm>
#include <format>

#include "image/bundle.h"

namespace perdure::image {
namespace {

agent::ProbeKind to_agent(const model::ProbeKind& kind) {
  struct Kind {
    agent::ProbeKind operator()(const model::ExecProbe& it) const { return agent::ExecProbe{it.command}; }
    agent::ProbeKind operator()(const model::TcpProbe& it) const { return agent::TcpProbe{to_string(it.address), it.port}; }
    agent::ProbeKind operator()(const model::HttpProbe& it) const { return agent::HttpProbe{to_string(it.address), it.port, it.path}; }
    agent::ProbeKind operator()(const model::RtspProbe& it) const { return agent::RtspProbe{to_string(it.address), it.port}; }
    agent::ProbeKind operator()(const model::UnixProbe& it) const { return agent::UnixProbe{it.path}; }
    agent::ProbeKind operator()(const model::FileProbe& it) const { return agent::FileProbe{it.path, it.max_age}; }
  };
  return std::visit(Kind{}, kind);
}

agent::Dependency to_agent(const model::DependencySpec& on, const model::ContainerSpec& spec) {
  const auto found = std::ranges::find(spec.components, on.component, &model::ComponentSpec::name);
  agent::Dependency dependency{.component = static_cast<std::size_t>(found - spec.components.begin())};
  switch (on.until) {
    case model::Until::kReady:
      dependency.until = agent::Until::kReady;
      break;
    case model::Until::kStarted:
      dependency.until = agent::Until::kStarted;
      break;
    case model::Until::kFinished:
      dependency.until = agent::Until::kFinished;
      break;
  }
  switch (on.on_restart.action) {
    case model::OnRestart::Action::kNothing:
      break;
    case model::OnRestart::Action::kRestart:
      dependency.on_restart = agent::Dependency::OnRestart::kRestart;
      break;
    case model::OnRestart::Action::kSignal:
      dependency.on_restart = agent::Dependency::OnRestart::kSignal;
      dependency.signal = on.on_restart.signal;
      break;
  }
  return dependency;
}

std::optional<std::uint64_t> count_of(const std::optional<Bytes>& bytes) {
  return bytes ? std::optional(bytes->count) : std::nullopt;
}

Result<agent::Component> to_agent(const model::ComponentSpec& from, const model::ContainerSpec& spec,
                                  const PreparedImage& image, const std::string& root_dir) {
  const std::string user = from.user.value_or(effective_user(spec, image.defaults));
  auto identity = resolve_user(user, root_dir);
  if (!identity) return fail(std::move(identity).error().context(std::format("component '{}'", from.name)));
  agent::Component to{.name = from.name,
                      .command = from.command,
                      .environment = effective_environment(spec, image.defaults, *identity, from.environment),
                      .directory = from.working_directory.value_or(effective_working_directory(spec, image.defaults)),
                      .uid = identity->uid,
                      .gid = identity->gid,
                      .groups = identity->additional_gids,
                      .stateful = from.state == model::StateKind::kStateful,
                      .stop_signal = from.stop.signal,
                      .stop_deadline = from.stop.deadline};
  to.limits.open_files = from.limits.open_files;
  to.limits.core_size = count_of(from.limits.core_size);
  to.limits.file_size = count_of(from.limits.file_size);
  to.limits.address_space = count_of(from.limits.address_space);
  for (const model::DependencySpec& on : from.depends_on) to.depends_on.push_back(to_agent(on, spec));
  to.restart = {.always = from.restart.when == model::RestartWhen::kAlways,
                .limit = from.restart.limit,
                .window = from.restart.window,
                .delay = from.restart.delay,
                .delay_limit = from.restart.delay_limit};
  if (from.probe) {
    to.probe = agent::Probe{.kind = to_agent(from.probe->kind),
                            .interval = from.probe->interval,
                            .timeout = from.probe->timeout,
                            .failures = from.probe->failures,
                            .successes = from.probe->successes,
                            .grace = from.probe->grace};
  }
  return to;
}

}  // namespace

Result<agent::Configuration> make_agent_configuration(const model::ContainerSpec& spec, const PreparedImage& image,
                                                      const std::string& root_dir) {
  agent::Configuration configuration{.report_to = std::string(kAgentReportsTo), .stop_signal = spec.stop.signal};
  for (const model::ComponentSpec& component : spec.components) {
    PERDURE_ASSIGN(agent::Component one, to_agent(component, spec, image, root_dir));
    configuration.components.push_back(std::move(one));
  }
  return configuration;
}

}  // namespace perdure::image
