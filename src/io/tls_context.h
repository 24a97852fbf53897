// Inside of this room: what a TlsContext is made of, and the judgement on a peer's certificate.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/clock.h"
#include "base/result.h"
#include "io/tls.h"
#include "io/tls_openssl.h"

namespace perdure::io {

enum class TlsRole { kClient, kServer };

// What is known of a peer during its handshake. The session points OpenSSL to it.
struct TlsJudgement {
  TlsPeer peer;  // its address from the start; the rest once it has been verified, or shown if it is refused
  std::optional<Error> refusal;  // why its certificate is refused
};

class TlsContextImpl final : public TlsContext {
 public:
  static Result<std::shared_ptr<const TlsContextImpl>> create(TlsOptions options);
  // Every TlsContext is one.
  static std::shared_ptr<const TlsContextImpl> of(std::shared_ptr<const TlsContext> context);

  // A connection that judges its peer into `judgement`, which outlives it.
  Result<OpensslOwned<SSL>> make_session(TlsRole role, TlsJudgement& judgement) const;

  // Whether a server can use it. kInvalid.
  Status check_server() const;
  const TlsOptions& options() const { return options_; }
  WallTime wall() const;

 private:
  explicit TlsContextImpl(TlsOptions options) : options_(std::move(options)) {}
  Status load();
  Status load_identity(const TlsIdentity& identity);
  Status load_authority(const std::string& pem);
  void add_authority_to_chain(X509* own);

  TlsOptions options_;
  OpensslOwned<SSL_CTX> context_;
  std::vector<OpensslOwned<X509>> authorities_;
};

// For SSL_CTX_set_cert_verify_callback(); `context` is the TlsContextImpl.
int judge_certificate(X509_STORE_CTX* chain, void* context);

// "node 'b' (192.0.2.2:7400)", or "the peer at 192.0.2.2:7400".
std::string describe(const TlsPeer& peer);
// From outside: printable ASCII only, and not too long.
std::string printable(std::string_view text, std::size_t max_bytes);
// SHA-256 of the certificate (DER), 64 lower case hexadecimal digits.
std::string fingerprint_of(const X509* certificate);

}  // namespace perdure::io
