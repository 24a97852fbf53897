// Completion for fish.
#include <format>

#include "cli/command_table.h"
#include "cli/completion_parts.h"

namespace perdure::cli {
namespace {

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
    case ValueKind::kTiming:
      return "-a 'default fast'";
    case ValueKind::kModelForm:
      return std::format("-a '{}'", kModelForms);
    case ValueKind::kPlanFormat:
      return std::format("-a '{}'", kPlanFormats);
    case ValueKind::kWrittenForm:
      return std::format("-a '{}'", kWrittenForms);
    case ValueKind::kNode:
      return "-a '(perdure __complete nodes 2>/dev/null)'";
    case ValueKind::kLabel:
    case ValueKind::kLabelChange:
      return "-a 'data-centre= rack= server='";
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

// A condition that holds where the command's own name is the next word, and one that holds after
// it.
struct FishConditions {
  std::string before;
  std::string after;
};
FishConditions fish_conditions(const Command& command) {
  const CommandGroup* group = group_of(command);
  if (group == nullptr) {
    return {"__fish_use_subcommand", std::format("'__fish_seen_subcommand_from {}'", command.name)};
  }
  const std::string in_group = std::format("__fish_seen_subcommand_from {}", group->name);
  return {
      std::format("'{}; and not __fish_seen_subcommand_from {}'", in_group, second_words(*group)),
      std::format("'{}; and __fish_seen_subcommand_from {}'", in_group, last_word(command))};
}

std::string fish_command(const Command& command) {
  const auto [before, after] = fish_conditions(command);
  std::string lines = std::format("complete -c perdure -n {} -a {} -d '{}'\n", before,
                                  last_word(command), fish_text(command.summary));
  const std::string condition = " -n " + after;
  for (const Option& option : command.options) lines += fish_option(condition, option);
  for (const Argument& argument : command.arguments) {
    const std::string candidates = argument.kind == ValueKind::kCommand
                                       ? std::format("-a '{}'", first_words())
                                       : std::string(fish_candidates(argument.kind));
    if (!candidates.empty())
      lines += std::format("complete -c perdure{} {}\n", condition, candidates);
  }
  return lines;
}

}  // namespace

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
  for (const CommandGroup& group : command_groups())
    script += std::format("complete -c perdure -n __fish_use_subcommand -a {} -d '{}'\n",
                          group.name, fish_text(group.summary));
  for (const Command& command : command_table()) {
    if (!command.hidden) script += fish_command(command);
  }
  return script;
}

}  // namespace perdure::cli
