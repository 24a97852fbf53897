// Proves that a join token comes back as it went out, that nothing else is taken for one, and that no message shows a
// secret.
#include "pki/join_token.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <format>

#include "pki/test_support.h"

namespace perdure::pki {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

TEST(JoinToken, ComesBackAsItWentOut) {
  const Authority authority = testing::new_authority();
  const auto token = make_join_token(authority.certificate());
  ASSERT_TRUE(token) << token.error().message();
  EXPECT_EQ(token->id.size(), 12u);
  EXPECT_EQ(token->secret.size(), 64u);
  EXPECT_EQ(token->fingerprint, fingerprint_of(authority.certificate()).value());
  for (const std::string& text : {to_string(*token), " " + to_string(*token) + "\r\n"}) {
    const auto parsed = parse_join_token(text);
    ASSERT_TRUE(parsed) << parsed.error().message();
    EXPECT_EQ(parsed->id, token->id);
    EXPECT_EQ(parsed->secret, token->secret);
    EXPECT_EQ(parsed->fingerprint, token->fingerprint);
  }
  const auto other = make_join_token(authority.certificate());
  EXPECT_NE(other->id, token->id);
  EXPECT_NE(other->secret, token->secret);
}

TEST(JoinToken, NeedsACertificate) {
  EXPECT_EQ(make_join_token("x").error().code(), ErrorCode::kInvalid);
}

TEST(JoinToken, OnlyItsSecretMatches) {
  const auto token = make_join_token(testing::new_authority().certificate());
  const std::string hash = secret_hash(token->secret);
  EXPECT_EQ(hash.size(), 32u);
  EXPECT_TRUE(matches(token->secret, hash));
  EXPECT_FALSE(matches(token->secret + "0", hash));
  EXPECT_FALSE(matches("", hash));
  EXPECT_FALSE(matches(token->secret, hash.substr(1)));
  EXPECT_FALSE(matches(token->secret, ""));
  for (std::size_t at = 0; at < hash.size(); ++at) {
    std::string changed = hash;
    changed[at] = static_cast<char>(changed[at] ^ 1);
    EXPECT_FALSE(matches(token->secret, changed));
  }
}

TEST(JoinToken, WhatIsNoneIsRefusedWithTheReasonAndWithoutTheSecret) {
  const std::string id(12, '1');
  const std::string secret(64, '5');
  const std::string fingerprint(64, 'f');
  ASSERT_TRUE(parse_join_token(std::format("{}.{}.{}", id, secret, fingerprint)));
  const std::string upper = std::format("{}{}", std::string(63, '5'), 'A');
  const std::vector<std::pair<std::string, std::string>> cases = {
      {"", "three parts"},
      {" \n", "three parts"},
      {secret, "three parts"},
      {std::format("{}.{}", id, secret), "three parts"},
      {std::format("{}.{}.{}.", id, secret, fingerprint), "three parts"},
      {std::format("{}.{}.{}", secret, id, fingerprint), "its id has 64 characters instead of 12"},
      {std::format("{}.{}.{}", id, secret.substr(1), fingerprint), "its secret has 63 characters instead of 64"},
      {std::format("{}.{}.{}", id, secret, fingerprint.substr(2)), "its fingerprint has 62 characters"},
      {std::format("{}.{}.{}", id, upper, fingerprint), "its secret is not hexadecimal in lower case"},
      {std::format("{}.{}.{}", std::string(12, 'g'), secret, fingerprint), "its id is not hexadecimal"},
      {std::format("{}.{} .{}", id, secret, fingerprint), "its secret has 65"},
      {std::format("{}..{}", id, fingerprint), "its secret has 0"},
  };
  for (const auto& [text, reason] : cases) {
    const auto parsed = parse_join_token(text);
    ASSERT_FALSE(parsed) << text;
    EXPECT_EQ(parsed.error().code(), ErrorCode::kInvalid);
    EXPECT_THAT(parsed.error().message(), HasSubstr(reason));
    EXPECT_THAT(parsed.error().message(), Not(HasSubstr("55555555"))) << "shows the secret";
  }
}

}  // namespace
}  // namespace perdure::pki
