#include "network/reach.h"

#include <algorithm>
#include <optional>

#include "network/ask_link.h"

namespace perdure::network {
namespace {

// RFC 4291, appendix A: the MAC with its universal/local bit inverted, ff:fe in its middle.
IpAddress link_local_of(const MacAddress& mac) {
  IpAddress address{IpFamily::kV6, {0xfe, 0x80}};
  std::copy_n(mac.bytes.begin(), 3, address.bytes.begin() + 8);
  std::copy_n(mac.bytes.begin() + 3, 3, address.bytes.begin() + 13);
  address.bytes[8] ^= 0x02U;
  address.bytes[11] = 0xff;
  address.bytes[12] = 0xfe;
  return address;
}

Frame probe_for(const MacAddress& own, const IpAddress& address) {
  if (!address.is_v4()) return make_solicitation(own, link_local_of(own), address);
  return make_arp({ArpPacket::kRequest, own, IpAddress::any(IpFamily::kV4), MacAddress{}, address}, kBroadcastMac);
}

bool is_to(FrameView frame, const MacAddress& mac) {
  return frame.size() >= mac.bytes.size() && std::equal(mac.bytes.begin(), mac.bytes.end(), frame.begin());
}

std::optional<IpAddress> who_answers(FrameView frame, const MacAddress& own) {
  if (!is_to(frame, own)) return std::nullopt;
  if (const auto arp = parse_arp(frame); arp && arp->operation == ArpPacket::kReply) return arp->sender;
  const auto message = parse_neighbour(frame);
  if (message && message->type == NeighbourMessage::kAdvertisement) return message->target;
  return std::nullopt;
}

}  // namespace

Result<std::set<IpAddress>> find_reachable(const ReachQuery& query) {
  std::set<IpAddress> reached;
  const LinkAsker asker{.ask = [&](Injector& injector, const MacAddress& own) -> Status {
                          for (const IpAddress& address : query.addresses) {
                            if (!reached.contains(address)) PERDURE_TRY(injector.send(probe_for(own, address)));
                          }
                          return {};
                        },
                        .hear = [&](FrameView frame, const MacAddress& own) {
                          const auto who = who_answers(frame, own);
                          if (who && query.addresses.contains(*who)) reached.insert(*who);
                        },
                        .enough = [&] { return reached.size() == query.addresses.size(); }};
  PERDURE_TRY(ask_link({query.bridge, query.deadline, query.probes}, asker));
  return reached;
}

}  // namespace perdure::network
