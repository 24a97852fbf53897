// What the completion scripts of the shells have in common.
#pragma once

#include <string>
#include <string_view>

#include "cli/command_table.h"

namespace perdure::cli {

bool takes_value(const Option& option);
std::string replace_all(std::string text, std::string_view from, std::string_view to);

// What may be the first word: commands of one word, and groups. Separated by spaces.
std::string first_words();
// What may follow the name of the group.
std::string second_words(const CommandGroup& group);

// The labels that mean something to the placement of standbys.
inline constexpr std::string_view kKnownLabels = "data-centre= rack= server=";

std::string bash_script();
std::string zsh_script();
std::string fish_script();

}  // namespace perdure::cli
