// Proves who is let in: each wrong certificate is refused with a reason at the end that refuses, and with as much as
// the protocol carries at the other; a client whose certificate is refused never takes itself for connected. Clocks
// are set by hand, authorities and certificates made here.
#include <openssl/ssl.h>

#include "io/tls_fixture.h"

namespace perdure::io {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using std::chrono_literals::operator""h;
using std::chrono_literals::operator""min;

class TlsTrustTest : public TlsTest {
 protected:
  TlsTrustTest() : authority_from_the_past_("perdure c0ffee", WallTime()) {}

  static TestCertificate valid(const std::string& name, WallTime from, WallTime to) {
    TestCertificate about;
    about.name = name;
    about.not_before = from;
    about.not_after = to;
    return about;
  }
  void expect_refused_by_client() {
    ASSERT_TRUE(until([&] { return !failures_.empty() && !refused_.empty(); }));
    EXPECT_EQ(failures_.front().code(), ErrorCode::kPermission) << failure();
    EXPECT_EQ(refused_.front().second.code(), ErrorCode::kPermission) << refusal();
    expect_nothing_opened();
  }
  void expect_refused_by_server() { expect_refused_by_client(); }  // each end is told, whoever refuses
  void expect_nothing_opened() {
    settle(*loop_);
    EXPECT_EQ(failures_.size(), 1u);
    EXPECT_EQ(refused_.size(), 1u);
    EXPECT_TRUE(server_side_.opened.empty() && client_side_.opened.empty());
    EXPECT_TRUE(server_side_.closed.empty() && client_side_.closed.empty());
    EXPECT_EQ(client_->connection(), nullptr);
  }
  std::shared_ptr<const TlsContext> checked(const std::string& name,
                                            std::function<Status(const TlsPeer&)> check) const {
    TlsOptions options;
    options.identity = authority_.identity(name);
    options.check = std::move(check);
    return TlsContext::create(std::move(options)).value();
  }
  std::shared_ptr<const TlsContext> joining(const std::string& fingerprint) const {
    TlsOptions options;
    options.authority_fingerprint = fingerprint;
    return TlsContext::create(std::move(options)).value();
  }
  std::shared_ptr<const TlsContext> lenient(std::function<Status(const TlsPeer&)> check = {}) const {
    TlsOptions options;
    options.identity = authority_.identity("b");
    options.client_certificate = TlsOptions::ClientCertificate::kOptional;
    options.check = std::move(check);
    return TlsContext::create(std::move(options)).value();
  }

  TestAuthority authority_from_the_past_;
  // 2023-11-14T22:13:20Z
  ManualClock clock_;
  const WallTime now_ = clock_.wall();
};

TEST_F(TlsTrustTest, ACertificateOfTheFutureNamesBothClocks) {
  const auto from = now_ + 1h;
  listen({}, context(authority_from_the_past_.identity(valid("b", from, from + 24h))));
  connect({}, context(authority_from_the_past_.identity(valid("a", now_ - 1h, now_ + 1h)), &clock_));
  expect_refused_by_client();
  EXPECT_EQ(failure(),
            "the certificate of node 'b' (" + address() +
                ") is not valid before 2023-11-14T23:13:20Z, our clock says 2023-11-14T22:13:20Z (1 h apart): "
                "set the clocks right");
  EXPECT_THAT(
      refusal(),
      AllOf(HasSubstr("refused our certificate: certificate expired, or not valid yet, by its clock; ours says 20"),
            HasSubstr("127.0.0.1:")));
}

TEST_F(TlsTrustTest, AnExpiredCertificateNamesBothClocks) {
  listen({}, context(authority_from_the_past_.identity(valid("b", now_ - 26h, now_ - 2h - 20min))));
  connect({}, context(authority_from_the_past_.identity(valid("a", now_ - 1h, now_ + 1h)), &clock_));
  expect_refused_by_client();
  EXPECT_THAT(failure(),
              HasSubstr("expired at 2023-11-14T19:53:20Z, our clock says 2023-11-14T22:13:20Z (2 h 20 min apart): "
                        "have it renewed, or set the clocks right"));
}

TEST_F(TlsTrustTest, AClientOfTheFutureIsToldAndNeverOpens) {
  listen({}, context(authority_from_the_past_.identity(valid("b", now_ - 1h, now_ + 2h)), &clock_));
  ManualClock ahead;
  ahead.advance(1h);
  connect({}, context(authority_from_the_past_.identity(valid("a", now_ + 55min, now_ + 24h)), &ahead));
  ASSERT_TRUE(until([&] { return !failures_.empty() && !refused_.empty(); }));
  // The server's certificate is valid by the client's clock; the client's is not by the server's.
  EXPECT_EQ(refused_.front().first.name, "a");
  EXPECT_EQ(refused_.front().second.code(), ErrorCode::kPermission);
  EXPECT_THAT(
      refusal(),
      AllOf(HasSubstr("the certificate of node 'a' (127.0.0.1:"),
            HasSubstr(
                "is not valid before 2023-11-14T23:08:20Z, our clock says 2023-11-14T22:13:20Z (55 min 0 s apart)")));
  EXPECT_EQ(failures_.front().code(), ErrorCode::kPermission);
  EXPECT_THAT(failure(), AllOf(HasSubstr("node 'b' (" + address() + ") refused our certificate: certificate expired"),
                               HasSubstr("ours says 2023-11-14T23:13:20Z")));
  expect_nothing_opened();
}

TEST_F(TlsTrustTest, AnExpiredClientIsTold) {
  ManualClock behind;
  clock_.advance(2h);
  listen({}, context(authority_from_the_past_.identity(valid("b", now_ - 1h, now_ + 24h)), &clock_));
  connect({}, context(authority_from_the_past_.identity(valid("a", now_ - 1h, now_ + 1h)), &behind));
  expect_refused_by_server();
  EXPECT_THAT(refusal(),
              HasSubstr("expired at 2023-11-14T23:13:20Z, our clock says 2023-11-15T00:13:20Z (1 h apart)"));
}

TEST_F(TlsTrustTest, TheContextsClockCountsNotTheHosts) {
  listen({}, context(authority_from_the_past_.identity(valid("b", now_ - 1h, now_ + 1h)), &clock_));
  connect({}, context(authority_from_the_past_.identity(valid("a", now_ - 1h, now_ + 1h)), &clock_));
  ASSERT_TRUE(until([&] { return client_->connection() != nullptr; })) << failure();
}

TEST_F(TlsTrustTest, AnAuthorityThatIsNotValidYetIsNamedAsSuch) {
  const TestAuthority young("perdure c0ffee", now_ + 2h);
  listen({}, context(young.identity(valid("b", now_ - 1h, now_ + 24h))));
  connect({}, context(young.identity(valid("a", now_ - 1h, now_ + 24h)), &clock_));
  expect_refused_by_client();
  EXPECT_THAT(failure(), HasSubstr("the certificate of the authority of node 'b'"));
}

TEST_F(TlsTrustTest, AForeignServerIsRefused) {
  for (const std::string name : {"perdure 0badf00d", "perdure c0ffee"}) {  // the same name is another authority, too
    const TestAuthority foreign(name);
    listen({}, context(foreign.identity("b")));
    connect();
    expect_refused_by_client();
    EXPECT_EQ(failure(), "the certificate of node 'b' (" + address() +
                             ") is not signed by our cluster's authority: does it belong to another cluster?");
    EXPECT_THAT(refusal(), HasSubstr("refused our certificate: unknown CA: it belongs to another cluster"));
    refused_.clear();
  }
}

TEST_F(TlsTrustTest, AForeignClientIsRefusedThoughItTrustsTheServer) {
  const TestAuthority foreign("perdure 0badf00d");
  TlsIdentity identity = foreign.identity("mallory");
  identity.authority = authority_.certificate();
  listen();
  connect({}, context(identity));
  expect_refused_by_server();
  EXPECT_EQ(refused_.front().first.name, "mallory");
  EXPECT_THAT(refusal(), HasSubstr("node 'mallory' (127.0.0.1:"));
  EXPECT_THAT(failure(), HasSubstr("refused our certificate: unknown CA"));
  expect_service();
}

TEST_F(TlsTrustTest, ASelfSignedCertificateIsForeign) {
  TlsIdentity identity = TestAuthority("a").self_signed();
  identity.authority = authority_.certificate();
  listen();
  connect({}, context(identity));
  expect_refused_by_server();
  EXPECT_THAT(refusal(), HasSubstr("is not signed by our cluster's authority"));
}

TEST_F(TlsTrustTest, TwoAuthoritiesAreTrustedWhileOneReplacesTheOther) {
  const TestAuthority next("perdure c0ffee 2");
  TlsIdentity old_node = authority_.identity("b");
  TlsIdentity new_node = next.identity("a");
  old_node.authority += next.certificate();
  new_node.authority += authority_.certificate();
  listen({}, context(old_node));
  connect({}, context(new_node));
  ASSERT_TRUE(until([&] { return client_->connection() != nullptr; })) << failure();
}

TEST_F(TlsTrustTest, AnotherNodeThanExpectedIsRefused) {
  listen();
  connect({.expected_name = "c"});
  expect_refused_by_client();
  EXPECT_EQ(failure(), "expected node 'c' at " + address() + ", found node 'b'");
  EXPECT_THAT(refusal(), HasSubstr("refused us: " + failure()));
  EXPECT_EQ(refused_.front().first.name, "a");
}

TEST_F(TlsTrustTest, ACheckOfTheServerRefusesWithItsReasonAtBothEnds) {
  TlsPeer seen;
  listen({}, checked("b", [&](const TlsPeer& peer) -> Status {
           seen = peer;
           return fail(ErrorCode::kConflict, "node 'a' was removed from the cluster");
         }));
  connect();
  expect_refused_by_server();
  EXPECT_EQ(seen.name, "a");
  EXPECT_EQ(seen.organisation, "c0ffee");
  EXPECT_FALSE(seen.serial.empty());
  EXPECT_THAT(refusal(), HasSubstr("refused node 'a' (127.0.0.1:"));
  EXPECT_THAT(refusal(), HasSubstr("node 'a' was removed from the cluster"));
  EXPECT_THAT(failure(), AllOf(HasSubstr("node 'b' (" + address() + ") refused us: "),
                               HasSubstr("node 'a' was removed from the cluster")));
  // And a server whose check has nothing against another one.
  server_->use(context("b"));
  expect_service();
}

TEST_F(TlsTrustTest, ACheckOfTheClientRefusesWithItsReasonAtBothEnds) {
  listen();
  connect({}, checked("a", [](const TlsPeer&) -> Status {
            return fail(ErrorCode::kPermission, "the certificate is revoked\n" + std::string(2000, 'x'));
          }));
  expect_refused_by_client();
  EXPECT_THAT(failure(), HasSubstr("the certificate is revoked"));
  EXPECT_THAT(refusal(), AllOf(HasSubstr("refused us: "), HasSubstr("the certificate is revoked?xxx")));
  EXPECT_LT(refusal().size(), 700u);
}

TEST_F(TlsTrustTest, AClientWithoutACertificateIsLetInOnlyIfThatIsAllowed) {
  bool checked_one = false;
  listen({}, lenient([&](const TlsPeer&) -> Status {
           checked_one = true;
           return {};
         }));
  connect({}, joining(authority_.fingerprint()));
  ASSERT_TRUE(until([&] { return client_->connection() != nullptr && server_side_.opened.size() == 1; }))
      << failure();
  EXPECT_EQ(accepted().peer().name, "");
  EXPECT_EQ(accepted().peer().serial, "");
  EXPECT_FALSE(checked_one);
  EXPECT_EQ(client().peer().name, "b");
  ASSERT_TRUE(client().send("join"));
  ASSERT_TRUE(until([&] { return server_side_.messages.size() == 1; }));

  server_side_.opened.clear();
  client_side_ = {};
  client_.reset();
  ASSERT_TRUE(closes(server_side_));
  server_side_.closed.clear();
  server_->use(context("b"));
  connect({}, joining(authority_.fingerprint()));
  expect_refused_by_server();
  EXPECT_THAT(refusal(), HasSubstr("shows no certificate"));
  EXPECT_THAT(failure(), HasSubstr("refused our certificate: certificate required: join the cluster first"));
}

TEST_F(TlsTrustTest, ALenientServerStillRefusesAForeignCertificate) {
  const TestAuthority foreign("foreign");
  TlsIdentity identity = foreign.identity("mallory");
  identity.authority = authority_.certificate();
  listen({}, lenient());
  connect({}, context(identity));
  expect_refused_by_server();
}

TEST_F(TlsTrustTest, AFingerprintIsTrustedInAnyCase) {
  std::string fingerprint = authority_.fingerprint();
  std::ranges::transform(fingerprint, fingerprint.begin(), [](unsigned char c) { return std::toupper(c); });
  listen({}, lenient());
  connect({.expected_name = "b"}, joining(fingerprint));
  ASSERT_TRUE(until([&] { return client_->connection() != nullptr; })) << failure();
}

TEST_F(TlsTrustTest, AnotherFingerprintIsRefused) {
  listen({}, lenient());
  connect({}, joining(TestAuthority().fingerprint()));
  expect_refused_by_client();
  EXPECT_THAT(failure(), HasSubstr("node 'b' (" + address() + ") does not show the authority with fingerprint "));
}

TEST_F(TlsTrustTest, ToShowTheAuthorityIsNotEnough) {
  // Mallory's certificate, and the right authority's behind it.
  const TestAuthority foreign("foreign");
  TlsIdentity identity = foreign.identity("b");
  identity.certificate += authority_.certificate();
  TlsOptions options;
  options.identity = identity;
  options.client_certificate = TlsOptions::ClientCertificate::kOptional;
  listen({}, TlsContext::create(options).value());
  connect({}, joining(authority_.fingerprint()));
  expect_refused_by_client();
  EXPECT_THAT(failure(), HasSubstr("is not signed by our cluster's authority"));
}

TEST_F(TlsTrustTest, AFingerprintDoesNotExcuseAnExpiredCertificate) {
  TlsOptions options;
  options.identity = authority_from_the_past_.identity(valid("b", now_ - 2h, now_ - 1h));
  options.client_certificate = TlsOptions::ClientCertificate::kOptional;
  listen({}, TlsContext::create(options).value());
  TlsOptions client_options;
  client_options.authority_fingerprint = authority_from_the_past_.fingerprint();
  client_options.clock = &clock_;
  connect({}, TlsContext::create(client_options).value());
  expect_refused_by_client();
  EXPECT_THAT(failure(), HasSubstr("expired at"));
}

TEST_F(TlsTrustTest, OlderTlsIsNotSpoken) {
  listen();
  UniqueFd socket = plain_socket(address());
  const OpensslOwned<SSL_CTX> old(SSL_CTX_new(TLS_client_method()));
  SSL_CTX_set_max_proto_version(old.get(), TLS1_2_VERSION);
  const OpensslOwned<SSL> ssl(SSL_new(old.get()));
  SSL_set_fd(ssl.get(), socket.get());
  EXPECT_NE(SSL_connect(ssl.get()), 1);
  ASSERT_TRUE(until([&] { return !refused_.empty(); }));
  EXPECT_EQ(refused_.front().second.code(), ErrorCode::kInvalid);
  EXPECT_THAT(refusal(), HasSubstr("not the TLS 1.3 of a node"));
  expect_service();
}

TEST(TlsContextTest, RefusesWhatItCannotUse) {
  const TestAuthority authority;
  const TlsIdentity good = authority.identity("a");
  const auto error_for = [](const TlsIdentity& identity, const std::string& fingerprint = {}) {
    TlsOptions options;
    options.identity = identity;
    options.authority_fingerprint = fingerprint;
    const auto context = TlsContext::create(std::move(options));
    EXPECT_FALSE(context);
    if (context) return std::string("works");
    EXPECT_EQ(context.error().code(), ErrorCode::kInvalid);
    return context.error().message();
  };
  EXPECT_THAT(error_for({"", good.key, good.authority}), HasSubstr("the node's certificate has 0 bytes"));
  EXPECT_THAT(error_for({"no PEM", good.key, good.authority}),
              HasSubstr("the node's certificate is no certificate in PEM"));
  EXPECT_THAT(error_for({good.certificate, "no PEM", good.authority}),
              HasSubstr("the node's key is no private key in PEM"));
  EXPECT_THAT(error_for({good.certificate, good.key, "no PEM"}), HasSubstr("the authority is no certificate in PEM"));
  EXPECT_THAT(error_for({good.certificate, good.key, good.certificate}), HasSubstr("is not one of an authority"));
  EXPECT_THAT(error_for({good.certificate, authority.identity("b").key, good.authority}), HasSubstr("does not fit"));
  EXPECT_THAT(error_for({good.certificate, good.key, ""}),
              HasSubstr("either an authority or the fingerprint of one"));
  EXPECT_THAT(error_for(good, authority.fingerprint()), HasSubstr("either an authority or the fingerprint of one"));
  EXPECT_THAT(error_for({good.certificate, good.key, ""}, "abc"), HasSubstr("has 64 hexadecimal digits"));
  EXPECT_THAT(error_for({good.certificate, good.key, ""}, std::string(64, 'g')),
              HasSubstr("has 64 hexadecimal digits"));
  std::string cut = good.certificate;
  cut.resize(cut.size() / 2);
  EXPECT_THAT(error_for({cut, good.key, good.authority}), HasSubstr("no certificate in PEM"));
  EXPECT_THAT(error_for({good.certificate + cut, good.key, good.authority}), HasSubstr("no certificate in PEM"));
  EXPECT_THAT(error_for({std::string(1 << 20, 'x'), good.key, good.authority}), HasSubstr("has 1048576 bytes"));
  std::string many;
  for (int i = 0; i < 17; ++i) many += good.authority;
  EXPECT_THAT(error_for({good.certificate, good.key, many}), HasSubstr("more than 16 certificates"));
}

TEST(TlsContextTest, AServerNeedsACertificateAndAnAuthority) {
  const auto loop = make_loop();
  TlsOptions options;
  options.authority_fingerprint = std::string(64, '0');
  Side side;
  TlsServerOptions server;
  server.addresses = {"127.0.0.1:0"};
  const auto listening = TlsServer::listen(*loop, server, TlsContext::create(options).value(), side.handlers());
  ASSERT_FALSE(listening);
  EXPECT_EQ(listening.error().code(), ErrorCode::kInvalid);
}

}  // namespace
}  // namespace perdure::io
