// What is collected while a document is read: which keys were seen where, and what is wrong with
// them. Private to this room.
#pragma once

#include <cstddef>
#include <format>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "model/yaml_adapter.h"

namespace perdure::model {

// In the order of the document; of several files, in the order in which they were opened.
void sort_by_place(std::vector<YamlIssue>& issues);

class Reading {
 public:
  // Paths of the host may be relative to `base_directory` (absolute); if it is empty they may not.
  explicit Reading(std::string_view base_directory) : base_directory_(base_directory) {}
  const std::string& base_directory() const { return base_directory_; }

  // A key was found, whether its value is good or not.
  void saw(const std::string& path, Position position) { seen_[path] = position; }
  bool seen(const std::string& path) const { return seen_.contains(path); }
  // Of something that was seen; else where the document begins.
  Position position(const std::string& path) const { return seen(path) ? seen_.at(path) : origin_; }

  // Another file that belongs to the document; gives what its positions have as `file`.
  unsigned add_file(std::string name);

  void complain(Position position, std::string message);
  // "PATH: message".
  void complain(Position position, const std::string& path, std::string_view message);
  // At the key's value; if the key is absent at the section it belongs to, at last at the document.
  void complain(const std::string& path, std::string_view message);

  // What was seen below `prefix`, as a document of its own that begins at `origin`: rules for the part of
  // a document are those for a whole one.
  Reading part(const std::string& prefix, Position origin) const;
  // What was said about a part comes back, its paths with `prefix` before them.
  void take_back(const Reading& part, const std::string& prefix);

  bool good() const { return issues_.empty(); }
  // Of every message that begins with a path: what it is called in the form that was read.
  template <typename Rename>
  void rename_paths(const Rename& rename) {
    for (YamlIssue& issue : issues_) issue.message = rename(std::move(issue.message));
  }
  // "FILE:LINE:COLUMN".
  std::string where(Position position, std::string_view file_name) const;

  // The issues in the order of the file (of several: in the order in which they were opened), as read_spec() reports them. Precondition: !good().
  Error error(std::string_view file_name) const;

 private:
  std::string base_directory_;
  Position origin_{};  // where a complaint stands that has no other place
  std::vector<std::string> files_;  // beside the document's own
  std::map<std::string, Position> seen_;
  std::vector<YamlIssue> issues_;
};

// A whole document: `read_root(reading, root)` gives the value, or complains. `what` names it in "the spec has 9 bytes".
template <typename T, typename ReadRoot>
Result<T> read_document(std::string_view yaml, std::string_view what, std::size_t max_bytes, std::string_view file_name,
                        std::string_view base_directory, const ReadRoot& read_root) {
  if (yaml.size() > max_bytes) {
    return fail(ErrorCode::kInvalid,
                std::format("{}:1:1: the {} has {} bytes; shorten it to {}", file_name, what, yaml.size(), max_bytes));
  }
  Reading reading(base_directory);
  const YamlDocument document = parse_yaml(yaml);
  for (const YamlIssue& issue : document.issues) reading.complain(issue.position, issue.message);
  if (!document.complete) return fail(reading.error(file_name));
  T value = read_root(reading, document.root);
  if (!reading.good()) return fail(reading.error(file_name));
  return value;
}

}  // namespace perdure::model
