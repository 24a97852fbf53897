// The files that a Compose application consists of, as one tree: merge keys, variables, `include` and `extends` are done. Private
// to this room.
#pragma once

#include <map>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "model/application/application_compose.h"
#include "model/compose/interpolation.h"
#include "model/reading.h"

namespace perdure::model::compose {

using Note = YamlIssue;  // what has no effect, and why

// A tree with `services`, `networks`, `volumes`, `configs` and `x-ha`, each of them a map; lists that Compose also writes as maps
// are maps (compose_extends.h), relative paths of the host are absolute.
struct Project {
  YamlNode root{};
  std::string name{};
  Position name_position{};
  Variables variables{};  // with those of .env
};

// More files, and more in all of them together, are no application's. Values grow by `extends`, `include` and variables.
inline constexpr std::size_t kMaxComposeFiles = 64;
inline constexpr std::size_t kMaxComposeNodes = 100'000;
inline constexpr std::size_t kMaxComposeTextBytes = std::size_t{4} << 20;
inline constexpr std::size_t kMaxComposeDepth = 16;  // of includes, and of services that extend each other

class Files {
 public:
  Files(Reading& reading, std::vector<Note>& notes, const ComposeOptions& options)
      : reading_(reading), notes_(notes), options_(options) {}

  // `path` is absolute; `text` that of the file. nullopt after a complaint that leaves nothing to be looked at.
  std::optional<Project> load(const std::string& path, std::string_view text);
  // What a file of variables says, over `variables` for those that it names. A complaint stands at `position`; a missing file that is
  // not `required` says nothing.
  EnvironmentFile read_variables(const std::string& path, Position position, bool required, const Variables& variables);

 private:
  struct Place {  // where a document's relative paths start, and what its variables are
    std::string path;
    std::string directory;
    Variables variables;
  };

  std::optional<std::string> read(const std::string& path, Position position, bool required);
  std::optional<YamlNode> parse(const std::string& path, std::string_view text, unsigned file);
  bool charge(Position position, const YamlNode& node);
  bool charge_text(Position position, std::size_t bytes);
  void substitute(YamlNode& node, const Variables& variables);
  void settle(YamlNode& root, const Place& place);
  void include(YamlNode& root, const Place& place);
  void include_one(YamlNode& root, const YamlNode& entry, const Place& place);
  void include_file(YamlNode& root, Position position, const Place& place);
  void add_variables(const std::vector<std::pair<std::string, bool>>& files, Position position, Variables& variables);
  void adopt(YamlNode& root, YamlNode other, Position position);
  void extend_all(YamlNode& root, const Place& place);
  bool extend(YamlNode& services, const std::string& name, const Place& place, std::vector<std::string>& open);
  YamlNode* base_file(const std::string& path, Position position, const Place& place);
  static std::string decide_name(const YamlNode& root, const Place& place, Position& position);

  Reading& reading_;
  std::vector<Note>& notes_;
  const ComposeOptions& options_;
  std::size_t files_ = 0;
  std::size_t nodes_ = 0;
  std::size_t text_bytes_ = 0;
  bool overgrown_ = false;
  std::vector<std::string> including_{};
  std::map<std::string, YamlNode> base_files_{};  // of `extends`
};

}  // namespace perdure::model::compose
