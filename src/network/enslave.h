// Makes a NIC a port of a new bridge, so that containers share its segment, without losing the
// host: the NIC's addresses and routes move to the bridge, and move back by themselves unless
// somebody confirms in time that the host is still reachable.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "base/clock.h"
#include "base/result.h"

namespace perdure::network {

struct EnslaveRequest {
  std::string nic;
  std::string bridge = "perdure0";
  std::optional<std::uint16_t> vlan;  // the port is NIC.VLAN then, and the NIC's own addresses stay
  std::string state_file;             // what was before; survives a crash of the daemon
  Duration deadline = std::chrono::seconds(30);  // then it goes back
};

// Neither confirmed nor rolled back in time: a thread of this object rolls back. Destruction
// without confirm() rolls back at once. Works in the network namespace that the maker's thread was
// in.
class Enslavement {
 public:
  Enslavement(Enslavement&&) noexcept;
  Enslavement& operator=(Enslavement&&) noexcept;
  ~Enslavement();

  // The change stays; the state file goes. kTimeout if it has been rolled back already.
  Status confirm();
  // Back to what was. Done already is success.
  Status rollback();
  // Waits until the deadline has been dealt with, one way or the other. kTimeout.
  Status wait_decided(Duration at_most);
  bool rolled_back() const;

 private:
  friend Result<Enslavement> enslave_nic(const EnslaveRequest& request);
  struct Impl;
  explicit Enslavement(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

// kExists: the NIC is a port already, or the state file is there (recover first). The state file is
// durable before anything changes; a failure on the way rolls back.
Result<Enslavement> enslave_nic(const EnslaveRequest& request);

// At start: rolls back what a crash left unconfirmed. No state file is success.
Status recover_enslavement(const std::string& state_file);

}  // namespace perdure::network
