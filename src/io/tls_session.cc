#include "io/tls_session.h"

#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <format>

#include "base/assert.h"

namespace perdure::io {

namespace {

// --- the socket under OpenSSL: its own would raise SIGPIPE, and take two calls for a record

TlsSocket& socket_of(BIO* bio) {
  return *static_cast<TlsSocket*>(BIO_get_data(bio));
}

int bio_read(BIO* bio, char* into, int size) {
  TlsSocket& socket = socket_of(bio);
  BIO_clear_retry_flags(bio);
  if (socket.in.empty()) {
    if (socket.turn_bytes == 0) {
      BIO_set_retry_read(bio);
      return -1;
    }
    const ssize_t got = ::recv(socket.fd, socket.in.memory.get(), TlsSocket::kBufferBytes, MSG_DONTWAIT);
    if (got < 0 && (errno == EAGAIN || errno == EINTR)) {
      BIO_set_retry_read(bio);
      return -1;
    }
    if (got <= 0) {
      if (got == 0) socket.ended = true;
      if (got < 0) socket.error_number = errno;
      return static_cast<int>(got);
    }
    socket.in.begin = 0;
    socket.in.end = static_cast<std::size_t>(got);
    socket.turn_bytes -= std::min(socket.turn_bytes, socket.in.end);
  }
  const std::size_t bytes = std::min(static_cast<std::size_t>(std::max(size, 0)), socket.in.size());
  std::memcpy(into, socket.in.memory.get() + socket.in.begin, bytes);
  socket.in.begin += bytes;
  return static_cast<int>(bytes);
}

int bio_write(BIO* bio, const char* from, int size) {
  TlsSocket& socket = socket_of(bio);
  BIO_clear_retry_flags(bio);
  const auto wanted = static_cast<std::size_t>(size);
  if (socket.error_number == 0 && TlsSocket::kBufferBytes - socket.out.end < wanted) socket.flush();
  if (socket.error_number != 0) return -1;
  if (TlsSocket::kBufferBytes - socket.out.end < wanted) {
    BIO_set_retry_write(bio);
    return -1;
  }
  std::memcpy(socket.out.memory.get() + socket.out.end, from, wanted);
  socket.out.end += wanted;
  // What the kernel does not take now goes with the next flush().
  if (!socket.gather) socket.flush();
  return socket.error_number == 0 ? size : -1;
}

long bio_control(BIO* bio, int command, long, void*) {
  switch (command) {
    case BIO_CTRL_FLUSH:
      return 1;
    case BIO_CTRL_EOF:
      return socket_of(bio).ended ? 1 : 0;
    default:
      return 0;
  }
}

int bio_create(BIO* bio) {
  BIO_set_init(bio, 1);
  return 1;
}

const BIO_METHOD* socket_method() {
  static const auto kFree = [](BIO_METHOD* method) { BIO_meth_free(method); };
  static const std::unique_ptr<BIO_METHOD, decltype(kFree)> kMethod = [] {
    std::unique_ptr<BIO_METHOD, decltype(kFree)> method(
        BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "perdure socket"), kFree);
    PERDURE_ASSERT(method != nullptr);
    BIO_meth_set_read(method.get(), bio_read);
    BIO_meth_set_write(method.get(), bio_write);
    BIO_meth_set_ctrl(method.get(), bio_control);
    BIO_meth_set_create(method.get(), bio_create);
    return method;
  }();
  return kMethod.get();
}

// --- alerts (RFC 8446, 6.2)

constexpr int kCertificateRequired = 116;

bool is_about_certificate(int alert) {
  return (alert >= SSL_AD_BAD_CERTIFICATE && alert <= SSL_AD_CERTIFICATE_UNKNOWN) || alert == SSL_AD_UNKNOWN_CA ||
         alert == SSL_AD_ACCESS_DENIED || alert == kCertificateRequired;
}

std::string alert_text(int alert) {
  return alert == kCertificateRequired ? "certificate required" : SSL_alert_desc_string_long(alert);
}

Error socket_failure(std::string_view what, int error_number) {
  if (error_number == ETIMEDOUT) {
    return Error(ErrorCode::kTimeout, std::format("{}: the peer does not answer any more", what));
  }
  if (error_number == EPIPE || error_number == ECONNRESET) {
    return Error(ErrorCode::kCancelled, std::format("{}: the peer broke the connection off", what));
  }
  return Error(ErrorCode::kIo, Error::from_errno(what, error_number).message());
}

}  // namespace

bool TlsSocket::flush() {
  while (!out.empty() && error_number == 0) {
    const ssize_t sent = ::send(fd, out.memory.get() + out.begin, out.size(), MSG_DONTWAIT | MSG_NOSIGNAL);
    if (sent < 0 && errno == EINTR) continue;
    if (sent < 0) {
      if (errno != EAGAIN) error_number = errno;
      return false;
    }
    sent_bytes += static_cast<std::uint64_t>(sent);
    out.begin += static_cast<std::size_t>(sent);
  }
  if (out.empty()) out.begin = out.end = 0;
  return out.empty();
}

Result<std::unique_ptr<TlsSession>> TlsSession::create(std::shared_ptr<const TlsContextImpl> context, TlsRole role,
                                                       int fd, std::string peer_address) {
  std::unique_ptr<TlsSession> session(new TlsSession(std::move(context), fd));
  session->judgement_.peer.address = std::move(peer_address);
  PERDURE_ASSIGN(session->ssl_, session->context_->make_session(role, session->judgement_));
  BIO* const bio = BIO_new(socket_method());
  if (bio == nullptr) return fail(ErrorCode::kNoSpace, std::format("begin TLS: {}", take_openssl_reason()));
  BIO_set_data(bio, &session->socket_);
  SSL_set_bio(session->ssl_.get(), bio, bio);
  return session;
}

Result<TlsStep> TlsSession::handshake() {
  ERR_clear_error();
  socket_.gather = false;
  return judge(SSL_do_handshake(ssl_.get()), "handshake");
}

Result<TlsStep> TlsSession::read(std::span<std::byte> into) {
  ERR_clear_error();
  TlsStep step;
  const int result = SSL_read_ex(ssl_.get(), into.data(), into.size(), &step.bytes);
  return result == 1 ? step : judge(result, "receive");
}

Result<TlsStep> TlsSession::write(std::span<const std::byte> bytes, bool more_follows) {
  ERR_clear_error();
  socket_.gather = more_follows;
  TlsStep step;
  const int result = SSL_write_ex(ssl_.get(), bytes.data(), bytes.size(), &step.bytes);
  if (result != 1) return judge(result, "send");
  bytes_under_key_ += step.bytes;
  if (bytes_under_key_ >= rekey_bytes_) {
    bytes_under_key_ = 0;
    // Goes out before the next record.
    if (SSL_key_update(ssl_.get(), SSL_KEY_UPDATE_NOT_REQUESTED) != 1) return judge(0, "send");
  }
  return step;
}

Result<TlsStep> TlsSession::flush() {
  if (socket_.flush()) return TlsStep{};
  if (socket_.error_number == 0) return TlsStep{0, TlsStep::Wait::kWrite};
  broken_ = true;
  return fail(failure("send"));
}

Result<TlsStep> TlsSession::judge(int result, std::string_view what) {
  if (result == 1) return TlsStep{};
  switch (SSL_get_error(ssl_.get(), result)) {
    case SSL_ERROR_WANT_READ:
      return TlsStep{0, TlsStep::Wait::kRead};
    case SSL_ERROR_WANT_WRITE:
      return TlsStep{0, TlsStep::Wait::kWrite};
    case SSL_ERROR_ZERO_RETURN:
      return TlsStep{0, TlsStep::Wait::kEnd};
    default:
      break;
  }
  broken_ = true;
  if (judgement_.refusal) return fail(*judgement_.refusal);
  if (socket_.error_number == 0 && socket_.ended) return TlsStep{0, TlsStep::Wait::kEnd};
  return fail(failure(what));
}

Error TlsSession::failure(std::string_view what) {
  const std::string who = std::format("{} {}",
                                      what == "send"      ? "send to"
                                      : what == "receive" ? "receive from"
                                                          : "handshake with",
                                      describe(judgement_.peer));
  const unsigned long error = ERR_peek_error();
  const int reason = ERR_GET_REASON(error);
  // What the peer says comes before how its connection broke.
  if (error != 0 && ERR_GET_LIB(error) == ERR_LIB_SSL && reason > SSL_AD_REASON_OFFSET) {
    return alert_failure(reason - SSL_AD_REASON_OFFSET);
  }
  if (error == 0 || socket_.error_number != 0) return socket_failure(who, socket_.error_number);
  if (ERR_GET_LIB(error) == ERR_LIB_SSL && reason == SSL_R_PEER_DID_NOT_RETURN_A_CERTIFICATE) {
    ERR_clear_error();
    return Error(ErrorCode::kPermission,
                 std::format("{} shows no certificate: has the node joined the cluster?", describe(judgement_.peer)));
  }
  return Error(ErrorCode::kInvalid, std::format("{}: not the TLS 1.3 of a node: {}", who, take_openssl_reason()));
}

Error TlsSession::alert_failure(int alert) const {
  ERR_clear_error();
  const std::string who = describe(judgement_.peer);
  if (!is_about_certificate(alert)) {
    return Error(ErrorCode::kInvalid, std::format("{} broke TLS off: {}", who, alert_text(alert)));
  }
  std::string text = std::format("{} refused our certificate: {}", who, alert_text(alert));
  if (alert == SSL_AD_CERTIFICATE_EXPIRED) {
    text += std::format(", or not valid yet, by its clock; ours says {:%FT%T}Z",
                        std::chrono::floor<std::chrono::seconds>(context_->wall()));
  } else if (alert == SSL_AD_UNKNOWN_CA) {
    text += ": it belongs to another cluster";
  } else if (alert == kCertificateRequired) {
    text += ": join the cluster first";
  }
  return Error(ErrorCode::kPermission, std::move(text));
}

void TlsSession::say_end() {
  if (broken_ || SSL_is_init_finished(ssl_.get()) == 0) return;
  broken_ = true;
  socket_.gather = false;
  SSL_shutdown(ssl_.get());
  ERR_clear_error();
}

Result<std::array<std::byte, 32>> TlsSession::export_key(std::string_view label) const {
  // RFC 8447, 9: labels that begin so need no registration.
  const std::string full = std::format("EXPERIMENTAL perdure {}", label);
  std::array<std::byte, 32> key{};
  if (SSL_export_keying_material(ssl_.get(), reinterpret_cast<unsigned char*>(key.data()), key.size(), full.data(),
                                 full.size(), nullptr, 0, 0) != 1) {
    return fail(ErrorCode::kInvalid, std::format("derive a key for '{}' with {}: {}", label,
                                                 describe(judgement_.peer), take_openssl_reason()));
  }
  return key;
}

}  // namespace perdure::io
