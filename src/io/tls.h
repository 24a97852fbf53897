// Frames over TLS 1.3 with certificates on both sides: the transport between nodes.
//
// On the wire a frame is u32 message bytes, u64 body bytes (both little endian), the message, the body. The body is sent from
// where it lies and received where the receiver wants it: nothing is copied. Every peer is suspect, also one with a good
// certificate: none can make us hold more than the bounds below.
//
// Loop thread only, as everything of a Loop; a second Loop on a thread of its own keeps bulk data away from the first.
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
// Without a byte from or to a peer in the middle of a frame or with frames queued.
inline constexpr Duration kTlsStallTime = std::chrono::seconds(10);

// PEM texts. `authority` may hold several certificates (while one replaces the other).
struct TlsIdentity {
  std::string certificate;
  std::string key;
  std::string authority;
};

// What a verified certificate says of its holder.
struct TlsPeer {
  std::string name;          // subject's common name; empty: the peer showed no certificate
  std::string organisation;  // subject's organisation: the cluster's id in hexadecimal
  std::string serial;        // hexadecimal
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
  // After the chain has been verified; an error refuses the peer, with this message in the log of both ends as far as TLS
  // can carry it. May be empty.
  std::function<Status(const TlsPeer&)> check;
  // Certificates are judged by its wall(). Not valid yet or expired: kPermission, the message names both times and how
  // far the clocks are apart.
  const Clock* clock = nullptr;
};

// Immutable: a renewed certificate is a new context, used by connections made from then on.
class TlsContext {
 public:
  // kInvalid: what is no PEM, or a key that does not fit its certificate.
  static Result<std::shared_ptr<const TlsContext>> create(TlsOptions options);
  virtual ~TlsContext() = default;

 protected:
  TlsContext() = default;
};

// A body on its way out: pieces that follow each other, and what keeps them alive.
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

class TlsConnection {
 public:
  virtual ~TlsConnection() = default;
  virtual TlsConnectionId id() const = 0;
  virtual const TlsPeer& peer() const = 0;

  // Queues a frame. kInvalid: message too large. kTransient: more than the queue limit waits; nothing was queued (bodies count).
  // kNotFound: closed.
  virtual Status send(std::string message, OutgoingBody body = {}) = 0;
  virtual std::uint64_t queued_bytes() const = 0;  // not given to the kernel yet

  virtual void pause_reading() = 0;
  virtual void resume_reading() = 0;

  // At once; what is queued is dropped. No callback comes any more but on_close.
  virtual void close() = 0;
  virtual void close_when_sent() = 0;

  // Keying material of this session for another channel between the same two ends (RFC 8446, 7.5): the same at both ends.
  virtual Result<std::array<std::byte, 32>> export_key(std::string_view label) const = 0;
};

struct TlsHandlers {
  std::function<void(TlsConnection&)> on_open;  // handshake done, peer verified
  // The message of a frame with a body has come: where should the body go? An error closes the connection. Empty: frames with bodies
  // close it.
  std::function<Result<IncomingBody>(TlsConnection&, std::string_view message, std::uint64_t body_bytes)> on_body;
  std::function<void(TlsConnection&, std::string message, IncomingBody body)> on_frame;
  std::function<void(TlsConnection&)> on_drained;  // may be empty
  // Once per opened connection. kCancelled: either side closed; kTimeout: it stalled; kInvalid: not the protocol; kIo.
  std::function<void(TlsConnectionId, const TlsPeer&, const Error&)> on_close;
};

struct TlsServerOptions {
  std::vector<std::string> addresses;  // "192.0.2.1:7400", "[2001:db8::1]:7400", "0.0.0.0:7400"; a port of 0 takes any
  std::size_t max_connections = 256;   // handshakes included; more are accepted and closed
  std::uint64_t max_queue_bytes = std::uint64_t{256} << 20;  // of one connection, out
  Duration handshake_time = kTlsHandshakeTime;
  Duration stall_time = kTlsStallTime;
  // A refused peer, for the log and the counters: its address, the name it showed if any, and why.
  std::function<void(const TlsPeer&, const Error&)> on_refused;
};

class TlsServer {
 public:
  // kConflict: the address is in use. kInvalid: no address.
  static Result<std::unique_ptr<TlsServer>> listen(Loop& loop, TlsServerOptions options,
                                                   std::shared_ptr<const TlsContext> context, TlsHandlers handlers);
  virtual ~TlsServer() = default;
  virtual void use(std::shared_ptr<const TlsContext> context) = 0;  // from the next connection on
  virtual TlsConnection* find(TlsConnectionId id) = 0;              // nullptr: closed
  virtual std::vector<std::string> addresses() const = 0;           // as bound
};

struct TlsClientOptions {
  std::string address;        // "192.0.2.1:7400"
  std::string expected_name;  // the node; a certificate of another is refused. Empty: any
  Duration connect_time = std::chrono::seconds(2);
  Duration handshake_time = kTlsHandshakeTime;
  Duration stall_time = kTlsStallTime;
  std::uint64_t max_queue_bytes = std::uint64_t{256} << 20;
};

// One connection, made once. Destroying it closes it without a callback.
class TlsClient {
 public:
  // on_open or `failed` follows: kTransient: nobody answers; kPermission: a certificate was refused, by us or by them, and why;
  // kTimeout; kIo.
  static Result<std::unique_ptr<TlsClient>> connect(Loop& loop, TlsClientOptions options,
                                                    std::shared_ptr<const TlsContext> context, TlsHandlers handlers,
                                                    std::function<void(const Error&)> failed);
  virtual ~TlsClient() = default;
  virtual TlsConnection* connection() = 0;  // nullptr: not yet, or closed
};

}  // namespace perdure::io
