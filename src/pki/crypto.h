// What the sources of this room share of OpenSSL (libcrypto, 3.0 and newer). Not for other rooms.
#pragma once

#include <openssl/bn.h>
#include <openssl/evp.h>
#include <openssl/kdf.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "base/result.h"

namespace perdure::pki {

inline constexpr std::size_t kNonceBytes = 12;  // of AES-GCM

struct OpensslFree {
  void operator()(EVP_PKEY* p) const { EVP_PKEY_free(p); }
  void operator()(EVP_PKEY_CTX* p) const { EVP_PKEY_CTX_free(p); }
  void operator()(EVP_CIPHER_CTX* p) const { EVP_CIPHER_CTX_free(p); }
  void operator()(EVP_KDF* p) const { EVP_KDF_free(p); }
  void operator()(EVP_KDF_CTX* p) const { EVP_KDF_CTX_free(p); }
  void operator()(X509* p) const { X509_free(p); }
  void operator()(X509_CRL* p) const { X509_CRL_free(p); }
  void operator()(X509_REVOKED* p) const { X509_REVOKED_free(p); }
  void operator()(X509_EXTENSION* p) const { X509_EXTENSION_free(p); }
  void operator()(GENERAL_NAMES* p) const { GENERAL_NAMES_free(p); }
  void operator()(GENERAL_NAME* p) const { GENERAL_NAME_free(p); }
  void operator()(ASN1_STRING* p) const { ASN1_STRING_free(p); }  // a time or an integer as well
  void operator()(BIGNUM* p) const { BN_clear_free(p); }
  void operator()(BIO* p) const { BIO_free(p); }  // wipes what a memory BIO holds
};
template <typename T>
using Owned = std::unique_ptr<T, OpensslFree>;

// OpenSSL's errors wait in a queue of the thread, where the next user of TLS would take them for its own: what comes up
// within this scope leaves with it.
class ErrorScope {
 public:
  ErrorScope();
  ErrorScope(const ErrorScope&) = delete;
  ErrorScope& operator=(const ErrorScope&) = delete;
  ~ErrorScope();
};

// "MESSAGE: OpenSSL's reason", if it has one.
std::unexpected<Error> fail_openssl(ErrorCode code, std::string message);

void wipe(std::span<std::byte> bytes);
void wipe(std::string& text);

Status random_bytes(std::span<std::byte> into);
using Sha256Digest = std::array<std::byte, 32>;
Sha256Digest sha256(std::span<const std::byte> data);
bool equal_in_constant_time(std::span<const std::byte> a, std::span<const std::byte> b);

using Key256 = std::array<std::byte, 32>;
// HKDF-SHA-256 (RFC 5869).
Result<Key256> derive_key(std::span<const std::byte> secret, std::span<const std::byte> salt, std::string_view purpose);

std::string to_hex(std::span<const std::byte> bytes);
// Lower case, exactly as many digits as fill `into`.
bool from_hex(std::string_view text, std::span<std::byte> into);
bool is_hex(std::string_view text);  // lower case, at least one digit

inline std::span<const std::byte> bytes_of(std::string_view text) {
  return std::as_bytes(std::span(text));
}
inline unsigned char* raw(std::byte* p) {
  return reinterpret_cast<unsigned char*>(p);
}
inline const unsigned char* raw(const std::byte* p) {
  return reinterpret_cast<const unsigned char*>(p);
}

template <typename Number>
void put_little_endian(std::byte* at, Number number) {
  for (std::size_t i = 0; i < sizeof number; ++i) at[i] = static_cast<std::byte>(number >> (8 * i));
}
template <typename Number>
Number get_little_endian(const std::byte* at) {
  Number number = 0;
  for (std::size_t i = 0; i < sizeof number; ++i) {
    number = static_cast<Number>(number | static_cast<Number>(static_cast<Number>(at[i]) << (8 * i)));
  }
  return number;
}

}  // namespace perdure::pki
