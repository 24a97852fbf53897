#include "network/announce.h"

#include <array>
#include <format>

#include "base/stable_hash.h"
#include "network/ask_link.h"
#include "network/link.h"
#include "network/packet_socket.h"

namespace perdure::network {
namespace {

// Two names that follow from the bridge's: where frames are written, and the port they come in by.
std::string injector_name(std::string_view bridge, char end) {
  return std::format("pd{}-{:011x}", end, stable_hash(bridge) >> 20);
}

Status ensure_injector(LinkControl& links, const LinkInfo& bridge, const std::string& input,
                       const std::string& port) {
  PERDURE_ASSIGN(const auto existing, links.find(port));
  if (!existing) {
    VethRequest veth;
    veth.host_name = port;
    veth.peer_name = input;
    veth.mtu = bridge.mtu;
    const auto made = links.create_veth(veth);
    // Somebody else may be making it right now: what follows is idempotent.
    if (!made && made.error().code() != ErrorCode::kExists) return fail(made.error());
  } else if (existing->bridge_index == bridge.index && existing->up) {
    return links.wait_forwarding(port, kForwardingDeadline);
  }
  PERDURE_TRY(links.enslave(port, bridge.name));
  // It must neither draw the containers' addresses to itself nor get what is meant for others.
  PERDURE_TRY(
      links.set_port_options(port, BridgePortOptions{.learning = false, .flooding = false}));
  // In this order: the end that comes up second can send at once; the first, which is waited for,
  // later.
  PERDURE_TRY(links.set_up(port));
  PERDURE_TRY(links.set_up(input));
  return links.wait_forwarding(port, kForwardingDeadline);
}

}  // namespace

Injector::Injector(std::string bridge, std::unique_ptr<PacketSocket> socket)
    : bridge_(std::move(bridge)), socket_(std::move(socket)) {}
Injector::Injector(Injector&&) noexcept = default;
Injector& Injector::operator=(Injector&&) noexcept = default;
Injector::~Injector() = default;

Result<Injector> Injector::open(const std::string& bridge) {
  PERDURE_ASSIGN(auto links, LinkControl::open());
  PERDURE_ASSIGN(const LinkInfo info, links.get(bridge));
  if (info.kind != "bridge")
    return fail(ErrorCode::kInvalid, std::format("link '{}' is no bridge", bridge));
  const std::string input = injector_name(bridge, 'i');
  if (auto made = ensure_injector(links, info, input, injector_name(bridge, 'p')); !made) {
    return fail(std::move(made).error().context(
        std::format("prepare bridge '{}' for announcements", bridge)));
  }
  PERDURE_ASSIGN(auto socket, PacketSocket::open_sender(input));
  return Injector(bridge, std::make_unique<PacketSocket>(std::move(socket)));
}

Status Injector::send(std::span<const std::uint8_t> frame) {
  return socket_->send(frame);
}

Status announce(Injector& injector, const MacAddress& mac,
                const std::vector<IpAddress>& addresses) {
  for (const IpAddress& address : addresses) {
    if (!address.is_v4()) {
      PERDURE_TRY(injector.send(make_unsolicited_advertisement(mac, address)));
      continue;
    }
    ArpPacket packet{ArpPacket::kRequest, mac, address, MacAddress{}, address};
    PERDURE_TRY(injector.send(make_arp(packet, kBroadcastMac)));
    packet.operation = ArpPacket::kReply;
    packet.target_mac = kBroadcastMac;
    PERDURE_TRY(injector.send(make_arp(packet, kBroadcastMac)));
  }
  return {};
}

namespace {

Frame holder_probe(const MacAddress& own, const IpAddress& address) {
  if (address.is_v4()) {
    return make_arp(
        ArpPacket{ArpPacket::kRequest, own, IpAddress::any(IpFamily::kV4), MacAddress{}, address},
        kBroadcastMac);
  }
  return make_solicitation(own, IpAddress::any(IpFamily::kV6), address);
}

// Who speaks as `address`, or asks for it as we do.
std::optional<MacAddress> holder_in(FrameView frame, const MacAddress& own,
                                    const IpAddress& address) {
  if (const auto arp = parse_arp(frame)) {
    if (arp->sender == address) return arp->sender_mac;
    const bool is_probe =
        arp->operation == ArpPacket::kRequest && arp->sender == IpAddress::any(IpFamily::kV4);
    if (is_probe && arp->target == address && arp->sender_mac != own) return arp->sender_mac;
  }
  if (const auto message = parse_neighbour(frame)) {
    const MacAddress mac = message->link_layer.value_or(message->sender_mac);
    if (message->type == NeighbourMessage::kAdvertisement && message->target == address) return mac;
    if (message->source == address) return mac;
    const bool is_probe = message->type == NeighbourMessage::kSolicitation &&
                          message->source == IpAddress::any(IpFamily::kV6);
    if (is_probe && message->target == address && message->sender_mac != own)
      return message->sender_mac;
  }
  return std::nullopt;
}

}  // namespace

Result<std::optional<MacAddress>> find_holder(const HolderQuery& query) {
  std::optional<MacAddress> holder;
  const LinkAsker asker{
      .ask = [&](Injector& injector, const MacAddress& own) { return injector.send(holder_probe(own, query.address)); },
      .hear = [&](FrameView frame, const MacAddress& own) { holder = holder_in(frame, own, query.address); },
      .enough = [&] { return holder.has_value(); }};
  PERDURE_TRY(ask_link({query.bridge, query.deadline, query.probes}, asker));
  return holder;
}

}  // namespace perdure::network
