#include <openssl/pem.h>

#include <algorithm>
#include <format>
#include <iterator>

#include "pki/authority.h"
#include "pki/x509.h"

namespace perdure::pki {
namespace {

Status add_revoked(X509_CRL* list, const std::string& serial, const ASN1_TIME* when) {
  PERDURE_ASSIGN(const Owned<ASN1_INTEGER> number, parse_serial(serial));
  Owned<X509_REVOKED> revoked(X509_REVOKED_new());
  if (revoked == nullptr || X509_REVOKED_set_serialNumber(revoked.get(), number.get()) != 1 ||
      X509_REVOKED_set_revocationDate(revoked.get(), const_cast<ASN1_TIME*>(when)) != 1 ||
      X509_CRL_add0_revoked(list, revoked.get()) != 1) {
    return fail_openssl(ErrorCode::kNoSpace, "add a serial number to a revocation list");
  }
  (void)revoked.release();
  return {};
}

// RFC 5280, 5.2.3: a number that rises with every list.
Status set_number(X509_CRL* list, WallTime now) {
  const auto milliseconds = std::chrono::duration_cast<std::chrono::milliseconds>(now.time_since_epoch()).count();
  const Owned<ASN1_INTEGER> number(ASN1_INTEGER_new());
  if (number == nullptr ||
      ASN1_INTEGER_set_uint64(number.get(), static_cast<std::uint64_t>(std::max<std::int64_t>(milliseconds, 0))) != 1 ||
      X509_CRL_add1_ext_i2d(list, NID_crl_number, number.get(), 0, X509V3_ADD_DEFAULT) != 1) {
    return fail_openssl(ErrorCode::kIo, "number a revocation list");
  }
  return {};
}

// One spelling for each number.
Result<std::vector<std::string>> canonical(const std::vector<std::string>& serials) {
  if (serials.size() > kMaxRevocations) {
    return fail(ErrorCode::kInvalid,
                std::format("{} revoked serial numbers, at most {} fit", serials.size(), kMaxRevocations));
  }
  std::vector<std::string> result;
  for (const std::string& serial : serials) {
    PERDURE_ASSIGN(const Owned<ASN1_INTEGER> number, parse_serial(serial));
    result.push_back(serial_of(number.get()));
  }
  std::ranges::sort(result);
  const auto twice = std::ranges::unique(result);
  result.erase(twice.begin(), twice.end());
  return result;
}

}  // namespace

Result<std::string> Authority::revocation_list(const std::vector<std::string>& serials, const Clock& clock) const {
  const ErrorScope errors;
  PERDURE_ASSIGN(const std::vector<std::string> revoked, canonical(serials));
  PERDURE_ASSIGN(const Owned<X509> issuer, parse_certificate(certificate_));
  PERDURE_ASSIGN(const Owned<EVP_PKEY> key, parse_private_key(private_key_));
  const Owned<X509_CRL> list(X509_CRL_new());
  const WallTime now = clock.wall();
  PERDURE_ASSIGN(const Owned<ASN1_TIME> made, to_asn1(now - kBackdating));
  if (list == nullptr || X509_CRL_set_version(list.get(), X509_CRL_VERSION_2) != 1 ||
      X509_CRL_set_issuer_name(list.get(), X509_get_subject_name(issuer.get())) != 1 ||
      X509_CRL_set1_lastUpdate(list.get(), made.get()) != 1 ||
      X509_CRL_set1_nextUpdate(list.get(), X509_get0_notAfter(issuer.get())) != 1) {
    return fail_openssl(ErrorCode::kIo, "fill in a revocation list");
  }
  for (const std::string& serial : revoked) PERDURE_TRY(add_revoked(list.get(), serial, made.get()));
  PERDURE_TRY(add_extension(list.get(), issuer.get(), NID_authority_key_identifier, "keyid:always"));
  PERDURE_TRY(set_number(list.get(), now));
  X509_CRL_sort(list.get());
  if (X509_CRL_sign(list.get(), key.get(), EVP_sha256()) == 0) {
    return fail_openssl(ErrorCode::kIo, "sign a revocation list");
  }
  return to_pem([&](BIO* bio) { return PEM_write_bio_X509_CRL(bio, list.get()); });
}

Result<std::vector<std::string>> read_revocation_list(const std::string& pem) {
  const ErrorScope errors;
  PERDURE_ASSIGN(const Owned<X509_CRL> list, parse_revocation_list(pem));
  std::vector<std::string> serials;
  STACK_OF(X509_REVOKED)* const revoked = X509_CRL_get_REVOKED(list.get());
  for (int i = 0; i < sk_X509_REVOKED_num(revoked); ++i) {  // -1: there are none
    serials.push_back(serial_of(X509_REVOKED_get0_serialNumber(sk_X509_REVOKED_value(revoked, i))));
  }
  std::ranges::sort(serials);
  return serials;
}

}  // namespace perdure::pki
