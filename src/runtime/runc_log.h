// What runc says when it fails.
#pragma once

#include <string>
#include <string_view>

namespace perdure::runtime {

// The messages of the last error lines of a log in runc's text format (logrus:
// `time="…" level=error msg="…"`), joined by "; "; else the last line; else "no reason given".
std::string last_runc_errors(std::string_view log);

}  // namespace perdure::runtime
