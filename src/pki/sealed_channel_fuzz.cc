// Fuzzes what a node does with any datagram. The input is tried as a datagram, behind a header that fits, and as a content that is
// sealed, spoilt at a place it names, and dropped, while the next honest datagram still opens.
#include <algorithm>
#include <array>
#include <cstdint>
#include <span>
#include <vector>

#include "base/assert.h"
#include "pki/sealed_channel.h"

namespace {

using namespace perdure;
using namespace perdure::pki;

SealedChannel channel_of(ChannelRole role) {
  std::array<std::byte, 32> material{};
  material.fill(std::byte{7});
  auto keys = ChannelKeys::derive(material, role);
  PERDURE_ASSERT(keys.has_value());
  const ChannelKeyId id = keys->id();
  SealedChannel channel;
  channel.install(std::move(*keys));
  channel.confirm(id);
  return channel;
}

std::vector<std::byte> sealed_by(SealedChannel& channel, std::span<const std::byte> content) {
  const auto sealed = channel.seal(content);
  PERDURE_ASSERT(sealed.has_value());
  return {sealed->begin(), sealed->end()};
}

std::uint64_t dropped_by(const SealedChannel& channel) {
  std::uint64_t sum = 0;
  for (const std::uint64_t count : channel.counters().dropped) sum += count;
  return sum;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::span<const std::byte> input = std::as_bytes(std::span(data, size));
  SealedChannel client = channel_of(ChannelRole::kClient);
  SealedChannel server = channel_of(ChannelRole::kServer);

  PERDURE_ASSERT(!server.open(input).has_value());
  std::vector<std::byte> with_header = sealed_by(client, {});
  with_header.resize(kChannelHeaderBytes);
  with_header.insert(with_header.end(), input.begin(), input.end());
  PERDURE_ASSERT(!server.open(with_header).has_value());

  const auto content = input.first(std::min(input.size(), kMaxChannelContentBytes));
  const std::vector<std::byte> sealed = sealed_by(client, content);
  if (size >= 3) {
    std::vector<std::byte> spoilt = sealed;
    spoilt[(data[0] + 256u * data[1]) % spoilt.size()] ^= static_cast<std::byte>(data[2] | 1);
    PERDURE_ASSERT(!server.open(spoilt).has_value());
  }
  PERDURE_ASSERT(dropped_by(server) == (size >= 3 ? 3u : 2u));
  const auto opened = server.open(sealed);
  PERDURE_ASSERT(opened.has_value() && std::ranges::equal(*opened, content));
  PERDURE_ASSERT(!server.open(sealed).has_value());
  return 0;
}
