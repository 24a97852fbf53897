// The only file that knows CLI11 (its headers cost seconds).
#include <CLI/CLI.hpp>

#include <algorithm>
#include <deque>
#include <format>

#include "cli/invocation.h"

namespace perdure::cli {
namespace {

// One option or argument as CLI11 sees it: `given` points at its counter, `value` receives what was
// said.
struct Slot {
  std::string name;
  ValueKind kind;
  std::string value;
  bool flag = false;
  CLI::Option* given = nullptr;
};
using Slots = std::deque<Slot>;  // addresses must stay

void add_option(CLI::App& app, const Option& option, Slots& slots) {
  Slot& slot = slots.emplace_back(Slot{std::string(option.name), option.kind, "", false, nullptr});
  std::string names(option.name);
  if (option.letter != 0) names += std::format(",-{}", option.letter);
  if (option.kind == ValueKind::kFlag) {
    slot.given = app.add_flag(names, slot.flag)
                     ->disable_flag_override();  // else --yes=false would count as --yes
  } else {
    slot.given = app.add_option(names, slot.value);
  }
}

void add_argument(CLI::App& app, const Argument& argument, Slots& slots) {
  Slot& slot =
      slots.emplace_back(Slot{std::string(argument.name), argument.kind, "", false, nullptr});
  slot.given = app.add_option(slot.name, slot.value);
}

struct Parser {
  CLI::App root;
  Slots root_slots;
  std::deque<Slots> command_slots;  // in the order of the table
};

void build(Parser& parser) {
  parser.root.set_help_flag("");
  parser.root.require_subcommand(0, 1);
  for (const Option& option : global_options()) add_option(parser.root, option, parser.root_slots);
  for (const Command& command : command_table()) {
    Slots& slots = parser.command_slots.emplace_back();
    CLI::App* app = parser.root.add_subcommand(std::string(command.name));
    app->set_help_flag("");
    if (command.passes_on) {
      app->prefix_command();
      continue;
    }
    for (const Option& option : global_options()) add_option(*app, option, slots);
    for (const Option& option : command.options) add_option(*app, option, slots);
    for (const Argument& argument : command.arguments) add_argument(*app, argument, slots);
  }
}

std::size_t edit_distance(std::string_view a, std::string_view b) {
  std::vector<std::size_t> row(b.size() + 1);
  for (std::size_t j = 0; j <= b.size(); ++j) row[j] = j;
  for (std::size_t i = 0; i < a.size(); ++i) {
    std::size_t diagonal = std::exchange(row[0], i + 1);
    for (std::size_t j = 0; j < b.size(); ++j) {
      const std::size_t substitute = diagonal + (a[i] == b[j] ? 0 : 1);
      diagonal = std::exchange(row[j + 1], std::min({substitute, row[j] + 1, row[j + 1] + 1}));
    }
  }
  return row.back();
}

std::string unknown_command(std::string_view word) {
  std::string message = std::format("'{}' is no command", word);
  for (const Command& command : command_table()) {
    if (!command.hidden && edit_distance(word, command.name) <= (command.name.size() < 4 ? 1 : 2)) {
      return message + std::format("; did you mean '{}'?", command.name);
    }
  }
  return message;
}

const Command* parsed_command(const CLI::App& root) {
  const auto parsed = root.get_subcommands();
  return parsed.empty() ? nullptr : find_command(parsed.front()->get_name());
}

// CLI11's messages, in our words where they are about our words.
std::string explain(const CLI::ParseError& error, const CLI::App& root, const Command* command) {
  if (dynamic_cast<const CLI::ExtrasError*>(&error) != nullptr) {
    const auto extras = root.remaining(true);
    const std::string word = extras.empty() ? "" : extras.front();
    if (word.starts_with('-') && word != "-") {
      return command == nullptr ? std::format("there is no option {}", word)
                                : std::format("{} has no option {}", command->name, word);
    }
    return command == nullptr ? unknown_command(word)
                              : std::format("'{}' is one argument too many", word);
  }
  const std::string_view text = error.what();
  const std::string_view name = text.substr(0, text.find(':'));
  if (dynamic_cast<const CLI::ArgumentMismatch*>(&error) != nullptr) {
    if (text.contains("missing")) return std::format("{} needs a value", name);
    if (text.contains("received")) return std::format("{} is given more than once", name);
    if (text.contains("override"))
      return std::format("--{} takes no value", name.substr(0, name.find(' ')));
  }
  return std::string(text);
}

void collect(const Slots& slots, std::map<std::string, std::string, std::less<>>& values) {
  for (const Slot& slot : slots) {
    if (slot.given->count() > 0) values[slot.name] = slot.value;
  }
}

// The first value that is malformed, as a message.
std::string find_bad_value(const Slots& slots) {
  for (const Slot& slot : slots) {
    if (slot.given->count() == 0) continue;
    const std::string problem = check_value(slot.kind, slot.value);
    if (!problem.empty()) return std::format("{}: {}", slot.name, problem);
  }
  return "";
}

CommandLine conclude(const Parser& parser, const Command* command) {
  std::map<std::string, std::string, std::less<>> values;
  collect(parser.root_slots, values);
  const Slots* slots = nullptr;
  if (command != nullptr) {
    slots = &parser.command_slots[static_cast<std::size_t>(command - command_table().data())];
    collect(*slots, values);
  }
  if (values.contains(kHelpOption)) return HelpWanted{command};
  if (values.contains(kVersionOption)) return VersionWanted{};
  if (command == nullptr) return UsageError{"which command?", nullptr};
  if (command->passes_on) {
    return Invocation(*command, std::move(values), parser.root.get_subcommands().front()->remaining());
  }
  for (const Slots* checked : {&parser.root_slots, slots}) {
    if (std::string problem = find_bad_value(*checked); !problem.empty())
      return UsageError{std::move(problem), command};
  }
  for (const Argument& argument : command->arguments) {
    if (argument.required && !values.contains(argument.name)) {
      return UsageError{std::format("{} needs {}", command->name, argument.name), command};
    }
  }
  return Invocation(*command, std::move(values));
}

}  // namespace

CommandLine parse_command_line(const std::vector<std::string>& arguments) {
  Parser parser;
  const Command* command = nullptr;
  try {
    build(parser);
    std::vector<std::string> reversed(arguments.rbegin(), arguments.rend());
    parser.root.parse(std::move(reversed));
    command = parsed_command(parser.root);
  } catch (const CLI::ParseError& error) {
    command = parsed_command(parser.root);
    return UsageError{explain(error, parser.root, command), command};
  }
  return conclude(parser, command);
}

}  // namespace perdure::cli
