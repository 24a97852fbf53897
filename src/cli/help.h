// --help, from the command table. Pure.
#pragma once

#include <string>

#include "cli/invocation.h"
#include "cli/text.h"

namespace perdure::cli {

std::string program_help(const Style& style);
std::string command_help(const Command& command, const Style& style);
std::string group_help(const CommandGroup& group, const Style& style);
std::string help_of(const Topic& topic, const Style& style);

// "perdure logs [OPTION...] NAME"
std::string usage_of(const Command& command);
// "-f, --follow", "-n, --tail N"
std::string option_title(const Option& option);

// A description's paragraphs.
std::vector<std::string_view> paragraphs_of(std::string_view description);

}  // namespace perdure::cli
