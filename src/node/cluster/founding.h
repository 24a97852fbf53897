// How a node comes into a cluster: it makes one, or joins one. What is left on disk is what Membership::open() needs; nothing is
// left after a failure.
//
// Blocking parts run on the pool; call on the loop's thread.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "coord/cluster_values.h"
#include "io/loop.h"
#include "io/pool.h"
#include "io/tls.h"
#include "model/cluster.h"
#include "node/cluster/cluster_identity.h"
#include "node/paths.h"
#include "peer.pb.h"
#include "pki/node_files.h"

namespace perdure::node {

struct FoundingWish {
  std::string node_name;             // empty: the host's
  std::vector<std::string> listen;   // empty: the address of the default route
  std::map<std::string, std::string> labels;
};

struct InitWish {
  FoundingWish node;
  std::string durable_directory;
  std::uint32_t standbys = 1;
  std::optional<ExternalEtcd> external;
  policy::lease::Timing timing = {};
};

struct FoundedCluster {
  ClusterIdentity identity;
  pki::NodeIdentity files;
  coord::ClusterSettings settings;
};

// Makes everything that a new cluster begins with, and writes it. Blocking. kInvalid: names, addresses, labels, directories.
Result<FoundedCluster> found_cluster(const InitWish& wish, const Paths& paths, const Clock& clock);

struct JoinWish {
  FoundingWish node;
  std::string address;  // of a node of the cluster
  std::string token;
  bool witness = false;
  std::optional<ExternalEtcd> external;  // without endpoints: the cluster says them
};

struct JoinedCluster {
  ClusterIdentity identity;
  pki::NodeIdentity files;
};

// Asks a node of the cluster to be let in, and writes what it answers. One at a time.
class Joining {
 public:
  using Done = std::function<void(Result<JoinedCluster>)>;
  Joining(io::Loop& loop, io::Pool& pool, const Clock& clock, Paths paths, model::HostFacts facts, std::string version);
  ~Joining();
  // kPermission: the token, or who we are. What TlsClient says. kExists: the name is taken.
  void begin(const JoinWish& wish, Done done);

 private:
  void ask(io::TlsConnection& connection);
  void answered(const std::string& text);
  void write(const peer::v1::JoinReply& reply);
  void finish(Result<JoinedCluster> joined);

  io::Loop& loop_;
  io::Pool& pool_;
  const Clock& clock_;
  const Paths paths_;
  const model::HostFacts facts_;
  const std::string version_;
  JoinWish wish_;
  Done done_;
  std::string private_key_;
  std::optional<ClusterIdentity> identity_;
  std::string token_id_;
  std::string token_secret_;
  std::unique_ptr<io::TlsClient> client_;
  io::Timer limit_;
  io::Lifetime lifetime_;
};

// What a membership has left on disk goes: certificates, identity, etcd's data (set aside). Blocking.
Status forget_membership(const Paths& paths, const ClusterIdentity& identity, WallTime now);

}  // namespace perdure::node
