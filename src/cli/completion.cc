#include "cli/completion.h"

#include "base/assert.h"
#include "cli/completion_parts.h"

namespace perdure::cli {
namespace {

std::string appended(std::string list, std::string_view item) {
  if (!list.empty()) list += ' ';
  return list += item;
}

}  // namespace

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

std::string first_words() {
  std::string words;
  for (const Command& command : command_table()) {
    if (!command.hidden && group_of(command) == nullptr)
      words = appended(std::move(words), command.name);
  }
  for (const CommandGroup& group : command_groups()) words = appended(std::move(words), group.name);
  return words;
}

std::string second_words(const CommandGroup& group) {
  std::string words;
  for (const Command& command : command_table()) {
    if (group_of(command) == &group) words = appended(std::move(words), last_word(command));
  }
  return words;
}

std::string completion_script(std::string_view shell) {
  if (shell == "bash") return bash_script();
  if (shell == "zsh") return zsh_script();
  PERDURE_ASSERT(shell == "fish");
  return fish_script();
}

}  // namespace perdure::cli
