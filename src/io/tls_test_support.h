// For the tests of TLS: an authority and certificates of its own, and the options to use them.
#pragma once

#include <openssl/ec.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>

#include <chrono>
#include <cstdlib>
#include <memory>
#include <string>

#include "base/assert.h"
#include "base/clock.h"
#include "io/tls.h"
#include "io/tls_context.h"
#include "io/tls_openssl.h"

namespace perdure::io {

struct TestCertificate {
  std::string name = "a";
  std::string organisation = "c0ffee";
  WallTime not_before = SystemClock().wall() - std::chrono::hours(1);
  WallTime not_after = SystemClock().wall() + std::chrono::hours(24);
};

class TestAuthority {
 public:
  explicit TestAuthority(const std::string& name = "perdure c0ffee", WallTime not_before = WallTime())
      : key_(EVP_EC_gen("P-256")) {
    TestCertificate about{name, "c0ffee", not_before, SystemClock().wall() + std::chrono::hours(24 * 365)};
    certificate_ = make(about, key_.get(), true);
  }

  // Certificate, key and this authority.
  TlsIdentity identity(const TestCertificate& about = {}) const {
    const OpensslOwned<EVP_PKEY> key(EVP_EC_gen("P-256"));
    return {pem(make(about, key.get(), false).get()), pem(key.get()), certificate()};
  }
  TlsIdentity identity(const std::string& name) const {
    TestCertificate about;
    about.name = name;
    return identity(about);
  }
  // The authority itself as a node.
  TlsIdentity self_signed() const { return {certificate(), pem(key_.get()), certificate()}; }
  std::string certificate() const { return pem(certificate_.get()); }
  std::string fingerprint() const { return fingerprint_of(certificate_.get()); }

 private:
  static std::string take(const OpensslOwned<BIO>& bio) {
    char* data = nullptr;
    const long size = BIO_get_mem_data(bio.get(), &data);
    return std::string(data, static_cast<std::size_t>(size));
  }
  static std::string pem(X509* certificate) {
    const OpensslOwned<BIO> bio(BIO_new(BIO_s_mem()));
    PERDURE_ASSERT(PEM_write_bio_X509(bio.get(), certificate) == 1);
    return take(bio);
  }
  static std::string pem(EVP_PKEY* key) {
    const OpensslOwned<BIO> bio(BIO_new(BIO_s_mem()));
    PERDURE_ASSERT(PEM_write_bio_PrivateKey(bio.get(), key, nullptr, nullptr, 0, nullptr, nullptr) == 1);
    return take(bio);
  }
  static void set_entry(X509_NAME* name, const char* field, const std::string& text) {
    PERDURE_ASSERT(X509_NAME_add_entry_by_txt(name, field, MBSTRING_UTF8,
                                              reinterpret_cast<const unsigned char*>(text.data()),
                                              static_cast<int>(text.size()), -1, 0) == 1);
  }
  void extend(X509* certificate, int nid, const char* value) const {
    X509V3_CTX context;
    X509V3_set_ctx(&context, certificate_ ? certificate_.get() : certificate, certificate, nullptr, nullptr, 0);
    X509_EXTENSION* const extension = X509V3_EXT_conf_nid(nullptr, &context, nid, value);
    PERDURE_ASSERT(extension != nullptr && X509_add_ext(certificate, extension, -1) == 1);
    X509_EXTENSION_free(extension);
  }
  OpensslOwned<X509> make(const TestCertificate& about, EVP_PKEY* key, bool is_authority) const {
    OpensslOwned<X509> certificate(X509_new());
    X509* const x = certificate.get();
    X509_set_version(x, X509_VERSION_3);
    ASN1_INTEGER_set_uint64(X509_get_serialNumber(x), ++serial_);
    ASN1_TIME_set(X509_getm_notBefore(x), std::chrono::system_clock::to_time_t(about.not_before));
    ASN1_TIME_set(X509_getm_notAfter(x), std::chrono::system_clock::to_time_t(about.not_after));
    set_entry(X509_get_subject_name(x), "O", about.organisation);
    set_entry(X509_get_subject_name(x), "CN", about.name);
    X509_set_issuer_name(x, X509_get_subject_name(is_authority ? x : certificate_.get()));
    X509_set_pubkey(x, key);
    if (is_authority) {
      extend(x, NID_basic_constraints, "critical,CA:TRUE");
      extend(x, NID_key_usage, "critical,keyCertSign,cRLSign");
    } else {
      extend(x, NID_basic_constraints, "critical,CA:FALSE");
      extend(x, NID_ext_key_usage, "serverAuth,clientAuth");
    }
    PERDURE_ASSERT(X509_sign(x, key_.get(), EVP_sha256()) > 0);
    return certificate;
  }

  mutable std::uint64_t serial_ = 0xabc0;
  OpensslOwned<EVP_PKEY> key_;
  OpensslOwned<X509> certificate_;
};

}  // namespace perdure::io
