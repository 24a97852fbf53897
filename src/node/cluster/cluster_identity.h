// What a node remembers of its cluster between its lives: cluster.json beside its certificates. Without it the node
// is on its own.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "base/ids.h"
#include "base/result.h"
#include "coord/cluster_view.h"

namespace perdure::node {

inline constexpr std::uint16_t kPeerPort = 7400;
inline constexpr std::uint16_t kEtcdClientPort = 7401;
inline constexpr std::uint16_t kEtcdPeerPort = 7402;

// Of an etcd that is not ours.
struct ExternalEtcd {
  std::vector<std::string> endpoints;
  std::string authority_file;
  std::string certificate_file;
  std::string key_file;
  bool operator==(const ExternalEtcd&) const = default;
};

struct ClusterIdentity {
  std::string cluster_id = {};  // 32 hexadecimal digits
  NodeName node;
  std::vector<std::string> listen = {};  // "192.0.2.1:7400"; the first is what others dial and where etcd is
  std::map<std::string, std::string> labels = {};
  bool manager = false;
  bool witness = false;
  std::optional<ExternalEtcd> external = {};
  std::vector<std::string> endpoints = {};  // of etcd's members as last known; unused with an external one
  std::string durable_directory = {};       // the cluster's, as last known: containers are found again before etcd answers
  coord::StoreHistory history = {};
  bool operator==(const ClusterIdentity&) const = default;
};

std::string to_json(const ClusterIdentity& identity);
// kCorrupt naming `path` and the member.
Result<ClusterIdentity> identity_from_json(const std::string& text, const std::string& path);

// "192.0.2.1" -> "https://192.0.2.1:7401"; brackets for IPv6. From the address of `listen`, whatever its port.
std::string etcd_client_url(const std::string& listen);
std::string etcd_peer_url(const std::string& listen);

// The host's name up to the first dot, in lower case. kInvalid: it is no node's name; name one.
Result<NodeName> default_node_name();
// The address that this host uses to reach others (that of its default route). kNotFound: it has none; name one.
Result<std::string> default_address();

}  // namespace perdure::node
