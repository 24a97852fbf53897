// Heartbeats and grants on the wire: one UDP socket beside each address of the TLS port, sealed with keys of the sessions, on a
// real-time thread of its own, which the loop's business never holds up.
//
// Loop thread only, as Leases. What comes of datagrams is posted to the loop.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "io/datagram.h"
#include "io/endpoint.h"
#include "io/loop.h"
#include "io/realtime_thread.h"
#include "node/cluster/lease_engine.h"
#include "node/cluster/leases.h"
#include "pki/sealed_channel.h"

namespace perdure::node {

struct LeaseServiceOptions {
  io::Loop& loop;
  const Clock& clock;
  model::NodeLife self;
  std::vector<io::Endpoint> listen;
  policy::lease::Timing timing;
};

// Of datagrams since the start of perdured.
struct LeaseCounters {
  std::uint64_t sent = 0;
  std::uint64_t not_sent = 0;  // the kernel did not take them, or there are no keys yet
  std::uint64_t received = 0;
  std::uint64_t dropped = 0;   // not of a peer, or not what a peer says
};

class LeaseService final : public Leases {
 public:
  // kConflict: the address is in use.
  static Result<std::unique_ptr<LeaseService>> start(LeaseServiceOptions options, LeaseHandlers handlers);
  ~LeaseService() override;

  // A session with this life: where its datagrams go, and what its keys are made of. Another life of the node is forgotten.
  void session(const model::NodeLife& life, const io::Endpoint& address, const std::array<std::byte, 32>& material,
               pki::ChannelRole role);
  // It has said something on its newest session: it has the keys.
  void session_confirmed(const model::NodeLife& life);
  // Removed or revoked: it is neither sent to nor heard any more.
  void forget_peer(const NodeName& node);
  void use(const policy::lease::Timing& timing);

  void need(const ContainerName& container, const policy::lease::Needs& needs,
            std::shared_ptr<GateDeadline> gate) override;
  void forget(const ContainerName& container) override { engine_.forget(container); }
  void shut(const ContainerName& container, std::shared_ptr<GateDeadline> gate) override { engine_.shut(container, gate); }
  void ask_long(Duration grant) override;
  std::vector<policy::lease::LeaseHolder::Missing> missing_long_grants() const override { return engine_.missing_long_grants(); }
  void watch(const ContainerName& container, const std::optional<policy::lease::Charge>& charge) override;
  void resume(const ContainerName& container) override;
  bool withholds(const ContainerName& container) const override { return engine_.withholds(container); }
  std::optional<Instant> waits_long_until(const ContainerName& container) const override {
    return engine_.waits_long_until(container);
  }

  const io::RealtimeSupport& realtime() const { return thread_->realtime(); }
  LeaseCounters counters() const;

 private:
  struct Peer {
    model::NodeLife life;
    io::Endpoint address;
    pki::SealedChannel channel;
    std::optional<pki::ChannelKeyId> newest = {};  // installed
  };

  LeaseService(LeaseServiceOptions options, LeaseHandlers handlers);
  Status listen();
  void wake();
  // On the thread.
  void read(io::DatagramSocket& socket);
  void received(std::span<const std::byte> bytes);
  void tick();
  void deliver(LeaseOutput output);
  void send(const LeaseSend& message);
  Peer* find(pki::ChannelKeyId id);
  io::DatagramSocket& socket_for(const io::Endpoint& address);

  const LeaseServiceOptions options_;
  const LeaseHandlers handlers_;
  LeaseEngine engine_;
  std::vector<io::DatagramSocket> sockets_;  // the thread's, as what follows
  std::map<NodeName, Peer> peers_;
  std::array<std::byte, io::kMaxDatagramBytes> buffer_{};
  std::atomic<std::uint64_t> sent_ = 0, not_sent_ = 0, received_ = 0, dropped_ = 0;
  io::Lifetime lifetime_;
  std::unique_ptr<io::RealtimeThread> thread_;  // the last: it ends first
};

}  // namespace perdure::node
