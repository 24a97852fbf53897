// Commands of a cluster as a whole.
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <format>

#include "base/assert.h"
#include "base/fd.h"
#include "cli/command_context.h"
#include "cli/json_output.h"
#include "cli/labels.h"
#include "cli/render_cluster.h"
#include "policy/lease_timing.h"

namespace perdure::cli {
namespace {

namespace v1 = control::v1;

// A token is 12 + 64 + 64 digits and two dots; the rest is room for a longer one of a newer
// version.
constexpr std::size_t kMaxTokenBytes = 4096;

Failure usage_failure(const CommandContext& context, std::string message) {
  return Failure{
      .code = ExitCode::kUsage,
      .message = std::move(message),
      .remedy = std::format("'perdure help {}' explains it", context.invocation.command().name)};
}

// perdured opens the path; it has another working directory.
Outcome<std::string> absolute_path(const std::string& path) {
  std::error_code error;
  const std::filesystem::path absolute = std::filesystem::absolute(path, error);
  if (error) {
    return std::unexpected(to_failure(Error(
        ErrorCode::kIo, std::format("find the directory of '{}': {}", path, error.message()))));
  }
  return absolute.string();
}

void put_all(google::protobuf::RepeatedPtrField<std::string>& to,
             const std::vector<std::string>& values) {
  for (const std::string& value : values) *to.Add() = value;
}

// The options that init and join have in common.
Outcome<void> describe_node(const CommandContext& context, auto& request) {
  request.set_node_name(context.invocation.text(kNodeNameOption));
  put_all(*request.mutable_listen(), context.invocation.texts(kListenOption));
  if (std::string problem =
          put_labels(context.invocation.texts(kLabelOption), *request.mutable_labels());
      !problem.empty())
    return std::unexpected(usage_failure(context, "--label: " + problem));
  return {};
}

// All of the three, or none.
Outcome<bool> etcd_files_given(const CommandContext& context, std::string_view refusal) {
  const auto given = [&](std::string_view option) { return context.invocation.has(option); };
  const int files =
      given(kEtcdAuthorityOption) + given(kEtcdCertificateOption) + given(kEtcdKeyOption);
  if (files != 0 && files != 3)
    return std::unexpected(usage_failure(context, std::string(refusal)));
  return files == 3;
}

Outcome<void> put_etcd_files(const CommandContext& context, auto& request) {
  const auto put = [&](std::string_view option, std::string& to) -> Outcome<void> {
    auto path = absolute_path(context.invocation.text(option));
    if (!path) return std::unexpected(path.error());
    to = std::move(*path);
    return {};
  };
  if (auto done = put(kEtcdAuthorityOption, *request.mutable_etcd_authority_file()); !done)
    return done;
  if (auto done = put(kEtcdCertificateOption, *request.mutable_etcd_certificate_file()); !done)
    return done;
  return put(kEtcdKeyOption, *request.mutable_etcd_key_file());
}

Outcome<void> name_etcd(const CommandContext& context, v1::ClusterInitRequest& init) {
  constexpr std::string_view kAllOrNone =
      "another etcd needs all of --etcd, --etcd-ca, --etcd-cert and --etcd-key";
  const auto files = etcd_files_given(context, kAllOrNone);
  if (!files) return std::unexpected(files.error());
  if (context.invocation.has(kEtcdOption) != *files)
    return std::unexpected(usage_failure(context, std::string(kAllOrNone)));
  if (!*files) return {};
  put_all(*init.mutable_etcd_endpoints(), context.invocation.texts(kEtcdOption));
  return put_etcd_files(context, init);
}

Outcome<std::string> trimmed_token(std::string_view text, std::string_view where) {
  constexpr std::string_view kBlanks = " \t\r\n";
  const std::size_t begin = std::min(text.find_first_not_of(kBlanks), text.size());
  const std::string_view token = text.substr(begin, text.find_last_not_of(kBlanks) + 1 - begin);
  if (token.empty() || token.find_first_of(kBlanks) != std::string_view::npos) {
    return std::unexpected(Failure{
        .code = ExitCode::kInvalid,
        .message =
            std::format("{} holds {}", where, token.empty() ? "no token" : "more than a token"),
        .remedy = "'perdure cluster token' on a node of the cluster prints one"});
  }
  return std::string(token);
}

Outcome<std::string> find_token(const CommandContext& context) {
  const Invocation& invocation = context.invocation;
  if (invocation.has(kTokenOption) && invocation.has(kTokenFileOption))
    return std::unexpected(usage_failure(context, "--token and --token-file exclude each other"));
  if (invocation.has(kTokenOption)) return trimmed_token(invocation.text(kTokenOption), "--token");
  const std::string file = invocation.text(kTokenFileOption);
  if (file.empty() || (file == "-" && context.terminal().can_ask())) {
    if (!context.terminal().can_ask()) {
      return std::unexpected(usage_failure(
          context, "cluster join needs a token, and there is no terminal to ask for it on"));
    }
    return trimmed_token(context.terminal().ask("Token: ", std::nullopt).value_or(""),
                         "the answer");
  }
  const std::string where = file == "-" ? "standard input" : file;
  const auto text = file == "-" ? read_rest(STDIN_FILENO, kMaxTokenBytes, where)
                                : read_file(file, kMaxTokenBytes);
  if (!text) return std::unexpected(to_failure(text.error()));
  return trimmed_token(*text, where);
}

// What runs on this host, for the question; asked only where there will be one.
Outcome<v1::ListReply> containers_here(CommandContext& context) {
  v1::Request request;
  request.mutable_list();
  auto response = context.read(std::move(request), v1::Response::kList);
  if (!response) return std::unexpected(response.error());
  return std::move(*response->mutable_list());
}

Outcome<v1::ClusterReply> cluster_now(CommandContext& context) {
  v1::Request request;
  request.mutable_cluster_status();
  auto response = context.read(std::move(request), v1::Response::kCluster);
  if (!response) return std::unexpected(response.error());
  if (response->cluster().id().empty()) {
    return std::unexpected(
        Failure{.code = ExitCode::kNotFound,
                .message = "this host is in no cluster",
                .remedy = "'perdure cluster init' makes one, 'perdure cluster join' joins one"});
  }
  return std::move(*response->mutable_cluster());
}

Outcome<ExitCode> change_cluster(CommandContext& context, v1::Request request,
                                 std::string (*render)(const v1::ClusterReply&, const Style&)) {
  const auto response = context.change(std::move(request), v1::Response::kCluster);
  if (!response) return std::unexpected(response.error());
  return context.print(context.json() ? to_json(response->cluster())
                                      : render(response->cluster(), context.terminal().style()));
}

Outcome<v1::ClusterRecoverReply> recover(CommandContext& context,
                                         const v1::ClusterRecoverRequest& recovery) {
  v1::Request request;
  *request.mutable_cluster_recover() = recovery;
  auto response = context.change(std::move(request), v1::Response::kClusterRecover);
  if (!response) return std::unexpected(response.error());
  return std::move(*response->mutable_cluster_recover());
}

// The parser has checked it.
void put_timing(const std::string& text, v1::LeaseTiming& to) {
  const auto timing = policy::lease::parse_timing(text);
  PERDURE_ASSERT(timing.has_value());
  to.set_heartbeat_ns(timing->heartbeat.count());
  to.set_grant_ns(timing->grant.count());
  to.set_margin_ns(timing->margin.count());
}

bool came_back(const v1::RecoverRow& row) {
  return row.error().empty() && (row.done() || row.action() == v1::RECOVER_NOTHING);
}

}  // namespace

Outcome<ExitCode> run_cluster_init(CommandContext& context) {
  v1::Request request;
  v1::ClusterInitRequest& init = *request.mutable_cluster_init();
  if (auto known = describe_node(context, init); !known) return std::unexpected(known.error());
  if (auto named = name_etcd(context, init); !named) return std::unexpected(named.error());
  if (context.invocation.has(kDurableDirectoryOption)) {
    auto path = absolute_path(context.invocation.text(kDurableDirectoryOption));
    if (!path) return std::unexpected(path.error());
    init.set_durable_directory(std::move(*path));
  }
  if (const auto standbys = context.invocation.count(kStandbysOption)) init.set_standbys(*standbys);
  if (context.invocation.has(kTimingOption))
    put_timing(context.invocation.text(kTimingOption), *init.mutable_timing());
  if (!context.invocation.has(kYesOption)) {
    const auto here = containers_here(context);
    if (!here) return std::unexpected(here.error());
    const auto confirmed =
        context.confirm(describe_cluster_init(init, *here, context.question_style()));
    if (!confirmed) return std::unexpected(confirmed.error());
  }
  return change_cluster(context, std::move(request), render_cluster_init);
}

Outcome<ExitCode> run_cluster_join(CommandContext& context) {
  v1::Request request;
  v1::ClusterJoinRequest& join = *request.mutable_cluster_join();
  join.set_address(context.invocation.text(kAddressArgument));
  join.set_witness(context.invocation.has(kWitnessOption));
  if (auto known = describe_node(context, join); !known) return std::unexpected(known.error());
  const auto files = etcd_files_given(context, "the cluster's own etcd needs all of --etcd-ca, --etcd-cert and --etcd-key");
  if (!files) return std::unexpected(files.error());
  if (*files) {
    if (auto put = put_etcd_files(context, join); !put) return std::unexpected(put.error());
  }
  auto token = find_token(context);
  if (!token) return std::unexpected(token.error());
  join.set_token(std::move(*token));
  if (!context.invocation.has(kYesOption)) {
    const auto here = containers_here(context);
    if (!here) return std::unexpected(here.error());
    const auto confirmed =
        context.confirm(describe_cluster_join(join, *here, context.question_style()));
    if (!confirmed) return std::unexpected(confirmed.error());
  }
  return change_cluster(context, std::move(request), render_cluster_join);
}

Outcome<ExitCode> run_cluster_leave(CommandContext& context) {
  v1::Request request;
  v1::ClusterLeaveRequest& leave = *request.mutable_cluster_leave();
  leave.set_force(context.invocation.has(kForceOption));
  if (!context.invocation.has(kYesOption)) {
    const auto cluster = cluster_now(context);
    if (!cluster) return std::unexpected(cluster.error());
    const auto confirmed =
        context.confirm(describe_cluster_leave(leave, *cluster, context.question_style()));
    if (!confirmed) return std::unexpected(confirmed.error());
  }
  return change_cluster(context, std::move(request), render_cluster_leave);
}

Outcome<ExitCode> run_cluster_status(CommandContext& context) {
  const auto cluster = cluster_now(context);
  if (!cluster) return std::unexpected(cluster.error());
  return context.print(context.json() ? to_json(*cluster)
                                      : render_cluster_status(*cluster, context.terminal().style()),
                       cluster->has_quorum() ? ExitCode::kOk : ExitCode::kUnprotected);
}

Outcome<ExitCode> run_cluster_token(CommandContext& context) {
  v1::Request request;
  v1::ClusterTokenRequest& wanted = *request.mutable_cluster_token();
  if (const auto valid_for = context.invocation.duration(kValidForOption))
    wanted.set_valid_for_ns(valid_for->count());
  if (const auto uses = context.invocation.count(kUsesOption)) {
    if (*uses == 0)
      return std::unexpected(
          usage_failure(context, "--uses: a token with no uses is good for nothing"));
    wanted.set_uses(*uses);
  }
  const auto response = context.change(std::move(request), v1::Response::kClusterToken);
  if (!response) return std::unexpected(response.error());
  const v1::ClusterTokenReply& token = response->cluster_token();
  if (context.json()) return context.print(to_json(token));
  // The token is made: not to know the address is no reason to keep it.
  const auto cluster = cluster_now(context);
  // Managers let others in.
  const v1::NodeRow* host = cluster ? own_row(*cluster) : nullptr;
  if (cluster && (host == nullptr || !host->manager())) {
    for (const v1::NodeRow& row : cluster->nodes()) {
      if (row.manager() && row.state() == v1::NODE_READY) host = &row;
    }
  }
  const std::string address = host == nullptr || host->addresses().empty() ? "" : host->addresses(0);
  return context.print(render_token(token, address, context.terminal().style()));
}

Outcome<ExitCode> run_cluster_rotate_keys(CommandContext& context) {
  const auto confirmed = context.confirm(describe_rotate_keys(context.question_style()));
  if (!confirmed) return std::unexpected(confirmed.error());
  v1::Request request;
  request.mutable_cluster_rotate_keys();
  return change_cluster(context, std::move(request), render_rotate_keys);
}

Outcome<ExitCode> run_cluster_timing(CommandContext& context) {
  if (!context.invocation.has(kTimingArgument)) {
    const auto cluster = cluster_now(context);
    if (!cluster) return std::unexpected(cluster.error());
    return context.print(context.json() ? to_json(*cluster)
                                        : render_timing(*cluster, context.terminal().style()));
  }
  v1::Request request;
  put_timing(context.invocation.text(kTimingArgument),
             *request.mutable_cluster_timing()->mutable_timing());
  return change_cluster(context, std::move(request), render_timing);
}

Outcome<ExitCode> run_cluster_recover(CommandContext& context) {
  const Invocation& invocation = context.invocation;
  v1::ClusterRecoverRequest recovery;
  recovery.set_force_new_cluster(invocation.has(kForceNewClusterOption));
  if (invocation.has(kFromSnapshotOption)) {
    if (recovery.force_new_cluster()) {
      return std::unexpected(
          usage_failure(context,
                        "--force-new-cluster keeps what this node's etcd holds and --from-snapshot "
                        "replaces it: only one of them"));
    }
    auto path = absolute_path(invocation.text(kFromSnapshotOption));
    if (!path) return std::unexpected(path.error());
    recovery.set_snapshot_file(std::move(*path));
  }
  put_all(*recovery.mutable_containers(), invocation.texts(kNameArgument));
  const bool apply = invocation.has(kApplyOption);
  if (apply && !invocation.has(kYesOption)) {
    const auto report = recover(context, recovery);
    if (!report) return std::unexpected(report.error());
    const auto confirmed =
        context.confirm(describe_recover(recovery, *report, context.question_style()));
    if (!confirmed) return std::unexpected(confirmed.error());
  }
  recovery.set_apply(apply);
  const auto reply = recover(context, recovery);
  if (!reply) return std::unexpected(reply.error());
  const bool all = !apply || std::ranges::all_of(reply->rows(), came_back);
  return context.print(
      context.json() ? to_json(*reply) : render_recover(*reply, context.terminal().style()),
      all ? ExitCode::kOk : ExitCode::kFailure);
}

}  // namespace perdure::cli
