#include "pki/sealed_channel.h"

#include <algorithm>
#include <format>
#include <utility>

#include "base/assert.h"
#include "pki/crypto.h"

namespace perdure::pki {
namespace {

constexpr std::byte kChannelVersion{1};
constexpr std::size_t kDatagramKeyIdAt = 1;
constexpr std::size_t kSequenceAt = 9;
static_assert(kSequenceAt + sizeof(std::uint64_t) == kChannelHeaderBytes);
constexpr std::size_t kNonceSequenceAt = 4;
constexpr std::string_view kClientPurpose = "perdure datagrams of the client 1";
constexpr std::string_view kServerPurpose = "perdure datagrams of the server 1";
constexpr std::string_view kIdPurpose = "perdure datagrams' key id 1";

enum class Direction : int { kOpen = 0, kSeal = 1 };

Result<Owned<EVP_CIPHER_CTX>> cipher_for(std::span<const std::byte, 32> material, std::string_view purpose,
                                         Direction direction) {
  PERDURE_ASSIGN(Key256 key, derive_key(material, {}, purpose));
  Owned<EVP_CIPHER_CTX> context(EVP_CIPHER_CTX_new());
  const bool good = context != nullptr && EVP_CipherInit_ex2(context.get(), EVP_aes_256_gcm(), raw(key.data()), nullptr,
                                                             static_cast<int>(direction), nullptr) == 1;
  wipe(key);
  if (!good) return fail_openssl(ErrorCode::kIo, "begin AES-256-GCM");
  return context;
}

// Nonce and header.
bool begin(EVP_CIPHER_CTX* context, std::span<const std::byte, kChannelHeaderBytes> header) {
  std::array<std::byte, kNonceBytes> nonce{};
  std::ranges::copy(header.subspan<kSequenceAt>(), nonce.begin() + kNonceSequenceAt);
  int size = 0;
  return EVP_CipherInit_ex2(context, nullptr, nullptr, raw(nonce.data()), -1, nullptr) == 1 &&
         EVP_CipherUpdate(context, nullptr, &size, raw(header.data()), header.size()) == 1;
}

// Which sequences have been opened (RFC 4303, 3.4.3): bit n of `seen_` is the newest one minus n.
class OpenedSequences {
 public:
  std::optional<Dropped> refuse(std::uint64_t sequence) const {
    if (sequence > newest_) return std::nullopt;
    const std::uint64_t below = newest_ - sequence;
    if (below >= kReplayWindow) return Dropped::kTooOld;
    if ((seen_ >> below & 1) != 0) return Dropped::kReplayed;
    return std::nullopt;
  }

  void add(std::uint64_t sequence) {
    if (sequence > newest_) {
      const std::uint64_t above = sequence - newest_;
      seen_ = above >= kReplayWindow ? 0 : seen_ << above;
      newest_ = sequence;
    }
    seen_ |= std::uint64_t{1} << (newest_ - sequence);
  }

 private:
  std::uint64_t newest_ = 0;
  std::uint64_t seen_ = 0;
  static_assert(kReplayWindow == 64, "one bit for each");
};

}  // namespace

// The contexts hold the keys and wipe them.
struct ChannelKeys::State {
  ChannelKeyId id;
  Owned<EVP_CIPHER_CTX> sealer;
  Owned<EVP_CIPHER_CTX> opener;
  std::uint64_t max_datagrams = 0;
  std::uint64_t sealed = 0;  // also the last sequence
  OpenedSequences opened = {};
};

std::string_view to_string(Dropped reason) {
  switch (reason) {
    case Dropped::kMalformed: return "malformed";
    case Dropped::kUnknownKey: return "unknown key";
    case Dropped::kForged: return "forged";
    case Dropped::kReplayed: return "replayed";
    case Dropped::kTooOld: return "too old";
  }
  std::unreachable();
}

std::optional<ChannelKeyId> key_id_of(std::span<const std::byte> datagram) {
  if (datagram.size() < kChannelHeaderBytes + kChannelTagBytes || datagram.size() > io::kMaxDatagramBytes ||
      datagram[0] != kChannelVersion) {
    return std::nullopt;
  }
  return ChannelKeyId{get_little_endian<std::uint64_t>(datagram.data() + kDatagramKeyIdAt)};
}

ChannelKeys::ChannelKeys(std::unique_ptr<State> state) : state_(std::move(state)) {}
ChannelKeys::ChannelKeys(ChannelKeys&&) noexcept = default;
ChannelKeys& ChannelKeys::operator=(ChannelKeys&&) noexcept = default;
ChannelKeys::~ChannelKeys() = default;

ChannelKeyId ChannelKeys::id() const { return state_->id; }

Result<ChannelKeys> ChannelKeys::derive(std::span<const std::byte, 32> material, ChannelRole role,
                                        std::uint64_t max_datagrams) {
  const ErrorScope errors;
  const bool client = role == ChannelRole::kClient;
  PERDURE_ASSIGN(const Key256 id, derive_key(material, {}, kIdPurpose));
  PERDURE_ASSIGN(auto sealer, cipher_for(material, client ? kClientPurpose : kServerPurpose, Direction::kSeal));
  PERDURE_ASSIGN(auto opener, cipher_for(material, client ? kServerPurpose : kClientPurpose, Direction::kOpen));
  return ChannelKeys(std::make_unique<State>(State{.id = {get_little_endian<std::uint64_t>(id.data())},
                                                   .sealer = std::move(sealer),
                                                   .opener = std::move(opener),
                                                   .max_datagrams = max_datagrams}));
}

void SealedChannel::install(ChannelKeys keys) {
  if (holds(keys.id())) return;  // anew, its sequence would begin anew
  other_ = std::move(keys);
  other_is_newer_ = true;
}

void SealedChannel::confirm(ChannelKeyId id) {
  if (!other_is_newer_ || !other_ || other_->id() != id) return;
  std::swap(current_, other_);
  other_is_newer_ = false;
}

ChannelKeys* SealedChannel::find(ChannelKeyId id) {
  if (current_ && current_->id() == id) return &*current_;
  if (other_ && other_->id() == id) return &*other_;
  return nullptr;
}

bool SealedChannel::holds(ChannelKeyId id) const { return const_cast<SealedChannel*>(this)->find(id) != nullptr; }

std::optional<ChannelKeyId> SealedChannel::sealing() const {
  if (!current_) return std::nullopt;
  return current_->id();
}

std::uint64_t SealedChannel::left() const {
  return current_ ? current_->state_->max_datagrams - current_->state_->sealed : 0;
}

Result<std::span<const std::byte>> SealedChannel::seal(std::span<const std::byte> content) {
  if (content.size() > kMaxChannelContentBytes) {
    return fail(ErrorCode::kInvalid, std::format("{} bytes do not fit into a sealed datagram, {} do", content.size(),
                                                 kMaxChannelContentBytes));
  }
  if (!current_) return fail(ErrorCode::kNotFound, "no keys are known to be at both ends yet");
  ChannelKeys::State& keys = *current_->state_;
  if (keys.sealed >= keys.max_datagrams) {
    return fail(ErrorCode::kNoSpace, std::format("the key has sealed its {} datagrams; a new session brings another",
                                                 keys.max_datagrams));
  }
  const ErrorScope errors;
  ++keys.sealed;  // used, whatever comes of it
  const std::span<std::byte> sealed(buffer_.data(), kChannelHeaderBytes + content.size() + kChannelTagBytes);
  sealed[0] = kChannelVersion;
  put_little_endian(sealed.data() + kDatagramKeyIdAt, keys.id.value);
  put_little_endian(sealed.data() + kSequenceAt, keys.sealed);
  std::byte* const tag = sealed.data() + kChannelHeaderBytes + content.size();
  int size = 0;
  EVP_CIPHER_CTX* const context = keys.sealer.get();
  if (!begin(context, sealed.first<kChannelHeaderBytes>()) ||
      (!content.empty() && EVP_CipherUpdate(context, raw(sealed.data() + kChannelHeaderBytes), &size,
                                            raw(content.data()), static_cast<int>(content.size())) != 1) ||
      EVP_CipherFinal_ex(context, raw(tag), &size) != 1 ||
      EVP_CIPHER_CTX_ctrl(context, EVP_CTRL_AEAD_GET_TAG, kChannelTagBytes, tag) != 1) {
    return fail_openssl(ErrorCode::kIo, "seal a datagram");
  }
  ++counters_.sealed;
  return sealed;
}

std::expected<std::span<const std::byte>, Dropped> SealedChannel::open(std::span<const std::byte> datagram) {
  auto content = try_open(datagram);
  if (content) {
    ++counters_.opened;
  } else {
    ++counters_.of(content.error());
  }
  return content;
}

std::expected<std::span<const std::byte>, Dropped> SealedChannel::try_open(std::span<const std::byte> datagram) {
  const std::optional<ChannelKeyId> id = key_id_of(datagram);
  if (!id) return std::unexpected(Dropped::kMalformed);
  ChannelKeys* const keys = find(*id);
  if (keys == nullptr) return std::unexpected(Dropped::kUnknownKey);
  ChannelKeys::State& state = *keys->state_;
  const auto sequence = get_little_endian<std::uint64_t>(datagram.data() + kSequenceAt);
  if (const auto refused = state.opened.refuse(sequence)) return std::unexpected(*refused);

  const ErrorScope errors;
  const std::span<const std::byte> sealed = datagram.subspan(kChannelHeaderBytes);
  const std::span<std::byte> content(buffer_.data(), sealed.size() - kChannelTagBytes);
  std::array<std::byte, kChannelTagBytes> tag{};
  std::ranges::copy(sealed.last(kChannelTagBytes), tag.begin());
  std::array<std::byte, kChannelTagBytes> nothing{};
  int size = 0;
  EVP_CIPHER_CTX* const context = state.opener.get();
  if (!begin(context, datagram.first<kChannelHeaderBytes>()) ||
      EVP_CIPHER_CTX_ctrl(context, EVP_CTRL_AEAD_SET_TAG, kChannelTagBytes, tag.data()) != 1 ||
      (!content.empty() && EVP_CipherUpdate(context, raw(content.data()), &size, raw(sealed.data()),
                                            static_cast<int>(content.size())) != 1) ||
      EVP_CipherFinal_ex(context, raw(nothing.data()), &size) != 1) {
    return std::unexpected(Dropped::kForged);
  }
  state.opened.add(sequence);
  confirm(*id);
  return content;
}

}  // namespace perdure::pki
