// From a spec to the text of an OCI runtime configuration.
#include <algorithm>
#include <format>
#include <map>
#include <nlohmann/json.hpp>
#include <string_view>
#include <vector>

#include "image/bundle.h"
#include "image/oci_layout.h"
#include "image/seccomp_profile.h"

namespace perdure::image {
namespace {

using Json = nlohmann::json;

constexpr std::string_view kDefaultPath =
    "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

// cpu.cfs_period_us; 100 ms is the kernel's default. 1 core = 1000 millicores = one period's worth.
constexpr std::uint64_t kCpuPeriodUs = 100'000;
constexpr std::uint64_t kMinCpuQuotaUs = 1'000;  // the kernel refuses less

// Only files: runc masks a directory with a tmpfs, which costs CRIU a spawned `tar` per dump. What
// is not there is passed over by runc.
constexpr std::string_view kMaskedFiles[] = {"/proc/kcore", "/proc/keys", "/proc/latency_stats",
                                             "/proc/timer_list", "/proc/sched_debug"};
// uid 0 without capabilities may write these all the same.
constexpr std::string_view kReadOnlyPaths[] = {"/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys",
                                               "/proc/sysrq-trigger"};

struct FirstProcess {
  std::vector<std::string> command;
  ProcessIdentity identity;
  std::string directory;
};

Result<FirstProcess> first_process(const model::ContainerSpec& spec, const PreparedImage& image,
                                   const BundleOptions& options) {
  if (options.agent) {
    // It becomes each component's user in its turn.
    PERDURE_ASSIGN(ProcessIdentity root, resolve_user("0:0", options.root_dir));
    return FirstProcess{{std::string(kAgentProgram), std::string(kAgentConfiguration)}, std::move(root), "/"};
  }
  PERDURE_ASSIGN(std::vector<std::string> command, resolve_command(spec, image.defaults));
  PERDURE_ASSIGN(ProcessIdentity identity, resolve_user(effective_user(spec, image.defaults), options.root_dir));
  return FirstProcess{std::move(command), std::move(identity), effective_working_directory(spec, image.defaults)};
}

Json process_json(const model::ContainerSpec& spec, const ImageDefaults& defaults,
                  const FirstProcess& first, std::uint64_t open_files) {
  const ProcessIdentity& identity = first.identity;
  Json user = {{"uid", identity.uid}, {"gid", identity.gid}};
  if (!identity.additional_gids.empty()) user["additionalGids"] = identity.additional_gids;
  const Json& capabilities = spec.security.capabilities;
  return {{"terminal", false},
          {"user", std::move(user)},
          {"args", first.command},
          {"env", effective_environment(spec, defaults, identity, {})},
          {"cwd", first.directory},
          {"noNewPrivileges", true},
          {"capabilities",
           {{"bounding", capabilities}, {"effective", capabilities}, {"permitted", capabilities}}},
          {"rlimits",
           Json::array({{{"type", "RLIMIT_NOFILE"}, {"soft", open_files}, {"hard", open_files}}})}};
}

Json mounts_json(const std::vector<BindMount>& volumes) {
  Json mounts = Json::array({{{"destination", "/proc"},
                              {"type", "proc"},
                              {"source", "proc"},
                              {"options", {"nosuid", "noexec", "nodev"}}},
                             {{"destination", "/sys"},
                              {"type", "sysfs"},
                              {"source", "sysfs"},
                              {"options", {"nosuid", "noexec", "nodev", "ro"}}}});
  for (const BindMount& volume : volumes) {
    // Not rbind: a mount below the source would be one more that CRIU has to be told about.
    Json options = Json::array({"bind", "rprivate"});
    options.push_back(volume.access == model::Access::kReadOnly ? "ro" : "rw");
    mounts.push_back({{"destination", volume.destination},
                      {"type", "bind"},
                      {"source", volume.source},
                      {"options", std::move(options)}});
  }
  return mounts;
}

Json resources_json(const model::ResourcesSpec& limits) {
  // Deny everything; runc adds the standard devices (null, zero, full, tty, random, urandom).
  Json resources = {{"devices", Json::array({{{"allow", false}, {"access", "rwm"}}})}};
  if (limits.memory) resources["memory"] = {{"limit", limits.memory->count}};
  if (limits.pids) resources["pids"] = {{"limit", *limits.pids}};
  if (limits.cpu) {
    const std::uint64_t quota = limits.cpu->count * kCpuPeriodUs / 1000;
    resources["cpu"] = {{"quota", std::max(quota, kMinCpuQuotaUs)}, {"period", kCpuPeriodUs}};
  }
  return resources;
}

std::string_view operator_name(ArgumentTest test) {
  switch (test) {
    case ArgumentTest::kEqual:
      return "SCMP_CMP_EQ";
    case ArgumentTest::kGreater:
      return "SCMP_CMP_GT";
    case ArgumentTest::kMaskedEqual:
      return "SCMP_CMP_MASKED_EQ";
  }
  return "";
}

Json seccomp_json(const std::vector<std::string>& capabilities, const std::string& machine) {
  Json syscalls = Json::array();
  for (const SyscallRule& rule : default_syscall_rules()) {
    if (!rule.unless_capability.empty() &&
        std::ranges::contains(capabilities, rule.unless_capability)) {
      continue;
    }
    Json entry = {
        {"names", rule.names}, {"action", "SCMP_ACT_ERRNO"}, {"errnoRet", rule.error_number}};
    if (rule.argument) {
      Json argument = {{"index", rule.argument->index},
                       {"value", rule.argument->value},
                       {"op", operator_name(rule.argument->test)}};
      if (rule.argument->test == ArgumentTest::kMaskedEqual) {
        argument["valueTwo"] = rule.argument->second_value;
      }
      entry["args"] = Json::array({std::move(argument)});
    }
    syscalls.push_back(std::move(entry));
  }
  Json profile = {{"defaultAction", "SCMP_ACT_ALLOW"}, {"syscalls", std::move(syscalls)}};
  if (auto architectures = seccomp_architectures(machine); !architectures.empty()) {
    profile["architectures"] = std::move(architectures);
  }
  return profile;
}

Json linux_json(const model::ContainerSpec& spec, const BundleOptions& options) {
  Json network = {{"type", "network"}};
  if (!options.network_namespace.empty()) network["path"] = options.network_namespace;
  Json value = {{"namespaces", Json::array({{{"type", "pid"}},
                                            {{"type", "mount"}},
                                            {{"type", "uts"}},
                                            {{"type", "ipc"}},
                                            std::move(network)})},
                {"cgroupsPath", options.cgroups_path},
                {"resources", resources_json(spec.resources)},
                {"rootfsPropagation", "rprivate"},
                {"maskedPaths", kMaskedFiles},
                {"readonlyPaths", kReadOnlyPaths}};
  if (!spec.security.sysctls.empty()) value["sysctl"] = spec.security.sysctls;
  if (spec.security.seccomp == model::Seccomp::kDefault) {
    value["seccomp"] = seccomp_json(spec.security.capabilities,
                                    options.machine.empty() ? host_machine() : options.machine);
  }
  return value;
}

}  // namespace

std::vector<std::string> effective_environment(const model::ContainerSpec& spec, const ImageDefaults& defaults,
                                               const ProcessIdentity& identity,
                                               const std::map<std::string, std::string>& own) {
  std::map<std::string, std::string> variables = {{"PATH", std::string(kDefaultPath)},
                                                  {"HOME", identity.home}};
  for (const std::string& variable : defaults.environment) {
    const auto equals = variable.find('=');
    if (equals == std::string::npos || equals == 0) continue;
    variables[variable.substr(0, equals)] = variable.substr(equals + 1);
  }
  for (const auto& [name, value] : spec.environment) variables[name] = value;
  for (const auto& [name, value] : own) variables[name] = value;
  std::vector<std::string> list;
  for (const auto& [name, value] : variables) list.push_back(name + "=" + value);
  return list;
}

Result<std::vector<std::string>> resolve_command(const model::ContainerSpec& spec,
                                                 const ImageDefaults& defaults) {
  if (!spec.components.empty()) {
    return fail(ErrorCode::kUnsupported,
                std::format("container '{}' consists of components, which its agent starts; it has no "
                            "command of its own",
                            spec.name.str()));
  }
  if (spec.command && !spec.command->empty()) return *spec.command;
  std::vector<std::string> command = defaults.entrypoint;
  command.insert(command.end(), defaults.command.begin(), defaults.command.end());
  if (command.empty()) {
    return fail(ErrorCode::kInvalid,
                std::format("container '{}': neither the spec nor the image names a command: give "
                            "'command'",
                            spec.name.str()));
  }
  return command;
}

std::string effective_user(const model::ContainerSpec& spec, const ImageDefaults& defaults) {
  return spec.user ? *spec.user : defaults.user;
}

std::string effective_working_directory(const model::ContainerSpec& spec,
                                        const ImageDefaults& defaults) {
  if (spec.working_directory) return *spec.working_directory;
  return defaults.working_directory.starts_with('/') ? defaults.working_directory : "/";
}

Result<std::string> make_config(const model::ContainerSpec& spec, const PreparedImage& image,
                                const BundleOptions& options) {
  PERDURE_ASSIGN(const FirstProcess first, first_process(spec, image, options));
  const Json config = {
      {"ociVersion", "1.0.2"},
      {"root", {{"path", options.root_dir}, {"readonly", false}}},
      {"hostname", spec.effective_hostname()},
      {"process", process_json(spec, image.defaults, first, options.open_files)},
      {"mounts", mounts_json(options.volumes)},
      {"linux", linux_json(spec, options)}};
  // Text that is not UTF-8 (an argument, a path) cannot be said in JSON.
  try {
    return config.dump(2) + "\n";
  } catch (const Json::exception&) {
    return fail(ErrorCode::kInvalid,
                std::format("container '{}': command, environment and paths must be UTF-8",
                            spec.name.str()));
  }
}

}  // namespace perdure::image
