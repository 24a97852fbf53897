// X.509 objects as the sources of this room pass them among themselves. Not for other rooms.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/clock.h"
#include "base/result.h"
#include "pki/crypto.h"

namespace perdure::pki {

inline constexpr std::size_t kMaxPemBytes = std::size_t{64} << 10;  // of certificates and keys
inline constexpr std::size_t kMaxRevocationListBytes = std::size_t{4} << 20;
inline constexpr std::size_t kMaxSerialDigits = 40;  // RFC 5280, 4.1.2.2: at most 20 octets
inline constexpr std::size_t kMaxAddresses = 64;     // of one certificate

// Readers of PEM: bounded, and a text that asks for a password never stops to ask for it. kInvalid.
Result<Owned<X509>> parse_certificate(std::string_view pem);
Result<Owned<X509_CRL>> parse_revocation_list(std::string_view pem);
Result<Owned<EVP_PKEY>> parse_private_key(std::string_view pem);  // P-256 only
Result<Owned<EVP_PKEY>> parse_public_key(std::string_view pem);   // P-256 only

// What `write` puts into a memory BIO.
template <typename Write>
Result<std::string> to_pem(Write write) {
  const ErrorScope errors;
  const Owned<BIO> bio(BIO_new(BIO_s_mem()));
  char* text = nullptr;
  if (bio == nullptr || write(bio.get()) != 1) return fail_openssl(ErrorCode::kIo, "write PEM");
  const long size = BIO_get_mem_data(bio.get(), &text);
  return std::string(text, static_cast<std::size_t>(size));
}

// kInvalid: not a time of years 1950 to 9999, or beyond WallTime.
Result<Owned<ASN1_TIME>> to_asn1(WallTime time);
Result<WallTime> from_asn1(const ASN1_TIME* time);

std::string serial_of(const ASN1_INTEGER* serial);  // hexadecimal, lower case, an even number of digits
// Any case. kInvalid.
Result<Owned<ASN1_INTEGER>> parse_serial(std::string_view hex);

// Adds an extension in the syntax of openssl.cnf. `value` is ours, never from outside: the syntax can read files.
Status add_extension(X509* certificate, X509* issuer, int nid, const char* value);
Status add_extension(X509_CRL* list, X509* issuer, int nid, const char* value);

}  // namespace perdure::pki
