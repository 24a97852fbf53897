// Labels as they are said on the command line.
#pragma once

#include <google/protobuf/map.h>

#include <string>
#include <string_view>
#include <vector>

namespace perdure::cli {

// Adds "KEY=VALUE", and "KEY-" as a key without a value, which takes the label away. Empty: done;
// else which label is given twice. The form was checked with the command line.
std::string put_labels(const std::vector<std::string>& labels,
                       google::protobuf::Map<std::string, std::string>& to);

}  // namespace perdure::cli
