// Sealed datagrams between two nodes, under keys that their TLS session exports: AES-256-GCM, either direction with a key of its
// own. A datagram is opened once, in any order within a window; whatever else arrives is dropped and counted, and stops nothing.
//
// Layout: u8 version 1, u64 key id, u64 sequence (little endian), ciphertext, 16 bytes of tag; the 17 bytes before the ciphertext
// are authenticated. Nonce: 4 zero bytes and the sequence, which begins with 1 and never repeats for a key. Keys and key id are
// HKDF-SHA-256 of the exported material: one purpose for what the session's client sends, one for its server, one for the id.
//
// When a session is replaced, neither end knows at which instant the other has the new keys. So keys are first installed, which
// opens; they seal from confirm() on: when the peer is known to have installed them. That is so when it says anything on
// the new session (it installs them before it does), and when a datagram under them has come. Half a session, which only one
// end took for open, thus silences nobody. The end of a session changes nothing: its keys are good until another one's are
// confirmed.
//
// One channel per peer life: who is removed, revoked or comes back as another incarnation is forgotten by destroying its channel.
// Install the keys of one peer in the order in which its sessions were made, each session's once, and none of a session that was
// given up.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <expected>
#include <memory>
#include <optional>
#include <span>
#include <string_view>

#include "base/result.h"
#include "io/datagram.h"

namespace perdure::pki {

inline constexpr std::size_t kChannelHeaderBytes = 17;
inline constexpr std::size_t kChannelTagBytes = 16;
// The largest content of a datagram.
inline constexpr std::size_t kMaxChannelContentBytes = io::kMaxDatagramBytes - kChannelHeaderBytes - kChannelTagBytes;
// A sequence this far below the newest one is too old.
inline constexpr std::uint64_t kReplayWindow = 64;
// Of one key in one direction, four years of 500 a second. By then 2^43 blocks are encrypted, and the chance that this tells
// anything is 2^-43 (the bound is blocks^2 / 2^129); four times as much would still be harmless, silence would not.
inline constexpr std::uint64_t kMaxDatagramsOfKey = std::uint64_t{1} << 36;
// For TlsConnection::export_key().
inline constexpr std::string_view kChannelKeyLabel = "datagrams";

// Of the TLS session: who dialled is its client.
enum class ChannelRole { kClient, kServer };

struct ChannelKeyId {
  std::uint64_t value = 0;
  auto operator<=>(const ChannelKeyId&) const = default;
};

// Whose keys a datagram is sealed with, so that the channel can be found; absent: no datagram of ours. Not verified.
std::optional<ChannelKeyId> key_id_of(std::span<const std::byte> datagram);

// The keys of one session. Deriving them allocates and takes some 10 us: do it elsewhere than on a real-time thread and move
// them there.
class ChannelKeys {
 public:
  // `material` is the caller's to wipe. kUnsupported, kIo: OpenSSL. `max_datagrams`: less for tests only.
  static Result<ChannelKeys> derive(std::span<const std::byte, 32> material, ChannelRole role,
                                    std::uint64_t max_datagrams = kMaxDatagramsOfKey);
  ChannelKeys(ChannelKeys&&) noexcept;
  ChannelKeys& operator=(ChannelKeys&&) noexcept;
  ~ChannelKeys();
  ChannelKeyId id() const;

 private:
  friend class SealedChannel;
  struct State;
  explicit ChannelKeys(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

// Why a datagram was not opened.
enum class Dropped {
  kMalformed,   // cut, too large, or of another version
  kUnknownKey,  // foreign, or of a session that has been replaced or was not installed yet
  kForged,      // does not verify: changed, made up, or sent back to its sender
  kReplayed,    // was opened before
  kTooOld,      // further below the newest than the window
};
inline constexpr std::size_t kDroppedReasons = 5;
std::string_view to_string(Dropped reason);

struct ChannelCounters {
  std::uint64_t sealed = 0;
  std::uint64_t opened = 0;
  std::array<std::uint64_t, kDroppedReasons> dropped{};  // by Dropped

  std::uint64_t& of(Dropped reason) { return dropped[static_cast<std::size_t>(reason)]; }
  std::uint64_t of(Dropped reason) const { return dropped[static_cast<std::size_t>(reason)]; }
};

// One thread at a time. Sealing and opening allocate nothing.
class SealedChannel {
 public:
  SealedChannel() = default;
  SealedChannel(SealedChannel&&) noexcept = default;
  SealedChannel& operator=(SealedChannel&&) noexcept = default;

  // Opens with these from now on, beside those that seal; what else was installed goes. Keys that are held already stay as
  // they are. Nothing can be sealed before the first are confirmed.
  void install(ChannelKeys keys);
  // The peer has installed these: seal with them. Without effect for those that seal already, older ones and unknown ones.
  void confirm(ChannelKeyId id);
  bool holds(ChannelKeyId id) const;
  std::optional<ChannelKeyId> sealing() const;  // the id of those that seal
  // How many more can be sealed; a new session is needed before this is 0.
  std::uint64_t left() const;

  // The datagram; good until the next call. kInvalid: larger than kMaxChannelContentBytes. kNotFound: no confirmed keys.
  // kNoSpace: the key is used up. kIo: OpenSSL.
  Result<std::span<const std::byte>> seal(std::span<const std::byte> content);
  // The content; good until the next call. A valid datagram under newer keys confirms them.
  std::expected<std::span<const std::byte>, Dropped> open(std::span<const std::byte> datagram);

  const ChannelCounters& counters() const { return counters_; }

 private:
  std::expected<std::span<const std::byte>, Dropped> try_open(std::span<const std::byte> datagram);
  ChannelKeys* find(ChannelKeyId id);

  // At most two generations: what opens is these two. `other_` is newer than `current_` until it is confirmed, then older.
  std::optional<ChannelKeys> current_;
  std::optional<ChannelKeys> other_;
  bool other_is_newer_ = false;
  ChannelCounters counters_;
  std::array<std::byte, io::kMaxDatagramBytes> buffer_{};
};

}  // namespace perdure::pki
