// The durable directory that all nodes see carries the cluster's mark: an empty mount point must not be taken for it, or
// a container whose state it holds would begin anew.
//
// All calls block, on the storage below the directory (pool threads; at the founding of a cluster, the loop's).
#pragma once

#include <string>

#include "base/result.h"

namespace perdure::node {

// Below the directory; its content is the cluster's id and a line end.
inline constexpr char kDurableMark[] = ".perdure-cluster";

// kInvalid: no absolute path. kNotFound: not there. kConflict: it is another cluster's.
Status check_unmarked(const std::string& directory);
Status mark_durable_directory(const std::string& directory, const std::string& cluster_id);
// If the mark is that cluster's: of one that could not be founded.
void unmark_durable_directory(const std::string& directory, const std::string& cluster_id);
// kTransient: it is not there, or carries no mark (is it mounted?). kConflict: another cluster's.
Status check_durable_directory(const std::string& directory, const std::string& cluster_id);

}  // namespace perdure::node
