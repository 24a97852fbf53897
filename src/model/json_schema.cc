#include "model/json_schema.h"

#include <algorithm>
#include <format>
#include <memory>
#include <utility>

#include "base/assert.h"

namespace perdure::model {
namespace {

constexpr std::string_view kRequiredKey = "required";

// One key of a map, and what stands below it.
struct Branch {
  std::string name{};
  const SpecKey* key = nullptr;  // nullptr: a section, which is nothing but a map
  std::vector<Branch> children{};
};

Branch& child(Branch& parent, std::string_view name) {
  const auto found = std::ranges::find(parent.children, name, &Branch::name);
  if (found != parent.children.end()) return *found;
  parent.children.push_back({.name = std::string(name)});
  return parent.children.back();
}

Branch tree_of(const std::vector<SpecKey>& keys) {
  Branch root;
  for (const SpecKey& key : keys) {
    Branch* at = &root;
    for (std::string_view rest = key.path; !rest.empty();) {
      const auto dot = std::min(rest.find('.'), rest.size());
      std::string_view part = rest.substr(0, dot);
      rest.remove_prefix(std::min(dot + 1, rest.size()));
      if (part.ends_with("[]")) part.remove_suffix(2);
      at = &child(*at, part);
    }
    at->key = &key;
  }
  return root;
}

std::string text(std::string_view value) {
  std::string quoted = "\"";
  for (const char c : value) {
    if (c == '"' || c == '\\') quoted += '\\';
    quoted += c;
  }
  return quoted + '"';
}

// A number with a unit; 0 needs none.
std::string with_units(std::string_view units) {
  return std::format(R"("anyOf": [{{"const": 0}}, {{"type": "string", "pattern": "^(0|[0-9]+(\\.[0-9]+)? *({}))$"}}])", units);
}

std::string members_of(const ValueShape& shape) {
  switch (shape.kind) {
    case ValueShape::Kind::kText:
      return R"("type": ["string", "number", "boolean"])";
    case ValueShape::Kind::kNumber:
      return std::format(R"("anyOf": [{{"type": "integer", "minimum": {}, "maximum": {}}}, {{"type": "string", "pattern": "^[0-9]+$"}}])",
                         shape.min, shape.max);
    case ValueShape::Kind::kWord: {
      std::string words;
      for (const std::string& word : shape.words) {
        words += (words.empty() ? "" : ", ") + text(word);
        if (word == "true" || word == "false") words += ", " + word;
      }
      return "\"enum\": [" + words + "]";
    }
    case ValueShape::Kind::kDuration:
      return with_units("ns|us|ms|s|min|h|d");
    case ValueShape::Kind::kSize:
      return with_units("B|KB|MB|GB|TB|KiB|MiB|GiB|TiB");
  }
  return "";
}

class Writer {
 public:
  std::string run(std::string_view title, const Branch& root) {
    out_ = "{\n  \"$schema\": \"https://json-schema.org/draft/2020-12/schema\",\n";
    line(1, std::format("\"title\": {},", text(title)));
    map(root, 1);
    out_ += "}\n";
    return std::move(out_);
  }

 private:
  void line(int depth, std::string_view content) {
    out_.append(static_cast<std::size_t>(depth) * 2, ' ');
    out_ += content;
    out_ += '\n';
  }

  // The members of a map's schema, the last without a comma.
  void map(const Branch& branch, int depth) {
    line(depth, "\"type\": \"object\",");
    line(depth, "\"additionalProperties\": false,");
    std::string required;
    for (const Branch& one : branch.children) {
      if (!is_required(one)) continue;
      required += (required.empty() ? "" : ", ") + text(one.name);
    }
    if (!required.empty()) line(depth, std::format("\"required\": [{}],", required));
    line(depth, "\"properties\": {");
    for (std::size_t i = 0; i < branch.children.size(); ++i) {
      line(depth + 1, text(branch.children[i].name) + ": {");
      value(branch.children[i], depth + 2);
      line(depth + 1, i + 1 < branch.children.size() ? "}," : "}");
    }
    line(depth, "}");
  }

  static bool is_required(const Branch& branch) {
    if (branch.key != nullptr) return branch.key->default_value == kRequiredKey;
    return std::ranges::any_of(branch.children, is_required);
  }

  void value(const Branch& branch, int depth) {
    if (branch.key == nullptr) return map(branch, depth);
    const SpecKey& key = *branch.key;
    line(depth, std::format("\"description\": {},", text(key.description)));
    switch (key.structure) {
      case KeyStructure::kValue:
        return line(depth, members_of(key.shape));
      case KeyStructure::kMap:
        return map(branch, depth);
      case KeyStructure::kTextMap:
        line(depth, "\"type\": \"object\",");
        line(depth, std::format("\"maxProperties\": {},", key.max_items));
        return line(depth, std::format("\"additionalProperties\": {{{}}}", members_of(key.shape)));
      case KeyStructure::kList:
        limits(key, depth);
        return line(depth, std::format("\"items\": {{{}}}", members_of(key.shape)));
      case KeyStructure::kMapList:
        limits(key, depth);
        line(depth, "\"items\": {");
        map(branch, depth + 1);
        return line(depth, "}");
    }
  }

  void limits(const SpecKey& key, int depth) {
    line(depth, "\"type\": \"array\",");
    if (key.min_items > 0) line(depth, std::format("\"minItems\": {},", key.min_items));
    line(depth, std::format("\"maxItems\": {},", key.max_items));
  }

  std::string out_;
};

}  // namespace

std::string json_schema_of(std::string_view title, const std::vector<SpecKey>& keys) {
  return Writer().run(title, tree_of(keys));
}

}  // namespace perdure::model
