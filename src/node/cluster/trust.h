// Who this node is, and whom it trusts: its certificate, renewed in time; the authority's key of a manager; the key ring of capsules at
// rest; the list of the revoked.
//
// Loop thread only; files are written on the pool. What it says is what is on disk.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/clock.h"
#include "coord/cluster_values.h"
#include "io/loop.h"
#include "io/pool.h"
#include "io/tls.h"
#include "node/step_runner.h"
#include "pki/authority.h"
#include "pki/key_ring.h"
#include "pki/node_files.h"

namespace perdure::node {

struct RenewedCertificate {
  std::string certificate_pem;
  std::string authorities_pem;
  std::vector<pki::SealingKey> keys;  // of the ring as the signer has it
};

struct TrustHandlers {
  // A manager signs it; for a node that is none. The answer comes once.
  std::function<void(const std::string& public_key_pem, std::function<void(Result<RenewedCertificate>)>)> ask_manager;
  std::function<void()> identity_changed;  // new connections should use it
  std::function<void()> ring_changed;
  std::function<void(const std::string& text, const std::string& reason)> report;
};

struct TrustOptions {
  io::Loop& loop;
  io::Pool& pool;
  const Clock& clock;
  std::string directory;
  NodeName node;
  std::vector<std::string> addresses;  // subject alternative names
  Duration retry = std::chrono::minutes(1);
};

class Trust {
 public:
  Trust(TrustOptions options, pki::NodeIdentity identity, TrustHandlers handlers);
  ~Trust();

  io::TlsIdentity tls() const;
  const pki::Authority* authority() const;  // nullptr: no manager
  const pki::NodeIdentity& identity() const { return identity_; }
  std::shared_ptr<const pki::KeyRing> ring() const { return ring_; }
  pki::NodeFiles& files() { return files_; }
  const pki::CertificateInfo& certificate() const { return info_; }

  // Begins to renew when it is time.
  void start();
  void renew_now();
  // What etcd's settings say; managers unwrap the keys, others are told by whoever renews theirs.
  void follow(const coord::ClusterSettings& settings);
  void follow(const std::vector<std::string>& revoked_serials);
  // For the ring of settings that this node writes (rotation). kUnsupported: no manager.
  Result<pki::WrappedKey> make_key(std::uint32_t id) const;

 private:
  void arm();
  void take(Result<RenewedCertificate> renewed, const std::string& key);
  void add_keys(const std::vector<pki::SealingKey>& keys);
  void write(std::function<Status(const pki::NodeFiles&)> work, std::string what);
  void write_next();

  const TrustOptions options_;
  const TrustHandlers handlers_;
  pki::NodeFiles files_;
  pki::NodeIdentity identity_;
  pki::CertificateInfo info_;
  std::shared_ptr<const pki::KeyRing> ring_;
  std::vector<std::string> revoked_;
  std::uint32_t newest_key_ = 0;  // of the cluster's ring, as the settings say
  struct Write {
    std::function<Status(const pki::NodeFiles&)> work;
    std::string what;
  };
  std::vector<Write> writes_;  // waiting; at most one of a file
  bool writing_ = false;
  StepRunner runner_;
  bool renewing_ = false;
  io::Timer renewal_;
  io::Lifetime lifetime_;
};

}  // namespace perdure::node
