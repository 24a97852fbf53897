// The keys of a container's spec: the one table that the reader, the writer and the manual stand
// on.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace perdure::model {

// What a single value may be, for programs.
struct ValueShape {
  enum class Kind { kText, kNumber, kWord, kDuration, kSize };
  Kind kind = Kind::kText;
  std::vector<std::string> words{};  // of kWord
  std::uint64_t min = 0;             // of kNumber, both within
  std::uint64_t max = 0;
};
// kMap: the keys of its own that stand below it in the list; kTextMap: names to single values.
enum class KeyStructure { kValue, kList, kTextMap, kMap, kMapList };

struct SpecKey {
  std::string path;           // "checkpoint.cpu-budget"; the items of a list: "volumes[].mount"
  std::string type;           // "duration", "size", "list of text", …
  std::string default_value;  // as written in YAML; "required", or what happens without it
  std::string range;          // limits with their unit; empty if any value will do
  std::string description;    // meaning, and the reason for default and limits
  KeyStructure structure = KeyStructure::kValue;
  ValueShape shape{};         // of kValue, kList and kTextMap
  std::size_t min_items = 0;  // of all but kValue and kMap
  std::size_t max_items = 0;
};

// In the order in which they are documented and written.
std::vector<SpecKey> spec_keys();

// Text as it stands in a cell of a Markdown table.
std::string markdown_cell(std::string_view text);

// The whole text of docs/spec.md.
std::string spec_reference_markdown();
// The whole text of docs/spec.schema.json (json_schema.h).
std::string spec_json_schema();

}  // namespace perdure::model
