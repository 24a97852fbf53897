// Frames in and out of a connection, and the watch over a peer that stalls.
#include <algorithm>
#include <format>
#include <utility>

#include "base/assert.h"
#include "io/tls_connection.h"
#include "io/tls_socket.h"

namespace perdure::io {

namespace {

// In one direction before other events have their turn.
constexpr std::size_t kBytesPerTurn = std::size_t{256} << 10;
constexpr std::uint64_t kFramesPerTurn = 256;
// A peer that is slower than that within a frame stalls: 64 kbit/s is 8000.
constexpr std::uint64_t kMinBytesPerSecond = 4096;

}  // namespace

// --- in

void TlsConnectionImpl::read_turn() {
  session_->begin_turn(kBytesPerTurn);
  const std::uint64_t last_frame = frames_ + kFramesPerTurn;
  more_to_read_ = false;
  bool more = true;
  while (more && wants_frames() && frames_ < last_frame) more = read_some();
  if (phase_ == Phase::kClosed) return;
  // What OpenSSL holds already makes no socket readable.
  if (more && wants_frames()) read_later();
  watch_receiving();
  update_events();
}

void TlsConnectionImpl::read_later() {
  more_to_read_ = true;
  if (std::exchange(read_is_posted_, true)) return;
  loop_.post([weak = weak_from_this()] {
    const std::shared_ptr<TlsConnectionImpl> self = weak.lock();
    if (!self) return;
    self->read_is_posted_ = false;
    if (self->wants_frames()) self->read_turn();
  });
}

// False: nothing more to read for now, or closed.
bool TlsConnectionImpl::read_some() {
  const Result<TlsStep> step = session_->read(reader_.space());
  if (!step) {
    fail_with(step.error());
    return false;
  }
  if (step->bytes == 0) {
    if (step->wait == TlsStep::Wait::kEnd && broken_) {
      fail_with(Error(*broken_));  // the kernel says a connection's error once
    } else if (step->wait == TlsStep::Wait::kEnd) {
      const bool opened = phase_ == Phase::kOpen;
      const auto code = !opened && options_.role == TlsRole::kClient ? ErrorCode::kTransient : ErrorCode::kCancelled;
      fail_with(Error(code, std::format("{} closed{}", describe(peer()),
                                        !opened          ? " during the handshake"
                                        : within_frame() ? " within a frame"
                                                         : "")));
    }
    read_needs_write_ = step->wait == TlsStep::Wait::kWrite;
    return false;
  }
  const Result<TlsFrameReader::Step> next = reader_.filled(step->bytes);
  if (!next) {
    fail_with(Error(next.error()).context(describe(peer())));
    return false;
  }
  return deliver(*next);
}

bool TlsConnectionImpl::deliver(TlsFrameReader::Step step) {
  if (step == TlsFrameReader::Step::kMore) return true;
  if (step == TlsFrameReader::Step::kBody) return place_body();
  receive_deadline_.reset();
  ++frames_;
  TlsFrameReader::Frame frame = reader_.take();
  if (phase_ == Phase::kGreeting) {
    on_greeting(frame.message);
  } else {
    const std::shared_ptr<const TlsHandlers> handlers = handlers_;
    handlers->on_frame(*this, std::move(frame.message), std::move(frame.body));
  }
  return phase_ != Phase::kClosed;
}

bool TlsConnectionImpl::place_body() {
  const std::shared_ptr<const TlsHandlers> handlers = handlers_;
  if (phase_ != Phase::kOpen || !handlers->on_body) {
    fail_with(Error(ErrorCode::kInvalid,
                    std::format("{} sent a frame with a body, which nobody expects", describe(peer()))));
    return false;
  }
  Result<IncomingBody> body = handlers->on_body(*this, reader_.message(), reader_.body_bytes());
  if (phase_ == Phase::kClosed) return false;
  if (!body) {
    fail_with(
        Error(body.error()).context(std::format("body of {} bytes from {}", reader_.body_bytes(), describe(peer()))));
    return false;
  }
  const Result<TlsFrameReader::Step> next = reader_.accept(std::move(*body));
  if (!next) fail_with(next.error());
  return next.has_value();
}

void TlsConnectionImpl::pause_reading() {
  if (paused_ || phase_ == Phase::kClosed) return;
  paused_ = true;
  receive_deadline_.reset();
  update_events();
}

void TlsConnectionImpl::resume_reading() {
  if (!paused_ || phase_ == Phase::kClosed) return;
  paused_ = false;
  if (phase_ == Phase::kOpen) read_later();
  update_events();
}

// --- out

Status TlsConnectionImpl::send(std::string message, OutgoingBody body) {
  if (phase_ != Phase::kOpen || broken_) {
    return fail(ErrorCode::kNotFound, std::format("send to {}: closed", describe(peer())));
  }
  if (message.size() > kMaxTlsMessageBytes) {
    return fail(ErrorCode::kInvalid, std::format("send a message of {} bytes to {}: {} is the limit", message.size(),
                                                 describe(peer()), kMaxTlsMessageBytes));
  }
  const std::uint64_t bytes = kTlsFrameHeaderBytes + message.size() + body.size_bytes();
  const std::uint64_t waiting = queued_bytes();
  // One that alone is above the limit has to go out some time.
  if (waiting > 0 && waiting + bytes > options_.max_queue_bytes) {
    return fail(ErrorCode::kTransient, std::format("send {} bytes to {}: {} wait already, {} is the limit", bytes,
                                                   describe(peer()), waiting, options_.max_queue_bytes));
  }
  writer_.push(std::move(message), std::move(body));
  if (waiting > 0) return {};  // the socket is awaited
  flush();
  if (broken_) {
    loop_.post([weak = weak_from_this()] {
      if (const std::shared_ptr<TlsConnectionImpl> self = weak.lock()) self->after_break();
    });
    return fail(ErrorCode::kNotFound, std::format("send to {}: closed", describe(peer())));
  }
  return {};
}

// A failure is left in `broken_`.
void TlsConnectionImpl::flush() {
  std::size_t done = 0;
  Result<TlsStep> step = TlsStep{};
  do {
    while (!writer_.empty() && done < kBytesPerTurn) {
      const std::size_t size = writer_.next().size();
      step = session_->write(writer_.next(), true);
      if (!step || step->bytes == 0) break;
      PERDURE_ASSERT(step->bytes == size);
      done += size;
      writer_.sent();
    }
    if (step) step = session_->flush();
  } while (step && step->wait == TlsStep::Wait::kNone && !writer_.empty() && done < kBytesPerTurn);
  if (!step) {
    broken_ = step.error();
    writer_.clear();
  }
  if (all_sent()) send_deadline_.reset();
  watch_sending();
  update_events();
}

void TlsConnectionImpl::write_turn() {
  if (all_sent()) return;
  flush();
  if (broken_) return after_break();
  if (!all_sent()) return;
  if (phase_ == Phase::kFinishing) return linger();
  const std::shared_ptr<const TlsHandlers> handlers = handlers_;
  if (phase_ == Phase::kOpen && handlers->on_drained) handlers->on_drained(*this);
}

// What the peer said before it broke the connection off often says why.
void TlsConnectionImpl::after_break() {
  if (phase_ == Phase::kClosed) return;
  const std::shared_ptr<TlsConnectionImpl> keep = shared_from_this();
  if (wants_frames()) read_turn();
  if (phase_ == Phase::kClosed) return;
  if (!more_to_read_ || !wants_frames()) return fail_with(Error(*broken_));
  loop_.post([weak = weak_from_this()] {
    if (const std::shared_ptr<TlsConnectionImpl> self = weak.lock()) self->after_break();
  });
}

// --- peers that stall

std::uint64_t TlsConnectionImpl::least_progress() const {
  const double seconds = std::chrono::duration<double>(options_.stall_time).count();
  return std::max<std::uint64_t>(1, static_cast<std::uint64_t>(seconds * double{kMinBytesPerSecond}));
}

void TlsConnectionImpl::watch_receiving() {
  if (phase_ != Phase::kOpen || paused_ || !within_frame() || receive_deadline_.active()) return;
  receive_deadline_ = loop_.after(options_.stall_time, [this, bytes = reader_.total_bytes(), frames = frames_] {
    check_receiving(bytes, frames);
  });
}

void TlsConnectionImpl::check_receiving(std::uint64_t bytes_before, std::uint64_t frames_before) {
  const std::shared_ptr<TlsConnectionImpl> keep = shared_from_this();
  read_turn();  // a busy loop: what has come in time counts
  if (phase_ != Phase::kOpen || paused_ || !within_frame() || frames_ != frames_before) return;
  if (reader_.total_bytes() - bytes_before >= least_progress()) return;  // watched anew by the turn
  fail_with(Error(ErrorCode::kTimeout, std::format("{} stopped within a frame: {} of {} bytes in {}",
                                                   describe(peer()), reader_.frame_bytes_done(),
                                                   reader_.frame_bytes(), format_duration(options_.stall_time))));
}

std::uint64_t TlsConnectionImpl::acknowledged_bytes() const {
  const std::uint64_t sent = session_->sent_bytes();
  return sent - std::min(sent, unacknowledged_bytes(socket_.get()));
}

void TlsConnectionImpl::watch_sending() {
  if (phase_ != Phase::kOpen && phase_ != Phase::kFinishing) return;
  if (all_sent() || send_deadline_.active()) return;
  const std::uint64_t outstanding = queued_bytes() + unacknowledged_bytes(socket_.get());
  send_deadline_ = loop_.after(
      options_.stall_time, [this, bytes = acknowledged_bytes(), wanted = std::min(outstanding, least_progress())] {
        check_sending(bytes, wanted);
      });
}

void TlsConnectionImpl::check_sending(std::uint64_t bytes_before, std::uint64_t wanted) {
  if (acknowledged_bytes() - bytes_before >= wanted) return watch_sending();
  fail_with(
      Error(ErrorCode::kTimeout, std::format("{} takes nothing: {} bytes have been waiting for {}", describe(peer()),
                                             queued_bytes(), format_duration(options_.stall_time))));
}

}  // namespace perdure::io
