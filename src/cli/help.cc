#include "cli/help.h"

#include <algorithm>
#include <format>

#include "cli/exit_code.h"

namespace perdure::cli {
namespace {

struct Entry {
  std::string title;
  std::string text;
};

// Titles on the left, text wrapped on the right; a title that is too long gets a line of its own.
std::string two_columns(const std::vector<Entry>& entries, const Style& style) {
  constexpr int kMaxTitle = 24;
  int width = 0;
  for (const Entry& entry : entries) {
    if (display_width(entry.title) <= kMaxTitle)
      width = std::max(width, display_width(entry.title));
  }
  const std::string indent(static_cast<std::size_t>(width) + 4, ' ');
  std::string result;
  for (const Entry& entry : entries) {
    result += "  " + entry.title;
    const int gap = width + 2 - display_width(entry.title);
    result += gap >= 2 ? std::string(static_cast<std::size_t>(gap), ' ') : "\n" + indent;
    result += wrap(entry.text, std::max(style.width, kMinimumWidth), indent, indent)
                  .substr(indent.size());
  }
  return result;
}

std::string section(std::string_view title, const std::vector<Entry>& entries, const Style& style) {
  if (entries.empty()) return "";
  return "\n" + paint(std::string(title) + ":", Colour::kTitle, style) + "\n" +
         two_columns(entries, style);
}

std::vector<Entry> entries_of(std::span<const Option> options) {
  std::vector<Entry> entries;
  for (const Option& option : options)
    entries.push_back({option_title(option), std::string(option.help)});
  return entries;
}

std::string arguments_of(const Command& command) {
  std::string text;
  for (const Argument& argument : command.arguments) {
    const std::string name = std::format("{}{}", argument.name, argument.repeats ? "..." : "");
    text += argument.required ? " " + name : std::format(" [{}]", name);
  }
  return text;
}

Entry entry_of(const Command& command) {
  return {std::string(command.name) + arguments_of(command), std::string(command.summary)};
}

}  // namespace

std::string option_title(const Option& option) {
  std::string title = option.letter == 0 ? std::string() : std::format("-{}, ", option.letter);
  title += option.name;
  if (!option.value.empty()) title += std::format(" {}", option.value);
  return title;
}

std::string usage_of(const Command& command) {
  return std::format("perdure {}{}{}", command.name, command.options.empty() ? "" : " [OPTION...]",
                     arguments_of(command));
}

std::vector<std::string_view> paragraphs_of(std::string_view description) {
  std::vector<std::string_view> paragraphs;
  while (!description.empty()) {
    const std::size_t end = std::min(description.find('\n'), description.size());
    paragraphs.push_back(description.substr(0, end));
    description.remove_prefix(std::min(end + 1, description.size()));
  }
  return paragraphs;
}

std::string program_help(const Style& style) {
  std::vector<Entry> codes;
  for (const ExitCodeRow& row : exit_code_table()) {
    codes.push_back({std::to_string(static_cast<int>(row.code)), std::string(row.meaning)});
  }
  std::string result =
      "perdure - keep Linux containers running through failures\n\nUsage: perdure COMMAND "
      "[OPTION...]\n";
  for (const CommandSection& part : command_sections()) {
    std::vector<Entry> commands;
    for (const Command& command : part.commands) {
      if (!command.hidden) commands.push_back(entry_of(command));
    }
    result += section(part.title, commands, style);
  }
  result += section("Options of every command", entries_of(global_options()), style);
  result += section("Exit codes", codes, style);
  return result + "\n'perdure help COMMAND' explains a command; perdure(1) explains everything.\n";
}

std::string command_help(const Command& command, const Style& style) {
  std::string result =
      wrap(std::format("perdure {} - {}", command.name, command.summary), style.width, "", "  ");
  result += "\nUsage: " + usage_of(command) + "\n";
  for (const std::string_view paragraph : paragraphs_of(command.description)) {
    result += "\n" + wrap(paragraph, style.width, "", "");
  }
  std::vector<Entry> arguments;
  for (const Argument& argument : command.arguments) {
    arguments.push_back({std::string(argument.name), std::string(argument.help)});
  }
  result += section("Arguments", arguments, style);
  result += section("Options", entries_of(command.options), style);
  if (!command.passes_on)
    result += section("Options of every command", entries_of(global_options()), style);
  if (!command.examples.empty()) result += "\n" + paint("Examples:", Colour::kTitle, style) + "\n";
  for (const Example& example : command.examples) {
    result += std::format("  {}\n", example.command) +
              wrap(example.does, style.width, "      ", "      ");
  }
  return result;
}

std::string group_help(const CommandGroup& group, const Style& style) {
  std::string result =
      wrap(std::format("perdure {} - {}", group.name, group.summary), style.width, "", "  ");
  result += std::format("\nUsage: perdure {} COMMAND [OPTION...]\n", group.name);
  std::vector<Entry> commands;
  for (const Command& command : command_table()) {
    if (group_of(command) == &group) commands.push_back(entry_of(command));
  }
  result += section("Commands", commands, style);
  return result + std::format("\n'perdure help {} COMMAND' explains a command.\n", group.name);
}

std::string help_of(const Topic& topic, const Style& style) {
  if (topic.command != nullptr) return command_help(*topic.command, style);
  return topic.group != nullptr ? group_help(*topic.group, style) : program_help(style);
}

}  // namespace perdure::cli
