#include "network/ask_link.h"

#include <algorithm>
#include <array>

#include "network/link.h"
#include "network/packet_socket.h"

namespace perdure::network {

Status ask_link(const LinkQuestion& question, const LinkAsker& asker) {
  PERDURE_ASSIGN(auto links, LinkControl::open());
  PERDURE_ASSIGN(const LinkInfo bridge, links.get(question.bridge));
  PERDURE_ASSIGN(Injector injector, Injector::open(question.bridge));
  constexpr std::array kKinds{PacketKind::kArp, PacketKind::kNeighbour};
  PERDURE_ASSIGN(auto listener, PacketSocket::open_listener(question.bridge, kKinds));
  const Instant start = BootClock::now();
  const Instant end = start + question.deadline;
  const unsigned probes = std::max(question.probes, 1u);
  for (unsigned sent = 0; !asker.enough();) {
    const Instant now = BootClock::now();
    if (now >= end) break;
    const Instant next = start + sent * (question.deadline / (2 * probes));
    if (sent < probes && now >= next) {
      PERDURE_TRY(asker.ask(injector, bridge.mac));
      ++sent;
      continue;
    }
    PERDURE_ASSIGN(const auto frame, listener.receive(sent < probes ? next : end));
    if (frame) asker.hear(*frame, bridge.mac);
  }
  return {};
}

}  // namespace perdure::network
