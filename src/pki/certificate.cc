// What certificates and keys say of themselves.
#include <arpa/inet.h>
#include <openssl/ec.h>
#include <openssl/pem.h>

#include <algorithm>
#include <array>
#include <format>

#include "pki/authority.h"
#include "pki/x509.h"

namespace perdure::pki {
namespace {

constexpr std::size_t kMaxNameBytes = 64;      // X.520: common name, organisation
constexpr std::size_t kMaxAddressBytes = 253;  // of a DNS name

// It goes into messages and comparisons: nothing there may look like something else.
bool is_plain(std::string_view text) {
  return std::ranges::all_of(text, [](char c) { return c > 0x1f && c < 0x7f; });
}

// The only entry of its kind; empty: there is none.
Result<std::string> entry_of(const X509_NAME* name, int nid) {
  const int at = X509_NAME_get_index_by_NID(name, nid, -1);
  if (at < 0) return std::string();
  if (X509_NAME_get_index_by_NID(name, nid, at) >= 0) {
    return fail(ErrorCode::kInvalid, std::format("a certificate with two entries {}", OBJ_nid2sn(nid)));
  }
  unsigned char* text = nullptr;
  const int size = ASN1_STRING_to_UTF8(&text, X509_NAME_ENTRY_get_data(X509_NAME_get_entry(name, at)));
  if (size < 0) return fail_openssl(ErrorCode::kInvalid, "a certificate whose name is no text");
  const std::string value(reinterpret_cast<const char*>(text), static_cast<std::size_t>(size));
  OPENSSL_free(text);
  if (value.size() > kMaxNameBytes || !is_plain(value)) {
    return fail(ErrorCode::kInvalid, "a certificate whose name is too long or not plain text");
  }
  return value;
}

Result<std::string> address_of(int type, const ASN1_STRING* value) {
  const unsigned char* const data = ASN1_STRING_get0_data(value);
  const int size = ASN1_STRING_length(value);
  if (type == GEN_IPADD) {
    std::array<char, INET6_ADDRSTRLEN> text{};
    const int family = size == 4 ? AF_INET : AF_INET6;
    if ((size != 4 && size != 16) || ::inet_ntop(family, data, text.data(), text.size()) == nullptr) {
      return fail(ErrorCode::kInvalid, "a certificate with an IP address that is none");
    }
    return std::string(text.data());
  }
  std::string name(reinterpret_cast<const char*>(data), static_cast<std::size_t>(size));
  if (name.size() > kMaxAddressBytes || !is_plain(name)) {
    return fail(ErrorCode::kInvalid, "a certificate with a DNS name that is none");
  }
  return name;
}

Result<std::vector<std::string>> addresses_of(const X509* certificate) {
  int critical = 0;
  const Owned<GENERAL_NAMES> names(
      static_cast<GENERAL_NAMES*>(X509_get_ext_d2i(certificate, NID_subject_alt_name, &critical, nullptr)));
  std::vector<std::string> addresses;
  if (names == nullptr) {
    if (critical == -1) return addresses;
    return fail_openssl(ErrorCode::kInvalid, "a certificate whose alternative names cannot be read");
  }
  if (static_cast<std::size_t>(sk_GENERAL_NAME_num(names.get())) > kMaxAddresses) {
    return fail(ErrorCode::kInvalid, std::format("a certificate with more than {} alternative names", kMaxAddresses));
  }
  for (int i = 0; i < sk_GENERAL_NAME_num(names.get()); ++i) {
    int type = 0;
    const void* const value = GENERAL_NAME_get0_value(sk_GENERAL_NAME_value(names.get(), i), &type);
    if (type != GEN_IPADD && type != GEN_DNS) continue;
    PERDURE_ASSIGN(std::string address, address_of(type, static_cast<const ASN1_STRING*>(value)));
    addresses.push_back(std::move(address));
  }
  return addresses;
}

}  // namespace

Result<std::string> make_private_key() {
  const ErrorScope errors;
  const Owned<EVP_PKEY> key(EVP_EC_gen("P-256"));
  if (key == nullptr) return fail_openssl(ErrorCode::kIo, "make a private key");
  return to_pem(
      [&](BIO* bio) { return PEM_write_bio_PKCS8PrivateKey(bio, key.get(), nullptr, nullptr, 0, nullptr, nullptr); });
}

Result<std::string> public_key_of(const std::string& private_key_pem) {
  const ErrorScope errors;
  PERDURE_ASSIGN(const Owned<EVP_PKEY> key, parse_private_key(private_key_pem));
  return to_pem([&](BIO* bio) { return PEM_write_bio_PUBKEY(bio, key.get()); });
}

Status check_key_pair(const std::string& certificate_pem, const std::string& private_key_pem) {
  const ErrorScope errors;
  PERDURE_ASSIGN(const Owned<X509> certificate, parse_certificate(certificate_pem));
  PERDURE_ASSIGN(const Owned<EVP_PKEY> key, parse_private_key(private_key_pem));
  if (X509_check_private_key(certificate.get(), key.get()) != 1) {
    return fail(ErrorCode::kInvalid, "the private key is not the certificate's");
  }
  return {};
}

Result<CertificateInfo> read_certificate(const std::string& pem) {
  const ErrorScope errors;
  PERDURE_ASSIGN(const Owned<X509> certificate, parse_certificate(pem));
  // Also reads the extensions, which are not read before somebody asks.
  if ((X509_get_extension_flags(certificate.get()) & EXFLAG_INVALID) != 0) {
    return fail_openssl(ErrorCode::kInvalid, "a certificate whose extensions contradict themselves");
  }
  CertificateInfo info;
  const X509_NAME* const subject = X509_get_subject_name(certificate.get());
  PERDURE_ASSIGN(info.name, entry_of(subject, NID_commonName));
  PERDURE_ASSIGN(info.organisation, entry_of(subject, NID_organizationName));
  info.serial = serial_of(X509_get0_serialNumber(certificate.get()));
  if (info.serial.size() > kMaxSerialDigits || !is_hex(info.serial)) {
    return fail(ErrorCode::kInvalid, "a certificate whose serial number is negative or too long");
  }
  PERDURE_ASSIGN(info.not_before, from_asn1(X509_get0_notBefore(certificate.get())));
  PERDURE_ASSIGN(info.not_after, from_asn1(X509_get0_notAfter(certificate.get())));
  PERDURE_ASSIGN(info.addresses, addresses_of(certificate.get()));
  info.is_authority = X509_check_ca(certificate.get()) == 1;
  return info;
}

Result<std::string> fingerprint_of(const std::string& certificate_pem) {
  const ErrorScope errors;
  PERDURE_ASSIGN(const Owned<X509> certificate, parse_certificate(certificate_pem));
  Sha256Digest digest{};
  if (X509_digest(certificate.get(), EVP_sha256(), raw(digest.data()), nullptr) != 1) {
    return fail_openssl(ErrorCode::kIo, "take the fingerprint of a certificate");
  }
  return to_hex(digest);
}

WallTime renewal_time(const CertificateInfo& certificate) {
  // Each by itself: the life of a foreign certificate may be longer than a Duration.
  const auto begin = certificate.not_before.time_since_epoch();
  const auto end = certificate.not_after.time_since_epoch();
  return WallTime(end - (end / kRenewalFraction - begin / kRenewalFraction));
}

}  // namespace perdure::pki
