#include "pki/x509.h"

#include <openssl/core_names.h>
#include <openssl/pem.h>
#include <time.h>

#include <algorithm>
#include <array>
#include <format>
#include <limits>

namespace perdure::pki {
namespace {

// Instead of OpenSSL's, which asks on the terminal.
int no_password(char*, int, int, void*) {
  return -1;
}

Result<Owned<BIO>> reader_of(std::string_view pem, std::size_t limit, std::string_view what) {
  if (pem.size() > limit) {
    return fail(ErrorCode::kInvalid, std::format("{}: {} bytes, at most {} are read", what, pem.size(), limit));
  }
  Owned<BIO> bio(BIO_new_mem_buf(pem.data(), static_cast<int>(pem.size())));
  if (bio == nullptr) return fail_openssl(ErrorCode::kNoSpace, std::format("read {}", what));
  return bio;
}

Status check_kind(EVP_PKEY* key) {
  std::array<char, 64> group{};
  std::size_t length = 0;
  if (EVP_PKEY_is_a(key, "EC") != 1 || EVP_PKEY_get_group_name(key, group.data(), group.size(), &length) != 1 ||
      std::string_view(group.data(), length) != "prime256v1") {
    return fail(ErrorCode::kInvalid, "not a key of the kind ECDSA P-256");
  }
  return {};
}

template <typename Object>
Status add_new_extension(X509V3_CTX& context, Object* object, int (*add)(Object*, X509_EXTENSION*, int), int nid,
                         const char* value) {
  const Owned<X509_EXTENSION> extension(X509V3_EXT_nconf_nid(nullptr, &context, nid, value));
  if (extension == nullptr || add(object, extension.get(), -1) != 1) {
    return fail_openssl(ErrorCode::kIo, std::format("add extension {}", OBJ_nid2sn(nid)));
  }
  return {};
}

}  // namespace

Result<Owned<X509>> parse_certificate(std::string_view pem) {
  const ErrorScope errors;
  PERDURE_ASSIGN(const Owned<BIO> bio, reader_of(pem, kMaxPemBytes, "certificate"));
  Owned<X509> certificate(PEM_read_bio_X509(bio.get(), nullptr, no_password, nullptr));
  if (certificate == nullptr) return fail_openssl(ErrorCode::kInvalid, "not a certificate in PEM");
  return certificate;
}

Result<Owned<X509_CRL>> parse_revocation_list(std::string_view pem) {
  const ErrorScope errors;
  PERDURE_ASSIGN(const Owned<BIO> bio, reader_of(pem, kMaxRevocationListBytes, "revocation list"));
  Owned<X509_CRL> list(PEM_read_bio_X509_CRL(bio.get(), nullptr, no_password, nullptr));
  if (list == nullptr) return fail_openssl(ErrorCode::kInvalid, "not a certificate revocation list in PEM");
  return list;
}

Result<Owned<EVP_PKEY>> parse_private_key(std::string_view pem) {
  const ErrorScope errors;
  PERDURE_ASSIGN(const Owned<BIO> bio, reader_of(pem, kMaxPemBytes, "private key"));
  Owned<EVP_PKEY> key(PEM_read_bio_PrivateKey(bio.get(), nullptr, no_password, nullptr));
  if (key == nullptr) return fail_openssl(ErrorCode::kInvalid, "not a private key in PEM (without a password)");
  PERDURE_TRY(check_kind(key.get()));
  return key;
}

Result<Owned<EVP_PKEY>> parse_public_key(std::string_view pem) {
  const ErrorScope errors;
  PERDURE_ASSIGN(const Owned<BIO> bio, reader_of(pem, kMaxPemBytes, "public key"));
  Owned<EVP_PKEY> key(PEM_read_bio_PUBKEY(bio.get(), nullptr, no_password, nullptr));
  if (key == nullptr) return fail_openssl(ErrorCode::kInvalid, "not a public key in PEM");
  PERDURE_TRY(check_kind(key.get()));
  const Owned<EVP_PKEY_CTX> context(EVP_PKEY_CTX_new_from_pkey(nullptr, key.get(), nullptr));
  if (context == nullptr || EVP_PKEY_public_check(context.get()) != 1) {
    return fail_openssl(ErrorCode::kInvalid, "a public key that is no point of its curve");
  }
  return key;
}

Result<Owned<ASN1_TIME>> to_asn1(WallTime time) {
  const ErrorScope errors;
  Owned<ASN1_TIME> result(ASN1_TIME_set(nullptr, std::chrono::system_clock::to_time_t(time)));
  if (result == nullptr) return fail_openssl(ErrorCode::kInvalid, "a time that certificates cannot express");
  return result;
}

Result<WallTime> from_asn1(const ASN1_TIME* time) {
  constexpr time_t kLimit = std::numeric_limits<std::int64_t>::max() / 1'000'000'000 - 1;
  const ErrorScope errors;
  tm parts{};
  if (time == nullptr || ASN1_TIME_to_tm(time, &parts) != 1) return fail(ErrorCode::kInvalid, "a time that is none");
  const time_t seconds = ::timegm(&parts);
  if (seconds < -kLimit || seconds > kLimit) return fail(ErrorCode::kInvalid, "a time centuries away");
  return std::chrono::system_clock::from_time_t(seconds);
}

std::string serial_of(const ASN1_INTEGER* serial) {
  const Owned<BIGNUM> number(ASN1_INTEGER_to_BN(serial, nullptr));
  char* const text = number ? BN_bn2hex(number.get()) : nullptr;
  std::string hex(text == nullptr ? "" : text);
  OPENSSL_free(text);
  std::ranges::transform(hex, hex.begin(), [](char c) { return c >= 'A' && c <= 'F' ? static_cast<char>(c + 32) : c; });
  return hex;
}

Result<Owned<ASN1_INTEGER>> parse_serial(std::string_view hex) {
  const ErrorScope errors;
  const std::string text(hex.substr(0, kMaxSerialDigits + 1));
  const bool good = !text.empty() && text.size() <= kMaxSerialDigits &&
                    text.find_first_not_of("0123456789abcdefABCDEF") == std::string::npos;
  BIGNUM* number = nullptr;
  if (!good || BN_hex2bn(&number, text.c_str()) == 0) {
    return fail(ErrorCode::kInvalid,
                std::format("'{}' is no serial number: 1 to {} hexadecimal digits", text, kMaxSerialDigits));
  }
  const Owned<BIGNUM> owned(number);
  Owned<ASN1_INTEGER> serial(BN_to_ASN1_INTEGER(number, nullptr));
  if (serial == nullptr) return fail_openssl(ErrorCode::kNoSpace, "make a serial number");
  return serial;
}

Status add_extension(X509* certificate, X509* issuer, int nid, const char* value) {
  const ErrorScope errors;
  X509V3_CTX context{};
  X509V3_set_ctx(&context, issuer, certificate, nullptr, nullptr, 0);
  return add_new_extension(context, certificate, X509_add_ext, nid, value);
}

Status add_extension(X509_CRL* list, X509* issuer, int nid, const char* value) {
  const ErrorScope errors;
  X509V3_CTX context{};
  X509V3_set_ctx(&context, issuer, nullptr, nullptr, list, 0);
  return add_new_extension(context, list, X509_CRL_add_ext, nid, value);
}

}  // namespace perdure::pki
