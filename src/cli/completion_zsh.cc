// Completion for zsh.
#include <format>

#include "cli/command_table.h"
#include "cli/completion_parts.h"

namespace perdure::cli {
namespace {

// Inside '...' of an _arguments specification: brackets and colons separate there.
std::string zsh_text(std::string_view text) {
  std::string result;
  for (const char c : text) {
    if (c == '[' || c == ']' || c == ':' || c == '\\') result += '\\';
    result += c;
    if (c == '\'') result += "\\''";
  }
  return result;
}

std::string zsh_action(ValueKind kind) {
  switch (kind) {
    case ValueKind::kFile:
      return "_files";
    case ValueKind::kContainer:
      return "_perdure_containers";
    case ValueKind::kGeneration:
      return "_perdure_generations";
    case ValueKind::kShell:
      return "(bash zsh fish)";
    case ValueKind::kLabVerb:
      return std::format("({})", kLabVerbs);
    case ValueKind::kCommand:
      return "_perdure_commands";
    case ValueKind::kTiming:
      return "(default fast)";
    case ValueKind::kModelForm:
      return std::format("({})", kModelForms);
    case ValueKind::kPlanFormat:
      return std::format("({})", kPlanFormats);
    case ValueKind::kWrittenForm:
      return std::format("({})", kWrittenForms);
    case ValueKind::kNode:
      return "_perdure_nodes";
    case ValueKind::kLabel:
    case ValueKind::kLabelChange:
      return "_perdure_labels";
    default:
      return " ";
  }
}

std::string zsh_option(const Option& option) {
  const std::string text = std::format("[{}]", zsh_text(option.help));
  const std::string value =
      takes_value(option) ? std::format(":{}:{}", option.value, zsh_action(option.kind)) : "";
  if (option.letter == 0)
    return std::format("'{}{}{}{}'", option.repeats ? "*" : "", option.name, text, value);
  return std::format("'(-{0} {1})'{{-{0},{1}}}'{2}{3}'", option.letter, option.name, text, value);
}

std::string zsh_branch(std::string_view indent, const Command& command) {
  std::string branch = std::format("{}{}) _arguments $global", indent, last_word(command));
  const auto add = [&](std::string_view specification) {
    branch += std::format(" \\\n{}  {}", indent, specification);
  };
  for (const Option& option : command.options) add(zsh_option(option));
  std::size_t index = 0;
  for (const Argument& argument : command.arguments) {
    ++index;
    add(std::format("'{}:{}:{}'", argument.repeats ? "*" : std::to_string(index),
                    zsh_text(argument.name), zsh_action(argument.kind)));
  }
  return branch + " ;;\n";
}

std::string zsh_branches() {
  std::string branches;
  for (const Command& command : command_table()) {
    if (!command.hidden && group_of(command) == nullptr)
      branches += zsh_branch("        ", command);
  }
  for (const CommandGroup& group : command_groups())
    branches += std::format("        {0}) _perdure_{0} ;;\n", group.name);
  return branches;
}

std::string zsh_described(std::string_view word, std::string_view summary) {
  return std::format("    '{}:{}'\n", word, zsh_text(summary));
}

std::string zsh_commands() {
  std::string lines;
  for (const Command& command : command_table()) {
    if (!command.hidden && group_of(command) == nullptr)
      lines += zsh_described(command.name, command.summary);
  }
  for (const CommandGroup& group : command_groups())
    lines += zsh_described(group.name, group.summary);
  return lines;
}

// A function for each group, which does for its commands what _perdure does for all.
std::string zsh_groups() {
  std::string functions;
  for (const CommandGroup& group : command_groups()) {
    functions +=
        std::format("_perdure_{0}_commands() {{\n  local -a commands\n  commands=(\n", group.name);
    std::string branches;
    for (const Command& command : command_table()) {
      if (group_of(command) != &group) continue;
      functions += zsh_described(last_word(command), command.summary);
      branches += zsh_branch("        ", command);
    }
    functions += std::format(
        "  )\n  _describe command commands\n}}\n"
        "_perdure_{0}() {{\n"
        "  local state line curcontext=$curcontext\n"
        "  _arguments -C $global '1: :_perdure_{0}_commands' '*::argument:->arguments'\n"
        "  case $state in\n    arguments)\n      case $line[1] in\n{1}      esac ;;\n  esac\n}}\n",
        group.name, branches);
  }
  return functions;
}

std::string zsh_global() {
  std::string lines;
  for (const Option& option : global_options())
    lines += std::format("    {}\n", zsh_option(option));
  return lines;
}

constexpr std::string_view kZsh = R"SH(#compdef perdure
# Completion of perdure for zsh; printed by 'perdure completion zsh'.
_perdure_containers() {
  local -a names
  names=(${(f)"$(perdure __complete containers 2>/dev/null)"})
  compadd -a names
}
_perdure_generations() {
  local -a names
  local word name=
  for word in ${words[2,-1]}; do
    [[ $word == -* ]] || { name=$word; break; }
  done
  names=(${(f)"$(perdure __complete generations $name 2>/dev/null)"})
  compadd -a names
}
_perdure_nodes() {
  local -a names
  names=(${(f)"$(perdure __complete nodes 2>/dev/null)"})
  compadd -a names
}
_perdure_labels() { compadd -S '' -- @LABELS@ }
_perdure_commands() {
  local -a commands
  commands=(
@COMMANDS@  )
  _describe command commands
}
@GROUPS@_perdure() {
  local context state line curcontext=$curcontext
  local -a global
  typeset -A opt_args
  global=(
@GLOBAL@  )
  _arguments -C $global '1: :_perdure_commands' '*::argument:->arguments'
  case $state in
    arguments)
      case $line[1] in
@BRANCHES@      esac ;;
  esac
}
if [[ $funcstack[1] == _perdure ]]; then _perdure "$@"; else compdef _perdure perdure; fi
)SH";

}  // namespace

std::string zsh_script() {
  std::string script(kZsh);
  script = replace_all(std::move(script), "@COMMANDS@", zsh_commands());
  script = replace_all(std::move(script), "@GROUPS@", zsh_groups());
  script = replace_all(std::move(script), "@LABELS@", kKnownLabels);
  script = replace_all(std::move(script), "@GLOBAL@", zsh_global());
  return replace_all(std::move(script), "@BRANCHES@", zsh_branches());
}

}  // namespace perdure::cli
