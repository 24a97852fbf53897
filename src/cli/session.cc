#include "cli/session.h"

#include <algorithm>
#include <format>

#include "cli/program.h"

namespace perdure::cli {
namespace {

namespace v1 = control::v1;

// Without a silence limit the wait is cut into pieces, so that the progress line moves.
constexpr Duration kLongWait = std::chrono::hours(1);

// Says what is going on once a command takes longer than kQuietTime: one line that is rewritten on
// a terminal, a line for each new stage elsewhere. Destroying it removes the line from the
// terminal.
class ProgressLine {
 public:
  ProgressLine(Terminal& terminal, const Clock& clock, std::string doing)
      : terminal_(terminal), clock_(clock), start_(clock.now()), doing_(std::move(doing)) {}
  ~ProgressLine() { clear(); }
  ProgressLine(const ProgressLine&) = delete;
  ProgressLine& operator=(const ProgressLine&) = delete;

  void set(const v1::Progress& progress) {
    text_ = clean(progress.text().empty() ? progress.stage() : progress.text());
    if (progress.has_fraction())
      text_ += std::format(" ({:.0f} %)", std::clamp(progress.fraction(), 0.0, 1.0) * 100);
    const bool new_stage = progress.stage() != stage_;
    stage_ = progress.stage();
    if (terminal_.err_is_terminal()) return show();
    pending_ = pending_ || new_stage;
    show_plain();
  }

  void tick() {
    if (terminal_.err_is_terminal()) return show();
    show_plain();
  }

  void clear() {
    if (!shown_) return;
    terminal_.err("\r\x1b[K");
    shown_ = false;
  }

 private:
  bool due() const { return !doing_.empty() && clock_.now() - start_ >= kQuietTime; }

  std::string line() const {
    const auto seconds = std::chrono::duration_cast<std::chrono::seconds>(clock_.now() - start_);
    return text_.empty()
               ? std::format("{}: waiting for perdured, {}", doing_, format_duration(seconds))
               : std::format("{}: {}, {}", doing_, text_, format_duration(seconds));
  }
  void show() {
    if (!due()) return;
    terminal_.err("\r" + shorten(line(), std::max(terminal_.err_width() - 1, kMinimumWidth)) +
                  "\x1b[K");
    shown_ = true;
  }
  void show_plain() {
    if (!due() || !pending_) return;
    terminal_.err(line() + "\n");
    pending_ = false;
  }

  Terminal& terminal_;
  const Clock& clock_;
  const Instant start_;
  const std::string doing_;
  std::string stage_;
  std::string text_;
  bool shown_ = false;
  bool pending_ = true;  // a stage that has not been told yet
};

bool is_stream(const v1::Response& response) {
  return response.body_case() == v1::Response::kLog || response.body_case() == v1::Response::kEvent;
}

Failure not_understood(std::string_view what) {
  return Failure{
      .code = ExitCode::kUnreachable,
      .message = std::format("perdured's answer was not understood: {}", what),
      .remedy = "compare the versions: 'perdure version'; restart perdured after an upgrade"};
}

}  // namespace

Failure unreachable(const std::string& where, const Error& error) {
  Failure failure{.code = ExitCode::kUnreachable};
  if (error.code() == ErrorCode::kPermission) {
    failure.code = ExitCode::kPermission;
    failure.message = std::format("may not connect to perdured at {}", where);
    failure.remedy = "run as root, or join the group that owns the socket";
    return failure;
  }
  if (error.code() == ErrorCode::kNotFound || error.code() == ErrorCode::kTransient) {
    failure.message =
        std::format("perdured does not run: {} at {}",
                    error.code() == ErrorCode::kNotFound ? "no socket" : "nobody listens", where);
  } else {
    failure.message = std::format("cannot reach perdured at {}: {}", where, error.message());
  }
  failure.remedy =
      "start it: 'systemctl start perdured', or 'perdured' as root; another socket: --socket PATH";
  return failure;
}

Outcome<void> Session::connect(Duration timeout) {
  if (connection_) return {};
  auto connected = connector_.connect(timeout);
  if (!connected) return std::unexpected(unreachable(connector_.where(), connected.error()));
  connection_ = std::move(*connected);
  return {};
}

Failure Session::lost(const Error& error, const CallOptions& options) const {
  if (error.code() == ErrorCode::kInvalid) return not_understood(error.message());
  Failure failure{
      .code = ExitCode::kUnreachable,
      .message = std::format("perdured at {} closed the connection before it answered ({})",
                             connector_.where(), error.message()),
      .remedy = options.unknown};
  if (error.code() == ErrorCode::kTimeout) {
    failure.code = ExitCode::kTimeout;
    failure.message = std::format("perdured at {} has not answered for {}", connector_.where(),
                                  format_duration(options.silence.value_or(kLongWait)));
    if (failure.remedy.empty())
      failure.remedy = "look at perdured's log; wait longer: --timeout DURATION";
  }
  return failure;
}

Outcome<v1::Response> Session::call(v1::Request request, const CallOptions& options) {
  const Duration limit = options.silence.value_or(kReadSilence);
  if (auto connected = connect(limit); !connected) return std::unexpected(connected.error());
  request.set_id(++last_id_);
  request.set_client_version(std::string(kProgramVersion));
  if (auto sent = connection_->send(request, options.fd, limit); !sent) {
    return std::unexpected(lost(sent.error(), options));
  }
  return receive_final(last_id_, options);
}

Status Session::answer(std::uint64_t id, const v1::Question& question, const CallOptions& options) {
  v1::Request request;
  request.set_id(++last_id_);
  request.mutable_answer()->set_request_id(id);
  request.mutable_answer()->set_question(question.question());
  request.mutable_answer()->set_yes(options.on_question && options.on_question(question));
  return connection_->send(request, -1, options.silence.value_or(kReadSilence));
}

Outcome<v1::Response> Session::receive_final(std::uint64_t id, const CallOptions& options) {
  ProgressLine progress(terminal_, clock_, options.doing);
  const Duration tick = options.doing.empty() ? kLongWait : kProgressTick;
  Instant last_frame = clock_.now();
  for (;;) {
    const Duration left =
        options.silence ? last_frame + *options.silence - clock_.now() : kLongWait;
    auto received = connection_->receive(std::clamp<Duration>(left, Duration::zero(), tick));
    if (!received) {
      const bool patient = !options.silence || clock_.now() - last_frame < *options.silence;
      if (received.error().code() != ErrorCode::kTimeout || !patient) {
        return std::unexpected(lost(received.error(), options));
      }
      progress.tick();
      continue;
    }
    last_frame = clock_.now();
    const bool about_frame = received->id() == 0 && received->has_error();
    if (received->id() != id && !about_frame)
      return std::unexpected(not_understood("it is for another request"));
    if (received->has_progress()) {
      progress.set(received->progress());
    } else if (received->has_question()) {
      progress.clear();
      if (Status sent = answer(id, received->question(), options); !sent)
        return std::unexpected(lost(sent.error(), options));
      last_frame = clock_.now();
    } else if (is_stream(*received) && options.on_stream) {
      if (Status taken = options.on_stream(*received); !taken)
        return std::unexpected(to_failure(taken.error()));
    } else if (received->has_error()) {
      return std::unexpected(to_failure(received->error()));
    } else if (received->body_case() == options.final) {
      return std::move(*received);
    } else {
      return std::unexpected(not_understood("it is of an unexpected kind"));
    }
  }
}

}  // namespace perdure::cli
