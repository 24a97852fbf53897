// What the command line says, checked against the command table.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "base/clock.h"
#include "cli/command_table.h"

namespace perdure::cli {

// Values are checked for their ValueKind by parse_command_line(): the accessors below cannot fail,
// they assert.
class Invocation {
 public:
  // What was given, by the name of the option or argument; a flag has no values.
  using Values = std::map<std::string, std::vector<std::string>, std::less<>>;

  Invocation(const Command& command, Values values, std::vector<std::string> rest = {})
      : command_(&command), values_(std::move(values)), rest_(std::move(rest)) {}

  const Command& command() const { return *command_; }
  bool has(std::string_view name) const {
    return values_.contains(name);
  }                                               // an option or an argument
  // Of a command that passes them on: everything after its name, as it was given.
  const std::vector<std::string>& rest() const { return rest_; }
  std::string text(std::string_view name) const;  // "" if it was not given
  std::vector<std::string> texts(
      std::string_view name) const;  // of what may be given several times
  std::optional<Duration> duration(std::string_view name) const;
  std::optional<std::uint32_t> count(std::string_view name) const;
  std::optional<std::int64_t> moment_unix_ms(std::string_view name, WallTime now) const;

 private:
  const Command* command_;
  Values values_;
  std::vector<std::string> rest_;
};

// At most one is set; none: the program as a whole.
struct Topic {
  const Command* command = nullptr;
  const CommandGroup* group = nullptr;
};
struct HelpWanted {
  Topic topic;
};
struct VersionWanted {};
struct UsageError {
  std::string message;
  Topic topic;  // where to look for help
};
using CommandLine = std::variant<Invocation, HelpWanted, VersionWanted, UsageError>;

// `arguments` without the program's name.
CommandLine parse_command_line(const std::vector<std::string>& arguments);

// Checks one value; empty: it is well formed, else what is wrong with it.
std::string check_value(ValueKind kind, std::string_view text);

}  // namespace perdure::cli
