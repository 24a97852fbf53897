// Proves that docs/spec.md says what the reader does: it is the text printed from the reader's own
// table, and each key in it is understood by the reader.
#include "model/spec_keys.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <fstream>
#include <iterator>
#include <set>
#include <string>

#include "model/spec_yaml.h"

namespace perdure::model {
namespace {

// YAML in which only the key at `path` stands, with an empty value.
std::string document_with(std::string_view path) {
  std::string yaml;
  std::string closing;
  for (auto dot = path.find('.'); dot != std::string_view::npos; dot = path.find('.')) {
    const std::string_view section = path.substr(0, dot);
    const bool list = section.ends_with("[]");
    yaml +=
        std::string(section.substr(0, section.size() - (list ? 2 : 0))) + (list ? ": [{" : ": {");
    closing.insert(0, list ? "}]" : "}");
    path.remove_prefix(dot + 1);
  }
  return yaml + std::string(path) + ": " + closing + "\n";
}

std::string refusal(const std::string& yaml) {
  const auto spec = read_spec(yaml, "spec");
  return spec ? "" : spec.error().message();
}

TEST(SpecKeys, EveryDocumentedKeyIsUnderstood) {
  for (const SpecKey& key : spec_keys()) {
    EXPECT_THAT(refusal(document_with(key.path)), ::testing::Not(::testing::HasSubstr("unknown key")));
    EXPECT_THAT(refusal(document_with(key.path + "x")), ::testing::HasSubstr("unknown key"))
        << key.path;
  }
}

TEST(SpecKeys, EveryKeyIsDocumentedOnceAndInFull) {
  std::set<std::string> paths;
  for (const SpecKey& key : spec_keys()) {
    EXPECT_TRUE(paths.insert(key.path).second) << key.path;
    EXPECT_FALSE(key.type.empty()) << key.path;
    EXPECT_FALSE(key.default_value.empty()) << key.path;
    EXPECT_TRUE(key.description.ends_with('.')) << key.path;
  }
  EXPECT_GT(paths.size(), 85U);
}

TEST(SpecKeys, WhatIsWrittenIsDocumented) {
  const auto spec = read_spec(
      "name: web\nroot-filesystem: {oci: /srv/web}\n"
      "components:\n"
      "  - {name: db, command: [db], probe: {http: 80}, limits: {open-files: 9}}\n"
      "  - {name: log, command: [log], probe: {file: /log, max-age: 1s}, depends-on: [{component: db}]}\n",
      "spec");
  ASSERT_TRUE(spec);
  std::set<std::string> last_parts;
  for (const SpecKey& key : spec_keys()) {
    for (std::size_t at = 0; at < key.path.size();) {
      const std::size_t end = std::min(key.path.find('.', at), key.path.size());
      const std::string part = key.path.substr(at, end - at);
      last_parts.insert(part.substr(0, part.find('[')));
      at = end + 1;
    }
  }
  const std::string yaml = to_yaml(*spec);
  for (std::size_t at = 0; at < yaml.size();) {
    const std::size_t end = yaml.find('\n', at);
    std::string line = yaml.substr(at, end - at);
    line.erase(0, line.find_first_not_of(" -"));
    if (line.contains(':')) {
      EXPECT_TRUE(last_parts.contains(line.substr(0, line.find(':')))) << line;
    }
    at = end + 1;
  }
}

// PERDURE_UPDATE_DOCS=1 in the environment writes the manual instead of comparing it.
TEST(SpecKeys, ManualIsUpToDate) {
  const char* path = PERDURE_DOCS_DIR "/spec.md";
  if (std::getenv("PERDURE_UPDATE_DOCS") != nullptr)
    std::ofstream(path) << spec_reference_markdown();
  std::ifstream in(path);
  const std::string manual{std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>()};
  EXPECT_EQ(manual, spec_reference_markdown()) << "run model_test with PERDURE_UPDATE_DOCS=1";
}

TEST(SpecKeys, SchemaIsUpToDate) {
  const char* path = PERDURE_DOCS_DIR "/spec.schema.json";
  if (std::getenv("PERDURE_UPDATE_DOCS") != nullptr) std::ofstream(path) << spec_json_schema();
  std::ifstream in(path);
  const std::string schema{std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>()};
  EXPECT_EQ(schema, spec_json_schema()) << "run model_test with PERDURE_UPDATE_DOCS=1";
}

}  // namespace
}  // namespace perdure::model
