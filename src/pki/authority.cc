#include "pki/authority.h"

#include <arpa/inet.h>
#include <openssl/pem.h>

#include <algorithm>
#include <array>
#include <format>
#include <utility>

#include "pki/x509.h"

namespace perdure::pki {
namespace {

// No node can be called so.
constexpr char kAuthorityName[] = "Perdure authority";
constexpr std::size_t kMaxClusterIdDigits = 64;  // X.520: an organisation's name
constexpr std::size_t kMaxDnsBytes = 253;
constexpr std::size_t kMaxLabelBytes = 63;
constexpr std::size_t kSerialBytes = 16;

Status check_cluster_id(const std::string& id) {
  if (is_hex(id) && id.size() <= kMaxClusterIdDigits) return {};
  return fail(ErrorCode::kInvalid, std::format("'{}' is no cluster id: 1 to {} hexadecimal digits in lower case",
                                               id.substr(0, kMaxClusterIdDigits), kMaxClusterIdDigits));
}

bool is_label(std::string_view label) {
  const auto letter_or_digit = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
  };
  return !label.empty() && label.size() <= kMaxLabelBytes && letter_or_digit(label.front()) &&
         letter_or_digit(label.back()) &&
         std::ranges::all_of(label, [&](char c) { return letter_or_digit(c) || c == '-'; });
}

// RFC 1123; a last label of digits would be an IPv4 address gone wrong.
bool is_dns_name(std::string_view name) {
  if (name.empty() || name.size() > kMaxDnsBytes) return false;
  for (;;) {
    const std::size_t dot = name.find('.');
    if (!is_label(name.substr(0, dot))) return false;
    if (dot == std::string_view::npos) return name.find_first_not_of("0123456789") != std::string_view::npos;
    name.remove_prefix(dot + 1);
  }
}

Result<Owned<GENERAL_NAME>> general_name(const std::string& address) {
  std::array<unsigned char, 16> binary{};
  int size = 0;
  if (::inet_pton(AF_INET, address.c_str(), binary.data()) == 1) size = 4;
  if (::inet_pton(AF_INET6, address.c_str(), binary.data()) == 1) size = 16;
  if (address.find('\0') != std::string::npos || (size == 0 && !is_dns_name(address))) {
    return fail(ErrorCode::kInvalid, std::format("'{}' is neither an IP address nor a DNS name (without a port)",
                                                 address.substr(0, kMaxDnsBytes)));
  }
  Owned<GENERAL_NAME> name(GENERAL_NAME_new());
  ASN1_STRING* const value = size > 0 ? ASN1_OCTET_STRING_new() : ASN1_IA5STRING_new();
  const int set = size > 0 ? ASN1_STRING_set(value, binary.data(), size)
                           : ASN1_STRING_set(value, address.data(), static_cast<int>(address.size()));
  if (name == nullptr || value == nullptr || set != 1) return fail_openssl(ErrorCode::kNoSpace, "make a name");
  GENERAL_NAME_set0_value(name.get(), size > 0 ? GEN_IPADD : GEN_DNS, value);
  return name;
}

Status add_addresses(X509* certificate, const std::vector<std::string>& addresses) {
  if (addresses.empty()) return {};
  if (addresses.size() > kMaxAddresses) {
    return fail(ErrorCode::kInvalid, std::format("{} addresses, at most {} fit", addresses.size(), kMaxAddresses));
  }
  const Owned<GENERAL_NAMES> names(sk_GENERAL_NAME_new_null());
  for (const std::string& address : addresses) {
    PERDURE_ASSIGN(Owned<GENERAL_NAME> name, general_name(address));
    if (sk_GENERAL_NAME_push(names.get(), name.get()) == 0) return fail(ErrorCode::kNoSpace, "make names");
    (void)name.release();
  }
  if (X509_add1_ext_i2d(certificate, NID_subject_alt_name, names.get(), 0, X509V3_ADD_DEFAULT) != 1) {
    return fail_openssl(ErrorCode::kIo, "add alternative names");
  }
  return {};
}

// 127 random bits: positive, and at most 16 octets.
Status set_serial(X509* certificate) {
  std::array<std::byte, kSerialBytes> random{};
  PERDURE_TRY(random_bytes(random));
  random[0] &= std::byte{0x7f};
  const Owned<BIGNUM> number(BN_bin2bn(raw(random.data()), static_cast<int>(random.size()), nullptr));
  if (number == nullptr || BN_to_ASN1_INTEGER(number.get(), X509_get_serialNumber(certificate)) == nullptr) {
    return fail_openssl(ErrorCode::kIo, "set a serial number");
  }
  return {};
}

Status set_subject(X509* certificate, const std::string& organisation, const std::string& name) {
  X509_NAME* const subject = X509_get_subject_name(certificate);
  const auto add = [&](const char* field, const std::string& value) {
    return X509_NAME_add_entry_by_txt(subject, field, MBSTRING_UTF8,
                                      reinterpret_cast<const unsigned char*>(value.data()),
                                      static_cast<int>(value.size()), -1, 0) == 1;
  };
  if (!add("O", organisation) || !add("CN", name)) return fail_openssl(ErrorCode::kIo, "set a certificate's subject");
  return {};
}

struct Subject {
  std::string organisation;
  std::string name;
  WallTime not_before;
  WallTime not_after;
};

Result<Owned<X509>> new_certificate(const Subject& subject, EVP_PKEY* key) {
  Owned<X509> certificate(X509_new());
  if (certificate == nullptr) return fail_openssl(ErrorCode::kNoSpace, "make a certificate");
  PERDURE_TRY(set_serial(certificate.get()));
  PERDURE_TRY(set_subject(certificate.get(), subject.organisation, subject.name));
  PERDURE_ASSIGN(const Owned<ASN1_TIME> not_before, to_asn1(subject.not_before));
  PERDURE_ASSIGN(const Owned<ASN1_TIME> not_after, to_asn1(subject.not_after));
  if (X509_set_version(certificate.get(), X509_VERSION_3) != 1 || X509_set_pubkey(certificate.get(), key) != 1 ||
      X509_set1_notBefore(certificate.get(), not_before.get()) != 1 ||
      X509_set1_notAfter(certificate.get(), not_after.get()) != 1) {
    return fail_openssl(ErrorCode::kIo, "fill in a certificate");
  }
  return certificate;
}

// The issuer's name, the extensions, the signature.
struct Extension {
  int nid;
  const char* value;
};
Result<std::string> signed_pem(X509* certificate, X509* issuer, EVP_PKEY* issuer_key,
                               std::span<const Extension> extensions) {
  if (X509_set_issuer_name(certificate, X509_get_subject_name(issuer)) != 1) {
    return fail_openssl(ErrorCode::kIo, "set a certificate's issuer");
  }
  for (const Extension& extension : extensions) {
    PERDURE_TRY(add_extension(certificate, issuer, extension.nid, extension.value));
  }
  if (X509_sign(certificate, issuer_key, EVP_sha256()) == 0) {
    return fail_openssl(ErrorCode::kIo, "sign a certificate");
  }
  return to_pem([&](BIO* bio) { return PEM_write_bio_X509(bio, certificate); });
}

Status check_authority(X509* certificate, EVP_PKEY* key) {
  constexpr std::uint32_t kUsage = KU_KEY_CERT_SIGN | KU_CRL_SIGN;
  if (X509_check_ca(certificate) != 1 || (X509_get_key_usage(certificate) & kUsage) != kUsage) {
    return fail(ErrorCode::kInvalid, "the certificate is no authority's");
  }
  if (X509_check_private_key(certificate, key) != 1) {
    return fail(ErrorCode::kInvalid, "the private key is not that of the authority's certificate");
  }
  if (X509_verify(certificate, key) != 1) {
    return fail(ErrorCode::kInvalid, "the authority's certificate is not signed with its own key");
  }
  return {};
}

}  // namespace

Result<Authority> Authority::create(const std::string& cluster_id_hex, const Clock& clock) {
  const ErrorScope errors;
  PERDURE_TRY(check_cluster_id(cluster_id_hex));
  PERDURE_ASSIGN(std::string key_pem, make_private_key());
  PERDURE_ASSIGN(const Owned<EVP_PKEY> key, parse_private_key(key_pem));
  const WallTime now = clock.wall();
  PERDURE_ASSIGN(const Owned<X509> certificate,
                 new_certificate({cluster_id_hex, kAuthorityName, now - kBackdating, now + kAuthorityLife}, key.get()));
  constexpr std::array kExtensions = {
      Extension{NID_basic_constraints, "critical,CA:TRUE,pathlen:0"},
      Extension{NID_key_usage, "critical,keyCertSign,cRLSign"},
      Extension{NID_subject_key_identifier, "hash"},
  };
  PERDURE_ASSIGN(std::string pem, signed_pem(certificate.get(), certificate.get(), key.get(), kExtensions));
  return Authority(std::move(pem), std::move(key_pem), cluster_id_hex);
}

Result<Authority> Authority::load(const std::string& certificate_pem, const std::string& private_key_pem) {
  const ErrorScope errors;
  PERDURE_ASSIGN(const CertificateInfo info, read_certificate(certificate_pem));
  PERDURE_TRY(check_cluster_id(info.organisation));
  PERDURE_ASSIGN(const Owned<X509> certificate, parse_certificate(certificate_pem));
  PERDURE_ASSIGN(const Owned<EVP_PKEY> key, parse_private_key(private_key_pem));
  PERDURE_TRY(check_authority(certificate.get(), key.get()));
  return Authority(certificate_pem, private_key_pem, info.organisation);
}

Result<std::string> Authority::sign(const NodeCertificateRequest& request, const Clock& clock) const {
  const ErrorScope errors;
  if (request.life < std::chrono::seconds(1) || request.life > kLongestNodeCertificateLife) {
    return fail(ErrorCode::kInvalid,
                std::format("a certificate for {}: it must be 1 s to {}", format_duration(request.life),
                            format_duration(kLongestNodeCertificateLife)));
  }
  PERDURE_ASSIGN(const Owned<EVP_PKEY> key, parse_public_key(request.public_key_pem));
  PERDURE_ASSIGN(const Owned<X509> issuer, parse_certificate(certificate_));
  PERDURE_ASSIGN(const Owned<EVP_PKEY> issuer_key, parse_private_key(private_key_));
  PERDURE_ASSIGN(const WallTime end, from_asn1(X509_get0_notAfter(issuer.get())));
  const WallTime now = clock.wall();
  if (now >= end) {
    return fail(ErrorCode::kInvalid,
                std::format("the authority's certificate expired at {}, it is {}: make a new cluster",
                            format_wall_time(end), format_wall_time(now)));
  }
  PERDURE_ASSIGN(const Owned<X509> certificate, new_certificate({cluster_id_, request.node.str(), now - kBackdating,
                                                                 std::min(now + request.life, end)},
                                                                key.get()));
  PERDURE_TRY(add_addresses(certificate.get(), request.addresses));
  constexpr std::array kExtensions = {
      Extension{NID_basic_constraints, "critical,CA:FALSE"},   Extension{NID_key_usage, "critical,digitalSignature"},
      Extension{NID_ext_key_usage, "serverAuth,clientAuth"},   Extension{NID_subject_key_identifier, "hash"},
      Extension{NID_authority_key_identifier, "keyid:always"},
  };
  return signed_pem(certificate.get(), issuer.get(), issuer_key.get(), kExtensions);
}

Authority::Authority(std::string certificate, std::string private_key, std::string cluster_id)
    : certificate_(std::move(certificate)), private_key_(std::move(private_key)), cluster_id_(std::move(cluster_id)) {}

Authority::Authority(Authority&&) noexcept = default;

Authority& Authority::operator=(Authority&& other) noexcept {
  std::swap(certificate_, other.certificate_);
  std::swap(private_key_, other.private_key_);
  std::swap(cluster_id_, other.cluster_id_);
  return *this;
}

Authority::~Authority() {
  wipe(private_key_);
}

}  // namespace perdure::pki
