// The keys that seal capsules at rest. The newest writes, all read.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/result.h"

namespace perdure::pki {

inline constexpr Duration kKeyRotation = std::chrono::hours(24 * 30);
inline constexpr std::size_t kMaxKeys = 64;  // five years of rotations

struct SealingKey {
  std::uint32_t id = 0;  // rises; 0 is none
  std::array<std::byte, 32> key{};
  WallTime created{};  // whole milliseconds
  ~SealingKey();       // wipes; every copy for itself
};

class KeyRing {
 public:
  KeyRing() = default;
  explicit KeyRing(std::vector<SealingKey> keys);  // any order; numbers differ
  static Result<SealingKey> make_key(std::uint32_t id, WallTime now);
  // This ring with one key more, the number after the newest. Beyond kMaxKeys the oldest goes.
  Result<KeyRing> rotated(WallTime now) const;

  bool empty() const { return keys_.empty(); }
  const SealingKey& newest() const;  // not of an empty ring
  const SealingKey* find(std::uint32_t id) const;
  const std::vector<SealingKey>& keys() const { return keys_; }  // by id
  bool rotation_due(WallTime now) const;

  // A file of a node, mode 0600; lines with a digest. The caller wipes the text. kCorrupt.
  std::string to_text() const;
  static Result<KeyRing> from_text(const std::string& text);

  KeyRing(const KeyRing&) = default;
  KeyRing& operator=(const KeyRing&) = default;
  ~KeyRing();

 private:
  std::vector<SealingKey> keys_;
};

// For etcd: sealed (AES-256-GCM) under HKDF-SHA-256 of the authority's private key, with the key's id and age as
// associated data.
struct WrappedKey {
  std::uint32_t id = 0;
  std::string nonce;   // 12 bytes
  std::string sealed;  // 48 bytes
  WallTime created{};
};
Result<WrappedKey> wrap(const SealingKey& key, const std::string& authority_private_key_pem);
// kPermission: wrapped by another authority, or changed. kCorrupt: not the size of one. kInvalid: no private key.
Result<SealingKey> unwrap(const WrappedKey& key, const std::string& authority_private_key_pem);

}  // namespace perdure::pki
