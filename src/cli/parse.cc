// The only file that knows CLI11 (its headers cost seconds).
#include <CLI/CLI.hpp>

#include <algorithm>
#include <deque>
#include <format>

#include "cli/invocation.h"

namespace perdure::cli {
namespace {

// One option or argument as CLI11 sees it: `given` has what was said. The targets are there because
// CLI11 tells from their types how many values there may be.
struct Slot {
  std::string name;
  ValueKind kind;
  bool repeats = false;
  bool flag = false;
  std::string value{};
  std::vector<std::string> values{};
  CLI::Option* given = nullptr;
};
using Slots = std::deque<Slot>;  // addresses must stay

void add_option(CLI::App& app, const Option& option, Slots& slots) {
  Slot& slot = slots.emplace_back(
      Slot{.name = std::string(option.name), .kind = option.kind, .repeats = option.repeats});
  std::string names(option.name);
  if (option.letter != 0) names += std::format(",-{}", option.letter);
  if (option.kind == ValueKind::kFlag) {
    slot.given = app.add_flag(names, slot.flag)
                     ->disable_flag_override();  // else --yes=false would count as --yes
  } else if (option.repeats) {
    // One value each: what follows it may be an argument.
    slot.given = app.add_option(names, slot.values)->allow_extra_args(false);
  } else {
    slot.given = app.add_option(names, slot.value);
  }
}

void add_argument(CLI::App& app, const Argument& argument, Slots& slots) {
  Slot& slot = slots.emplace_back(
      Slot{.name = std::string(argument.name), .kind = argument.kind, .repeats = argument.repeats});
  slot.given = argument.repeats ? app.add_option(slot.name, slot.values)
                                : app.add_option(slot.name, slot.value);
}

struct Parser {
  CLI::App root;
  Slots root_slots;
  std::deque<Slots> group_slots;    // in the order of the groups
  std::deque<Slots> command_slots;  // in the order of the table
};

CLI::App* add_app(CLI::App& parent, std::string_view name, Slots& slots) {
  CLI::App* app = parent.add_subcommand(std::string(name));
  app->set_help_flag("");
  for (const Option& option : global_options()) add_option(*app, option, slots);
  return app;
}

void build(Parser& parser) {
  parser.root.set_help_flag("");
  parser.root.require_subcommand(0, 1);
  for (const Option& option : global_options()) add_option(parser.root, option, parser.root_slots);
  for (const CommandGroup& group : command_groups())
    add_app(parser.root, group.name, parser.group_slots.emplace_back())->require_subcommand(0, 1);
  for (const Command& command : command_table()) {
    const CommandGroup* group = group_of(command);
    CLI::App& parent =
        group == nullptr ? parser.root : *parser.root.get_subcommand(std::string(group->name));
    Slots& slots = parser.command_slots.emplace_back();
    if (command.passes_on) {
      CLI::App* app = parent.add_subcommand(std::string(command.name));
      app->set_help_flag("");
      app->prefix_command();
      continue;
    }
    CLI::App* app = add_app(parent, last_word(command), slots);
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

// What is close to the word: a command, a group, or a command of a group by its last word alone.
std::string_view similar_to(std::string_view word) {
  const auto close = [&](std::string_view name) {
    return edit_distance(word, name) <= (name.size() < 4 ? 1U : 2U);
  };
  for (const Command& command : command_table()) {
    if (!command.hidden && close(command.name)) return command.name;
  }
  for (const CommandGroup& group : command_groups()) {
    if (close(group.name)) return group.name;
  }
  for (const Command& command : command_table()) {
    if (word == last_word(command)) return command.name;
  }
  return "";
}

std::string unknown_command(std::string_view word) {
  const std::string_view similar = similar_to(word);
  return std::format("'{}' is no command", word) +
         (similar.empty() ? "" : std::format("; did you mean '{}'?", similar));
}

std::string unknown_command(std::string_view word, const CommandGroup& group) {
  const std::string message = std::format("'{}' is no command of {}", word, group.name);
  for (const Command& command : command_table()) {
    if (group_of(command) == &group && edit_distance(word, last_word(command)) <= 2)
      return message + std::format("; did you mean '{}'?", command.name);
  }
  return message;
}

// How far the command line was understood.
Topic parsed_topic(const CLI::App& root) {
  const auto first = root.get_subcommands();
  if (first.empty()) return {};
  const std::string name = first.front()->get_name();
  const CommandGroup* group = find_group(name);
  if (group == nullptr) return {.command = find_command(name)};
  const auto second = first.front()->get_subcommands();
  if (second.empty()) return {.group = group};
  return {.command = find_command(std::format("{} {}", name, second.front()->get_name()))};
}

std::string explain_extra(const std::string& word, const Topic& topic) {
  if (word.starts_with('-') && word != "-") {
    const std::string_view name = topic.command != nullptr ? topic.command->name
                                  : topic.group != nullptr ? topic.group->name
                                                           : std::string_view();
    return name.empty() ? std::format("there is no option {}", word)
                        : std::format("{} has no option {}", name, word);
  }
  if (topic.command != nullptr) return std::format("'{}' is one argument too many", word);
  return topic.group == nullptr ? unknown_command(word) : unknown_command(word, *topic.group);
}

// CLI11's messages, in our words where they are about our words.
std::string explain(const CLI::ParseError& error, const CLI::App& root, const Topic& topic) {
  if (dynamic_cast<const CLI::ExtrasError*>(&error) != nullptr) {
    const auto extras = root.remaining(true);
    return explain_extra(extras.empty() ? "" : extras.front(), topic);
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

void collect(const Slots& slots, Invocation::Values& values) {
  for (const Slot& slot : slots) {
    if (slot.given->count() > 0) values[slot.name] = slot.given->results();
  }
}

std::string joined(const std::vector<std::string>& words) {
  std::string result;
  for (const std::string& word : words) result += (result.empty() ? "" : " ") + word;
  return result;
}

// The first value that is malformed, as a message.
std::string find_bad_value(const Slots& slots, const Invocation::Values& values) {
  for (const Slot& slot : slots) {
    if (slot.given->count() == 0) continue;
    const std::vector<std::string>& given = values.at(slot.name);
    if (given.size() > kMaxRepeats)
      return std::format("{} is given more than {} times", slot.name, kMaxRepeats);
    for (const std::string& value : given) {
      if (slot.kind == ValueKind::kFlag) continue;
      const std::string problem = check_value(slot.kind, value);
      if (!problem.empty()) return std::format("{}: {}", slot.name, problem);
    }
  }
  return "";
}

CommandLine conclude(const Parser& parser, const Topic& topic) {
  Invocation::Values values;
  std::vector<const Slots*> all{&parser.root_slots};
  const CommandGroup* group = topic.command == nullptr ? topic.group : group_of(*topic.command);
  if (group != nullptr)
    all.push_back(&parser.group_slots[static_cast<std::size_t>(group - command_groups().data())]);
  if (topic.command != nullptr)
    all.push_back(
        &parser.command_slots[static_cast<std::size_t>(topic.command - command_table().data())]);
  for (const Slots* slots : all) collect(*slots, values);
  // A command's name may be two words.
  if (const auto name = values.find(kCommandArgument); name != values.end())
    name->second = {joined(name->second)};
  if (values.contains(kHelpOption)) return HelpWanted{topic};
  if (values.contains(kVersionOption)) return VersionWanted{};
  if (topic.command == nullptr && topic.group != nullptr) return HelpWanted{topic};
  if (topic.command == nullptr) return UsageError{"which command?", {}};
  if (topic.command->passes_on) {
    return Invocation(*topic.command, std::move(values), parser.root.get_subcommands().front()->remaining());
  }
  for (const Slots* slots : all) {
    if (std::string problem = find_bad_value(*slots, values); !problem.empty())
      return UsageError{std::move(problem), topic};
  }
  for (const Argument& argument : topic.command->arguments) {
    if (argument.required && !values.contains(argument.name)) {
      return UsageError{std::format("{} needs {}", topic.command->name, argument.name), topic};
    }
  }
  return Invocation(*topic.command, std::move(values));
}

}  // namespace

CommandLine parse_command_line(const std::vector<std::string>& arguments) {
  Parser parser;
  try {
    build(parser);
    std::vector<std::string> reversed(arguments.rbegin(), arguments.rend());
    parser.root.parse(std::move(reversed));
  } catch (const CLI::ParseError& error) {
    const Topic topic = parsed_topic(parser.root);
    return UsageError{explain(error, parser.root, topic), topic};
  }
  return conclude(parser, parsed_topic(parser.root));
}

}  // namespace perdure::cli
