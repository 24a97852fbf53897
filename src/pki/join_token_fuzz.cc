// Fuzzes the reader of join tokens: what it takes, it prints again; what it refuses, it does not show.
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "base/assert.h"
#include "pki/join_token.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  const auto token = perdure::pki::parse_join_token(text);
  if (token) {
    PERDURE_ASSERT(text.find(to_string(*token)) != std::string_view::npos);
    PERDURE_ASSERT(token->id.size() == 12 && token->secret.size() == 64 && token->fingerprint.size() == 64);
    return 0;
  }
  std::size_t digits = 0;
  for (const char c : token.error().message()) {
    digits = std::string_view("0123456789abcdef").contains(c) ? digits + 1 : 0;
    PERDURE_ASSERT(digits < 8);
  }
  return 0;
}
