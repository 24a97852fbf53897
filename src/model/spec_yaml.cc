#include "model/spec_yaml.h"

#include <algorithm>
#include <format>

#include "base/assert.h"
#include "base/fd.h"
#include "model/table.h"
#include "model/yaml_writer.h"

namespace perdure::model {
namespace {

ContainerSpec read_root(Reading& reading, const YamlNode& root) {
  // Replaced by the spec's own name, or never seen: without a name there is an issue.
  ContainerSpec spec{.name = ContainerName::parse("unnamed").value()};
  if (root.kind != YamlNode::Kind::kMap) {
    reading.complain(root.position, root.kind == YamlNode::Kind::kNull
                                        ? "the spec is empty; begin it with 'name: NAME'"
                                        : "a spec is a map of keys; begin it with 'name: NAME'");
    return spec;
  }
  read_table(reading, "", root, container_table(), spec);
  check_rules(reading, spec);
  // The order of ports and of capabilities means nothing, so that the same set is the same spec.
  std::ranges::sort(spec.network.tcp_ports);
  std::ranges::sort(spec.security.capabilities);
  const auto same = std::ranges::unique(spec.security.capabilities);
  spec.security.capabilities.erase(same.begin(), same.end());
  return spec;
}

}  // namespace

Result<ContainerSpec> read_spec(std::string_view yaml, std::string_view file_name,
                                std::string_view base_directory) {
  return read_document<ContainerSpec>(yaml, "spec", kMaxSpecBytes, file_name, base_directory, read_root);
}

Result<ContainerSpec> read_spec_file(const std::string& path) {
  PERDURE_ASSIGN(const std::string text, read_file(path, kMaxSpecBytes));
  PERDURE_ASSIGN(const std::string directory, directory_of(path));
  return read_spec(text, path, directory);
}

std::string to_yaml(const ContainerSpec& spec) {
  return write_yaml(write_table(container_table(), spec));
}

std::vector<std::string> differing_keys(const ContainerSpec& one, const ContainerSpec& other) {
  std::vector<std::string> keys;
  for (const Key<ContainerSpec>& key : container_table()) {
    if (!same_text(key.write(one), key.write(other))) keys.push_back(key.doc.path);
  }
  return keys;
}

Result<RootFilesystem> parse_image_source(std::string_view path, std::string_view tag) {
  if (auto tar = tar_path_codec().parse(path)) {
    if (tag.empty()) return TarRoot{*std::move(tar)};
    return fail(ErrorCode::kInvalid, std::format("'{}' is an archive, which has no tags: leave the tag out", path));
  }
  PERDURE_ASSIGN(std::string layout, host_path_codec().parse(path));
  if (tag.empty()) return OciRoot{.path = std::move(layout)};
  PERDURE_ASSIGN(std::string parsed, tag_codec().parse(tag));
  return OciRoot{std::move(layout), std::move(parsed)};
}

}  // namespace perdure::model
