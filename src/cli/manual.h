// The manual: roff for man(1), Markdown for docs/, text for `perdure spec`. Made from the command
// table, the exit codes, the JSON fields, the model's table of keys and what node/usage.h says of
// perdured; nothing is written twice. Pure.
#pragma once

#include <string>
#include <string_view>

#include "cli/text.h"

namespace perdure::cli {

std::string command_manual_roff();      // perdure(1)
std::string spec_manual_roff();         // perdure-spec(5)
std::string application_manual_roff();  // perdure-application(5)
std::string daemon_manual_roff();       // perdured(8)
std::string command_manual_markdown();  // docs/cli.md
std::string spec_reference(const Style& style);
std::string application_reference(const Style& style);

}  // namespace perdure::cli
