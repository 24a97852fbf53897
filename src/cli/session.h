// One conversation with perdured: a request, its progress, its final answer.
#pragma once

#include <expected>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "base/clock.h"
#include "cli/command_table.h"
#include "cli/exit_code.h"
#include "cli/terminal.h"
#include "cli/transport.h"

namespace perdure::cli {

template <typename T>
using Outcome = std::expected<T, Failure>;

// After so long a command says what it is doing.
inline constexpr Duration kQuietTime = std::chrono::seconds(1);
// How often the progress line on a terminal is rewritten.
inline constexpr Duration kProgressTick = std::chrono::milliseconds(200);

struct CallOptions {
  control::v1::Response::BodyCase final =
      control::v1::Response::BODY_NOT_SET;  // what must come at last
  std::optional<Duration> silence;  // longest wait for a frame; nothing: any (a followed stream)
  // For LogChunk and Event frames. An error ends the call: the reader of our output is gone.
  std::function<Status(const control::v1::Response&)> on_stream;
  // Questions of the daemon; not set: the answer is no.
  std::function<bool(const control::v1::Question&)> on_question;
  int fd = -1;
  std::string doing;  // for the progress line: "restore web"
  std::string
      unknown;  // appended if the connection is lost: what to look at to know whether it was done
};

class Session {
 public:
  Session(Connector& connector, Terminal& terminal, const Clock& clock)
      : connector_(connector), terminal_(terminal), clock_(clock) {}

  // Connects on the first call; id and client version are filled in. The response is of the kind
  // `final`.
  Outcome<control::v1::Response> call(control::v1::Request request, const CallOptions& options);

 private:
  Outcome<void> connect(Duration timeout);
  Outcome<control::v1::Response> receive_final(std::uint64_t id, const CallOptions& options);
  Status answer(std::uint64_t id, const control::v1::Question& question,
                const CallOptions& options);
  Failure lost(const Error& error, const CallOptions& options) const;

  Connector& connector_;
  Terminal& terminal_;
  const Clock& clock_;
  std::unique_ptr<Connection> connection_;
  std::uint64_t last_id_ = 0;
};

// Why no connection was made, and how to start perdured.
Failure unreachable(const std::string& where, const Error& error);

}  // namespace perdure::cli
