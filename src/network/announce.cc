#include "network/announce.h"

#include <array>
#include <format>

#include "base/stable_hash.h"
#include "network/link.h"
#include "network/packet_socket.h"

namespace perdure::network {
namespace {

constexpr Duration kForwardingDeadline = std::chrono::seconds(2);

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
  PERDURE_ASSIGN(auto links, LinkControl::open());
  PERDURE_ASSIGN(const LinkInfo bridge, links.get(query.bridge));
  PERDURE_ASSIGN(Injector injector, Injector::open(query.bridge));
  constexpr std::array kKinds{PacketKind::kArp, PacketKind::kNeighbour};
  PERDURE_ASSIGN(auto listener, PacketSocket::open_listener(query.bridge, kKinds));
  const Frame probe = holder_probe(bridge.mac, query.address);
  const Instant start = BootClock::now();
  const Instant end = start + query.deadline;
  const unsigned probes = std::max(query.probes, 1u);
  for (unsigned sent = 0;;) {
    const Instant now = BootClock::now();
    if (now >= end) return std::optional<MacAddress>();
    const Instant next = start + sent * (query.deadline / (2 * probes));
    if (sent < probes && now >= next) {
      PERDURE_TRY(injector.send(probe));
      ++sent;
      continue;
    }
    PERDURE_ASSIGN(const auto frame, listener.receive(sent < probes ? next : end));
    if (!frame) continue;
    if (const auto holder = holder_in(*frame, bridge.mac, query.address)) return holder;
  }
}

}  // namespace perdure::network
