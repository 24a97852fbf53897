#include "cli/completion.h"

#include <format>

#include "base/assert.h"
#include "cli/command_table.h"

namespace perdure::cli {
namespace {

bool takes_value(const Option& option) {
  return option.kind != ValueKind::kFlag;
}

std::string replace_all(std::string text, std::string_view from, std::string_view to) {
  for (std::size_t at = text.find(from); at != std::string::npos;
       at = text.find(from, at + to.size())) {
    text.replace(at, from.size(), to);
  }
  return text;
}

std::string visible_commands(std::string_view separator) {
  std::string names;
  for (const Command& command : command_table()) {
    if (!command.hidden) names += std::format("{}{}", names.empty() ? "" : separator, command.name);
  }
  return names;
}

// --- bash ----------------------------------------------------------------------------------------

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
      return std::format("_perdure_offer '{}'", visible_commands(" "));
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
      std::string pattern = std::format("{}:{}", command.name, option.name);
      if (option.letter != 0) pattern += std::format("|{}:-{}", command.name, option.letter);
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
      branches += std::format("    {}:{}) {} ;;\n", command.name, i,
                              bash_candidates(command.arguments[i].kind));
    }
  }
  return branches;
}

std::string bash_option_branches() {
  std::string branches;
  for (const Command& command : command_table()) {
    if (!command.hidden)
      branches += std::format("      {}) _perdure_offer '{}' ;;\n", command.name,
                              bash_option_words(&command));
  }
  return branches + std::format("      *) _perdure_offer '{}' ;;\n", bash_option_words(nullptr));
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
  local command='' name='' socket='' arguments=0 i
  COMPREPLY=()
  for ((i = 1; i < COMP_CWORD; i++)); do
    case ${COMP_WORDS[i]} in
      --socket) socket=${COMP_WORDS[++i]} ;;
      @VALUE_OPTIONS@) ((++i)) ;;
      -?*) ;;
      *)
        if [[ -z $command ]]; then
          command=${COMP_WORDS[i]}
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
  case $command:$arguments in
@ARGUMENTS@  esac
}
complete -F _perdure perdure
)SH";

std::string bash_script() {
  std::string script(kBash);
  script = replace_all(std::move(script), "@VALUE_OPTIONS@", bash_value_options());
  script = replace_all(std::move(script), "@VALUES@", bash_value_branches());
  script = replace_all(std::move(script), "@OPTIONS@", bash_option_branches());
  script = replace_all(std::move(script), "@COMMANDS@", visible_commands(" "));
  return replace_all(std::move(script), "@ARGUMENTS@", bash_argument_branches());
}

// --- zsh -----------------------------------------------------------------------------------------

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
    default:
      return " ";
  }
}

std::string zsh_option(const Option& option) {
  const std::string text = std::format("[{}]", zsh_text(option.help));
  const std::string value =
      takes_value(option) ? std::format(":{}:{}", option.value, zsh_action(option.kind)) : "";
  if (option.letter == 0) return std::format("'{}{}{}'", option.name, text, value);
  return std::format("'(-{0} {1})'{{-{0},{1}}}'{2}{3}'", option.letter, option.name, text, value);
}

std::string zsh_branches() {
  std::string branches;
  for (const Command& command : command_table()) {
    if (command.hidden) continue;
    branches += std::format("        {}) _arguments $global", command.name);
    for (const Option& option : command.options) branches += " \\\n          " + zsh_option(option);
    std::size_t index = 0;
    for (const Argument& argument : command.arguments) {
      branches += std::format(" \\\n          '{}:{}:{}'", ++index, argument.name,
                              zsh_action(argument.kind));
    }
    branches += " ;;\n";
  }
  return branches;
}

std::string zsh_commands() {
  std::string lines;
  for (const Command& command : command_table()) {
    if (!command.hidden)
      lines += std::format("    '{}:{}'\n", command.name, zsh_text(command.summary));
  }
  return lines;
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
_perdure_commands() {
  local -a commands
  commands=(
@COMMANDS@  )
  _describe command commands
}
_perdure() {
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

std::string zsh_script() {
  std::string script(kZsh);
  script = replace_all(std::move(script), "@COMMANDS@", zsh_commands());
  script = replace_all(std::move(script), "@GLOBAL@", zsh_global());
  return replace_all(std::move(script), "@BRANCHES@", zsh_branches());
}

// --- fish ----------------------------------------------------------------------------------------

std::string fish_text(std::string_view text) {
  return replace_all(replace_all(std::string(text), "\\", "\\\\"), "'", "\\'");
}

std::string fish_candidates(ValueKind kind) {
  switch (kind) {
    case ValueKind::kFile:
      return "-F";
    case ValueKind::kContainer:
      return "-a '(perdure __complete containers 2>/dev/null)'";
    case ValueKind::kGeneration:
      return "-a '(__perdure_generations)'";
    case ValueKind::kShell:
      return "-a 'bash zsh fish'";
    case ValueKind::kLabVerb:
      return std::format("-a '{}'", kLabVerbs);
    default:
      return "";
  }
}

std::string fish_option(std::string_view condition, const Option& option) {
  std::string line = std::format("complete -c perdure{} -l {}", condition, option.name.substr(2));
  if (option.letter != 0) line += std::format(" -s {}", option.letter);
  // -x: the value is required and no file is offered for it.
  if (takes_value(option))
    line += std::format(" {} {}", option.kind == ValueKind::kFile ? "-r" : "-x",
                        fish_candidates(option.kind));
  return line + std::format(" -d '{}'\n", fish_text(option.help));
}

std::string fish_script() {
  std::string script =
      "# Completion of perdure for fish; printed by 'perdure completion fish'.\n"
      "function __perdure_generations\n"
      "    set -l words (commandline -opc)\n"
      "    for word in $words[3..-1]\n"
      "        string match -q -- '-*' $word; or begin; perdure __complete generations $word "
      "2>/dev/null; return; end\n"
      "    end\n"
      "end\n"
      "complete -c perdure -f\n";
  for (const Option& option : global_options()) script += fish_option("", option);
  for (const Command& command : command_table()) {
    if (command.hidden) continue;
    script += std::format("complete -c perdure -n __fish_use_subcommand -a {} -d '{}'\n",
                          command.name, fish_text(command.summary));
    const std::string condition = std::format(" -n '__fish_seen_subcommand_from {}'", command.name);
    for (const Option& option : command.options) script += fish_option(condition, option);
    for (const Argument& argument : command.arguments) {
      const std::string candidates = argument.kind == ValueKind::kCommand
                                         ? std::format("-a '{}'", visible_commands(" "))
                                         : std::string(fish_candidates(argument.kind));
      if (!candidates.empty())
        script += std::format("complete -c perdure{} {}\n", condition, candidates);
    }
  }
  return script;
}

}  // namespace

std::string completion_script(std::string_view shell) {
  if (shell == "bash") return bash_script();
  if (shell == "zsh") return zsh_script();
  PERDURE_ASSERT(shell == "fish");
  return fish_script();
}

}  // namespace perdure::cli
