#include "node/cluster/peer_codec.h"

#include <algorithm>
#include <cstring>
#include <format>
#include <utility>

#include "coord/cluster_codec.h"
#include "node/status_codec.h"

namespace perdure::node {
namespace {

constexpr std::size_t kDigestBytes = 16;

void put(std::string& text, std::uint64_t value) {
  for (int shift = 56; shift >= 0; shift -= 8) text.push_back(static_cast<char>((value >> shift) & 0xff));
}

std::uint64_t take(std::string_view text) {
  std::uint64_t value = 0;
  for (const char c : text) value = (value << 8) | static_cast<unsigned char>(c);
  return value;
}

}  // namespace

peer::v1::GenerationId to_peer(const Generation& generation) {
  peer::v1::GenerationId id;
  id.set_term(generation.term.value);
  id.set_incarnation(generation.incarnation.value);
  id.set_number(generation.number);
  return id;
}

Generation from_peer(const peer::v1::GenerationId& generation) {
  return {Term{generation.term()}, Incarnation{generation.incarnation()}, generation.number()};
}

peer::v1::Holding to_peer(const replica::Holding& holding) {
  peer::v1::Holding message;
  *message.mutable_generation() = to_peer(holding.generation);
  put(*message.mutable_digest(), holding.digest.high);
  put(*message.mutable_digest(), holding.digest.low);
  return message;
}

Result<replica::Holding> from_peer(const peer::v1::Holding& holding) {
  const std::string& digest = holding.digest();
  if (digest.size() != kDigestBytes) {
    return fail(ErrorCode::kInvalid, std::format("a digest of {} bytes", digest.size()));
  }
  const std::string_view text = digest;
  return replica::Holding{from_peer(holding.generation()), {take(text.substr(0, 8)), take(text.substr(8))}};
}

Result<replica::ReceivedCapsule> received_from(const peer::v1::Ship& ship, capsule::SlabRef bytes) {
  if (!bytes) return fail(ErrorCode::kInvalid, "a capsule without a body");
  PERDURE_ASSIGN(auto name, ContainerName::parse(ship.container()));
  replica::ReceivedCapsule received{.container = std::move(name),
                                    .term = Term{ship.term()},
                                    .generation = from_peer(ship.generation()),
                                    .base = {},
                                    .committed = {},
                                    .provisional = ship.provisional(),
                                    .bytes = std::move(bytes)};
  if (ship.has_base()) {
    PERDURE_ASSIGN(received.base, from_peer(ship.base()));
  }
  if (ship.has_committed()) received.committed = from_peer(ship.committed());
  return received;
}

peer::v1::KeyOfRing to_peer(const pki::SealingKey& key) {
  peer::v1::KeyOfRing message;
  message.set_id(key.id);
  message.set_key(std::string(reinterpret_cast<const char*>(key.key.data()), key.key.size()));
  message.set_created_unix_ms(unix_ms(key.created));
  return message;
}

Result<pki::SealingKey> from_peer(const peer::v1::KeyOfRing& key) {
  pki::SealingKey value;
  if (key.key().size() != value.key.size()) {
    return fail(ErrorCode::kInvalid, std::format("a key of {} bytes", key.key().size()));
  }
  value.id = key.id();
  std::memcpy(value.key.data(), key.key().data(), value.key.size());
  value.created = wall_time_of(key.created_unix_ms());
  return value;
}

cluster::v1::HostFacts to_peer(const model::HostFacts& facts) {
  cluster::v1::HostFacts message;
  message.set_kernel_release(facts.kernel_release);
  message.set_machine(facts.machine);
  message.set_criu_version(facts.criu_version);
  for (const std::string& feature : facts.cpu_features) message.add_cpu_features(feature);
  message.set_memory_bytes(facts.memory_bytes);
  message.set_processors(facts.processors);
  message.set_can_restore_other_users(facts.can_restore_other_users);
  return message;
}

Result<model::HostFacts> from_peer(const cluster::v1::HostFacts& facts) {
  if (static_cast<std::size_t>(facts.cpu_features_size()) > coord::kMaxCpuFeatures) {
    return fail(ErrorCode::kInvalid, std::format("{} CPU features", facts.cpu_features_size()));
  }
  model::HostFacts value;
  value.kernel_release = facts.kernel_release().substr(0, coord::kMaxShortText);
  value.machine = facts.machine().substr(0, coord::kMaxShortText);
  value.criu_version = facts.criu_version().substr(0, coord::kMaxShortText);
  for (const std::string& feature : facts.cpu_features()) {
    if (feature.size() > coord::kMaxShortText) {
      return fail(ErrorCode::kInvalid, std::format("a CPU feature with a name of {} bytes", feature.size()));
    }
  }
  value.cpu_features.assign(facts.cpu_features().begin(), facts.cpu_features().end());
  std::ranges::sort(value.cpu_features);
  value.memory_bytes = facts.memory_bytes();
  value.processors = facts.processors();
  value.can_restore_other_users = facts.can_restore_other_users();
  return value;
}

}  // namespace perdure::node
