// Completion for bash.
#include <format>

#include "cli/command_table.h"
#include "cli/completion_parts.h"

namespace perdure::cli {
namespace {

// The command that puts the candidates for a value into COMPREPLY.
std::string bash_candidates(ValueKind kind) {
  switch (kind) {
    case ValueKind::kFile:
      return "mapfile -t COMPREPLY < <(compgen -f -- \"$cur\"); compopt -o filenames 2>/dev/null";
    case ValueKind::kContainer:
      return "_perdure_offer \"$(_perdure_ask containers)\"";
    case ValueKind::kGeneration:
      return "_perdure_offer \"$(_perdure_ask generations \"$name\")\"";
    case ValueKind::kShell:
      return "_perdure_offer 'bash zsh fish'";
    case ValueKind::kLabVerb:
      return std::format("_perdure_offer '{}'", kLabVerbs);
    case ValueKind::kCommand:
      return std::format("_perdure_offer '{}'", first_words());
    case ValueKind::kTiming:
      return "_perdure_offer 'default fast'";
    case ValueKind::kModelForm:
      return std::format("_perdure_offer '{}'", kModelForms);
    case ValueKind::kPlanFormat:
      return std::format("_perdure_offer '{}'", kPlanFormats);
    case ValueKind::kWrittenForm:
      return std::format("_perdure_offer '{}'", kWrittenForms);
    case ValueKind::kNode:
      return "_perdure_offer \"$(_perdure_ask nodes)\"";
    case ValueKind::kLabel:
    case ValueKind::kLabelChange:
      return std::format("_perdure_offer '{}'; compopt -o nospace 2>/dev/null", kKnownLabels);
    default:
      return ":";
  }
}

std::string bash_pattern(const Option& option) {
  return option.letter == 0 ? std::string(option.name)
                            : std::format("{}|-{}", option.name, option.letter);
}

std::string bash_option_words(const Command* command) {
  std::string words;
  const auto add = [&](std::span<const Option> options) {
    for (const Option& option : options)
      words += std::format("{}{}", words.empty() ? "" : " ", option.name);
  };
  if (command != nullptr) add(command->options);
  add(global_options());
  return words;
}

// Branches "COMMAND:OPTION) candidates ;;" for options with a value.
std::string bash_value_branches() {
  std::string branches;
  for (const Option& option : global_options()) {
    if (takes_value(option))
      branches +=
          std::format("    *:{}) {}; return ;;\n", option.name, bash_candidates(option.kind));
  }
  for (const Command& command : command_table()) {
    for (const Option& option : command.options) {
      if (!takes_value(option)) continue;
      std::string pattern = std::format("'{}:{}'", command.name, option.name);
      if (option.letter != 0) pattern += std::format("|'{}:-{}'", command.name, option.letter);
      branches += std::format("    {}) {}; return ;;\n", pattern, bash_candidates(option.kind));
    }
  }
  return branches;
}

std::string bash_argument_branches() {
  std::string branches;
  for (const Command& command : command_table()) {
    if (command.hidden) continue;
    for (std::size_t i = 0; i < command.arguments.size(); ++i) {
      const Argument& argument = command.arguments[i];
      // The words of a command's name do not all have the same candidates.
      const bool repeats = argument.repeats && argument.kind != ValueKind::kCommand;
      branches += std::format("    '{}:'{}) {} ;;\n", command.name,
                              repeats ? "*" : std::to_string(i), bash_candidates(argument.kind));
    }
  }
  return branches;
}

std::string bash_option_branches() {
  std::string branches;
  for (const Command& command : command_table()) {
    if (!command.hidden)
      branches += std::format("      '{}') _perdure_offer '{}' ;;\n", command.name,
                              bash_option_words(&command));
  }
  return branches + std::format("      *) _perdure_offer '{}' ;;\n", bash_option_words(nullptr));
}

// Branches "GROUP) commands ;;".
std::string bash_group_branches() {
  std::string branches;
  for (const CommandGroup& group : command_groups()) {
    branches += std::format("    {0}:0|'help {0}:1') _perdure_offer '{1}'; return ;;\n", group.name,
                            second_words(group));
  }
  return branches;
}

std::string bash_group_pattern() {
  std::string pattern;
  for (const CommandGroup& group : command_groups())
    pattern += std::format("{}{}", pattern.empty() ? "" : "|", group.name);
  return pattern;
}

// Options whose value is the next word, whatever the command.
std::string bash_value_options() {
  std::string pattern;
  const auto add = [&](std::span<const Option> options) {
    for (const Option& option : options) {
      if (!takes_value(option) || option.name == kSocketOption) continue;
      const std::string own = bash_pattern(option);
      if (!pattern.contains(own)) pattern += (pattern.empty() ? "" : "|") + own;
    }
  };
  add(global_options());
  for (const Command& command : command_table()) add(command.options);
  return pattern;
}

constexpr std::string_view kBash =
    R"SH(# Completion of perdure for bash; printed by 'perdure completion bash'.
_perdure_offer() { mapfile -t COMPREPLY < <(compgen -W "$1" -- "$cur"); }
_perdure_ask() { perdure __complete "$@" ${socket:+--socket "$socket"} 2>/dev/null; }
_perdure() {
  local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD-1]}
  local command='' name='' socket='' option='' arguments=0 i
  COMPREPLY=()
  if [[ $cur == = || $prev == = ]]; then
    [[ $cur == = ]] && cur='' || prev=${COMP_WORDS[COMP_CWORD-2]}
    [[ $prev == -* ]] || return
  fi
  for ((i = 1; i < COMP_CWORD; i++)); do
    case ${COMP_WORDS[i]} in
      =|:) ((++i)) ;;  # Readline takes a word with one of these apart.
      --socket|@VALUE_OPTIONS@)
        option=${COMP_WORDS[i]}
        [[ ${COMP_WORDS[i + 1]} == = ]] && ((++i))
        ((++i))
        [[ $option == --socket ]] && socket=${COMP_WORDS[i]} ;;
      -?*) ;;
      *)
        if [[ -z $command ]]; then
          command=${COMP_WORDS[i]}
        elif [[ $command == @GROUPS@ ]]; then
          command+=" ${COMP_WORDS[i]}"
        else
          ((arguments++ == 0)) && name=${COMP_WORDS[i]}
        fi ;;
    esac
  done
  case $command:$prev in
@VALUES@  esac
  if [[ $cur == -* ]]; then
    case $command in
@OPTIONS@    esac
    return
  fi
  if [[ -z $command ]]; then
    _perdure_offer '@COMMANDS@'
    return
  fi
  case $command${name:+ $name}:$arguments in
@GROUP_BRANCHES@  esac
  case $command:$arguments in
@ARGUMENTS@  esac
}
complete -F _perdure perdure
)SH";

}  // namespace

std::string bash_script() {
  std::string script(kBash);
  script = replace_all(std::move(script), "@VALUE_OPTIONS@", bash_value_options());
  script = replace_all(std::move(script), "@VALUES@", bash_value_branches());
  script = replace_all(std::move(script), "@OPTIONS@", bash_option_branches());
  script = replace_all(std::move(script), "@COMMANDS@", first_words());
  script = replace_all(std::move(script), "@GROUPS@", std::format("@({})", bash_group_pattern()));
  script = replace_all(std::move(script), "@GROUP_BRANCHES@", bash_group_branches());
  return replace_all(std::move(script), "@ARGUMENTS@", bash_argument_branches());
}

}  // namespace perdure::cli
