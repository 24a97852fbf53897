#include "pki/key_ring.h"

#include <openssl/core_names.h>
#include <openssl/crypto.h>

#include <algorithm>
#include <array>
#include <format>
#include <utility>

#include "base/assert.h"
#include "pki/crypto.h"
#include "pki/x509.h"

namespace perdure::pki {
namespace {

constexpr std::size_t kWrapTagBytes = 16;
constexpr std::size_t kKeyBytes = 32;
constexpr std::string_view kWrapPurpose = "perdure key ring 1";

WallTime in_milliseconds(WallTime time) {
  return std::chrono::floor<std::chrono::milliseconds>(time);
}

// The key that wraps: from the private number itself, so that another spelling of the PEM makes no difference.
Result<Key256> wrapping_key(const std::string& authority_private_key_pem) {
  PERDURE_ASSIGN(const Owned<EVP_PKEY> key, parse_private_key(authority_private_key_pem));
  BIGNUM* found = nullptr;
  if (EVP_PKEY_get_bn_param(key.get(), OSSL_PKEY_PARAM_PRIV_KEY, &found) != 1) {
    return fail_openssl(ErrorCode::kInvalid, "read the authority's private key");
  }
  const Owned<BIGNUM> number(found);
  Key256 secret{};
  const int size = BN_bn2binpad(number.get(), raw(secret.data()), static_cast<int>(secret.size()));
  if (size != static_cast<int>(secret.size()))
    return fail_openssl(ErrorCode::kInvalid, "read the authority's private key");
  auto derived = derive_key(secret, {}, kWrapPurpose);
  wipe(secret);
  return derived;
}

// The key's number and its age: neither can be changed in etcd without notice.
std::array<std::byte, 12> associated_data(std::uint32_t id, WallTime created) {
  std::array<std::byte, 12> data{};
  put_little_endian(data.data(), id);
  const auto since = std::chrono::floor<std::chrono::milliseconds>(created).time_since_epoch().count();
  put_little_endian(data.data() + sizeof id, static_cast<std::uint64_t>(since));
  return data;
}

struct Gcm {
  Owned<EVP_CIPHER_CTX> context;
  static Result<Gcm> create(const Key256& key, const std::string& nonce, std::span<const std::byte> associated,
                            int seal) {
    Gcm gcm{Owned<EVP_CIPHER_CTX>(EVP_CIPHER_CTX_new())};
    int size = 0;
    if (gcm.context == nullptr ||
        EVP_CipherInit_ex2(gcm.context.get(), EVP_aes_256_gcm(), raw(key.data()),
                           reinterpret_cast<const unsigned char*>(nonce.data()), seal, nullptr) != 1 ||
        EVP_CipherUpdate(gcm.context.get(), nullptr, &size, raw(associated.data()),
                         static_cast<int>(associated.size())) != 1) {
      return fail_openssl(ErrorCode::kIo, "begin AES-256-GCM");
    }
    return gcm;
  }
};

unsigned char* raw_of(std::string& text) {
  return reinterpret_cast<unsigned char*>(text.data());
}

}  // namespace

SealingKey::~SealingKey() {
  wipe(key);
}

KeyRing::KeyRing(std::vector<SealingKey> keys) : keys_(std::move(keys)) {
  std::ranges::stable_sort(keys_, {}, &SealingKey::id);
}

KeyRing::~KeyRing() = default;

Result<SealingKey> KeyRing::make_key(std::uint32_t id, WallTime now) {
  if (id == 0) return fail(ErrorCode::kInvalid, "make a key: numbers of keys begin at 1");
  SealingKey key;
  key.id = id;
  key.created = in_milliseconds(now);
  PERDURE_TRY(random_bytes(key.key));
  return key;
}

const SealingKey& KeyRing::newest() const {
  PERDURE_ASSERT(!keys_.empty());
  return keys_.back();
}

const SealingKey* KeyRing::find(std::uint32_t id) const {
  const auto found = std::ranges::lower_bound(keys_, id, {}, &SealingKey::id);
  return found != keys_.end() && found->id == id ? &*found : nullptr;
}

bool KeyRing::rotation_due(WallTime now) const {
  return keys_.empty() || now - newest().created >= kKeyRotation;
}

Result<KeyRing> KeyRing::rotated(WallTime now) const {
  PERDURE_ASSIGN(const SealingKey key, make_key(keys_.empty() ? 1 : newest().id + 1, now));
  std::vector<SealingKey> keys = keys_;
  keys.push_back(key);
  if (keys.size() > kMaxKeys) keys.erase(keys.begin(), keys.end() - kMaxKeys);
  return KeyRing(std::move(keys));
}

Result<WrappedKey> wrap(const SealingKey& key, const std::string& authority_private_key_pem) {
  const ErrorScope errors;
  PERDURE_ASSIGN(Key256 wrapping, wrapping_key(authority_private_key_pem));
  WrappedKey wrapped{key.id, std::string(kNonceBytes, '\0'), std::string(kKeyBytes + kWrapTagBytes, '\0'),
                     in_milliseconds(key.created)};
  PERDURE_TRY(random_bytes(std::as_writable_bytes(std::span(wrapped.nonce))));
  auto gcm = Gcm::create(wrapping, wrapped.nonce, associated_data(key.id, key.created), 1);
  wipe(wrapping);
  if (!gcm) return fail(std::move(gcm).error());
  EVP_CIPHER_CTX* const context = gcm->context.get();
  int size = 0;
  if (EVP_CipherUpdate(context, raw_of(wrapped.sealed), &size, raw(key.key.data()), kKeyBytes) != 1 ||
      EVP_CipherFinal_ex(context, raw_of(wrapped.sealed) + size, &size) != 1 ||
      EVP_CIPHER_CTX_ctrl(context, EVP_CTRL_AEAD_GET_TAG, kWrapTagBytes, wrapped.sealed.data() + kKeyBytes) != 1) {
    return fail_openssl(ErrorCode::kIo, "wrap a key");
  }
  return wrapped;
}

Result<SealingKey> unwrap(const WrappedKey& wrapped, const std::string& authority_private_key_pem) {
  const ErrorScope errors;
  PERDURE_ASSIGN(Key256 wrapping, wrapping_key(authority_private_key_pem));
  auto gcm = wrapped.nonce.size() == kNonceBytes && wrapped.sealed.size() == kKeyBytes + kWrapTagBytes
                 ? Gcm::create(wrapping, wrapped.nonce, associated_data(wrapped.id, wrapped.created), 0)
                 : fail(ErrorCode::kCorrupt, std::format("wrapped key {} has not the size of one", wrapped.id));
  wipe(wrapping);
  if (!gcm) return fail(std::move(gcm).error());
  EVP_CIPHER_CTX* const context = gcm->context.get();
  std::string sealed = wrapped.sealed;
  SealingKey key;
  key.id = wrapped.id;
  key.created = in_milliseconds(wrapped.created);
  std::array<unsigned char, kWrapTagBytes> rest{};
  int size = 0;
  if (EVP_CIPHER_CTX_ctrl(context, EVP_CTRL_AEAD_SET_TAG, kWrapTagBytes, sealed.data() + kKeyBytes) != 1 ||
      EVP_CipherUpdate(context, raw(key.key.data()), &size, raw_of(sealed), kKeyBytes) != 1 ||
      EVP_CipherFinal_ex(context, rest.data(), &size) != 1) {
    return fail(ErrorCode::kPermission,
                std::format("key {} of the ring does not open with this authority's private key: another authority has "
                            "wrapped it, or it has been changed",
                            wrapped.id));
  }
  return key;
}

}  // namespace perdure::pki
