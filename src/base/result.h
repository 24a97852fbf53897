// Result and Error: how every fallible function of Perdure reports.
//
// A Result<T> holds a value or an Error. An Error is a code, a message and a chain of contexts. A code
// exists only because some caller reacts to it; everything else is the message's work: it names the
// object and both ends, in lower case without a full stop, and says what to do where the user can.
#pragma once

#include <expected>
#include <string>
#include <string_view>
#include <utility>

namespace perdure {

enum class ErrorCode {
  kInvalid,      // input from outside breaks a rule; trying again is useless
  kNotFound,     // the named object does not exist
  kExists,       // the named object exists already
  kConflict,     // another holder has it (address, name, lock)
  kUnsupported,  // this host, kernel or CRIU cannot do it
  kCorrupt,      // stored or received data does not verify: use the generation before
  kNoSpace,      // disk or memory budget is exhausted
  kTimeout,      // a deadline passed
  kTransient,    // the same call may succeed later without any change
  kPermission,   // the caller may not
  kCancelled,    // somebody asked to stop
  kIo,           // the operating system refused; the message says what
  kFenced,       // a higher term is known: who asked is no owner any more; it must read the record
};

std::string_view to_string(ErrorCode code);

class [[nodiscard]] Error {
 public:
  Error(ErrorCode code, std::string message) : code_(code), message_(std::move(message)) {}

  // From errno: "WHAT: strerror". ENOSPC, EDQUOT -> kNoSpace; ENOENT -> kNotFound; EEXIST -> kExists;
  // EACCES, EPERM -> kPermission; EINTR, EAGAIN -> kTransient; everything else kIo.
  static Error from_errno(std::string_view what, int error_number);
  static Error last_errno(std::string_view what);

  ErrorCode code() const { return code_; }
  const std::string& message() const { return message_; }

  // Puts "CONTEXT: " before the message; the code stays.
  Error context(std::string_view context) const&;
  Error context(std::string_view context) &&;

 private:
  ErrorCode code_;
  std::string message_;
};

template <typename T>
using Result = std::expected<T, Error>;
using Status = Result<void>;

inline std::unexpected<Error> fail(ErrorCode code, std::string message) {
  return std::unexpected<Error>(Error(code, std::move(message)));
}
inline std::unexpected<Error> fail(Error error) { return std::unexpected<Error>(std::move(error)); }
std::unexpected<Error> fail_errno(std::string_view what);

}  // namespace perdure

#define PERDURE_CONCAT_INNER(a, b) a##b
#define PERDURE_CONCAT(a, b) PERDURE_CONCAT_INNER(a, b)

// PERDURE_TRY(expr): returns the error of a Status or Result from the calling function.
#define PERDURE_TRY(...)                                                        \
  do {                                                                          \
    if (auto perdure_try_result = (__VA_ARGS__); !perdure_try_result.has_value()) \
      return std::unexpected<::perdure::Error>(std::move(perdure_try_result).error()); \
  } while (false)

// PERDURE_ASSIGN(auto x, expr): x = the value, or returns the error from the calling function.
#define PERDURE_ASSIGN(declaration, ...)                                                       \
  PERDURE_ASSIGN_INNER(PERDURE_CONCAT(perdure_result_, __LINE__), declaration, __VA_ARGS__)
#define PERDURE_ASSIGN_INNER(name, declaration, ...)                                           \
  auto name = (__VA_ARGS__);                                                                   \
  if (!name.has_value()) return std::unexpected<::perdure::Error>(std::move(name).error());    \
  declaration = std::move(name).value()
