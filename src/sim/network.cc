#include "sim/network.h"

#include <utility>

#include "sim/world.h"

namespace perdure::sim {

using std::chrono_literals::operator""us;

Duration Network::latency() { return world_.random.between(60us, 900us); }

void Network::datagram(NodeIndex from, NodeIndex to, std::function<void()> arrive) {
  if (!open(from, to)) return;
  const Weather& weather = world_.weather;
  const int copies = world_.random.permille(weather.doubled_permille) ? 2 : 1;
  for (int n = 0; n < copies; ++n) {
    if (world_.random.permille(weather.lost_permille)) continue;
    Duration delay = latency();
    if (world_.random.permille(weather.late_permille)) {
      delay += world_.random.between({}, weather.latest);
    }
    world_.queue.after(delay, arrive);
  }
}

}  // namespace perdure::sim
