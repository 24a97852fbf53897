#include "node/cluster/peer_destination.h"

#include <utility>

#include "node/cluster/peer_codec.h"

namespace perdure::node {
namespace {

// A small one measures the round trip and nothing else.
constexpr std::uint64_t kMeasuredBytes = std::uint64_t{1} << 20;

}  // namespace

PeerDestination::PeerDestination(Peers& peers, const Clock& clock, PeerDestinationOptions options)
    : peers_(peers), clock_(clock), options_(std::move(options)) {}

void PeerDestination::ship(const replica::Shipment& shipment, Done done) {
  peer::v1::Message message;
  peer::v1::Ship& ship = *message.mutable_ship();
  ship.set_container(options_.container.str());
  ship.set_term(options_.term().value);
  *ship.mutable_generation() = to_peer(shipment.generation);
  if (shipment.base) *ship.mutable_base() = to_peer(*shipment.base);
  if (const auto committed = options_.committed()) *ship.mutable_committed() = to_peer(*committed);
  io::OutgoingBody body;
  body.pieces = shipment.encoded->pieces;
  body.owners = {shipment.encoded};
  const std::uint64_t bytes = shipment.encoded->size_bytes;
  const Instant begin = clock_.now();
  auto answered = [this, token = lifetime_.token(), done = std::move(done), generation = shipment.generation, bytes,
                   begin](std::expected<PeerMessage, PeerRefusal> answer) {
    if (!token.alive()) return;
    if (!answer) {
      if (answer.error().error.code() == ErrorCode::kFenced) options_.fenced(answer.error().term);
      return done(fail(std::move(answer).error().error));
    }
    const peer::v1::ShipReply& reply = answer->message.shipped();
    peer::v1::Holding held;
    *held.mutable_generation() = reply.generation();
    held.set_digest(reply.digest());
    auto holding = from_peer(held);
    if (!answer->message.has_shipped() || !holding || holding->generation != generation) {
      return done(fail(ErrorCode::kInvalid, "the standby's acknowledgement is of something else"));
    }
    // Of the link: what the standby took to decode and hold it is no reason to compress.
    const Duration under_way = clock_.now() - begin - Duration(reply.took_ns());
    const double seconds = std::chrono::duration<double>(under_way).count();
    if (bytes >= kMeasuredBytes && seconds > 0) bytes_per_second_ = static_cast<double>(bytes) / seconds;
    replica::HoldReceipt receipt;
    receipt.holding = *holding;
    receipt.held = Bytes{reply.held_bytes()};
    receipt.on_disk = reply.on_disk();
    receipt.took = Duration(reply.took_ns());
    done(receipt);
  };
  peers_.request(options_.node, Channel::kBulk, std::move(message), std::move(body), options_.limit,
                 std::move(answered));
}

}  // namespace perdure::node
