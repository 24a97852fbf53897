#include "network/attach.h"

#include <algorithm>
#include <format>
#include <string>
#include <string_view>
#include <utility>

#include "base/fd.h"
#include "network/link.h"
#include "network/netns.h"

namespace perdure::network {
namespace {

// Between "up" and "forwarding" lies one work item of the kernel; a loaded host needs longer.

Status check(const AttachRequest& request) {
  const auto v4 = std::ranges::count_if(request.gateways, &IpAddress::is_v4);
  if (v4 > 1 || std::ssize(request.gateways) - v4 > 1) {
    return fail(ErrorCode::kInvalid,
                std::format("attach container '{}': more than one gateway of a family",
                            request.container.str()));
  }
  return {};
}

// Who asks for a peer's hardware address behind a closed gate, as everything that is restored does, is not heard; the kernel
// asks again after a second, and until then a connection stands still. As usual it gives up after three seconds. What
// a kernel lacks or a read-only /proc refuses is left as it is: this is about speed.
Status hasten_address_resolution(int netns) {
  return run_in_netns(netns, []() -> Status {
    for (const std::string_view family : {"ipv4", "ipv6"}) {
      const std::string settings = std::format("/proc/sys/net/{}/neigh/{}/", family, kContainerInterface);
      for (const auto& [name, value] : {std::pair{"mcast_solicit", "60"}, {"ucast_solicit", "60"}, {"retrans_time_ms", "50"}}) {
        (void)write_control_file(settings + name, value);
      }
    }
    return {};
  });
}

Status configure_inside(const AttachRequest& request) {
  PERDURE_ASSIGN(auto inside, LinkControl::open(request.netns));
  PERDURE_TRY(inside.set_up("lo"));
  PERDURE_TRY(hasten_address_resolution(request.netns));
  PERDURE_TRY(inside.set_up(kContainerInterface));
  for (const IpPrefix& address : request.addresses) {
    PERDURE_TRY(inside.add_address(kContainerInterface, address));
  }
  for (const IpAddress& gateway : request.gateways) {
    PERDURE_TRY(inside.set_default_route(kContainerInterface, gateway));
  }
  return {};
}

Result<Attachment> attach_pair(const AttachRequest& request, LinkControl& links,
                               const LinkInfo& bridge, const LinkInfo& host_end) {
  PERDURE_ASSIGN(Gate gate, Gate::attach(host_end.index, request.initial));
  PERDURE_TRY(links.enslave(host_end.name, bridge.name));
  // The container's end comes up second: then it has its carrier from the start and can send at
  // once. The other way round, the kernel drops what it sends until a work item has noticed the
  // carrier.
  PERDURE_TRY(links.set_up(host_end.name));
  PERDURE_TRY(configure_inside(request));
  if (bridge.up) {
    PERDURE_TRY(links.wait_forwarding(host_end.name, kForwardingDeadline));
    PERDURE_TRY(links.learn_mac(host_end.name, request.mac));
  }
  return Attachment{host_end.name, host_end.index, std::move(gate)};
}

}  // namespace

Result<Attachment> attach(const AttachRequest& request) {
  PERDURE_TRY(check(request));
  PERDURE_ASSIGN(auto links, LinkControl::open());
  PERDURE_ASSIGN(const LinkInfo bridge, links.get(request.bridge));
  if (bridge.kind != "bridge") {
    return fail(ErrorCode::kInvalid, std::format("attach container '{}': link '{}' is no bridge",
                                                 request.container.str(), request.bridge));
  }
  VethRequest veth;
  veth.host_name = host_interface_name(request.container.str());
  veth.peer_name = kContainerInterface;
  veth.peer_netns = request.netns;
  veth.peer_mac = request.mac;
  veth.mtu = request.mtu != 0 ? request.mtu : bridge.mtu;
  PERDURE_TRY(links.remove(veth.host_name));
  const auto host_end = links.create_veth(veth);
  if (!host_end) {
    return fail(
        host_end.error().context(std::format("attach container '{}'", request.container.str())));
  }
  auto attached = attach_pair(request, links, bridge, *host_end);
  if (!attached) {
    (void)links.remove(veth.host_name);
    return fail(std::move(attached).error().context(std::format(
        "attach container '{}' to bridge '{}'", request.container.str(), request.bridge)));
  }
  return attached;
}

Result<Attachment> recover_attachment(const ContainerName& container) {
  PERDURE_ASSIGN(auto links, LinkControl::open());
  PERDURE_ASSIGN(const LinkInfo host_end, links.get(host_interface_name(container.str())));
  PERDURE_ASSIGN(Gate gate, Gate::recover(host_end.index));
  return Attachment{host_end.name, host_end.index, std::move(gate)};
}

Status detach(const ContainerName& container) {
  PERDURE_ASSIGN(auto links, LinkControl::open());
  return links.remove(host_interface_name(container.str()));
}

}  // namespace perdure::network
