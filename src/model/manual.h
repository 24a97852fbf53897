// The manual of a table of keys. Private to this room.
#pragma once

#include <algorithm>
#include <format>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/assert.h"
#include "model/table.h"

namespace perdure::model {

// A value in one line, as the manual shows it.
std::string inline_text(const YamlNode& node);

template <typename Object>
void document(const std::string& prefix, const Table<Object>& table, const Object& defaults,
              std::vector<SpecKey>& keys) {
  for (const Key<Object>& key : table) {
    SpecKey doc = key.doc;
    if (doc.default_value.empty()) {
      const auto value = key.write(defaults);
      PERDURE_ASSERT(value.has_value());
      doc.default_value = inline_text(*value);
    }
    doc.path = prefix + doc.path;
    keys.push_back(std::move(doc));
  }
}

// The keys of what stands at `path`, behind it; `joint` is between both in their paths.
template <typename Object>
void document_items(const std::string& path, std::string_view joint, const Table<Object>& table,
                    std::vector<SpecKey>& keys) {
  std::vector<SpecKey> more;
  document(std::format("{}{}", path, joint), table, Object{}, more);
  const auto owner = std::ranges::find(keys, path, &SpecKey::path);
  PERDURE_ASSERT(owner != keys.end());
  keys.insert(owner + 1, more.begin(), more.end());
}

struct ManualSection {
  std::string_view prefix;  // of the paths in it
  std::string_view title;
};

// A table in Markdown for each section, in their order. A key belongs to the last section whose prefix it has.
std::string manual_of(const std::vector<SpecKey>& keys, std::span<const ManualSection> sections);

}  // namespace perdure::model
