// Grants between the nodes of a test: the engine of products, with the loop for a thread and FakeNetwork's connections for a
// network. Test programs only.
#pragma once

#include <algorithm>
#include <cstddef>
#include <map>
#include <utility>

#include "node/cluster/lease_engine.h"
#include "node/testing/fake_peers.h"

namespace perdure::node::testing {

class FakeLeases;
using FakeLeaseNetwork = std::map<NodeName, FakeLeases*>;

class FakeLeases final : public Leases {
 public:
  struct World {
    io::Loop& loop;
    const Clock& clock;
    FakeNetwork& network;
    FakeLeaseNetwork& leases;
    policy::lease::Timing timing;
  };
  FakeLeases(World world, model::NodeLife self, LeaseHandlers handlers)
      : world_(world), self_(std::move(self)), handlers_(std::move(handlers)), engine_(self_, world.timing, world.clock) {
    world_.leases[self_.node] = this;
    tick();
  }
  ~FakeLeases() override { world_.leases.erase(self_.node); }

  // It hangs: nothing is sent, nothing answered, while the loop goes on.
  void pause(bool paused) { paused_ = paused; }
  std::size_t heard() const { return heard_; }

  void need(const ContainerName& container, const policy::lease::Needs& needs,
            std::shared_ptr<GateDeadline> gate) override {
    deliver(engine_.need(container, needs, std::move(gate)));
  }
  void forget(const ContainerName& container) override { engine_.forget(container); }
  void shut(const ContainerName& container, std::shared_ptr<GateDeadline> gate) override { engine_.shut(container, gate); }
  void ask_long(Duration grant) override { engine_.ask_long(grant); }
  std::vector<policy::lease::LeaseHolder::Missing> missing_long_grants() const override { return engine_.missing_long_grants(); }
  void watch(const ContainerName& container, const std::optional<policy::lease::Charge>& charge) override {
    engine_.watch(container, charge);
  }
  void resume(const ContainerName& container) override { engine_.resume(container); }
  bool withholds(const ContainerName& container) const override { return engine_.withholds(container); }
  std::optional<Instant> waits_long_until(const ContainerName& container) const override {
    return engine_.waits_long_until(container);
  }

 private:
  void tick() {
    if (!paused_) deliver(engine_.tick());
    // Where every node shares one thread, what is under way is delivered before the next silence is noticed.
    timer_ = world_.loop.after(world_.timing.heartbeat, [this] { tick(); });
  }
  void deliver(LeaseOutput output) {
    for (LeaseSend& message : output.messages) {
      if (!world_.network.connected(self_.node, message.to)) continue;
      world_.loop.post([leases = &world_.leases, network = &world_.network, from = self_.node, to = message.to,
                        body = std::move(message.body)] {
        const auto there = leases->find(to);
        if (there != leases->end() && network->connected(from, to)) there->second->receive(body);
      });
    }
    for (const LeaseNews& news : output.news) {
      world_.loop.post([this, token = lifetime_.token(), news] {
        if (token.alive()) node::tell(handlers_, news);
      });
    }
  }
  void receive(const std::variant<policy::lease::Heartbeat, policy::lease::Grant>& body) {
    if (paused_) return;
    ++heard_;
    deliver(std::visit([this](const auto& it) { return engine_.on(it); }, body));
  }

  const World world_;
  const model::NodeLife self_;
  const LeaseHandlers handlers_;
  LeaseEngine engine_;
  bool paused_ = false;
  std::size_t heard_ = 0;
  io::Timer timer_;
  io::Lifetime lifetime_;
};

}  // namespace perdure::node::testing
