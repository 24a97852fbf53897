// Frames over TLS 1.3 with certificates on both sides: the transport between nodes.
//
// On the wire a frame is u32 message bytes, u64 body bytes (both little endian), the message, the body. The body is sent from
// where it lies and received where the receiver wants it: nothing is copied. Every peer is suspect, also one with a good
// certificate: none can make us hold more than the bounds below.
//
// The first frame each way is a greeting: its message is one byte, the protocol's version (1), and, if the peer is refused
// for what its certificate says, the reason as text. A connection is open at an end when that end has verified the peer's
// certificate, checked what it says, and read a greeting without a refusal. So a client never takes itself for connected
// before the server has accepted its certificate (a TLS 1.3 handshake alone does not tell that), and who is refused learns why:
// from TLS's alert if the chain or its dates are wrong, else from the greeting.
//
// Loop thread only, as everything of a Loop; a second Loop on a thread of its own keeps bulk data away from the first. A
// TlsContext may be shared by loops on several threads; its `check` then runs on each of them.
//
// Callbacks come from the loop only, never from within a call of ours. Each may close any connection and destroy any server or
// client, its own too.
#pragma once

#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/clock.h"
#include "base/result.h"
#include "io/loop.h"

namespace perdure::io {

inline constexpr std::size_t kMaxTlsMessageBytes = std::size_t{16} << 20;
inline constexpr Duration kTlsHandshakeTime = std::chrono::seconds(5);
// Without progress from or to a peer in the middle of a frame or with frames queued: less than 4 KiB a second on average, or, if
// less than that is outstanding, not all of it. As long may a peer be silent when its kernel is asked (an idle connection, too).
// Who pauses reading longer than that is given up by a peer that sends.
inline constexpr Duration kTlsStallTime = std::chrono::seconds(10);

// PEM texts. `authority` may hold several certificates (while one replaces the other). The one that signed `certificate` is
// shown to peers with it.
struct TlsIdentity {
  std::string certificate;
  std::string key;
  std::string authority;
};

// What a verified certificate says of its holder.
struct TlsPeer {
  std::string name;          // subject's common name; empty: the peer showed no certificate (then `serial` is empty, too)
  std::string organisation;  // subject's organisation: the cluster's id in hexadecimal
  std::string serial;        // hexadecimal, lower case
  std::string address;       // "192.0.2.1:40312", of the socket
};

struct TlsOptions {
  // Absent: no certificate of ours is shown (a node that has not joined yet).
  std::optional<TlsIdentity> identity;
  // Instead of an authority: the SHA-256 (64 hexadecimal digits) of the authority's certificate, which the peer must send in its
  // chain. For a client that joins.
  std::string authority_fingerprint;
  // For a server: whether clients without a certificate are let in (TlsPeer::name is then empty).
  enum class ClientCertificate { kRequired, kOptional } client_certificate = ClientCertificate::kRequired;
  // After the chain has been verified, not for a peer without a certificate; an error refuses the peer (kPermission), with
  // this message at both ends (the first 512 bytes). May be empty.
  std::function<Status(const TlsPeer&)> check;
  // Certificates are judged by its wall(). Not valid yet or expired: kPermission, the message names both times and how
  // far the clocks are apart. Null: the system's clock. Outlives the context and its connections.
  const Clock* clock = nullptr;
};

// Immutable: a renewed certificate is a new context, used by connections made from then on.
class TlsContext {
 public:
  // kInvalid: what is no PEM, a key that does not fit its certificate or has a password, neither or both of authority and
  // fingerprint.
  static Result<std::shared_ptr<const TlsContext>> create(TlsOptions options);
  virtual ~TlsContext() = default;

 protected:
  TlsContext() = default;
};

// A body on its way out: pieces that follow each other, and what keeps them alive. Small pieces cost little: they are gathered.
struct OutgoingBody {
  std::vector<std::span<const std::byte>> pieces;
  std::vector<std::shared_ptr<const void>> owners;
  std::uint64_t size_bytes() const;
};

// Where a body is to be received: exactly as long as announced.
struct IncomingBody {
  std::span<std::byte> target;
  std::shared_ptr<void> owner;  // keeps `target`; handed out with the frame
};

using TlsConnectionId = std::uint64_t;  // unique within the process

// Belongs to its server or client. A reference is good until control is back in the loop, also if it closes before; to keep
// one longer keep its id.
class TlsConnection {
 public:
  virtual ~TlsConnection() = default;
  virtual TlsConnectionId id() const = 0;
  virtual const TlsPeer& peer() const = 0;

  // Queues a frame. kInvalid: message too large. kTransient: with it more than the queue limit would wait; nothing was queued
  // (bodies count; a frame that alone is above the limit is taken when nothing waits). kNotFound: closed.
  virtual Status send(std::string message, OutgoingBody body = {}) = 0;
  virtual std::uint64_t queued_bytes() const = 0;  // not given to the kernel yet

  // While paused no frame is delivered and the peer's sending blocks in time. Nor is its end noticed.
  virtual void pause_reading() = 0;
  virtual void resume_reading() = 0;

  // At once; what is queued is dropped. No callback comes any more but on_close.
  virtual void close() = 0;
  // No frame is delivered any more; closes when the peer has read all that is queued, or has stalled.
  virtual void close_when_sent() = 0;

  // Keying material of this session for another channel between the same two ends (RFC 8446, 7.5): the same at both ends, and
  // another one for each label. kNotFound: closed.
  virtual Result<std::array<std::byte, 32>> export_key(std::string_view label) const = 0;
};

struct TlsHandlers {
  std::function<void(TlsConnection&)> on_open;  // each end has verified the other and accepts it; may be empty
  // The message of a frame with a body has come: where should the body go? An error closes the connection, and is what on_close
  // gets. Empty: frames with bodies close it (kInvalid).
  std::function<Result<IncomingBody>(TlsConnection&, std::string_view message, std::uint64_t body_bytes)> on_body;
  std::function<void(TlsConnection&, std::string message, IncomingBody body)> on_frame;  // required
  // All that was queued is with the kernel. Not called when send() could hand it over at once. May be empty.
  std::function<void(TlsConnection&)> on_drained;
  // Once per opened connection. kCancelled: either side closed, or the peer vanished with a reset; kTimeout: it stalled;
  // kInvalid: not the protocol; kIo. May be empty.
  std::function<void(TlsConnectionId, const TlsPeer&, const Error&)> on_close;
};

struct TlsServerOptions {
  // "192.0.2.1:7400", "[2001:db8::1]:7400", "0.0.0.0:7400", "[::]:7400" (IPv6 only); a port of 0 takes any
  std::vector<std::string> addresses = {};
  std::size_t max_connections = 256;   // handshakes included; more are accepted and closed
  std::uint64_t max_queue_bytes = std::uint64_t{256} << 20;  // of one connection, out
  Duration handshake_time = kTlsHandshakeTime;
  Duration stall_time = kTlsStallTime;
  // Each connection that was accepted and never opened, for the log and the counters: the peer's address, the name it showed if
  // any, and why. kPermission: a certificate was refused, by us or by the peer; kInvalid: not the protocol; kTimeout: no
  // handshake in time; kTransient: too many connections; kCancelled: it closed early. May be empty.
  std::function<void(const TlsPeer&, const Error&)> on_refused = {};
};

class TlsServer {
 public:
  // kConflict: the address is in use. kInvalid: no address, or none of this host; a context without certificate or authority.
  static Result<std::unique_ptr<TlsServer>> listen(Loop& loop, TlsServerOptions options,
                                                   std::shared_ptr<const TlsContext> context, TlsHandlers handlers);
  virtual ~TlsServer() = default;
  virtual void use(std::shared_ptr<const TlsContext> context) = 0;  // from the next connection on; has a certificate
  virtual TlsConnection* find(TlsConnectionId id) = 0;              // nullptr: closed
  virtual std::vector<std::string> addresses() const = 0;           // as bound
};

struct TlsClientOptions {
  std::string address = {};        // "192.0.2.1:7400"
  std::string expected_name = {};  // the node; a certificate of another is refused. Empty: any
  Duration connect_time = std::chrono::seconds(2);
  Duration handshake_time = kTlsHandshakeTime;
  Duration stall_time = kTlsStallTime;
  std::uint64_t max_queue_bytes = std::uint64_t{256} << 20;
};

// One connection, made once. Destroying it closes it without a callback.
class TlsClient {
 public:
  // on_open or `failed` (required) follows: kTransient: nobody listens, or it closed early; kPermission: a certificate was
  // refused, by us or by them, and why; kTimeout; kInvalid: not the protocol; kIo. connect() itself: kInvalid: no address.
  static Result<std::unique_ptr<TlsClient>> connect(Loop& loop, TlsClientOptions options,
                                                    std::shared_ptr<const TlsContext> context, TlsHandlers handlers,
                                                    std::function<void(const Error&)> failed);
  virtual ~TlsClient() = default;
  virtual TlsConnection* connection() = 0;  // nullptr: not yet, or closed
};

}  // namespace perdure::io
