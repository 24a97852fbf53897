// Fields of /proc/PID/status (proc_pid_status(5)).
#pragma once

#include <sys/types.h>

#include <string>
#include <string_view>

#include "base/result.h"

namespace perdure {

// The last word of the field: of "NSpid" the number that the process has in its innermost PID namespace. The error
// of read_file when the process is gone; kUnsupported: no such field.
Result<std::string> process_status_word(pid_t pid, std::string_view field);

}  // namespace perdure
