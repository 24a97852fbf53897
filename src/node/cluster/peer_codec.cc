#include "node/cluster/peer_codec.h"

#include <algorithm>
#include <cstring>
#include <format>
#include <limits>
#include <utility>

#include "coord/cluster_codec.h"
#include "node/status_codec.h"
#include "node/young_connections.h"

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

std::size_t address_bytes(const network::IpAddress& address) { return address.is_v4() ? 4 : 16; }

std::string text_of(const network::IpAddress& address) {
  return {reinterpret_cast<const char*>(address.bytes.data()), address_bytes(address)};
}

Result<network::Endpoint> endpoint_from(const std::string& address, std::uint32_t port) {
  if (address.size() != 4 && address.size() != 16) {
    return fail(ErrorCode::kInvalid, std::format("an address of {} bytes", address.size()));
  }
  if (port == 0 || port > std::numeric_limits<std::uint16_t>::max()) {
    return fail(ErrorCode::kInvalid, std::format("port {}", port));
  }
  network::Endpoint endpoint;
  endpoint.address.family = address.size() == 4 ? network::IpFamily::kV4 : network::IpFamily::kV6;
  std::memcpy(endpoint.address.bytes.data(), address.data(), address.size());
  endpoint.port = static_cast<std::uint16_t>(port);
  return endpoint;
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

void to_peer(std::span<const network::TcpTuple> connections, peer::v1::ConnectionsNotice& notice) {
  for (const auto& [local, remote] : connections) {
    peer::v1::ConnectionsNotice::Connection& row = *notice.add_rows();
    row.set_local_address(text_of(local.address));
    row.set_local_port(local.port);
    row.set_remote_address(text_of(remote.address));
    row.set_remote_port(remote.port);
  }
}

Result<std::vector<network::TcpTuple>> from_peer(const peer::v1::ConnectionsNotice& notice) {
  if (static_cast<std::size_t>(notice.rows_size()) > YoungConnections::kMax) {
    return fail(ErrorCode::kInvalid, std::format("{} connections", notice.rows_size()));
  }
  std::vector<network::TcpTuple> connections;
  for (const peer::v1::ConnectionsNotice::Connection& row : notice.rows()) {
    network::TcpTuple& connection = connections.emplace_back();
    PERDURE_ASSIGN(connection.local, endpoint_from(row.local_address(), row.local_port()));
    PERDURE_ASSIGN(connection.remote, endpoint_from(row.remote_address(), row.remote_port()));
    if (connection.local.address.family != connection.remote.address.family) {
      return fail(ErrorCode::kInvalid, "a connection between addresses of two families");
    }
  }
  return connections;
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
