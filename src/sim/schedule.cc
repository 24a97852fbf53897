#include "sim/schedule.h"

#include <array>
#include <format>

#include "sim/daemon.h"
#include "sim/host.h"
#include "sim/world.h"

namespace perdure::sim {

using std::chrono_literals::operator""ms;
using std::chrono_literals::operator""s;

void Schedule::draw_weather() {
  Random& random = world_.random;
  Weather weather;
  const auto some = [&](unsigned most) {
    return random.percent(50) ? 0U : static_cast<unsigned>(random.below(most));
  };
  weather.lost_permille = random.percent(10) ? 600 : some(150);
  weather.doubled_permille = some(200);
  weather.late_permille = some(100);
  weather.latest = random.between(50ms, kLongestDelay);
  weather.store_failed_permille = some(250);
  weather.store_lost_permille = some(300);
  weather.store_late_permille = some(300);
  weather.store_latest = random.between(50ms, kLongestDelay);
  weather.watch_late_permille = some(400);
  weather.late_thread_permille = some(20);
  weather.thread_latest = random.between(10ms, 500ms);
  weather.restore_fails_permille = some(300);
  weather.taker_dies_permille = some(500);
  world_.weather = weather;
}

void Schedule::trouble() {
  draw_weather();
  constexpr std::array kAll{Kind::kCrashHost, Kind::kCrashDaemon, Kind::kPause,  Kind::kCutOneWay,
                            Kind::kCutPair,   Kind::kIsolate,     Kind::kCutStore, Kind::kQuietStore,
                            Kind::kSlowDisk,  Kind::kFullDisk};
  kinds_ = {Kind::kMend, Kind::kRestart};
  for (const Kind kind : kAll) {
    if (world_.random.percent(45)) kinds_.push_back(kind);
  }
  if (world_.plan.moves) kinds_.push_back(Kind::kMove);
  next(++spell_);
}

void Schedule::next(std::uint64_t spell) {
  const Duration interval = world_.plan.incident;
  world_.queue.after(world_.random.between(interval / 4, 2 * interval), [this, spell] {
    if (spell != spell_) return;
    misfortune(world_.random.pick(kinds_));
    next(spell);
  });
}

void Schedule::isolate(NodeIndex node) {
  for (NodeIndex other = 0; other < world_.hosts.size(); ++other) {
    if (other == node) continue;
    world_.network.cut(node, other);
    world_.network.cut(other, node);
  }
}

void Schedule::misfortune(Kind kind) {
  const NodeIndex node = world_.random.below(world_.hosts.size());
  const NodeIndex other = world_.random.below(world_.hosts.size());
  Host& host = *world_.hosts[node];
  const auto note = [&](std::string_view what) {
    world_.note({}, [&] { return std::format("n{} {} (n{})", node, what, other); });
  };
  switch (kind) {
    case Kind::kCrashHost:
      host.crash();
      return;
    case Kind::kCrashDaemon:
      host.crash_daemon();
      if (world_.random.percent(70)) {
        world_.queue.after(world_.random.between(20ms, 1500ms), [&host] { host.start_daemon(); });
      }
      return;
    case Kind::kPause:
      host.pause();
      world_.queue.after(world_.random.between(50ms, 2500ms), [&host] { host.resume(); });
      return;
    case Kind::kCutOneWay:
      note("cannot send to");
      ++world_.tally.cuts;
      world_.network.cut(node, other);
      return;
    case Kind::kCutPair:
      note("is cut off from");
      ++world_.tally.cuts;
      world_.network.cut(node, other);
      world_.network.cut(other, node);
      return;
    case Kind::kIsolate:
      note("is cut off from everybody");
      ++world_.tally.cuts;
      return isolate(node);
    case Kind::kCutStore:
      note("is cut off from the store");
      world_.store.cut(node);
      return;
    case Kind::kQuietStore:
      world_.note({}, [] { return std::string("no watch of the store tells anything for a while"); });
      world_.store.hold_watches(world_.random.between(200ms, 2500ms));
      return;
    case Kind::kMend:
      world_.note({}, [] { return std::string("all links are mended"); });
      world_.network.mend_all();
      if (world_.random.percent(50)) world_.store.mend_all();
      return;
    case Kind::kSlowDisk:
      note("has a slow disk");
      host.disk_latency = world_.random.between(10ms, 800ms);
      return;
    case Kind::kFullDisk:
      note("has a full disk");
      host.disk_full = true;
      return;
    case Kind::kRestart:
      if (!host.up()) host.boot();
      host.start_daemon();
      return;
    case Kind::kMove: {
      const ContainerIndex container = world_.random.below(world_.plan.containers);
      const NodeIndex owner = index_of(world_.store.truth(container).record.owner.node);
      Daemon* daemon = world_.hosts[owner]->daemon();
      if (daemon == nullptr || world_.hosts[owner]->paused()) return;
      if (world_.random.percent(30)) return daemon->fail_over(container);
      daemon->move(container, node);
      return;
    }
  }
}

void Schedule::calm() {
  ++spell_;
  world_.weather = {};
}

void Schedule::heal() {
  calm();
  world_.note({}, [] { return std::string("everything is well from now on"); });
  world_.network.mend_all();
  world_.store.mend_all();
  for (const auto& host : world_.hosts) {
    host->disk_latency = {};
    host->disk_full = false;
    host->boot();
    host->start_daemon();
    host->resume();
  }
}

}  // namespace perdure::sim
