#include "base/process_status.h"

#include <format>

#include "base/fd.h"

namespace perdure {

Result<std::string> process_status_word(pid_t pid, std::string_view field) {
  PERDURE_ASSIGN(const std::string status, read_file(std::format("/proc/{}/status", pid)));
  const auto at = status.find(std::format("\n{}:", field));
  if (at == std::string::npos) {
    return fail(ErrorCode::kUnsupported, std::format("status of process {} has no field {}", pid, field));
  }
  const std::string line = status.substr(at + 1, status.find('\n', at + 1) - at - 1);
  return line.substr(line.find_last_of(" \t") + 1);
}

}  // namespace perdure
