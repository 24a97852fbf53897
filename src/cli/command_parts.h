// Options and arguments that several commands of the table share. For the table's own files.
#pragma once

#include <array>

#include "cli/command_table.h"

namespace perdure::cli {

inline constexpr Option kJson{kJsonOption, 0, "", ValueKind::kFlag,
                              "Print JSON with stable field names instead of text for people."};
inline constexpr Option kYes{kYesOption, 'y', "", ValueKind::kFlag,
                             "Do not ask; required where there is no terminal to ask on."};
inline constexpr std::array kJsonOnly{kJson};
inline constexpr std::array kYesAndJson{kYes, kJson};
inline constexpr Argument kName{kNameArgument, ValueKind::kContainer, true, "The container."};
inline constexpr std::array kNameOnly{kName};

}  // namespace perdure::cli
