// The keys of a container's spec: the one table that the reader, the writer and the manual stand
// on.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace perdure::model {

struct SpecKey {
  std::string path;           // "checkpoint.cpu-budget"; the items of a list: "volumes[].mount"
  std::string type;           // "duration", "size", "list of text", …
  std::string default_value;  // as written in YAML; "required", or what happens without it
  std::string range;          // limits with their unit; empty if any value will do
  std::string description;    // meaning, and the reason for default and limits
};

// In the order in which they are documented and written.
std::vector<SpecKey> spec_keys();

// Text as it stands in a cell of a Markdown table.
std::string markdown_cell(std::string_view text);

// The whole text of docs/spec.md.
std::string spec_reference_markdown();

}  // namespace perdure::model
