// What the cluster keeps beside nodes and records, as values (proto/cluster.proto).
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/ids.h"
#include "pki/key_ring.h"
#include "policy/lease_timing.h"

namespace perdure::coord {

using ClusterId = std::array<std::uint8_t, 16>;

struct ClusterSettings {
  ClusterId id{};
  std::string authority_certificate_pem = {};  // may hold two while the authority is changed
  WallTime created{};
  std::vector<pki::WrappedKey> keys = {};      // the last is used for writing
  std::string durable_directory = {};          // absolute; empty: each node's own
  std::uint32_t standbys = 0;
  bool external_etcd = false;
  policy::lease::Timing timing = {};           // of heartbeats and grants
};

struct StoredToken {
  std::string id;
  std::string secret_sha256;  // 32 bytes
  WallTime expires{};
  std::uint32_t uses_left = 0;
};

struct Revocation {
  NodeName node;
  std::vector<std::string> serials;  // hexadecimal, as pki::CertificateInfo has them
  WallTime revoked{};
  std::string reason;
};

struct AddressClaim {
  ContainerName container;
  Term term;
  bool operator==(const AddressClaim&) const = default;
};

}  // namespace perdure::coord
