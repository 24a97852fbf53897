// Cuts the chunks of a container's log into lines.
#pragma once

#include <array>
#include <vector>

#include "cli/json_output.h"

namespace perdure::cli {

// A line that is longer is given in pieces: the container decides how long lines are, not our
// memory.
inline constexpr std::size_t kMaxLogLineBytes = std::size_t{64} << 10;

class LogLines {
 public:
  // The lines that the chunk ends. What is left of it waits for the next chunk of the same stream.
  std::vector<LogLine> add(const control::v1::LogChunk& chunk);
  // What waits, as incomplete lines.
  std::vector<LogLine> finish();

 private:
  std::array<LogLine, 3> waiting_;  // by stream
};

}  // namespace perdure::cli
