#include "node/cluster/durable_directory.h"

#include <filesystem>
#include <format>

#include "base/fd.h"
#include "io/atomic_file.h"

namespace perdure::node {
namespace {

constexpr std::size_t kMaxId = 64;

std::string mark_of(const std::string& directory) { return directory + "/" + kDurableMark; }

// The id of the cluster whose directory it is. kNotFound.
Result<std::string> marked_for(const std::string& directory) {
  PERDURE_ASSIGN(std::string id, read_file(mark_of(directory)));
  if (!id.empty() && id.back() == '\n') id.pop_back();
  if (id.empty() || id.size() > kMaxId || id.find_first_not_of("0123456789abcdef") != std::string::npos) {
    return fail(ErrorCode::kCorrupt, std::format("'{}' holds no cluster's id", mark_of(directory)));
  }
  return id;
}

}  // namespace

Status check_unmarked(const std::string& directory) {
  if (!directory.starts_with('/')) {
    return fail(ErrorCode::kInvalid, std::format("durable directory '{}' is no absolute path", directory));
  }
  std::error_code error;
  if (!std::filesystem::is_directory(directory, error)) {
    return fail(ErrorCode::kNotFound, std::format("durable directory '{}' is not there; mount it on every node first", directory));
  }
  const auto id = marked_for(directory);
  if (!id && id.error().code() == ErrorCode::kNotFound) return {};
  if (!id) return fail(id.error());
  return fail(ErrorCode::kConflict,
              std::format("durable directory '{}' is that of cluster {}; choose another, or remove '{}' if that cluster is gone",
                          directory, *id, mark_of(directory)));
}

Status mark_durable_directory(const std::string& directory, const std::string& cluster_id) {
  return io::write_file_atomically(mark_of(directory), cluster_id + "\n", 0600);
}

void unmark_durable_directory(const std::string& directory, const std::string& cluster_id) {
  const auto id = marked_for(directory);
  std::error_code error;
  if (id && *id == cluster_id) std::filesystem::remove(mark_of(directory), error);
}

Status check_durable_directory(const std::string& directory, const std::string& cluster_id) {
  const auto id = marked_for(directory);
  if (!id && id.error().code() == ErrorCode::kNotFound) {
    return fail(ErrorCode::kTransient,
                std::format("durable directory '{}' is not there, or empty ('{}' is missing): is it mounted on this node?", directory,
                            kDurableMark));
  }
  if (!id) return fail(id.error());
  if (*id == cluster_id) return {};
  return fail(ErrorCode::kConflict,
              std::format("durable directory '{}' is that of cluster {}: is the right one mounted on this node?", directory, *id));
}

}  // namespace perdure::node
