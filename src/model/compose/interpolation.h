// Variables in the values of a Compose file and of a .env file: `$VAR`, `${VAR}`, `${VAR:-default}` and so on. Private to
// this room. Source: Compose specification, 12-interpolation.
#pragma once

#include <functional>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/result.h"

namespace perdure::model::compose {

using Variables = std::map<std::string, std::string, std::less<>>;

struct Interpolated {
  std::string text{};
  std::vector<std::string> unset{};  // variables without a value and a default, for which nothing stands
};

// kInvalid: what is wrong with the text and what to write, or what `:?` says. Bounded: nested at most 8 deep, a result of at most
// 256 KiB.
Result<Interpolated> interpolate(std::string_view text, const Variables& variables);

// The text of a .env file or of an env_file over `variables`, which may be named in it: NAME=VALUE lines, `export`, comments, values in
// single quotes (as they stand) and in double quotes (escapes, variables, several lines). nullopt: a name without a value,
// which is that of `variables` if there is one. kInvalid: "LINE: what is wrong".
using EnvironmentFile = std::vector<std::pair<std::string, std::optional<std::string>>>;
Result<EnvironmentFile> parse_environment_file(std::string_view text, const Variables& variables);

}  // namespace perdure::model::compose
