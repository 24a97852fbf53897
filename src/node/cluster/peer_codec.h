// Values <-> the messages of proto/peer.proto. What comes from a peer is checked here, once.
#pragma once

#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/ids.h"
#include "base/result.h"
#include "model/cluster.h"
#include "network/address.h"
#include "peer.pb.h"
#include "pki/key_ring.h"
#include "replica/standby_table.h"

namespace perdure::node {

peer::v1::GenerationId to_peer(const Generation& generation);
Generation from_peer(const peer::v1::GenerationId& generation);

peer::v1::Holding to_peer(const replica::Holding& holding);
// kInvalid: a digest of another length.
Result<replica::Holding> from_peer(const peer::v1::Holding& holding);

// `bytes`: the body of the frame. kInvalid names the field.
Result<replica::ReceivedCapsule> received_from(const peer::v1::Ship& ship, capsule::SlabRef bytes);

void to_peer(std::span<const network::TcpTuple> connections, peer::v1::ConnectionsNotice& notice);
// kInvalid: more than YoungConnections::kMax; an address or a port that is none.
Result<std::vector<network::TcpTuple>> from_peer(const peer::v1::ConnectionsNotice& notice);

peer::v1::KeyOfRing to_peer(const pki::SealingKey& key);
Result<pki::SealingKey> from_peer(const peer::v1::KeyOfRing& key);  // kInvalid

cluster::v1::HostFacts to_peer(const model::HostFacts& facts);
// kInvalid: more than the bounds of coord/cluster_codec.h.
Result<model::HostFacts> from_peer(const cluster::v1::HostFacts& facts);

}  // namespace perdure::node
