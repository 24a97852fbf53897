#include "image/sha256.h"

#include <openssl/evp.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdint>
#include <format>
#include <vector>

#include "base/assert.h"

namespace perdure::image {
namespace {

constexpr std::string_view kPrefix = "sha256:";
constexpr std::size_t kHexLength = 64;
constexpr std::size_t kReadBytes = std::size_t{256} << 10;

}  // namespace

struct Sha256::State {
  EVP_MD_CTX* context = EVP_MD_CTX_new();
  ~State() { EVP_MD_CTX_free(context); }
};

Sha256::Sha256() : state_(std::make_unique<State>()) {
  PERDURE_ASSERT(state_->context != nullptr);
  PERDURE_ASSERT(EVP_DigestInit_ex(state_->context, EVP_sha256(), nullptr) == 1);
}

Sha256::~Sha256() = default;

void Sha256::update(std::span<const std::byte> data) {
  PERDURE_ASSERT(EVP_DigestUpdate(state_->context, data.data(), data.size()) == 1);
}

void Sha256::update_number(std::uint64_t number) {
  std::array<std::byte, 8> bytes{};
  for (std::size_t i = 0; i < bytes.size(); ++i)
    bytes[i] = static_cast<std::byte>(number >> (8 * i));
  update(bytes);
}

std::string Sha256::finish() {
  std::array<unsigned char, EVP_MAX_MD_SIZE> digest{};
  unsigned length = 0;
  PERDURE_ASSERT(EVP_DigestFinal_ex(state_->context, digest.data(), &length) == 1);
  std::string text(kPrefix);
  for (unsigned i = 0; i < length; ++i) text += std::format("{:02x}", digest[i]);
  return text;
}

std::string sha256_of(std::string_view text) {
  Sha256 hash;
  hash.update(text);
  return hash.finish();
}

Status update_from(Sha256& hash, int fd, std::string_view what) {
  std::vector<std::byte> buffer(kReadBytes);
  for (;;) {
    const ssize_t got = ::read(fd, buffer.data(), buffer.size());
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return fail_errno(std::format("read '{}'", what));
    if (got == 0) return {};
    hash.update(std::span(buffer).first(static_cast<std::size_t>(got)));
  }
}

std::string_view digest_hex(std::string_view text) {
  if (!text.starts_with(kPrefix)) return {};
  text.remove_prefix(kPrefix.size());
  const bool good = text.size() == kHexLength && std::ranges::all_of(text, [](char c) {
                      return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f');
                    });
  return good ? text : std::string_view{};
}

}  // namespace perdure::image
