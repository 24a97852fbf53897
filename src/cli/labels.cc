#include "cli/labels.h"

#include <format>

namespace perdure::cli {

std::string put_labels(const std::vector<std::string>& labels,
                       google::protobuf::Map<std::string, std::string>& to) {
  for (const std::string_view label : labels) {
    const std::size_t equals = label.find('=');
    const bool takes_away = equals == std::string_view::npos;
    const std::string key(takes_away ? label.substr(0, label.size() - 1) : label.substr(0, equals));
    if (to.contains(key)) return std::format("'{}' is given twice", key);
    to[key] = takes_away ? "" : std::string(label.substr(equals + 1));
  }
  return "";
}

}  // namespace perdure::cli
