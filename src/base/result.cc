#include "base/result.h"

#include <cerrno>
#include <cstring>
#include <format>

namespace perdure {

std::string_view to_string(ErrorCode code) {
  switch (code) {
    case ErrorCode::kInvalid: return "invalid";
    case ErrorCode::kNotFound: return "not-found";
    case ErrorCode::kExists: return "exists";
    case ErrorCode::kConflict: return "conflict";
    case ErrorCode::kUnsupported: return "unsupported";
    case ErrorCode::kCorrupt: return "corrupt";
    case ErrorCode::kNoSpace: return "no-space";
    case ErrorCode::kTimeout: return "timeout";
    case ErrorCode::kTransient: return "transient";
    case ErrorCode::kPermission: return "permission";
    case ErrorCode::kCancelled: return "cancelled";
    case ErrorCode::kIo: return "io";
    case ErrorCode::kFenced: return "fenced";
  }
  return "unknown";
}

namespace {

ErrorCode code_of(int error_number) {
  switch (error_number) {
    case ENOSPC:
    case EDQUOT: return ErrorCode::kNoSpace;
    case ENOENT:
    case ESRCH: return ErrorCode::kNotFound;
    case EEXIST: return ErrorCode::kExists;
    case EACCES:
    case EPERM: return ErrorCode::kPermission;
    case EINTR:
    case EAGAIN: return ErrorCode::kTransient;
    default: return ErrorCode::kIo;
  }
}

}  // namespace

Error Error::from_errno(std::string_view what, int error_number) {
  char buffer[128];
  const char* text = strerror_r(error_number, buffer, sizeof buffer);
  return Error(code_of(error_number), std::format("{}: {}", what, text));
}

Error Error::last_errno(std::string_view what) { return from_errno(what, errno); }

Error Error::context(std::string_view context) const& {
  return Error(code_, std::format("{}: {}", context, message_));
}

Error Error::context(std::string_view context) && {
  return Error(code_, std::format("{}: {}", context, message_));
}

std::unexpected<Error> fail_errno(std::string_view what) {
  return std::unexpected<Error>(Error::last_errno(what));
}

}  // namespace perdure
