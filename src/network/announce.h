// Telling the segment where an address lives, and asking who has it, from the host's side: the
// container need not run and its gate may be closed.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/result.h"
#include "network/address.h"

namespace perdure::network {

class PacketSocket;

// A way to put frames onto a bridge as if they came in through a port: they reach the other ports,
// the wire and the host itself. It is a veth pair, one end a port that neither learns nor is
// flooded to; made on first use, shared by all containers of the bridge, and left in place.
class Injector {
 public:
  // kNotFound: no such bridge in the caller's namespace.
  static Result<Injector> open(const std::string& bridge);

  Injector(Injector&&) noexcept;
  Injector& operator=(Injector&&) noexcept;
  ~Injector();

  const std::string& bridge() const { return bridge_; }
  Status send(std::span<const std::uint8_t> frame);  // a whole Ethernet frame, without checksum

 private:
  Injector(std::string bridge, std::unique_ptr<PacketSocket> socket);
  std::string bridge_;
  std::unique_ptr<PacketSocket> socket_;
};

// Gratuitous ARP in both forms (request and reply, RFC 5227 section 3) and unsolicited neighbour
// advertisements with override (RFC 4861 section 7.2.6), once per address. The caller repeats it.
Status announce(Injector& injector, const MacAddress& mac, const std::vector<IpAddress>& addresses);

struct HolderQuery {
  std::string bridge;
  IpAddress address;
  Duration deadline = std::chrono::seconds(1);  // how long to listen
  unsigned probes = 3;                          // spread over the first half of the deadline
};

// Who has the address? RFC 5227 ARP probe (sender 0.0.0.0) or a neighbour solicitation from :: (RFC
// 4862), sent with the bridge's own MAC, so that a second copy of the container, which has the same
// MAC as ours, is found too. Another host's probe for the same address counts as a holder. Returns
// at the first answer; nothing when the deadline passed in silence.
Result<std::optional<MacAddress>> find_holder(const HolderQuery& query);

}  // namespace perdure::network
