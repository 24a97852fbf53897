// Where a command writes and asks: the process's standard streams, or a test's strings.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "base/clock.h"
#include "base/result.h"
#include "cli/text.h"

namespace perdure::cli {

class Terminal {
 public:
  virtual ~Terminal() = default;
  // Standard output, at once and whole: a reader of a stream sees each line when it happens. An
  // error (a full disk, a closed pipe) makes the command fail.
  virtual Status out(std::string_view text) = 0;
  virtual void err(
      std::string_view text) = 0;  // standard error; what cannot be written there is lost

  virtual bool out_is_terminal() const = 0;
  virtual bool err_is_terminal() const = 0;
  virtual bool can_ask() const = 0;  // standard input and error are terminals
  virtual Style style() const = 0;   // of standard output
  virtual int err_width() const = 0;

  // Prints the question on standard error and reads a line; nothing at the end of input or of
  // `limit`.
  virtual std::optional<std::string> ask(std::string_view question,
                                         std::optional<Duration> limit) = 0;
};

// Reads COLUMNS, NO_COLOR and TERM once.
std::unique_ptr<Terminal> make_process_terminal();

}  // namespace perdure::cli
