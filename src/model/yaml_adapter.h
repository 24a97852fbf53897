// YAML text to a tree of plain values with positions. Private to this room; the only users of
// yaml-cpp sit behind it. Built from the parser's events, not from its nodes: those forget
// duplicate keys and share what an alias names, so that a small file can grow without bound when it
// is walked.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace perdure::model {

struct Position {  // both from 1; columns count bytes
  unsigned line = 1;
  unsigned column = 1;
  unsigned file = 0;  // of those that a document consists of (Reading::add_file); 0 is the document itself
  auto operator<=>(const Position&) const = default;
};

struct YamlKey {
  std::string text{};
  Position position{};
};

struct YamlNode {
  enum class Kind { kNull, kScalar, kSequence, kMap };
  Kind kind = Kind::kNull;
  Position position{};            // of a null: where its key stands
  std::string text{};             // kScalar
  bool plain = false;             // kScalar, for writing: needs no quotes in any YAML
  std::vector<YamlKey> keys{};    // kMap: one for each item, no two the same
  std::vector<YamlNode> items{};  // kSequence, kMap
};

struct YamlIssue {
  Position position{};
  std::string message{};
};

struct YamlDocument {
  YamlNode root{};
  std::vector<YamlIssue> issues{};  // duplicate keys, or the one thing that ended the reading
  bool complete = false;            // false: the root is not to be used
};

// A spec nests five levels. Deeper ones cost stack in everything that walks the tree.
inline constexpr std::size_t kMaxYamlDepth = 16;
// Values in the tree with the aliases expanded: 256 KiB of text hold more than this only as an
// attack.
inline constexpr std::size_t kMaxYamlNodes = 20'000;
// Bytes of text in the tree with the aliases expanded: four times the largest file.
inline constexpr std::size_t kMaxYamlTextBytes = std::size_t{1} << 20;

// The first byte of a text that no document of ours has: a control character but for tabs and line ends, or what is not UTF-8.
std::optional<YamlIssue> find_bad_byte(std::string_view text);

// Never throws. Refuses what is not UTF-8, control characters, tags, keys that are no text, a
// second document, an alias inside of what it names, and whatever exceeds the limits above. An
// empty text gives a null. `text` itself must be bounded by the caller.
YamlDocument parse_yaml(std::string_view text);

}  // namespace perdure::model
