// What an operator carries from a node of the cluster to one that is to join: "ID.SECRET.FINGERPRINT".
#pragma once

#include <string>
#include <string_view>

#include "base/result.h"

namespace perdure::pki {

struct JoinToken {
  std::string id;           // 12 hexadecimal digits; may be shown
  std::string secret;       // 32 random bytes, hexadecimal; never logged
  std::string fingerprint;  // SHA-256 of the authority's certificate, hexadecimal
};

Result<JoinToken> make_join_token(const std::string& authority_certificate_pem);
std::string to_string(const JoinToken& token);
Result<JoinToken> parse_join_token(std::string_view text);  // kInvalid; says what is wrong, never shows the secret

// What the store keeps: SHA-256 of the secret, 32 bytes.
std::string secret_hash(const std::string& secret);
// In constant time.
bool matches(const std::string& secret, std::string_view hash);

}  // namespace perdure::pki
