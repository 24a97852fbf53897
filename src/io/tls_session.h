// Inside of this room: one TLS connection on a non-blocking socket. Never waits; says what to wait for.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "base/result.h"
#include "io/tls_context.h"
#include "io/tls_openssl.h"

namespace perdure::io {

struct TlsStep {
  enum class Wait {
    kNone,   // done, or so many bytes
    kRead,   // until the socket is readable (or the turn's bytes are used up)
    kWrite,  // until it is writable
    kEnd,    // the peer closed
  };
  std::size_t bytes = 0;
  Wait wait = Wait::kNone;
};

// The socket as OpenSSL sees it (its BIO's data). OpenSSL moves a record of 16 KiB at a time; so many system calls
// cost more than the encryption, hence a buffer in each direction.
struct TlsSocket {
  static constexpr std::size_t kBufferBytes = std::size_t{128} << 10;
  struct Buffer {
    std::unique_ptr<std::byte[]> memory = std::make_unique_for_overwrite<std::byte[]>(kBufferBytes);
    std::size_t begin = 0;
    std::size_t end = 0;
    bool empty() const { return begin == end; }
    std::size_t size() const { return end - begin; }
  };
  int fd = -1;
  int error_number = 0;        // of the last call that failed for good
  bool ended = false;          // the peer's end has been read
  bool gather = false;         // more records follow: fill the buffer first
  std::size_t turn_bytes = 0;  // that may still be read in this turn
  std::uint64_t sent_bytes = 0;
  Buffer in;   // read, not taken by OpenSSL yet
  Buffer out;  // records that the kernel has not taken yet

  // False: the kernel takes no more now; or an error, then error_number says which.
  bool flush();
};

// AES-GCM keeps its margin for 2^24.5 full records (RFC 8446, 5.5), 380 GiB: the keys are changed long before.
inline constexpr std::uint64_t kTlsRekeyBytes = std::uint64_t{64} << 30;

class TlsSession {
 public:
  // `fd` stays the caller's and outlives the session.
  static Result<std::unique_ptr<TlsSession>> create(std::shared_ptr<const TlsContextImpl> context, TlsRole role,
                                                    int fd, std::string peer_address);
  TlsSession(const TlsSession&) = delete;
  TlsSession& operator=(const TlsSession&) = delete;

  // From now on no more than about this is read from the socket before a call answers kRead.
  void begin_turn(std::size_t bytes) { socket_.turn_bytes = bytes; }

  // kPermission: a certificate was refused, by us or by the peer; kInvalid: no TLS 1.3; kTimeout, kIo. The peer has
  // been told by an alert, as far as the socket took it.
  Result<TlsStep> handshake();
  // kPermission: the peer has refused our certificate (a server does that only after the client's handshake).
  // kInvalid, kTimeout, kCancelled: a reset; kIo.
  Result<TlsStep> read(std::span<std::byte> into);
  // At most one record; a call after kWrite repeats the same bytes. `more_follows`: flush() will be called.
  Result<TlsStep> write(std::span<const std::byte> bytes, bool more_follows);
  // What write() has gathered; kWrite: not all of it.
  Result<TlsStep> flush();
  std::uint64_t unsent_bytes() const { return socket_.out.size(); }
  // For tests.
  void set_rekey_bytes(std::uint64_t bytes) { rekey_bytes_ = bytes; }
  SSL* ssl() { return ssl_.get(); }
  // Tells the peer that nothing follows, if that is still possible.
  void say_end();

  bool within_record() const { return !socket_.in.empty() || SSL_has_pending(ssl_.get()) == 1; }
  std::uint64_t sent_bytes() const { return socket_.sent_bytes; }  // to the kernel, as records
  const TlsPeer& peer() const { return judgement_.peer; }
  const TlsContextImpl& context() const { return *context_; }
  Result<std::array<std::byte, 32>> export_key(std::string_view label) const;

 private:
  TlsSession(std::shared_ptr<const TlsContextImpl> context, int fd) : context_(std::move(context)) {
    socket_.fd = fd;
  }
  Result<TlsStep> judge(int result, std::string_view what);
  Error failure(std::string_view what);
  Error alert_failure(int alert) const;

  std::shared_ptr<const TlsContextImpl> context_;
  TlsSocket socket_;
  TlsJudgement judgement_;
  OpensslOwned<SSL> ssl_;
  std::uint64_t rekey_bytes_ = kTlsRekeyBytes;
  std::uint64_t bytes_under_key_ = 0;  // sent
  bool broken_ = false;                // nothing more can be said to the peer
};

}  // namespace perdure::io
