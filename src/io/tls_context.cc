#include "io/tls_context.h"

#include <openssl/pem.h>
#include <openssl/x509v3.h>

#include <algorithm>
#include <cctype>
#include <format>
#include <utility>

namespace perdure::io {

namespace {

// Far above any certificate of a node with its chain.
constexpr std::size_t kMaxPemBytes = std::size_t{256} << 10;
constexpr long kMaxPeerChainBytes = 64L << 10;
constexpr std::size_t kMaxCertificates = 16;
constexpr int kMaxChainDepth = 4;
constexpr std::size_t kFingerprintDigits = 64;

// What is fastest on this host: AES in hardware, or ChaCha20 without it. The client's order decides.
const char* cipher_suites() {
#if defined(__x86_64__)
  if (!__builtin_cpu_supports("aes")) {
    return "TLS_CHACHA20_POLY1305_SHA256:TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384";
  }
#endif
  return "TLS_AES_128_GCM_SHA256:TLS_CHACHA20_POLY1305_SHA256:TLS_AES_256_GCM_SHA384";
}

// Without one OpenSSL would ask at the terminal.
int no_password(char*, int, int, void*) {
  return 0;
}

Result<OpensslOwned<BIO>> pem_reader(const std::string& pem, std::string_view what) {
  if (pem.empty() || pem.size() > kMaxPemBytes) {
    return fail(ErrorCode::kInvalid,
                std::format("{} has {} bytes; 1 to {} are possible", what, pem.size(), kMaxPemBytes));
  }
  OpensslOwned<BIO> reader(BIO_new_mem_buf(pem.data(), static_cast<int>(pem.size())));
  if (!reader) return fail(ErrorCode::kNoSpace, take_openssl_reason());
  return reader;
}

Result<std::vector<OpensslOwned<X509>>> read_certificates(const std::string& pem, std::string_view what) {
  PERDURE_ASSIGN(const OpensslOwned<BIO> reader, pem_reader(pem, what));
  std::vector<OpensslOwned<X509>> certificates;
  for (;;) {
    ERR_clear_error();
    OpensslOwned<X509> certificate(PEM_read_bio_X509(reader.get(), nullptr, no_password, nullptr));
    if (!certificate) break;
    if (certificates.size() == kMaxCertificates) {
      return fail(ErrorCode::kInvalid, std::format("{} holds more than {} certificates", what, kMaxCertificates));
    }
    certificates.push_back(std::move(certificate));
  }
  const unsigned long error = ERR_peek_last_error();
  const bool at_end = ERR_GET_LIB(error) == ERR_LIB_PEM && ERR_GET_REASON(error) == PEM_R_NO_START_LINE;
  if (certificates.empty() || !at_end) {
    return fail(ErrorCode::kInvalid, std::format("{} is no certificate in PEM: {}", what, take_openssl_reason()));
  }
  ERR_clear_error();
  return certificates;
}

Result<OpensslOwned<EVP_PKEY>> read_key(const std::string& pem) {
  constexpr std::string_view kWhat = "the node's key";
  PERDURE_ASSIGN(const OpensslOwned<BIO> reader, pem_reader(pem, kWhat));
  OpensslOwned<EVP_PKEY> key(PEM_read_bio_PrivateKey(reader.get(), nullptr, no_password, nullptr));
  if (!key) {
    return fail(ErrorCode::kInvalid,
                std::format("{} is no private key in PEM without a password: {}", kWhat, take_openssl_reason()));
  }
  return key;
}

}  // namespace

Result<std::shared_ptr<const TlsContext>> TlsContext::create(TlsOptions options) {
  PERDURE_ASSIGN(std::shared_ptr<const TlsContext> context, TlsContextImpl::create(std::move(options)));
  return context;
}

Result<std::shared_ptr<const TlsContextImpl>> TlsContextImpl::create(TlsOptions options) {
  std::shared_ptr<TlsContextImpl> context(new TlsContextImpl(std::move(options)));
  ERR_clear_error();
  Status loaded = context->load();
  if (!loaded) return fail(std::move(loaded).error().context("prepare TLS"));
  return std::shared_ptr<const TlsContextImpl>(std::move(context));
}

std::shared_ptr<const TlsContextImpl> TlsContextImpl::of(std::shared_ptr<const TlsContext> context) {
  return std::static_pointer_cast<const TlsContextImpl>(std::move(context));
}

WallTime TlsContextImpl::wall() const {
  return options_.clock != nullptr ? options_.clock->wall() : SystemClock().wall();
}

Status TlsContextImpl::load() {
  context_.reset(SSL_CTX_new(TLS_method()));
  SSL_CTX* const context = context_.get();
  // No tickets and no cache: a session that is resumed would not be verified anew.
  if (context == nullptr || SSL_CTX_set_min_proto_version(context, TLS1_3_VERSION) != 1 ||
      SSL_CTX_set_max_proto_version(context, TLS1_3_VERSION) != 1 ||
      SSL_CTX_set_ciphersuites(context, cipher_suites()) != 1 || SSL_CTX_set_num_tickets(context, 0) != 1) {
    return fail(ErrorCode::kIo, take_openssl_reason());
  }
  SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_OFF);
  // Frames say themselves whether they are complete, so an end without close_notify takes nothing away.
  SSL_CTX_set_options(context, SSL_OP_NO_TICKET | SSL_OP_IGNORE_UNEXPECTED_EOF);
  SSL_CTX_set_mode(context, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
  SSL_CTX_set_max_cert_list(context, kMaxPeerChainBytes);
  SSL_CTX_set_verify_depth(context, kMaxChainDepth);
  SSL_CTX_set_cert_verify_callback(context, judge_certificate, this);

  std::string& fingerprint = options_.authority_fingerprint;
  const bool has_authority = options_.identity && !options_.identity->authority.empty();
  if (has_authority == !fingerprint.empty()) {
    return fail(ErrorCode::kInvalid, "either an authority or the fingerprint of one is needed");
  }
  std::ranges::transform(fingerprint, fingerprint.begin(), [](unsigned char c) { return std::tolower(c); });
  if (!fingerprint.empty() && (fingerprint.size() != kFingerprintDigits ||
                               fingerprint.find_first_not_of("0123456789abcdef") != std::string::npos)) {
    return fail(ErrorCode::kInvalid,
                std::format("the authority's fingerprint has {} hexadecimal digits", kFingerprintDigits));
  }
  if (has_authority) PERDURE_TRY(load_authority(options_.identity->authority));
  if (options_.identity) {
    PERDURE_TRY(load_identity(*options_.identity));
    OPENSSL_cleanse(options_.identity->key.data(), options_.identity->key.size());
    options_.identity->key.clear();
  }
  return {};
}

Status TlsContextImpl::load_authority(const std::string& pem) {
  PERDURE_ASSIGN(authorities_, read_certificates(pem, "the authority"));
  X509_STORE* const store = SSL_CTX_get_cert_store(context_.get());
  for (const auto& authority : authorities_) {
    if (X509_check_ca(authority.get()) == 0) {
      return fail(ErrorCode::kInvalid, "the authority's certificate is not one of an authority");
    }
    if (X509_STORE_add_cert(store, authority.get()) != 1) return fail(ErrorCode::kInvalid, take_openssl_reason());
  }
  return {};
}

Status TlsContextImpl::load_identity(const TlsIdentity& identity) {
  PERDURE_ASSIGN(const auto certificates, read_certificates(identity.certificate, "the node's certificate"));
  PERDURE_ASSIGN(const OpensslOwned<EVP_PKEY> key, read_key(identity.key));
  if (X509_check_private_key(certificates.front().get(), key.get()) != 1) {
    ERR_clear_error();
    return fail(ErrorCode::kInvalid, "the node's key does not fit its certificate");
  }
  if (SSL_CTX_use_certificate(context_.get(), certificates.front().get()) != 1 ||
      SSL_CTX_use_PrivateKey(context_.get(), key.get()) != 1) {
    return fail(ErrorCode::kInvalid, std::format("the node's certificate cannot be used: {}", take_openssl_reason()));
  }
  for (std::size_t i = 1; i < certificates.size(); ++i) {
    if (SSL_CTX_add1_chain_cert(context_.get(), certificates[i].get()) != 1) {
      return fail(ErrorCode::kInvalid, take_openssl_reason());
    }
  }
  add_authority_to_chain(certificates.back().get());
  return {};
}

// Who joins knows the authority by its fingerprint only, so it has to be shown.
void TlsContextImpl::add_authority_to_chain(X509* own) {
  for (const auto& authority : authorities_) {
    if (X509_check_issued(authority.get(), own) != X509_V_OK ||
        X509_verify(own, X509_get0_pubkey(authority.get())) != 1 || X509_cmp(authority.get(), own) == 0) {
      continue;
    }
    if (SSL_CTX_add1_chain_cert(context_.get(), authority.get()) == 1) break;
  }
  ERR_clear_error();
}

Status TlsContextImpl::check_server() const {
  if (!options_.identity || authorities_.empty()) {
    return fail(ErrorCode::kInvalid, "a server needs a certificate and an authority");
  }
  return {};
}

Result<OpensslOwned<SSL>> TlsContextImpl::make_session(TlsRole role, TlsJudgement& judgement) const {
  OpensslOwned<SSL> ssl(SSL_new(context_.get()));
  if (!ssl || SSL_set_app_data(ssl.get(), &judgement) != 1) {
    return fail(ErrorCode::kNoSpace, std::format("begin TLS: {}", take_openssl_reason()));
  }
  if (role == TlsRole::kClient) {
    SSL_set_verify(ssl.get(), SSL_VERIFY_PEER, nullptr);
    SSL_set_connect_state(ssl.get());
  } else {
    const bool required = options_.client_certificate == TlsOptions::ClientCertificate::kRequired;
    SSL_set_verify(ssl.get(), SSL_VERIFY_PEER | (required ? SSL_VERIFY_FAIL_IF_NO_PEER_CERT : 0), nullptr);
    SSL_set_accept_state(ssl.get());
  }
  return ssl;
}

}  // namespace perdure::io
