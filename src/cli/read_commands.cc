// Commands that change nothing.
#include <algorithm>
#include <format>

#include "cli/command_context.h"
#include "cli/deployment.h"
#include "cli/json_output.h"
#include "cli/log_lines.h"
#include "cli/program.h"
#include "cli/render.h"
#include "cli/render_overview.h"
#include "cli/words.h"

namespace perdure::cli {
namespace {

namespace v1 = control::v1;

// A completion that takes longer is worse than none.
constexpr Duration kCompletionSilence = std::chrono::seconds(2);

// Nothing to wait for with --follow, unless the operator says so.
std::optional<Duration> stream_silence(const Invocation& invocation) {
  if (const auto given = invocation.duration(kTimeoutOption)) return given;
  return invocation.has(kFollowOption) ? std::nullopt : std::optional<Duration>(kReadSilence);
}

Outcome<void> stream(CommandContext& context, v1::Request request,
                     std::function<Status(const v1::Response&)> on_stream) {
  const auto done = context.session.call(std::move(request),
                                         CallOptions{.final = v1::Response::kDone,
                                                     .silence = stream_silence(context.invocation),
                                                     .on_stream = std::move(on_stream),
                                                     .on_question = {},
                                                     .fd = -1,
                                                     .doing = "",
                                                     .unknown = ""});
  if (!done) return std::unexpected(done.error());
  return {};
}

Status write_lines(Terminal& terminal, const std::vector<LogLine>& lines) {
  for (const LogLine& line : lines) PERDURE_TRY(terminal.out(to_json_line(line)));
  return {};
}

bool daemon_is_away(const Failure& failure) {
  return failure.code == ExitCode::kUnreachable || failure.code == ExitCode::kPermission ||
         failure.code == ExitCode::kTimeout;
}

Outcome<ExitCode> doctor_without_daemon(CommandContext& context, const Failure& failure) {
  v1::DoctorReport report;
  v1::DoctorLine& daemon = *report.add_lines();
  daemon.set_check("perdured");
  daemon.set_state(v1::CHECK_MISSING);
  daemon.set_found(failure.message);
  daemon.set_follows("no container is protected; what follows is what can be checked without it");
  daemon.set_remedy(failure.remedy);
  const v1::DoctorReport host = context.services.host.check_host();
  for (const auto& line : host.lines()) *report.add_lines() = line;
  return context.print(context.json() ? doctor_to_json(report, DaemonReached::kNo)
                                      : render_doctor(report, context.terminal().style()),
                       failure.code);
}

Outcome<v1::Response> ask_for_names(CommandContext& context, v1::Request request,
                                    v1::Response::BodyCase final) {
  return context.session.call(std::move(request), CallOptions{.final = final,
                                                              .silence = kCompletionSilence,
                                                              .on_stream = {},
                                                              .on_question = {},
                                                              .fd = -1,
                                                              .doing = "",
                                                              .unknown = ""});
}

std::vector<std::string> completions(CommandContext& context) {
  const std::string what = context.invocation.text(kWhatArgument);
  std::vector<std::string> words;
  v1::Request request;
  if (what == "containers") {
    request.mutable_list();
    const auto response = ask_for_names(context, request, v1::Response::kList);
    if (!response) return {};
    for (const auto& status : response->list().containers()) words.push_back(clean(status.name()));
  } else if (what == "nodes") {
    request.mutable_node_list();
    const auto response = ask_for_names(context, request, v1::Response::kNodeList);
    if (!response) return {};
    for (const auto& node : response->node_list().nodes()) words.push_back(clean(node.name()));
  } else if (what == "generations") {
    request.mutable_generations()->set_name(context.name());
    const auto response = ask_for_names(context, request, v1::Response::kGenerations);
    if (!response) return {};
    for (const auto& row : response->generations().generations())
      words.push_back(clean(row.generation()));
  }
  return words;
}

}  // namespace

namespace {

Outcome<ExitCode> application_status(CommandContext& context, Overview overview) {
  const std::string application = context.invocation.text(kApplicationArgument);
  v1::ListReply mine;
  for (const v1::ContainerStatus& status : overview.list.containers()) {
    if (status.application() == application) *mine.add_containers() = status;
  }
  if (mine.containers().empty()) return std::unexpected(no_such_application(application));
  overview.list = std::move(mine);
  return context.print(context.json() ? overview_to_json(overview)
                                      : render_application(application, overview, context.terminal().style()),
                       problems_of(overview).empty() ? ExitCode::kOk : ExitCode::kUnprotected);
}

}  // namespace

Outcome<ExitCode> run_status(CommandContext& context) {
  v1::Request version;
  version.mutable_version();
  const auto daemon = context.read(version, v1::Response::kVersion);
  if (!daemon) return std::unexpected(daemon.error());
  v1::Request status;
  status.mutable_cluster_status();
  const auto cluster = context.read(status, v1::Response::kCluster);
  if (!cluster) return std::unexpected(cluster.error());
  v1::Request list;
  list.mutable_list();
  const auto containers = context.read(list, v1::Response::kList);
  if (!containers) return std::unexpected(containers.error());
  const auto now = std::chrono::duration_cast<std::chrono::milliseconds>(
      context.services.clock.wall().time_since_epoch());
  Overview overview{daemon->version(), cluster->cluster(), containers->list(), now.count()};
  if (context.invocation.has(kApplicationArgument)) return application_status(context, std::move(overview));
  return context.print(context.json() ? overview_to_json(overview)
                                      : render_overview(overview, context.terminal().style()),
                       problems_of(overview).empty() ? ExitCode::kOk : ExitCode::kUnprotected);
}

Outcome<ExitCode> run_list(CommandContext& context) {
  v1::Request request;
  request.mutable_list();
  const auto response = context.read(request, v1::Response::kList);
  if (!response) return std::unexpected(response.error());
  return context.print(context.json() ? to_json(response->list())
                                      : render_list(response->list(), context.terminal().style()));
}

Outcome<ExitCode> run_inspect(CommandContext& context) {
  v1::Request request;
  request.mutable_inspect()->set_name(context.name());
  const auto response = context.read(request, v1::Response::kInspect);
  if (!response) return std::unexpected(response.error());
  if (context.invocation.has(kSpecOption)) {
    const std::string& spec = response->inspect().spec_yaml();
    return context.print(context.terminal().out_is_terminal() ? clean_block(spec) : spec);
  }
  return context.print(context.json()
                           ? to_json(response->inspect())
                           : render_inspect(response->inspect(), context.terminal().style()));
}

Outcome<ExitCode> run_explain(CommandContext& context) {
  v1::Request request;
  request.mutable_explain()->set_name(context.name());
  request.mutable_explain()->set_this_node(context.invocation.has(kHereOption));
  const auto response = context.read(request, v1::Response::kExplain);
  if (!response) return std::unexpected(response.error());
  return context.print(context.json() ? to_json(response->explain())
                                      : render_explain(response->explain(), context.terminal().style()));
}

Outcome<ExitCode> run_generations(CommandContext& context) {
  v1::Request request;
  request.mutable_generations()->set_name(context.name());
  const auto response = context.read(request, v1::Response::kGenerations);
  if (!response) return std::unexpected(response.error());
  return context.print(
      context.json() ? to_json(response->generations())
                     : render_generations(response->generations(), context.terminal().style()));
}

Outcome<ExitCode> run_logs(CommandContext& context) {
  v1::Request request;
  v1::LogsRequest& logs = *request.mutable_logs();
  logs.set_name(context.name());
  logs.set_follow(context.invocation.has(kFollowOption));
  if (const auto tail = context.invocation.count(kTailOption)) logs.set_tail_lines(*tail);
  const auto since = context.invocation.moment_unix_ms(kSinceOption, context.services.clock.wall());
  if (since) logs.set_since_unix_ms(*since);

  Terminal& terminal = context.terminal();
  LogLines lines;
  const auto streamed = stream(context, request, [&](const v1::Response& response) -> Status {
    if (!response.has_log()) return {};
    if (context.json()) return write_lines(terminal, lines.add(response.log()));
    if (response.log().stream() != v1::LOG_STREAM_STDERR)
      return terminal.out(response.log().data());
    terminal.err(response.log().data());
    return {};
  });
  if (Status rest = write_lines(terminal, lines.finish()); !rest)
    return std::unexpected(to_failure(rest.error()));
  if (!streamed) return std::unexpected(streamed.error());
  return ExitCode::kOk;
}

Outcome<ExitCode> run_events(CommandContext& context) {
  v1::Request request;
  v1::EventsRequest& events = *request.mutable_events();
  events.set_name(context.name());
  events.set_follow(context.invocation.has(kFollowOption));
  const auto since = context.invocation.moment_unix_ms(kSinceOption, context.services.clock.wall());
  if (since) events.set_since_unix_ms(*since);

  Terminal& terminal = context.terminal();
  const auto streamed = stream(context, request, [&](const v1::Response& response) -> Status {
    if (!response.has_event()) return {};
    return terminal.out(context.json() ? to_json_line(response.event())
                                       : render_event(response.event(), terminal.style()));
  });
  if (!streamed) return std::unexpected(streamed.error());
  return ExitCode::kOk;
}

Outcome<ExitCode> run_doctor(CommandContext& context) {
  v1::Request request;
  request.mutable_doctor();
  const auto response = context.read(request, v1::Response::kDoctor);
  if (!response) {
    if (daemon_is_away(response.error())) return doctor_without_daemon(context, response.error());
    return std::unexpected(response.error());
  }
  const v1::DoctorReport& report = response->doctor();
  const bool missing = std::ranges::any_of(
      report.lines(), [](const auto& line) { return line.state() == v1::CHECK_MISSING; });
  return context.print(context.json() ? doctor_to_json(report, DaemonReached::kYes)
                                      : render_doctor(report, context.terminal().style()),
                       missing ? ExitCode::kUnprotected : ExitCode::kOk);
}

Outcome<ExitCode> run_version(CommandContext& context) {
  v1::Request request;
  request.mutable_version();
  const auto response = context.read(request, v1::Response::kVersion);
  if (!response && !daemon_is_away(response.error())) return std::unexpected(response.error());
  const v1::VersionReply* daemon = response ? &response->version() : nullptr;
  const auto printed = context.print(
      context.json() ? version_to_json(kProgramVersion, daemon)
                     : render_version(kProgramVersion, daemon, context.terminal().style()));
  if (!printed || response) return printed;
  return std::unexpected(response.error());
}

Outcome<ExitCode> run_complete(CommandContext& context) {
  std::string text;
  for (const std::string& word : completions(context)) text += word + "\n";
  return context.print(text);
}

}  // namespace perdure::cli
