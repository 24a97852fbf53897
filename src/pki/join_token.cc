#include "pki/join_token.h"

#include <array>
#include <format>
#include <vector>

#include "pki/authority.h"
#include "pki/crypto.h"

namespace perdure::pki {
namespace {

constexpr std::size_t kIdDigits = 12;
constexpr std::size_t kSecretDigits = 64;
constexpr std::size_t kFingerprintDigits = 64;
constexpr std::string_view kAdvice = "copy it whole from 'perdure cluster token'";

template <std::size_t kBytes>
Result<std::string> random_hex() {
  std::array<std::byte, kBytes> random{};
  PERDURE_TRY(random_bytes(random));
  std::string text = to_hex(random);
  wipe(random);
  return text;
}

// Never quotes the part: it may be the secret, or hold it.
Status check_part(std::string_view part, std::size_t digits, std::string_view name) {
  if (part.size() != digits) {
    return fail(ErrorCode::kInvalid, std::format("no join token: its {} has {} characters instead of {}; {}", name,
                                                 part.size(), digits, kAdvice));
  }
  if (!is_hex(part)) {
    return fail(ErrorCode::kInvalid,
                std::format("no join token: its {} is not hexadecimal in lower case; {}", name, kAdvice));
  }
  return {};
}

}  // namespace

Result<JoinToken> make_join_token(const std::string& authority_certificate_pem) {
  JoinToken token;
  PERDURE_ASSIGN(token.fingerprint, fingerprint_of(authority_certificate_pem));
  PERDURE_ASSIGN(token.id, random_hex<kIdDigits / 2>());
  PERDURE_ASSIGN(token.secret, random_hex<kSecretDigits / 2>());
  return token;
}

std::string to_string(const JoinToken& token) {
  return std::format("{}.{}.{}", token.id, token.secret, token.fingerprint);
}

Result<JoinToken> parse_join_token(std::string_view text) {
  // As it comes out of files and terminals.
  constexpr std::string_view kSpace = " \t\r\n";
  const std::size_t begin = text.find_first_not_of(kSpace);
  text = begin == std::string_view::npos ? std::string_view()
                                         : text.substr(begin, text.find_last_not_of(kSpace) + 1 - begin);
  const std::size_t first = text.find('.');
  const std::size_t second = first == std::string_view::npos ? first : text.find('.', first + 1);
  if (second == std::string_view::npos || text.find('.', second + 1) != std::string_view::npos) {
    return fail(ErrorCode::kInvalid,
                std::format("no join token: it must have three parts, ID.SECRET.FINGERPRINT; {}", kAdvice));
  }
  const std::string_view id = text.substr(0, first);
  const std::string_view secret = text.substr(first + 1, second - first - 1);
  const std::string_view fingerprint = text.substr(second + 1);
  PERDURE_TRY(check_part(id, kIdDigits, "id"));
  PERDURE_TRY(check_part(secret, kSecretDigits, "secret"));
  PERDURE_TRY(check_part(fingerprint, kFingerprintDigits, "fingerprint"));
  return JoinToken{std::string(id), std::string(secret), std::string(fingerprint)};
}

std::string secret_hash(const std::string& secret) {
  const Sha256Digest digest = sha256(bytes_of(secret));
  return std::string(reinterpret_cast<const char*>(digest.data()), digest.size());
}

bool matches(const std::string& secret, std::string_view hash) {
  return equal_in_constant_time(bytes_of(secret_hash(secret)), bytes_of(hash));
}

}  // namespace perdure::pki
