#include "pki/crypto.h"

#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/kdf.h>
#include <openssl/params.h>
#include <openssl/rand.h>

#include <algorithm>
#include <format>

#include "base/assert.h"

namespace perdure::pki {
namespace {

int hex_digit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  return -1;
}

}  // namespace

ErrorScope::ErrorScope() {
  ERR_set_mark();
}
ErrorScope::~ErrorScope() {
  ERR_pop_to_mark();
}

std::unexpected<Error> fail_openssl(ErrorCode code, std::string message) {
  const char* const reason = ERR_reason_error_string(ERR_peek_last_error());
  if (reason != nullptr) message += std::format(": {}", reason);
  return fail(code, std::move(message));
}

void wipe(std::span<std::byte> bytes) {
  OPENSSL_cleanse(bytes.data(), bytes.size());
}
void wipe(std::string& text) {
  OPENSSL_cleanse(text.data(), text.size());
}

Status random_bytes(std::span<std::byte> into) {
  const ErrorScope errors;
  if (RAND_bytes(raw(into.data()), static_cast<int>(into.size())) != 1) {
    return fail_openssl(ErrorCode::kIo, "no random bytes");
  }
  return {};
}

Sha256Digest sha256(std::span<const std::byte> data) {
  Sha256Digest digest{};
  PERDURE_ASSERT(EVP_Digest(data.data(), data.size(), raw(digest.data()), nullptr, EVP_sha256(), nullptr) == 1);
  return digest;
}

bool equal_in_constant_time(std::span<const std::byte> a, std::span<const std::byte> b) {
  return a.size() == b.size() && CRYPTO_memcmp(a.data(), b.data(), a.size()) == 0;
}

Result<Key256> derive_key(std::span<const std::byte> secret, std::span<const std::byte> salt,
                          std::string_view purpose) {
  const ErrorScope errors;
  const Owned<EVP_KDF> kdf(EVP_KDF_fetch(nullptr, OSSL_KDF_NAME_HKDF, nullptr));
  const Owned<EVP_KDF_CTX> context(kdf ? EVP_KDF_CTX_new(kdf.get()) : nullptr);
  if (context == nullptr) return fail_openssl(ErrorCode::kUnsupported, "this OpenSSL has no HKDF");
  // RFC 5869, 2.2: what no salt stands for; OpenSSL 3.0 fails on an empty one.
  constexpr std::array<std::byte, 32> kNoSalt{};
  if (salt.empty()) salt = kNoSalt;
  char digest[] = "SHA256";
  const auto octets = [](const char* name, std::span<const std::byte> bytes) {
    return OSSL_PARAM_construct_octet_string(name, const_cast<std::byte*>(bytes.data()), bytes.size());
  };
  const std::array<OSSL_PARAM, 5> parameters = {
      OSSL_PARAM_construct_utf8_string(OSSL_KDF_PARAM_DIGEST, digest, 0), octets(OSSL_KDF_PARAM_KEY, secret),
      octets(OSSL_KDF_PARAM_SALT, salt), octets(OSSL_KDF_PARAM_INFO, bytes_of(purpose)), OSSL_PARAM_construct_end()};
  Key256 key{};
  if (EVP_KDF_derive(context.get(), raw(key.data()), key.size(), parameters.data()) != 1) {
    return fail_openssl(ErrorCode::kIo, "derive a key");
  }
  return key;
}

std::string to_hex(std::span<const std::byte> bytes) {
  constexpr std::string_view kDigits = "0123456789abcdef";
  std::string text;
  text.reserve(2 * bytes.size());
  for (const std::byte byte : bytes) {
    text += kDigits[static_cast<std::size_t>(byte >> 4)];
    text += kDigits[static_cast<std::size_t>(byte & std::byte{15})];
  }
  return text;
}

bool from_hex(std::string_view text, std::span<std::byte> into) {
  if (text.size() != 2 * into.size()) return false;
  for (std::size_t i = 0; i < into.size(); ++i) {
    const int high = hex_digit(text[2 * i]);
    const int low = hex_digit(text[2 * i + 1]);
    if (high < 0 || low < 0) return false;
    into[i] = static_cast<std::byte>(16 * high + low);
  }
  return true;
}

bool is_hex(std::string_view text) {
  return !text.empty() && std::ranges::all_of(text, [](char c) { return hex_digit(c) >= 0; });
}

}  // namespace perdure::pki
