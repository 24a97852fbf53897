// Proves that a node's certificate is renewed when a third of its life is left, by itself or by a manager, again and again until it
// is; and that the key ring and the list of the revoked follow what the store says, on disk first.
//
// How: a real directory and real certificates, a clock that stands still, managers that answer what the test says.
#include "node/cluster/trust.h"

#include <memory>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "io/test_support.h"

namespace perdure::node {
namespace {

using std::chrono_literals::operator""h;
using std::chrono_literals::operator""min;
using std::chrono_literals::operator""ms;
using std::chrono_literals::operator""s;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

constexpr const char* kClusterHex = "00112233445566778899aabbccddeeff";

class TrustTest : public ::testing::Test {
 protected:
  enum class Kind { kManager, kOther };
  using Answer = std::function<void(Result<RenewedCertificate>)>;

  void make(Kind kind) {
    pki::NodeIdentity identity = new_identity(kind);
    ASSERT_TRUE(files_.write(identity));
    TrustHandlers handlers;
    handlers.ask_manager = [this](const std::string& key, Answer answer) {
      asked_.push_back(key);
      answers_.push_back(std::move(answer));
    };
    handlers.identity_changed = [this] { ++identities_; };
    handlers.ring_changed = [this] { ++rings_; };
    handlers.report = [this](const std::string& text, const std::string& reason) { reports_.push_back(text + ": " + reason); };
    trust_ = std::make_unique<Trust>(TrustOptions{.loop = *loop_,
                                                  .pool = *pool_,
                                                  .clock = clock_,
                                                  .directory = directory_.path(),
                                                  .node = NodeName::parse("a").value(),
                                                  .addresses = {"192.0.2.1"},
                                                  .retry = 5ms},
                                     std::move(identity), std::move(handlers));
  }
  pki::NodeIdentity new_identity(Kind kind) {
    pki::NodeIdentity identity;
    identity.key = pki::make_private_key().value();
    identity.certificate = sign(pki::public_key_of(identity.key).value());
    identity.authorities = authority_.certificate();
    identity.ring = pki::KeyRing({first_key_});
    if (kind == Kind::kManager) {
      identity.authority.emplace(pki::Authority::load(authority_.certificate(), authority_.private_key()).value());
      identity.revocations = authority_.revocation_list({}, clock_).value();
    }
    return identity;
  }
  std::string sign(const std::string& public_key, const std::string& name = "a") {
    return authority_
        .sign({.node = NodeName::parse(name).value(), .public_key_pem = public_key, .addresses = {"192.0.2.1"}}, clock_)
        .value();
  }
  RenewedCertificate renewed(const std::string& public_key, std::vector<pki::SealingKey> keys = {}) {
    return {sign(public_key), authority_.certificate(), std::move(keys)};
  }
  void advance_to(WallTime time) { clock_.advance(std::chrono::duration_cast<Duration>(time - clock_.wall())); }
  WallTime renewal() const { return pki::renewal_time(trust_->certificate()); }
  template <typename Condition>
  bool until(Condition condition) {
    return loop_->run_until(condition, io::kTestTime);
  }
  coord::ClusterSettings settings(const std::vector<pki::SealingKey>& keys) const {
    coord::ClusterSettings settings;
    for (const pki::SealingKey& key : keys) settings.keys.push_back(pki::wrap(key, authority_.private_key()).value());
    return settings;
  }

  ManualClock clock_;
  const pki::Authority authority_ = pki::Authority::create(kClusterHex, clock_).value();
  const pki::SealingKey first_key_ = pki::KeyRing::make_key(1, clock_.wall()).value();
  const pki::SealingKey second_key_ = pki::KeyRing::make_key(2, clock_.wall()).value();
  io::TemporaryDirectory directory_;
  const pki::NodeFiles files_{directory_.path()};
  std::unique_ptr<io::Loop> loop_ = io::make_loop();
  std::unique_ptr<io::Pool> pool_ = io::Pool::create({}).value();
  std::vector<std::string> asked_;
  std::vector<Answer> answers_;
  std::vector<std::string> reports_;
  int identities_ = 0;
  int rings_ = 0;
  std::unique_ptr<Trust> trust_;
};

// ---- Certificates ----

TEST_F(TrustTest, AManagerSignsItsOwnWhenAThirdOfTheLifeIsLeft) {
  make(Kind::kManager);
  const pki::CertificateInfo before = trust_->certificate();
  advance_to(renewal() - 10ms);
  const Duration left = std::chrono::duration_cast<Duration>(before.not_after - clock_.wall());
  EXPECT_LE(left, pki::kNodeCertificateLife / 3 + 10min);
  EXPECT_GE(left, pki::kNodeCertificateLife / 3 - 10min);
  trust_->start();
  // The timer fires, the clock has not moved: nothing yet.
  bool passed = false;
  const io::Timer later = loop_->after(50ms, [&] { passed = true; });
  ASSERT_TRUE(until([&] { return passed; }));
  EXPECT_EQ(identities_, 0);
  clock_.advance(10ms);
  ASSERT_TRUE(until([&] { return identities_ == 1; }));
  EXPECT_THAT(asked_, IsEmpty());
  EXPECT_GT(trust_->certificate().not_after, before.not_after);
  EXPECT_NE(trust_->certificate().serial, before.serial);
  EXPECT_THAT(trust_->certificate().addresses, ElementsAre("192.0.2.1"));
  const pki::NodeIdentity kept = files_.read().value();
  EXPECT_EQ(kept.certificate, trust_->tls().certificate) << "what it says is what is on disk";
  EXPECT_EQ(kept.key, trust_->tls().key);
}

TEST_F(TrustTest, WhatIsFreshIsLeftAlone) {
  make(Kind::kManager);
  clock_.advance(1h);
  trust_->start();
  for (int i = 0; i < 3; ++i) io::settle(*loop_);
  EXPECT_EQ(identities_, 0);
}

TEST_F(TrustTest, OthersAskAManager) {
  make(Kind::kOther);
  advance_to(renewal());
  trust_->start();
  ASSERT_TRUE(until([&] { return asked_.size() == 1; }));
  trust_->renew_now();
  EXPECT_EQ(asked_.size(), 1U) << "one question at a time";
  answers_[0](renewed(asked_[0], {first_key_, second_key_}));
  ASSERT_TRUE(until([&] { return identities_ == 1 && rings_ == 1; }));
  EXPECT_EQ(trust_->ring()->newest().id, 2U) << "the keys come along";
  const pki::NodeIdentity kept = files_.read().value();
  EXPECT_EQ(pki::public_key_of(kept.key).value(), asked_[0]);
  EXPECT_EQ(trust_->authority(), nullptr);
  EXPECT_THAT(reports_, IsEmpty());
}

TEST_F(TrustTest, ARefusalIsReportedAndAskedAgain) {
  make(Kind::kOther);
  const std::string before = trust_->tls().certificate;
  advance_to(renewal());
  trust_->start();
  ASSERT_TRUE(until([&] { return asked_.size() == 1; }));
  answers_[0](fail(ErrorCode::kTransient, "no manager is connected"));
  ASSERT_TRUE(until([&] { return asked_.size() == 2; }));
  EXPECT_THAT(reports_, ElementsAre(HasSubstr("could not be renewed")));
  EXPECT_THAT(reports_[0], HasSubstr("no manager is connected"));
  EXPECT_EQ(trust_->tls().certificate, before);
  // Of another key than was asked for, no certificate at all: not taken.
  answers_[1](renewed(pki::public_key_of(pki::make_private_key().value()).value()));
  ASSERT_TRUE(until([&] { return asked_.size() == 3; }));
  answers_[2](RenewedCertificate{"nonsense", authority_.certificate(), {}});
  ASSERT_TRUE(until([&] { return asked_.size() == 4; }));
  EXPECT_EQ(reports_.size(), 3U);
  EXPECT_EQ(files_.read().value().certificate, before);
  answers_[3](renewed(asked_[3]));
  ASSERT_TRUE(until([&] { return identities_ == 1; }));
}

TEST_F(TrustTest, AnAnswerAfterItsEndIsDropped) {
  make(Kind::kOther);
  trust_->renew_now();
  ASSERT_EQ(answers_.size(), 1U);
  trust_.reset();
  answers_[0](renewed(asked_[0]));
  EXPECT_EQ(identities_, 0);
}

// ---- The ring ----

TEST_F(TrustTest, TheRingOfAManagerFollowsTheSettings) {
  make(Kind::kManager);
  trust_->follow(settings({first_key_}));
  EXPECT_EQ(rings_, 0) << "nothing new";
  trust_->follow(settings({first_key_, second_key_}));
  EXPECT_EQ(rings_, 1);
  EXPECT_EQ(trust_->ring()->newest().key, second_key_.key);
  ASSERT_TRUE(until([&] { return files_.read().value().ring.keys().size() == 2; }));
}

TEST_F(TrustTest, AKeyThatCannotBeOpenedIsReportedAndTheRestIsTaken) {
  make(Kind::kManager);
  const pki::Authority other = pki::Authority::create(kClusterHex, clock_).value();
  coord::ClusterSettings to = settings({first_key_, second_key_});
  to.keys.push_back(pki::wrap(pki::KeyRing::make_key(3, clock_.wall()).value(), other.private_key()).value());
  trust_->follow(to);
  EXPECT_EQ(trust_->ring()->keys().size(), 2U);
  EXPECT_THAT(reports_, ElementsAre(HasSubstr("key 3 of the cluster's ring cannot be opened")));
}

TEST_F(TrustTest, OthersAskForAKeyThatTheyHaveNot) {
  make(Kind::kOther);
  trust_->follow(settings({first_key_}));
  EXPECT_THAT(asked_, IsEmpty());
  trust_->follow(settings({first_key_, second_key_}));
  ASSERT_EQ(asked_.size(), 1U);
  // The manager has not seen the new settings itself yet.
  answers_[0](renewed(asked_[0], {first_key_}));
  ASSERT_TRUE(until([&] { return asked_.size() == 2; })) << "asked again";
  answers_[1](renewed(asked_[1], {first_key_, second_key_}));
  ASSERT_TRUE(until([&] { return rings_ == 1; }));
  EXPECT_EQ(trust_->ring()->newest().id, 2U);
}

TEST_F(TrustTest, OnlyManagersMakeKeys) {
  make(Kind::kManager);
  const pki::WrappedKey wrapped = trust_->make_key(2).value();
  EXPECT_EQ(pki::unwrap(wrapped, authority_.private_key()).value().id, 2U);
  make(Kind::kOther);
  EXPECT_EQ(trust_->make_key(2).error().code(), ErrorCode::kUnsupported);
}

// ---- The revoked ----

TEST_F(TrustTest, TheListOfTheRevokedIsWrittenByManagers) {
  make(Kind::kManager);
  trust_->follow(std::vector<std::string>{"0a", "0b"});
  const auto listed = [&] { return pki::read_revocation_list(files_.read().value().revocations).value(); };
  ASSERT_TRUE(until([&] { return listed().size() == 2; }));
  EXPECT_THAT(listed(), ElementsAre("0a", "0b"));
  trust_->follow(std::vector<std::string>{"0a", "0b", "0c"});
  ASSERT_TRUE(until([&] { return listed().size() == 3; }));
  trust_->follow(std::vector<std::string>{"no serial"});
  EXPECT_THAT(reports_, ElementsAre(HasSubstr("revoked certificates could not be made")));
}

TEST_F(TrustTest, TheLastListWins) {
  make(Kind::kManager);
  std::vector<std::string> serials;
  for (const char* serial : {"01", "02", "03", "04", "05", "06", "07", "08", "09", "0a", "0b", "0c"}) {
    serials.emplace_back(serial);
    trust_->follow(serials);
  }
  const auto listed = [&] { return pki::read_revocation_list(files_.read().value().revocations).value().size(); };
  ASSERT_TRUE(until([&] { return listed() == serials.size(); }));
  for (int i = 0; i < 3; ++i) io::settle(*loop_);
  pool_->stop();
  EXPECT_EQ(listed(), serials.size());
  EXPECT_THAT(reports_, IsEmpty());
}

}  // namespace
}  // namespace perdure::node
