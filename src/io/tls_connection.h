// Inside of this room: one connection of a server or a client, from its TCP connection on.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "base/fd.h"
#include "io/loop.h"
#include "io/tls.h"
#include "io/tls_frame.h"
#include "io/tls_session.h"

namespace perdure::io {

class TlsConnectionImpl;

// Who has the connections. Called from the loop only, so each call may end with the owner destroyed.
class TlsConnectionOwner {
 public:
  virtual ~TlsConnectionOwner() = default;
  virtual void opened(TlsConnectionImpl& connection) = 0;
  // Instead of opened(), once.
  virtual void refused(const TlsPeer& peer, const Error& why) = 0;
  // Once after opened(). Maybe from within a call of TlsConnection: the handler is to be called later.
  virtual void closed(TlsConnectionId id, const TlsPeer& peer, Error why) = 0;
  // Last of all: nothing is left of it but memory. Maybe from within a call of TlsConnection.
  virtual void release(TlsConnectionId id) = 0;
};

struct TlsConnectionOptions {
  TlsRole role = TlsRole::kServer;
  std::string peer_address;
  std::string expected_name;  // empty: any
  Duration handshake_time{};
  Duration stall_time{};
  std::uint64_t max_queue_bytes = 0;
};

class TlsConnectionImpl final : public TlsConnection, public std::enable_shared_from_this<TlsConnectionImpl> {
 public:
  static Result<std::shared_ptr<TlsConnectionImpl>> start(Loop& loop, TlsConnectionOwner& owner, UniqueFd socket,
                                                          TlsConnectionOptions options,
                                                          std::shared_ptr<const TlsContextImpl> context,
                                                          std::shared_ptr<const TlsHandlers> handlers);

  TlsConnectionId id() const override { return id_; }
  const TlsPeer& peer() const override { return session_->peer(); }
  Status send(std::string message, OutgoingBody body) override;
  std::uint64_t queued_bytes() const override { return writer_.queued_bytes() + session_->unsent_bytes(); }
  void pause_reading() override;
  void resume_reading() override;
  void close() override;
  void close_when_sent() override;
  Result<std::array<std::byte, 32>> export_key(std::string_view label) const override;

  // To its owner's callers.
  bool visible() const { return phase_ == Phase::kOpen || phase_ == Phase::kFinishing; }
  // Lets go of everything, tells nobody.
  void end();

 private:
  enum class Phase {
    kHandshake,
    kGreeting,  // each has verified the other's certificate; the peer's greeting has not come
    kOpen,
    kFinishing,  // what is queued goes out, then the end
    kLingering,  // all is said; until the peer closes too, so that what is under way is not reset
    kClosed,
  };

  TlsConnectionImpl(Loop& loop, TlsConnectionOwner& owner, UniqueFd socket, TlsConnectionOptions options,
                    std::shared_ptr<const TlsHandlers> handlers);

  // tls_connection.cc: from the handshake to the end
  void on_ready(short event);
  void on_deadline();
  void shake_hands();
  void greet();
  std::optional<Error> objection() const;
  void on_greeting(std::string_view greeting);
  void linger();
  void fail_with(const Error& why);
  void report(const Error& why);
  void update_events();

  // tls_transfer.cc: frames
  void read_turn();
  void read_later();
  bool read_some();
  bool deliver(TlsFrameReader::Step step);
  bool place_body();
  void write_turn();
  void flush();
  void after_break();
  void watch_receiving();
  void check_receiving(std::uint64_t bytes_before, std::uint64_t frames_before);
  void watch_sending();
  void check_sending(std::uint64_t bytes_before, std::uint64_t wanted);
  std::uint64_t least_progress() const;
  std::uint64_t acknowledged_bytes() const;
  bool wants_frames() const { return phase_ == Phase::kGreeting || (phase_ == Phase::kOpen && !paused_); }
  bool all_sent() const { return queued_bytes() == 0; }
  bool within_frame() const { return reader_.within_frame() || session_->within_record(); }

  Loop& loop_;
  TlsConnectionOwner* owner_;  // null once there is nothing more to say to it
  const TlsConnectionId id_;
  const TlsConnectionOptions options_;
  std::shared_ptr<const TlsHandlers> handlers_;
  UniqueFd socket_;
  std::unique_ptr<TlsSession> session_;
  Phase phase_ = Phase::kHandshake;
  TlsStep::Wait handshake_wait_ = TlsStep::Wait::kRead;
  bool reported_ = false;  // refused() or closed()
  bool paused_ = false;
  bool read_needs_write_ = false;
  bool read_is_posted_ = false;
  bool more_to_read_ = false;    // the last turn ended by its bounds
  std::optional<Error> broken_;  // sending has failed; what the peer said before is still to be read
  TlsFrameReader reader_;
  std::uint64_t frames_ = 0;  // received
  TlsFrameWriter writer_;
  short events_ = 0;
  Watch watch_;
  Timer deadline_;  // of the handshake, or of the lingering
  Timer receive_deadline_;
  Timer send_deadline_;
};

}  // namespace perdure::io
