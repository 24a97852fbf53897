#include "cli/exit_code.h"

#include <algorithm>
#include <array>

namespace perdure::cli {
namespace {

namespace v1 = control::v1;

constexpr std::array<ExitCodeRow, 11> kTable{{
    {ExitCode::kOk, "ok", "Done."},
    {ExitCode::kFailure, "failure",
     "It failed for a reason that has no code of its own; the message says which."},
    {ExitCode::kUsage, "usage", "The command line is wrong. Nothing was sent to perdured."},
    {ExitCode::kUnreachable, "unreachable",
     "perdured does not run, cannot be reached, or does not speak this program's protocol."},
    {ExitCode::kNotFound, "not_found",
     "There is no such container, node, generation, file or cluster."},
    {ExitCode::kInvalid, "invalid", "What was read breaks a rule: a specification, an archive."},
    {ExitCode::kRefused, "refused",
     "Refused: it exists already, something else holds it, its state forbids it, or it was not "
     "confirmed."},
    {ExitCode::kTimeout, "timeout",
     "A deadline passed. Whether it was done afterwards is not known."},
    {ExitCode::kUnprotected, "unprotected",
     "It was done, but a container is not protected, or (status) something is not as it should be, "
     "or (doctor) none can be protected on this host, or (cluster status) the cluster has no quorum."},
    {ExitCode::kPermission, "permission", "The caller may not do this."},
    {ExitCode::kCorrupt, "corrupt", "Stored data does not verify. It was not used."},
}};

}  // namespace

std::span<const ExitCodeRow> exit_code_table() {
  return kTable;
}

std::string_view name_of(ExitCode code) {
  const auto row = std::ranges::find(kTable, code, &ExitCodeRow::code);
  return row == kTable.end() ? "failure" : row->name;
}

ExitCode exit_code_of(v1::ErrorCode code) {
  switch (code) {
    case v1::ERROR_INVALID:
      return ExitCode::kInvalid;
    case v1::ERROR_NOT_FOUND:
      return ExitCode::kNotFound;
    case v1::ERROR_EXISTS:
    case v1::ERROR_CONFLICT:
    case v1::ERROR_FENCED:
    case v1::ERROR_CONFIRMATION_REQUIRED:
      return ExitCode::kRefused;
    case v1::ERROR_CORRUPT:
      return ExitCode::kCorrupt;
    case v1::ERROR_TIMEOUT:
      return ExitCode::kTimeout;
    case v1::ERROR_PERMISSION:
      return ExitCode::kPermission;
    default:
      return ExitCode::kFailure;
  }
}

ExitCode exit_code_of(ErrorCode code) {
  if (code == ErrorCode::kFenced) return exit_code_of(v1::ERROR_FENCED);
  return exit_code_of(static_cast<v1::ErrorCode>(static_cast<int>(code) + 1));
}

static_assert(static_cast<int>(ErrorCode::kInvalid) + 1 == v1::ERROR_INVALID);
static_assert(static_cast<int>(ErrorCode::kTimeout) + 1 == v1::ERROR_TIMEOUT);
static_assert(static_cast<int>(ErrorCode::kIo) + 1 == v1::ERROR_IO);

Failure to_failure(const Error& error) {
  return Failure{.code = exit_code_of(error.code()), .message = error.message()};
}

Failure to_failure(const v1::Error& error) {
  return Failure{.code = exit_code_of(error.code()),
                 .message = error.message(),
                 .remedy = error.remedy(),
                 .detail = {error.detail().begin(), error.detail().end()},
                 .needs_confirmation = error.code() == v1::ERROR_CONFIRMATION_REQUIRED};
}

}  // namespace perdure::cli
