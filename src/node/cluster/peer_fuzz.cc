// Fuzzes what a node reads of another: any bytes as peer.v1.Message, and from there into values. What is accepted is written again
// and read as the same.
#include <google/protobuf/stubs/logging.h>

#include <cstdint>
#include <string>
#include <string_view>

#include "base/assert.h"
#include "node/cluster/peer_codec.h"

namespace {

using namespace perdure;
namespace p1 = peer::v1;

void try_holding(const p1::Holding& message) {
  const auto value = node::from_peer(message);
  if (!value) return;
  PERDURE_ASSERT(node::from_peer(node::to_peer(*value)).value() == *value);
}

void try_facts(const cluster::v1::HostFacts& message) {
  const auto value = node::from_peer(message);
  if (!value) return;
  PERDURE_ASSERT(node::from_peer(node::to_peer(*value)).value() == *value);
}

template <typename Keys>
void try_keys(const Keys& keys) {
  for (const p1::KeyOfRing& message : keys) {
    const auto value = node::from_peer(message);
    if (value) PERDURE_ASSERT(node::from_peer(node::to_peer(*value))->key == value->key);
  }
}

void try_ship(const p1::Ship& message) {
  const auto slab = capsule::Slab::allocate(1, capsule::Slab::Prefault::kNo);
  PERDURE_ASSERT(slab.has_value());
  const auto received = node::received_from(message, *slab);
  if (!received) return;
  PERDURE_ASSERT(received->container.str() == message.container() && received->bytes != nullptr);
  PERDURE_ASSERT(received->base.has_value() == message.has_base());
  PERDURE_ASSERT(!node::received_from(message, nullptr));
}

void try_connections(const p1::ConnectionsNotice& message) {
  const auto value = node::from_peer(message);
  if (!value) return;
  p1::ConnectionsNotice again;
  node::to_peer(*value, again);
  PERDURE_ASSERT(node::from_peer(again).value() == *value);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  // It says on standard error what is no UTF-8.
  static const auto quiet = google::protobuf::SetLogHandler(nullptr);
  (void)quiet;
  p1::Message message;
  if (!message.ParseFromArray(data, static_cast<int>(size))) return 0;
  switch (message.body_case()) {
    case p1::Message::kShip: try_ship(message.ship()); break;
    case p1::Message::kEnlisted: try_holding(message.enlisted().newest()); break;
    case p1::Message::kHeld:
      for (const auto& row : message.held().rows()) try_holding(row.newest());
      break;
    case p1::Message::kJoin: try_facts(message.join().facts()); break;
    case p1::Message::kJoined: try_keys(message.joined().keys()); break;
    case p1::Message::kRenewed: try_keys(message.renewed().keys()); break;
    case p1::Message::kCommit: (void)node::from_peer(message.commit().generation()); break;
    case p1::Message::kConnections: try_connections(message.connections()); break;
    default: break;
  }
  return 0;
}
