#include "node/cluster/planned_end.h"

#include <utility>

#include "node/cluster/peer_protocol.h"

namespace perdure::node {

PlannedEnd::PlannedEnd(PlannedEndOptions options, Done done)
    : options_(std::move(options)), done_(std::move(done)), granted_(options_.grant == Duration::zero()) {
  limit_ = options_.loop.after(options_.limit, [this] { finish(); });
  if (!granted_) options_.leases.ask_long(options_.grant);
  // Learners too: nothing more is to be sent here.
  for (const PeerState& peer : options_.peers.connected()) {
    if (peer.protocol < kProtocolWithEndNotice) continue;
    peer::v1::Message message;
    message.mutable_end();
    options_.peers.notice(peer.life.node, std::move(message));
  }
  look();
}

void PlannedEnd::long_grants_held() {
  granted_ = true;
  look();
}

void PlannedEnd::records_changed() { look(); }

void PlannedEnd::look() {
  if (!done_ || !granted_ || options_.stands_by()) return;
  // Later: whoever made this has it by then.
  limit_ = options_.loop.after(Duration::zero(), [this] { finish(); });
}

void PlannedEnd::finish() {
  if (const Done done = std::exchange(done_, nullptr)) done(options_.leases.missing_long_grants());
}

}  // namespace perdure::node
