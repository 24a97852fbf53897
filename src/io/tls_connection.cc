#include "io/tls_connection.h"

#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <atomic>
#include <format>
#include <utility>

#include "io/tls_socket.h"

namespace perdure::io {

namespace {

constexpr char kProtocolVersion = 1;
constexpr std::size_t kMaxRefusalBytes = 512;
// How long the end of a peer is awaited to whom all has been said.
constexpr Duration kLingerTime = std::chrono::seconds(2);
// Thrown away, or of a handshake, before others have their turn.
constexpr std::size_t kOtherBytesPerTurn = std::size_t{64} << 10;

TlsConnectionId next_connection_id() {
  static std::atomic<TlsConnectionId> last = 0;  // unique within the process: loops on several threads
  return ++last;
}

}  // namespace

TlsConnectionImpl::TlsConnectionImpl(Loop& loop, TlsConnectionOwner& owner, UniqueFd socket,
                                     TlsConnectionOptions options, std::shared_ptr<const TlsHandlers> handlers)
    : loop_(loop),
      owner_(&owner),
      id_(next_connection_id()),
      options_(std::move(options)),
      handlers_(std::move(handlers)),
      socket_(std::move(socket)),
      reader_(1 + kMaxRefusalBytes) {}

Result<std::shared_ptr<TlsConnectionImpl>> TlsConnectionImpl::start(Loop& loop, TlsConnectionOwner& owner,
                                                                    UniqueFd socket, TlsConnectionOptions options,
                                                                    std::shared_ptr<const TlsContextImpl> context,
                                                                    std::shared_ptr<const TlsHandlers> handlers) {
  tune_connection(socket.get(), options.stall_time);
  std::shared_ptr<TlsConnectionImpl> connection(
      new TlsConnectionImpl(loop, owner, std::move(socket), std::move(options), std::move(handlers)));
  TlsConnectionImpl* const self = connection.get();
  const int fd = self->socket_.get();
  PERDURE_ASSIGN(self->session_,
                 TlsSession::create(std::move(context), self->options_.role, fd, self->options_.peer_address));
  // A client speaks first, and its new socket is writable.
  self->handshake_wait_ = self->options_.role == TlsRole::kClient ? TlsStep::Wait::kWrite : TlsStep::Wait::kRead;
  self->events_ = self->options_.role == TlsRole::kClient ? POLLOUT : POLLIN;
  PERDURE_ASSIGN(self->watch_, loop.watch(fd, self->events_, [self](short event) { self->on_ready(event); }));
  self->deadline_ = loop.after(self->options_.handshake_time, [self] { self->on_deadline(); });
  return connection;
}

void TlsConnectionImpl::end() {
  if (phase_ == Phase::kClosed) return;
  phase_ = Phase::kClosed;
  owner_ = nullptr;
  session_->say_end();
  watch_.reset();
  deadline_.reset();
  receive_deadline_.reset();
  send_deadline_.reset();
  writer_.clear();
  socket_.reset();
  handlers_.reset();
}

void TlsConnectionImpl::report(const Error& why) {
  if (std::exchange(reported_, true)) return;
  if (phase_ == Phase::kHandshake || phase_ == Phase::kGreeting) {
    owner_->refused(peer(), why);
  } else {
    owner_->closed(id_, peer(), why);
  }
}

void TlsConnectionImpl::fail_with(const Error& why) {
  if (phase_ == Phase::kClosed) return;
  const std::shared_ptr<TlsConnectionImpl> keep = shared_from_this();
  report(why);
  if (phase_ == Phase::kClosed) return;  // the owner has gone
  TlsConnectionOwner& owner = *owner_;
  end();
  owner.release(id_);
  loop_.post([keep] {});  // who has just called close() may still hold the reference
}

void TlsConnectionImpl::update_events() {
  int events = 0;
  switch (phase_) {
    case Phase::kHandshake:
      events = handshake_wait_ == TlsStep::Wait::kWrite ? POLLOUT : POLLIN;
      if (session_->unsent_bytes() > 0) events |= POLLOUT;
      break;
    case Phase::kGreeting:
    case Phase::kOpen:
      if (wants_frames() && !read_needs_write_) events |= POLLIN;
      if ((!all_sent() && !broken_) || read_needs_write_) events |= POLLOUT;
      break;
    case Phase::kFinishing:
      events = POLLOUT;
      break;
    case Phase::kLingering:
      events = POLLIN;
      break;
    case Phase::kClosed:
      return;
  }
  if (events == events_) return;
  events_ = static_cast<short>(events);
  watch_.set_events(events_);
}

void TlsConnectionImpl::on_ready(short event) {
  const std::shared_ptr<TlsConnectionImpl> keep = shared_from_this();
  switch (phase_) {
    case Phase::kHandshake:
      return shake_hands();
    case Phase::kGreeting:
    case Phase::kOpen:
    case Phase::kFinishing: {
      if (event == POLLIN) return read_turn();
      const bool read_too = std::exchange(read_needs_write_, false);
      write_turn();
      if (read_too && phase_ != Phase::kClosed) read_turn();
      return;
    }
    case Phase::kLingering:
      if (!discard_input(socket_.get(), kOtherBytesPerTurn)) fail_with(Error(ErrorCode::kCancelled, "closed"));
      return;
    case Phase::kClosed:
      return;
  }
}

void TlsConnectionImpl::on_deadline() {
  const std::shared_ptr<TlsConnectionImpl> keep = shared_from_this();
  if (phase_ == Phase::kLingering) return fail_with(Error(ErrorCode::kCancelled, "closed"));
  on_ready(POLLIN);  // a busy loop: what has come in time counts
  if (phase_ != Phase::kHandshake && phase_ != Phase::kGreeting) return;
  fail_with(Error(ErrorCode::kTimeout, std::format("handshake with {}: not finished within {}", describe(peer()),
                                                   format_duration(options_.handshake_time))));
}

void TlsConnectionImpl::shake_hands() {
  session_->begin_turn(kOtherBytesPerTurn);
  // An error shows up below, behind what the peer may have said before.
  [[maybe_unused]] const Result<TlsStep> flushed = session_->flush();
  const Result<TlsStep> step = session_->handshake();
  if (!step) {
    report(step.error());
    // The alert is on its way; closing at once might overtake it.
    if (phase_ != Phase::kClosed) linger();
    return;
  }
  if (step->wait == TlsStep::Wait::kEnd) {
    // To a client that means: try again; a server has nobody to try.
    const auto code = options_.role == TlsRole::kClient ? ErrorCode::kTransient : ErrorCode::kCancelled;
    return fail_with(Error(code, std::format("{} closed during the handshake", describe(peer()))));
  }
  if (step->wait == TlsStep::Wait::kNone) return greet();
  handshake_wait_ = step->wait;
  update_events();
}

std::optional<Error> TlsConnectionImpl::objection() const {
  if (peer().serial.empty()) return std::nullopt;  // no certificate, and that is allowed
  if (!options_.expected_name.empty() && peer().name != options_.expected_name) {
    return Error(ErrorCode::kPermission, std::format("expected node '{}' at {}, found node '{}'",
                                                     options_.expected_name, peer().address, peer().name));
  }
  const auto& check = session_->context().options().check;
  if (!check) return std::nullopt;
  if (const Status checked = check(peer()); !checked) {
    return Error(ErrorCode::kPermission, std::format("refused {}: {}", describe(peer()), checked.error().message()));
  }
  return std::nullopt;
}

// Only now each side knows of the other what the certificate alone does not say, and a client does not know yet
// whether its certificate is good: in TLS 1.3 its handshake ends before the server has looked at it.
void TlsConnectionImpl::greet() {
  phase_ = Phase::kGreeting;
  const std::optional<Error> refusal = objection();
  std::string greeting(1, kProtocolVersion);
  if (refusal) greeting += printable(refusal->message(), kMaxRefusalBytes);
  writer_.push(std::move(greeting), {});
  flush();
  if (refusal) {
    report(*refusal);
    if (phase_ != Phase::kClosed) linger();
    return;
  }
  if (broken_) return after_break();
  read_turn();
}

void TlsConnectionImpl::on_greeting(std::string_view greeting) {
  if (greeting.empty() || greeting.front() != kProtocolVersion) {
    return fail_with(Error(ErrorCode::kInvalid, std::format("{} speaks another version of the node protocol, not {}: "
                                                            "run the same perdured on both",
                                                            describe(peer()), int{kProtocolVersion})));
  }
  if (greeting.size() > 1) {
    const std::string why = printable(greeting.substr(1), kMaxRefusalBytes);
    return fail_with(Error(ErrorCode::kPermission, std::format("{} refused us: {}", describe(peer()), why)));
  }
  phase_ = Phase::kOpen;
  deadline_.reset();
  reader_.set_max_message_bytes(kMaxTlsMessageBytes);
  owner_->opened(*this);
}

// Data that has come meanwhile and is not read would turn a close() into a reset, which may overtake our last words.
void TlsConnectionImpl::linger() {
  // Reported first if it has not been opened: the phase says so.
  phase_ = Phase::kLingering;
  writer_.clear();
  receive_deadline_.reset();
  send_deadline_.reset();
  session_->say_end();
  ::shutdown(socket_.get(), SHUT_WR);
  deadline_ = loop_.after(std::min(kLingerTime, options_.stall_time), [this] { on_deadline(); });
  update_events();
}

void TlsConnectionImpl::close() {
  fail_with(Error(ErrorCode::kCancelled, "closed"));
}

void TlsConnectionImpl::close_when_sent() {
  if (phase_ != Phase::kOpen) return;
  if (broken_) return close();
  receive_deadline_.reset();
  if (all_sent()) return linger();
  phase_ = Phase::kFinishing;
  update_events();
}

Result<std::array<std::byte, 32>> TlsConnectionImpl::export_key(std::string_view label) const {
  if (!visible()) {
    return fail(ErrorCode::kNotFound, std::format("derive a key with {}: closed", describe(peer())));
  }
  return session_->export_key(label);
}

}  // namespace perdure::io
