// Golden tests that a person can read (after etcd-io/raft's datadriven tests). Test code only.
//
// A file is a row of cases, divided by empty lines; a line that begins with '#' is a comment:
//   input, one or more lines
//   ----
//   expected output, until the empty line
// With PERDURE_REWRITE_GOLDEN=1 in the environment the expectations are written instead of
// compared: read the difference before you commit it.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "policy/generations.h"

namespace perdure::policy {

// Calls `answer` with the input of each case, in the file's order, and compares. Fails the test at
// the line of the case. An empty or missing file fails.
void run_golden_file(const std::string& path,
                     const std::function<std::string(const std::vector<std::string>&)>& answer);

std::vector<std::string> split(const std::string& text, char separator);

// "1,2,3p,4s,5<4": generations 1.1.N, committed and complete; p provisional, s suspect, c corrupt,
// a abandoned, d durable; <N is a delta's parent, @N another term. A malformed one fails the test.
std::vector<GenerationInfo> parse_generations(const std::string& text);
Generation generation(std::uint64_t number);  // 1.1.N

}  // namespace perdure::policy
