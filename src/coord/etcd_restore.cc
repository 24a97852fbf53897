#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <format>
#include <vector>

#include "base/log.h"
#include "coord/directory_names.h"
#include "coord/etcd_process.h"
#include "coord/etcd_server.h"
#include "io/atomic_file.h"
#include "io/process.h"

namespace perdure::coord {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t kKeptAside = 2;

// etcd 3.5 has moved it from etcdctl to etcdutl.
bool in_path(const std::string& program) {
  const char* path = std::getenv("PATH");
  std::string_view rest = path != nullptr ? path : "";
  while (!rest.empty()) {
    const auto end = std::min(rest.find(':'), rest.size());
    if (::access((std::string(rest.substr(0, end)) + "/" + program).c_str(), X_OK) == 0) return true;
    rest.remove_prefix(std::min(end + 1, rest.size()));
  }
  return false;
}

std::string aside_prefix(const EtcdServerOptions& options) { return fs::path(options.data_directory).filename().string() + ".old-"; }

}  // namespace

Status restore_snapshot(const EtcdServerOptions& options, const std::string& snapshot, const std::string& token,
                        Instant deadline) {
  if (has_member_data(options)) {
    return fail(ErrorCode::kConflict, std::format("restore '{}' to '{}': a member's data is there; set it aside first", snapshot,
                                                  options.data_directory));
  }
  if (EtcdProcess::find(options)) {
    return fail(ErrorCode::kConflict, std::format("restore '{}' to '{}': etcd runs there; stop it first", snapshot,
                                                  options.data_directory));
  }
  struct stat found{};
  if (::stat(snapshot.c_str(), &found) != 0) return fail_errno(std::format("restore from '{}'", snapshot));
  // It insists on making the directory itself.
  (void)::rmdir(options.data_directory.c_str());
  std::string program = options.restore_program;
  if (program.empty()) program = in_path("etcdutl") ? "etcdutl" : "etcdctl";
  io::CommandOptions command;
  command.deadline = deadline;
  const char* path = std::getenv("PATH");
  command.process.environment = {std::string("PATH=") + (path != nullptr ? path : ""), "ETCDCTL_API=3"};
  PERDURE_ASSIGN(const auto result,
                 io::run_command({program, "snapshot", "restore", snapshot, "--name=" + options.name,
                                  "--data-dir=" + options.data_directory,
                                  "--initial-cluster=" + options.name + "=" + options.peer_url,
                                  "--initial-advertise-peer-urls=" + options.peer_url, "--initial-cluster-token=" + token},
                                 command));
  if (result.status.success()) return io::sync_directory(fs::path(options.data_directory).parent_path());
  const std::string words = result.standard_error.substr(0, 2000);
  PERDURE_TRY(io::remove_tree(options.data_directory));
  const bool damaged = words.find("sha256") != std::string::npos || words.find("hash") != std::string::npos;
  return fail(damaged ? ErrorCode::kCorrupt : ErrorCode::kIo, std::format("restore etcd from '{}': {} ended with {}: {}", snapshot,
                                                                          program, to_string(result.status), words));
}

Status set_data_aside(const EtcdServerOptions& options, WallTime now) {
  if (EtcdProcess::find(options)) {
    return fail(ErrorCode::kConflict, std::format("set '{}' aside: etcd runs there; stop it first", options.data_directory));
  }
  const fs::path parent = fs::path(options.data_directory).parent_path();
  std::error_code error;
  if (!fs::exists(options.data_directory, error)) return {};
  const std::string target =
      std::format("{}.old-{:%Y%m%dT%H%M%SZ}", options.data_directory, std::chrono::floor<std::chrono::seconds>(now));
  if (::rename(options.data_directory.c_str(), target.c_str()) != 0) {
    return fail_errno(std::format("rename '{}' to '{}'", options.data_directory, target));
  }
  PERDURE_TRY(io::sync_directory(parent));
  PERDURE_ASSIGN(const auto old, names_in(parent, aside_prefix(options)));
  for (std::size_t i = kKeptAside; i < old.size(); ++i) PERDURE_TRY(io::remove_tree(parent / old[i]));
  return {};
}

}  // namespace perdure::coord
