// A cluster as values: nodes, and who owns which container (docs/cluster.md, "The record").
#pragma once

#include <array>
#include <compare>
#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "base/clock.h"
#include "base/ids.h"
#include "base/result.h"

namespace perdure::model {

// One life of a node's perdured.
struct NodeLife {
  NodeName node;
  Incarnation incarnation;
  auto operator<=>(const NodeLife&) const = default;
};

enum class DesiredState { kRunning, kStopped, kRemoved };
enum class RecordPhase { kStarting, kRunning, kMoving };
std::string_view to_string(DesiredState state);
std::string_view to_string(RecordPhase phase);

// Of one swap; random, so that a writer recognises its own.
using Nonce = std::array<std::uint8_t, 16>;

struct OwnershipRecord {
  ContainerName container;
  NodeLife owner;
  std::vector<NodeLife> standbys;  // in order of preference for a takeover; no node twice, never the owner
  Term term;
  std::string spec_digest;
  std::string image_digest;
  DesiredState desired = DesiredState::kRunning;
  RecordPhase phase = RecordPhase::kStarting;
  NodeLife writer;
  Nonce nonce{};
  WallTime created{};
  std::string application{};  // ApplicationMembership::name; empty: none
  bool operator==(const OwnershipRecord&) const = default;

  const NodeLife* standby(const NodeName& node) const;  // nullptr: it is none
};

// Failure domains, from the widest to the narrowest. A node without a label is a domain of its own.
inline constexpr std::array<std::string_view, 3> kDomainLabels{"data-centre", "rack", "server"};

struct HostFacts {
  std::string kernel_release;
  std::string machine;
  std::string criu_version;
  std::vector<std::string> cpu_features;  // sorted
  std::uint64_t memory_bytes = 0;
  std::uint32_t processors = 0;
  bool can_restore_other_users = false;
  bool operator==(const HostFacts&) const = default;
};

struct NodeDescription {
  NodeLife life;
  std::vector<std::string> addresses = {};  // "192.0.2.1:7400"
  std::map<std::string, std::string> labels = {};
  bool manager = false;
  bool witness = false;
  bool cordoned = false;
  std::string version = {};
  HostFacts facts = {};
  std::string certificate_serial = {};  // hexadecimal
  WallTime joined{};
  std::string etcd_client_url = {};  // empty: no member here
  std::string etcd_peer_url = {};
  bool operator==(const NodeDescription&) const = default;
};

// A label's key and value: 1 to 63 of a-z, 0-9, '-', '.', '_'. kInvalid.
Status check_label(std::string_view key, std::string_view value);

}  // namespace perdure::model
