// Versions of what nodes say to each other (proto/peer.proto, proto/lease.proto). A node speaks its own and the one before, so that
// a cluster is updated one node at a time (docs/upgrades.md). Pure.
//
//   1  everything but what follows
//   2  EndNotice; Row.former_given_back
//
// A notice that may get lost anyway needs no version: who does not know it drops it (ConnectionsNotice).
#pragma once

#include <cstdint>
#include <string>

#include "base/result.h"
#include "peer.pb.h"

namespace perdure::node {

struct ProtocolRange {
  std::uint32_t oldest = 0;
  std::uint32_t newest = 0;
};
inline constexpr ProtocolRange kPeerProtocols{.oldest = 1, .newest = 2};
inline constexpr std::uint32_t kProtocolWithEndNotice = 2;

// What a Hello says: one without `newest_protocol` is of a node that speaks one version only.
ProtocolRange protocols_of(const peer::v1::Hello& hello);

struct ProtocolEnd {
  ProtocolRange protocols;
  std::string version;  // of perdured
};
// The newest version that both speak. kUnsupported: there is none; says what each speaks and which is to be updated. Each end comes to
// the same result.
Result<std::uint32_t> agree(const ProtocolEnd& here, const ProtocolEnd& there);

}  // namespace perdure::node
