#include "node/cluster/cluster_identity.h"

#include <arpa/inet.h>
#include <limits.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <format>
#include <nlohmann/json.hpp>

#include "base/fd.h"
#include "io/endpoint.h"

namespace perdure::node {
namespace {

using Json = nlohmann::json;

constexpr int kVersion = 1;
constexpr std::size_t kMaxListed = 16;

std::vector<std::string> texts(const Json& json, const char* name) {
  auto all = json.at(name).get<std::vector<std::string>>();
  if (all.size() > kMaxListed) throw std::out_of_range(std::format("member '{}' has {} entries", name, all.size()));
  return all;
}

ClusterIdentity parse(const Json& json) {
  if (json.at("version").get<int>() != kVersion) throw std::out_of_range("unknown version");
  const auto name = NodeName::parse(json.at("node").get<std::string>());
  if (!name) throw std::out_of_range(name.error().message());
  ClusterIdentity identity{.cluster_id = json.at("cluster").get<std::string>(), .node = *name};
  identity.listen = texts(json, "listen");
  if (identity.listen.empty()) throw std::out_of_range("member 'listen' is empty");
  identity.labels = json.at("labels").get<std::map<std::string, std::string>>();
  identity.manager = json.at("manager").get<bool>();
  identity.witness = json.at("witness").get<bool>();
  identity.endpoints = texts(json, "etcd_endpoints");
  identity.durable_directory = json.value("durable_directory", std::string());
  identity.history.cluster_id = json.at("store_id").get<std::uint64_t>();
  identity.history.revision = json.at("store_revision").get<std::int64_t>();
  if (json.contains("external_etcd")) {
    const Json& external = json.at("external_etcd");
    identity.external = ExternalEtcd{texts(external, "endpoints"), external.at("authority_file").get<std::string>(),
                                     external.at("certificate_file").get<std::string>(),
                                     external.at("key_file").get<std::string>()};
  }
  return identity;
}

std::string url_of(const std::string& listen, std::uint16_t port) {
  const auto endpoint = io::Endpoint::parse(listen, kPeerPort);
  const std::string host = endpoint ? io::host_of(*endpoint) : listen;
  return host.contains(':') ? std::format("https://[{}]:{}", host, port) : std::format("https://{}:{}", host, port);
}

// The address that a packet to the outside would carry; nothing is sent.
Result<std::string> source_address(int family, const sockaddr* target, socklen_t size) {
  const UniqueFd socket(::socket(family, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  if (!socket.valid()) return fail_errno("make a socket");
  if (::connect(socket.get(), target, size) != 0) return fail_errno("find the default route");
  sockaddr_storage own{};
  socklen_t length = sizeof own;
  if (::getsockname(socket.get(), reinterpret_cast<sockaddr*>(&own), &length) != 0) return fail_errno("read an address");
  return io::host_of(io::Endpoint::from(own));
}

}  // namespace

std::string to_json(const ClusterIdentity& identity) {
  Json json = {{"version", kVersion},
               {"cluster", identity.cluster_id},
               {"node", identity.node.str()},
               {"listen", identity.listen},
               {"labels", identity.labels},
               {"manager", identity.manager},
               {"witness", identity.witness},
               {"etcd_endpoints", identity.endpoints},
               {"durable_directory", identity.durable_directory},
               {"store_id", identity.history.cluster_id},
               {"store_revision", identity.history.revision}};
  if (identity.external) {
    json["external_etcd"] = {{"endpoints", identity.external->endpoints},
                             {"authority_file", identity.external->authority_file},
                             {"certificate_file", identity.external->certificate_file},
                             {"key_file", identity.external->key_file}};
  }
  return json.dump(1) + "\n";
}

Result<ClusterIdentity> identity_from_json(const std::string& text, const std::string& path) {
  try {
    return parse(Json::parse(text));
  } catch (const std::exception& error) {
    return fail(ErrorCode::kCorrupt, std::format("'{}': {}", path, error.what()));
  }
}

std::string etcd_client_url(const std::string& listen) { return url_of(listen, kEtcdClientPort); }
std::string etcd_peer_url(const std::string& listen) { return url_of(listen, kEtcdPeerPort); }

Result<NodeName> default_node_name() {
  std::array<char, HOST_NAME_MAX + 1> text{};
  if (::gethostname(text.data(), text.size() - 1) != 0) return fail_errno("read the host's name");
  std::string name(text.data());
  name = name.substr(0, name.find('.'));
  std::ranges::transform(name, name.begin(), [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  auto parsed = NodeName::parse(name);
  if (!parsed) {
    return fail(std::move(parsed).error().context("the host's name makes no node's name; give one with --node-name"));
  }
  return parsed;
}

Result<std::string> default_address() {
  // Documentation addresses: they are nobody's, so only the default route leads there.
  sockaddr_in v4{};
  v4.sin_family = AF_INET;
  v4.sin_port = htons(kPeerPort);
  ::inet_pton(AF_INET, "203.0.113.1", &v4.sin_addr);
  auto found = source_address(AF_INET, reinterpret_cast<const sockaddr*>(&v4), sizeof v4);
  if (found) return found;
  sockaddr_in6 v6{};
  v6.sin6_family = AF_INET6;
  v6.sin6_port = htons(kPeerPort);
  ::inet_pton(AF_INET6, "2001:db8::1", &v6.sin6_addr);
  found = source_address(AF_INET6, reinterpret_cast<const sockaddr*>(&v6), sizeof v6);
  if (found) return found;
  return fail(ErrorCode::kNotFound,
              "this host has no default route that would tell its address to others; name it with --listen");
}

}  // namespace perdure::node
