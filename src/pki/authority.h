// The cluster's certificate authority and the certificates it signs: ECDSA P-256, X.509 v3 (RFC 5280), made for
// TLS 1.3.
//
// Pure computations (OpenSSL); any thread. PEM in, PEM out.
#pragma once

#include <chrono>
#include <memory>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/ids.h"
#include "base/result.h"

namespace perdure::pki {

inline constexpr Duration kAuthorityLife = std::chrono::hours(24 * 365 * 20);
inline constexpr Duration kNodeCertificateLife = std::chrono::hours(24);
inline constexpr Duration kLongestNodeCertificateLife = std::chrono::hours(24 * 7);
// A certificate is valid from this long before it was made: clocks differ.
inline constexpr Duration kBackdating = std::chrono::minutes(5);
// Renew when less than a third of its life is left.
inline constexpr int kRenewalFraction = 3;

// What has expired by itself (kLongestNodeCertificateLife) may be left out of a CRL.
inline constexpr std::size_t kMaxRevocations = 16384;

// A private key; its memory is wiped.
Result<std::string> make_private_key();                                 // PEM, PKCS #8
Result<std::string> public_key_of(const std::string& private_key_pem);  // PEM, SubjectPublicKeyInfo. kInvalid

// kInvalid: either cannot be read, or the key is another one's.
Status check_key_pair(const std::string& certificate_pem, const std::string& private_key_pem);

struct NodeCertificateRequest {
  NodeName node;
  std::string public_key_pem;            // ECDSA P-256 only; kInvalid
  std::vector<std::string> addresses;    // IP addresses and DNS names, without ports: subject alternative names
  Duration life = kNodeCertificateLife;  // at most kLongestNodeCertificateLife
};

struct CertificateInfo {
  std::string name;          // common name
  std::string organisation;  // the cluster's id, hexadecimal
  std::string serial;        // hexadecimal, lower case, an even number of digits
  WallTime not_before{};
  WallTime not_after{};
  std::vector<std::string> addresses;
  bool is_authority = false;
};
Result<CertificateInfo> read_certificate(const std::string& pem);  // the first one in it. kInvalid
// SHA-256 of the first certificate in it (DER), 64 hexadecimal digits. kInvalid.
Result<std::string> fingerprint_of(const std::string& certificate_pem);
// The serial numbers in a CRL (PEM), as in CertificateInfo, sorted. kInvalid.
Result<std::vector<std::string>> read_revocation_list(const std::string& pem);
// When to ask for a new one.
WallTime renewal_time(const CertificateInfo& certificate);

class Authority {
 public:
  // A new one for a new cluster.
  static Result<Authority> create(const std::string& cluster_id_hex, const Clock& clock);
  // kInvalid: no such things, or they do not belong together.
  static Result<Authority> load(const std::string& certificate_pem, const std::string& private_key_pem);

  // It does not outlive the authority's own. kInvalid: a key of another kind, an address that is none, a life out of
  // range, or the authority's own has expired.
  Result<std::string> sign(const NodeCertificateRequest& request, const Clock& clock) const;
  // A CRL (RFC 5280, 5) of these serial numbers (hexadecimal, any case and order), for etcd's --client-crl-file; PEM.
  // It holds until it is replaced. kInvalid: a serial number that is none, or more than kMaxRevocations.
  Result<std::string> revocation_list(const std::vector<std::string>& serials, const Clock& clock) const;

  const std::string& certificate() const { return certificate_; }  // PEM
  const std::string& private_key() const { return private_key_; }  // PEM
  const std::string& cluster_id() const { return cluster_id_; }    // hexadecimal

  Authority(Authority&&) noexcept;
  Authority& operator=(Authority&&) noexcept;
  ~Authority();

 private:
  Authority(std::string certificate, std::string private_key, std::string cluster_id);
  std::string certificate_;
  std::string private_key_;
  std::string cluster_id_;
};

}  // namespace perdure::pki
