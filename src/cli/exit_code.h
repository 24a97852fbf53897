// The exit codes of `perdure`: one table for the program, its manual and its tests.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "control.pb.h"

namespace perdure::cli {

enum class ExitCode : int {
  kOk = 0,
  kFailure = 1,
  kUsage = 2,
  kUnreachable = 3,
  kNotFound = 4,
  kInvalid = 5,
  kRefused = 6,
  kTimeout = 7,
  kUnprotected = 8,
  kPermission = 9,
  kCorrupt = 10,
};

struct ExitCodeRow {
  ExitCode code;
  std::string_view name;     // stable; in the JSON form of an error
  std::string_view meaning;  // for the manual
};
std::span<const ExitCodeRow> exit_code_table();
std::string_view name_of(ExitCode code);

ExitCode exit_code_of(control::v1::ErrorCode code);
ExitCode exit_code_of(ErrorCode code);

// Why a command did not do what it was asked to.
struct Failure {
  ExitCode code = ExitCode::kFailure;
  std::string message{};              // what happened, to which object; lower case, no full stop
  std::string remedy{};               // what to do; may be empty
  std::vector<std::string> detail{};  // further lines, in order
  // The daemon would do it if the operator agreed (Error CONFIRMATION_REQUIRED): not yet a refusal.
  bool needs_confirmation = false;
};

Failure to_failure(const Error& error);
Failure to_failure(const control::v1::Error& error);

}  // namespace perdure::cli
