#include "model/reading.h"

#include <algorithm>
#include <format>
#include <tuple>

#include "base/assert.h"
#include "model/spec_yaml.h"

namespace perdure::model {

void sort_by_place(std::vector<YamlIssue>& issues) {
  std::ranges::stable_sort(issues, {}, [](const YamlIssue& issue) {
    return std::tuple(issue.position.file, issue.position.line, issue.position.column);
  });
}

unsigned Reading::add_file(std::string name) {
  files_.push_back(std::move(name));
  return static_cast<unsigned>(files_.size());
}

std::string Reading::where(Position position, std::string_view file_name) const {
  PERDURE_ASSERT(position.file <= files_.size());
  return std::format("{}:{}:{}", position.file == 0 ? file_name : std::string_view(files_[position.file - 1]), position.line,
                     position.column);
}

void Reading::complain(Position position, std::string message) {
  issues_.push_back({position, std::move(message)});
}

void Reading::complain(Position position, const std::string& path, std::string_view message) {
  complain(position, std::format("{}: {}", path, message));
}

void Reading::complain(const std::string& path, std::string_view message) {
  for (std::string place = path;;) {
    const auto found = seen_.find(place);
    if (found != seen_.end()) return complain(found->second, path, message);
    const auto dot = place.rfind('.');
    if (dot == std::string::npos) return complain(origin_, path, message);
    place.erase(dot);
  }
}

Reading Reading::part(const std::string& prefix, Position origin) const {
  Reading part(base_directory_);
  part.origin_ = origin;
  for (auto entry = seen_.lower_bound(prefix); entry != seen_.end() && entry->first.starts_with(prefix); ++entry) {
    part.saw(entry->first.substr(prefix.size()), entry->second);
  }
  return part;
}

void Reading::take_back(const Reading& part, const std::string& prefix) {
  for (const YamlIssue& issue : part.issues_) complain(issue.position, prefix + issue.message);
}

Error Reading::error(std::string_view file_name) const {
  PERDURE_ASSERT(!issues_.empty());
  std::vector<YamlIssue> sorted = issues_;
  sort_by_place(sorted);
  std::string text;
  for (std::size_t i = 0; i < std::min(sorted.size(), kMaxSpecErrors); ++i) {
    const YamlIssue& issue = sorted[i];
    text += std::format("{}{}: {}", i == 0 ? "" : "\n", where(issue.position, file_name), issue.message);
  }
  if (sorted.size() > kMaxSpecErrors) {
    text += std::format("\n{}: {} more errors", file_name, sorted.size() - kMaxSpecErrors);
  }
  return {ErrorCode::kInvalid, std::move(text)};
}

}  // namespace perdure::model
