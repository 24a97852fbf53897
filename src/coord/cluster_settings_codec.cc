#include <format>
#include <map>
#include <utility>

#include "coord/cluster_codec.h"
#include "coord/cluster_keys.h"
#include "coord/codec_parts.h"

namespace perdure::coord {
namespace {

namespace v1 = perdure::cluster::v1;

constexpr std::size_t kNonceBytes = 12;
constexpr std::size_t kSealedBytes = 48;
constexpr std::size_t kHashBytes = 32;
constexpr std::size_t kMaxAuthorityBytes = 2 * kMaxPemBytes;

Status check_exactly(std::string_view field, std::string_view bytes, std::size_t wanted) {
  if (bytes.size() == wanted) return {};
  return bad(field, std::format("{} bytes: {} are expected", bytes.size(), wanted));
}

Result<pki::WrappedKey> read_key(const v1::WrappedKey& message) {
  PERDURE_TRY(check_exactly("nonce of a key", message.nonce(), kNonceBytes));
  PERDURE_TRY(check_exactly("sealed key", message.sealed(), kSealedBytes));
  PERDURE_ASSIGN(const auto created, read_time("creation time of a key", message.created_unix_ms()));
  return pki::WrappedKey{message.id(), message.nonce(), message.sealed(), created};
}

void write_keys(const std::vector<pki::WrappedKey>& keys, v1::Cluster& message) {
  std::map<std::uint32_t, v1::WrappedKey> before;
  for (const v1::WrappedKey& key : message.keys()) before.emplace(key.id(), key);
  message.clear_keys();
  for (const pki::WrappedKey& key : keys) {
    v1::WrappedKey& to = *message.add_keys();
    if (const auto known = before.find(key.id); known != before.end()) to = known->second;
    to.set_id(key.id);
    to.set_nonce(key.nonce);
    to.set_sealed(key.sealed);
    to.set_created_unix_ms(to_unix_ms(key.created));
  }
}

Result<policy::lease::Timing> read_timing(const v1::Cluster& message) {
  if (!message.has_timing()) return policy::lease::Timing{};
  const policy::lease::Timing timing{.heartbeat = Duration(message.timing().heartbeat_ns()),
                                     .grant = Duration(message.timing().grant_ns()),
                                     .margin = Duration(message.timing().margin_ns())};
  if (const Status checked = policy::lease::check(timing); !checked) return bad("timing", checked.error().message());
  return timing;
}

void write_timing(const policy::lease::Timing& timing, v1::Cluster& message) {
  if (timing == policy::lease::Timing{}) return message.clear_timing();
  message.mutable_timing()->set_heartbeat_ns(timing.heartbeat.count());
  message.mutable_timing()->set_grant_ns(timing.grant.count());
  message.mutable_timing()->set_margin_ns(timing.margin.count());
}

}  // namespace

Result<ClusterSettings> decode_cluster(std::string_view bytes) {
  PERDURE_ASSIGN(const auto message, parsed<v1::Cluster>(bytes));
  ClusterSettings cluster;
  PERDURE_TRY(read_array("cluster id", message.id(), cluster.id));
  PERDURE_TRY(check_size("authority's certificate", message.authority_certificate_pem(), kMaxAuthorityBytes));
  PERDURE_ASSIGN(cluster.created, read_time("creation time", message.created_unix_ms()));
  PERDURE_TRY(check_count("keys", message.keys_size(), pki::kMaxKeys));
  for (const v1::WrappedKey& key : message.keys()) {
    PERDURE_ASSIGN(auto read, read_key(key));
    cluster.keys.push_back(std::move(read));
  }
  PERDURE_TRY(check_text("durable directory", message.durable_directory(), kMaxPathText));
  if (!message.durable_directory().empty() && message.durable_directory().front() != '/') {
    return bad("durable directory", "an absolute path is expected");
  }
  if (message.standbys() > kMaxStandbys) return bad("standbys", std::format("at most {} are allowed", kMaxStandbys));
  PERDURE_ASSIGN(cluster.timing, read_timing(message));
  cluster.authority_certificate_pem = message.authority_certificate_pem();
  cluster.durable_directory = message.durable_directory();
  cluster.standbys = message.standbys();
  cluster.external_etcd = message.external_etcd();
  return cluster;
}

std::string encode_cluster(const ClusterSettings& cluster, std::string_view before) {
  auto message = unchecked<v1::Cluster>(before);
  message.set_id(cluster.id.data(), cluster.id.size());
  message.set_authority_certificate_pem(cluster.authority_certificate_pem);
  message.set_created_unix_ms(to_unix_ms(cluster.created));
  write_keys(cluster.keys, message);
  message.set_durable_directory(cluster.durable_directory);
  message.set_standbys(cluster.standbys);
  message.set_external_etcd(cluster.external_etcd);
  write_timing(cluster.timing, message);
  return serialized(message);
}

Result<StoredToken> decode_token(std::string_view bytes) {
  PERDURE_ASSIGN(const auto message, parsed<v1::JoinToken>(bytes));
  PERDURE_TRY(token_key(message.id()));
  PERDURE_TRY(check_exactly("hash of a token's secret", message.secret_sha256(), kHashBytes));
  PERDURE_ASSIGN(const auto expires, read_time("expiry of a token", message.expires_unix_ms()));
  return StoredToken{message.id(), message.secret_sha256(), expires, message.uses_left()};
}

std::string encode_token(const StoredToken& token, std::string_view before) {
  auto message = unchecked<v1::JoinToken>(before);
  message.set_id(token.id);
  message.set_secret_sha256(token.secret_sha256);
  message.set_expires_unix_ms(to_unix_ms(token.expires));
  message.set_uses_left(token.uses_left);
  return serialized(message);
}

Result<Revocation> decode_revocation(std::string_view bytes) {
  PERDURE_ASSIGN(const auto message, parsed<v1::Revocation>(bytes));
  PERDURE_ASSIGN(auto node, NodeName::parse(message.node()));
  PERDURE_TRY(check_count("serial numbers", message.serials_size(), kMaxSerials));
  for (const std::string& serial : message.serials()) PERDURE_TRY(check_serial(serial));
  PERDURE_ASSIGN(const auto revoked, read_time("time of the revocation", message.revoked_unix_ms()));
  PERDURE_TRY(check_text("reason", message.reason(), kMaxReasonBytes));
  return Revocation{std::move(node), {message.serials().begin(), message.serials().end()}, revoked, message.reason()};
}

std::string encode_revocation(const Revocation& revocation, std::string_view before) {
  auto message = unchecked<v1::Revocation>(before);
  message.set_node(revocation.node.str());
  message.clear_serials();
  for (const std::string& serial : revocation.serials) message.add_serials(serial);
  message.set_revoked_unix_ms(to_unix_ms(revocation.revoked));
  message.set_reason(revocation.reason);
  return serialized(message);
}

}  // namespace perdure::coord
