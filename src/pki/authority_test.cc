// Proves what certificates of a cluster are: what stands in them, who accepts them and when (judged by OpenSSL's own
// verifier, at any time), that the time in them is the given clock's, and that nothing else than a P-256 key, an
// address or a certificate is taken for one. The command line of openssl is asked for a second opinion, where there is
// one.
#include "pki/authority.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509_vfy.h>
#include <stdlib.h>

#include <format>
#include <memory>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "pki/test_support.h"
#include "pki/x509.h"

namespace perdure::pki {
namespace {

using std::chrono::hours;
using std::chrono::minutes;
using std::chrono::seconds;
using ::testing::AllOf;
using ::testing::ElementsAre;
using testing::FixedClock;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using testing::kClusterId;
using testing::new_authority;
using testing::new_node;
using testing::NodeCredentials;
using ::testing::Not;

// Whether a server and a client would be accepted by who trusts `authority`, at that time.
std::string verdict(const std::string& certificate, const std::string& authority, WallTime at,
                    const std::string& crl = {}) {
  const ErrorScope errors;
  const auto leaf = std::move(parse_certificate(certificate)).value();
  const auto root = std::move(parse_certificate(authority)).value();
  for (const int purpose : {X509_PURPOSE_SSL_SERVER, X509_PURPOSE_SSL_CLIENT}) {
    const std::unique_ptr<X509_STORE, decltype(&X509_STORE_free)> store(X509_STORE_new(), X509_STORE_free);
    const std::unique_ptr<X509_STORE_CTX, decltype(&X509_STORE_CTX_free)> context(X509_STORE_CTX_new(),
                                                                                  X509_STORE_CTX_free);
    X509_STORE_add_cert(store.get(), root.get());
    if (!crl.empty()) X509_STORE_add_crl(store.get(), std::move(parse_revocation_list(crl)).value().get());
    X509_STORE_CTX_init(context.get(), store.get(), leaf.get(), nullptr);
    X509_VERIFY_PARAM* const parameters = X509_STORE_CTX_get0_param(context.get());
    X509_VERIFY_PARAM_set_flags(parameters, X509_V_FLAG_X509_STRICT | (crl.empty() ? 0UL : X509_V_FLAG_CRL_CHECK));
    X509_VERIFY_PARAM_set_time(parameters, std::chrono::system_clock::to_time_t(at));
    X509_STORE_CTX_set_purpose(context.get(), purpose);
    if (X509_verify_cert(context.get()) != 1) {
      return X509_verify_cert_error_string(X509_STORE_CTX_get_error(context.get()));
    }
  }
  return "ok";
}

std::string other_key(int type, const char* group) {
  const Owned<EVP_PKEY> key(type == EVP_PKEY_EC ? EVP_EC_gen(group) : EVP_PKEY_Q_keygen(nullptr, nullptr, group));
  return to_pem([&](BIO* bio) { return PEM_write_bio_PUBKEY(bio, key.get()); }).value();
}

NodeCertificateRequest request_for(std::vector<std::string> addresses = {}) {
  return {NodeName::parse("alpha").value(), public_key_of(make_private_key().value()).value(), std::move(addresses)};
}

TEST(Authority, SaysWhatItIs) {
  const FixedClock clock;
  const Authority authority = new_authority(clock);
  const auto info = read_certificate(authority.certificate());
  ASSERT_TRUE(info) << info.error().message();
  EXPECT_TRUE(info->is_authority);
  EXPECT_EQ(info->organisation, kClusterId);
  EXPECT_FALSE(NodeName::parse(info->name));  // no node can be called so
  EXPECT_EQ(info->not_before, clock.wall() - kBackdating);
  EXPECT_EQ(info->not_after, clock.wall() + kAuthorityLife);
  EXPECT_THAT(info->addresses, IsEmpty());
  const auto certificate = std::move(parse_certificate(authority.certificate())).value();
  EXPECT_EQ(X509_get_pathlen(certificate.get()), 0);
  EXPECT_EQ(X509_get_key_usage(certificate.get()), std::uint32_t{KU_KEY_CERT_SIGN | KU_CRL_SIGN});
  EXPECT_EQ(authority.cluster_id(), kClusterId);
}

TEST(Authority, ANodesCertificateSaysWhoseItIs) {
  const FixedClock clock;
  const Authority authority = new_authority(clock);
  const NodeCredentials node =
      new_node(authority, clock, "alpha", {"192.0.2.1", "2001:db8:0::1", "alpha.example", "localhost"});
  const auto info = read_certificate(node.certificate);
  ASSERT_TRUE(info) << info.error().message();
  EXPECT_FALSE(info->is_authority);
  EXPECT_EQ(info->name, "alpha");
  EXPECT_EQ(info->organisation, kClusterId);
  EXPECT_THAT(info->addresses, ElementsAre("192.0.2.1", "2001:db8::1", "alpha.example", "localhost"));
  EXPECT_EQ(info->not_before, clock.wall() - kBackdating);
  EXPECT_EQ(info->not_after, clock.wall() + kNodeCertificateLife);
  const auto certificate = std::move(parse_certificate(node.certificate)).value();
  EXPECT_EQ(X509_get_key_usage(certificate.get()), std::uint32_t{KU_DIGITAL_SIGNATURE});
  EXPECT_EQ(X509_get_extended_key_usage(certificate.get()), std::uint32_t{XKU_SSL_SERVER | XKU_SSL_CLIENT});
  EXPECT_TRUE(check_key_pair(node.certificate, node.key));
  EXPECT_EQ(verdict(node.certificate, authority.certificate(), clock.wall()), "ok");
}

TEST(Authority, SerialNumbersAreRandomAndPositive) {
  const Authority authority = new_authority();
  std::set<std::string> serials;
  for (int i = 0; i < 32; ++i) {
    const auto info = read_certificate(new_node(authority).certificate);
    ASSERT_TRUE(info);
    EXPECT_LE(info->serial.size(), 32u);
    EXPECT_GE(info->serial.size(), 16u) << "not even 64 bits of 127";
    EXPECT_EQ(info->serial.size() % 2, 0u);
    EXPECT_EQ(info->serial.find_first_not_of("0123456789abcdef"), std::string::npos);
    serials.insert(info->serial);
  }
  EXPECT_EQ(serials.size(), 32u);
}

TEST(Authority, TimesAreTheGivenClocks) {
  const FixedClock clock;
  const Authority authority = new_authority(clock);
  const FixedClock ahead(hours(1));
  const NodeCredentials early = new_node(authority, ahead);
  EXPECT_EQ(read_certificate(early.certificate)->not_before, ahead.wall() - kBackdating);
  EXPECT_EQ(verdict(early.certificate, authority.certificate(), clock.wall()), "certificate is not yet valid");
  EXPECT_EQ(verdict(early.certificate, authority.certificate(), ahead.wall()), "ok");
  const FixedClock behind(-hours(24 * 7));
  const NodeCredentials late = new_node(authority, behind);
  EXPECT_EQ(read_certificate(late.certificate)->not_after, behind.wall() + kNodeCertificateLife);
  EXPECT_EQ(verdict(late.certificate, authority.certificate(), clock.wall()), "certificate has expired");
  // A clock a little behind is no harm.
  EXPECT_EQ(verdict(new_node(authority, clock).certificate, authority.certificate(), clock.wall() - minutes(4)), "ok");
}

TEST(Authority, RenewalIsAtTwoThirdsOfALife) {
  CertificateInfo info;
  info.not_before = WallTime(hours(100));
  info.not_after = WallTime(hours(130));
  EXPECT_EQ(renewal_time(info), WallTime(hours(120)));
  info.not_before = WallTime::min() + hours(1);  // foreign: longer than a Duration
  info.not_after = WallTime::max() - hours(1);
  EXPECT_GT(renewal_time(info), WallTime(hours(1)));
  EXPECT_LT(renewal_time(info), info.not_after);
}

TEST(Authority, AnothersCertificatesAreNotAccepted) {
  const FixedClock clock;
  const Authority own = new_authority(clock);
  const Authority foreign = new_authority(clock);  // also of the same cluster id
  EXPECT_THAT(verdict(new_node(foreign, clock).certificate, own.certificate(), clock.wall()), Not("ok"));
  // A node's key signs nothing that counts.
  const NodeCredentials node = new_node(own, clock);
  EXPECT_EQ(Authority::load(node.certificate, node.key).error().code(), ErrorCode::kInvalid);
}

TEST(Authority, LivesAreBounded) {
  const FixedClock clock;
  const Authority authority = new_authority(clock);
  NodeCertificateRequest request = request_for();
  for (const Duration life : {Duration{}, Duration(-hours(1)), Duration(kLongestNodeCertificateLife + seconds(1))}) {
    request.life = life;
    EXPECT_EQ(authority.sign(request, clock).error().code(), ErrorCode::kInvalid);
  }
  request.life = kLongestNodeCertificateLife;
  EXPECT_TRUE(authority.sign(request, clock));
  const FixedClock near_the_end(kAuthorityLife - hours(1));
  const auto last = authority.sign(request, near_the_end);
  ASSERT_TRUE(last);
  EXPECT_EQ(read_certificate(*last)->not_after, read_certificate(authority.certificate())->not_after);
  const FixedClock after_the_end(kAuthorityLife);
  const auto refused = authority.sign(request, after_the_end);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code(), ErrorCode::kInvalid);
  EXPECT_THAT(refused.error().message(), HasSubstr("expired at 2053"));
}

TEST(Authority, WhatIsNoAddressIsRefused) {
  const Authority authority = new_authority();
  for (const std::string address :
       {"", "192.0.2.1:7400", "[::1]", "::1%eth0", "fe80::1/64", "192.0.2.256", "1.2.3", "-a", "a-", "a..b", "a.",
        "*.example", "a b", "a,DNS:b", "email:a@b", "a/b", "h\xc3\xb6st", "a\nb"}) {
    const auto refused = authority.sign(request_for({address}), FixedClock());
    ASSERT_FALSE(refused) << address;
    EXPECT_EQ(refused.error().code(), ErrorCode::kInvalid);
    EXPECT_THAT(refused.error().message(), HasSubstr("neither an IP address nor a DNS name"));
  }
  EXPECT_FALSE(authority.sign(request_for({std::string("a\0b", 3)}), FixedClock()));
  EXPECT_FALSE(authority.sign(request_for({std::string(64, 'a')}), FixedClock()));
  EXPECT_TRUE(authority.sign(request_for({std::string(63, 'a')}), FixedClock()));
  EXPECT_TRUE(authority.sign(request_for(std::vector<std::string>(kMaxAddresses, "a")), FixedClock()));
  EXPECT_FALSE(authority.sign(request_for(std::vector<std::string>(kMaxAddresses + 1, "a")), FixedClock()));
}

TEST(Authority, OnlyKeysOfItsKindAreSigned) {
  const Authority authority = new_authority();
  NodeCertificateRequest request = request_for();
  const std::string private_key = make_private_key().value();
  for (const std::string& key :
       {std::string(), std::string("x"), private_key, authority.certificate(), other_key(EVP_PKEY_EC, "P-384"),
        other_key(EVP_PKEY_EC, "secp256k1"), other_key(EVP_PKEY_ED25519, "ED25519")}) {
    request.public_key_pem = key;
    EXPECT_EQ(authority.sign(request, FixedClock()).error().code(), ErrorCode::kInvalid) << key;
  }
}

TEST(Authority, LoadsWhatBelongsTogether) {
  const Authority authority = new_authority();
  auto loaded = Authority::load(authority.certificate(), authority.private_key());
  ASSERT_TRUE(loaded) << loaded.error().message();
  EXPECT_EQ(loaded->cluster_id(), kClusterId);
  const FixedClock clock;
  EXPECT_EQ(verdict(new_node(*loaded, clock).certificate, authority.certificate(), clock.wall()), "ok");
  const Authority other = new_authority();
  for (const auto& [certificate, key] :
       {std::pair(authority.certificate(), other.private_key()), std::pair(authority.certificate(), std::string()),
        std::pair(std::string("x"), authority.private_key()),
        std::pair(authority.private_key(), authority.private_key()),
        std::pair(authority.certificate(), authority.certificate())}) {
    EXPECT_EQ(Authority::load(certificate, key).error().code(), ErrorCode::kInvalid);
  }
  *loaded = new_authority(FixedClock(), "ab");
  EXPECT_EQ(loaded->cluster_id(), "ab");
}

TEST(Authority, AClusterIdIsHexadecimal) {
  for (const std::string id : {"", "ABCDEF", "xyz", "0x12", "a b"}) {
    EXPECT_EQ(Authority::create(id, FixedClock()).error().code(), ErrorCode::kInvalid) << id;
  }
  EXPECT_FALSE(Authority::create(std::string(65, 'a'), FixedClock()));
}

// A key with a password must not make a daemon wait for its terminal.
constexpr char kLockedKey[] =
    "-----BEGIN EC PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-128-CBC,00112233445566778899AABBCCDDEEFF\n\n"
    "AAECAwQFBgcICQoLDA0ODwABAgMEBQYHCAkKCwwNDg8=\n-----END EC PRIVATE KEY-----\n";

TEST(Certificate, BadPemIsRefused) {
  const std::string good = new_node(new_authority()).certificate;
  for (const std::string& bad :
       {std::string(), std::string("-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----\n"), std::string(kLockedKey),
        good.substr(0, good.size() / 2), good.substr(30), std::string(kMaxPemBytes + 1, '\n') + good}) {
    EXPECT_EQ(read_certificate(bad).error().code(), ErrorCode::kInvalid);
    EXPECT_EQ(fingerprint_of(bad).error().code(), ErrorCode::kInvalid);
    EXPECT_EQ(public_key_of(bad).error().code(), ErrorCode::kInvalid);
    EXPECT_EQ(read_revocation_list(bad).error().code(), ErrorCode::kInvalid);
  }
  EXPECT_EQ(ERR_peek_error(), 0u) << "left for the next user of TLS on this thread";
}

TEST(Certificate, TheFingerprintIsOfTheFirst) {
  const Authority a = new_authority();
  const Authority b = new_authority();
  const std::string fingerprint = fingerprint_of(a.certificate()).value();
  EXPECT_EQ(fingerprint.size(), 64u);
  EXPECT_NE(fingerprint, fingerprint_of(b.certificate()).value());
  EXPECT_EQ(fingerprint, fingerprint_of("a comment\n" + a.certificate() + b.certificate()).value());
}

TEST(Certificate, PairsAreChecked) {
  const Authority authority = new_authority();
  const NodeCredentials a = new_node(authority);
  const NodeCredentials b = new_node(authority);
  EXPECT_EQ(check_key_pair(a.certificate, b.key).error().code(), ErrorCode::kInvalid);
  EXPECT_EQ(check_key_pair(a.key, a.key).error().code(), ErrorCode::kInvalid);
}

TEST(RevocationList, RefusesWhoIsInIt) {
  const FixedClock clock;
  const Authority authority = new_authority(clock);
  const NodeCredentials good = new_node(authority, clock);
  const NodeCredentials bad = new_node(authority, clock);
  std::string serial = read_certificate(bad.certificate)->serial;
  const auto list = authority.revocation_list({serial, "0A", "0a", serial}, clock);
  ASSERT_TRUE(list) << list.error().message();
  EXPECT_THAT(*list, HasSubstr("-----BEGIN X509 CRL-----"));
  EXPECT_THAT(read_revocation_list(*list).value(), ::testing::UnorderedElementsAre(serial, "0a"));
  for (const WallTime at : {clock.wall() - minutes(4), clock.wall(), clock.wall() + hours(23)}) {
    EXPECT_EQ(verdict(good.certificate, authority.certificate(), at, *list), "ok");
    EXPECT_EQ(verdict(bad.certificate, authority.certificate(), at, *list), "certificate revoked");
  }
  const Authority foreign = new_authority(clock);
  EXPECT_THAT(
      verdict(good.certificate, authority.certificate(), clock.wall(), foreign.revocation_list({}, clock).value()),
      Not("ok"));
  EXPECT_THAT(read_revocation_list(authority.revocation_list({}, clock).value()).value(), IsEmpty());
}

TEST(RevocationList, SerialNumbersAreChecked) {
  const Authority authority = new_authority();
  for (const std::string serial : {"", "-1", "0x1", "g", "12 34"}) {
    EXPECT_EQ(authority.revocation_list({serial}, FixedClock()).error().code(), ErrorCode::kInvalid) << serial;
  }
  EXPECT_FALSE(authority.revocation_list({std::string(41, '1')}, FixedClock()));
  EXPECT_FALSE(authority.revocation_list(std::vector<std::string>(kMaxRevocations + 1, "1"), FixedClock()));
}

TEST(CommandLine, AgreesAboutCertificatesAndTheList) {
  if (::system("openssl version >/dev/null 2>&1") != 0) GTEST_SKIP() << "there is no openssl on this machine";
  const FixedClock clock;
  const Authority authority = new_authority(clock);
  const NodeCredentials good = new_node(authority, clock);
  const NodeCredentials bad = new_node(authority, clock);
  const testing::TemporaryDirectory directory;
  const auto save = [&](const char* name, const std::string& text) {
    ASSERT_TRUE(io::write_file_atomically(directory / name, text, 0600));
  };
  save("ca", authority.certificate());
  save("good", good.certificate);
  save("bad", bad.certificate);
  save("crl", authority.revocation_list({read_certificate(bad.certificate)->serial}, clock).value());
  const auto run = [&](const std::string& command) {
    return ::system(std::format("cd {} && openssl {} >/dev/null 2>&1", directory.path(), command).c_str());
  };
  const std::string verify = std::format("verify -x509_strict -attime {} -CAfile ca -CRLfile crl -crl_check ",
                                         std::chrono::system_clock::to_time_t(clock.wall()));
  EXPECT_EQ(run("crl -in crl -CAfile ca -noout"), 0);
  EXPECT_EQ(run(verify + "good"), 0);
  EXPECT_NE(run(verify + "bad"), 0);
}

}  // namespace
}  // namespace perdure::pki
