#include "sim/store.h"

#include <algorithm>
#include <bit>
#include <utility>

#include "sim/daemon.h"
#include "sim/host.h"
#include "sim/world.h"

namespace perdure::sim {

using std::chrono_literals::operator""ms;
using std::chrono_literals::operator""us;

namespace {
constexpr Duration kStoreLook = 100ms;
constexpr int kTries = 10;  // of a request that waits for a majority
}  // namespace

void Store::start() {
  cut_.assign(world_.hosts.size(), false);
  watches_.resize(world_.hosts.size());
  look();
}

Revision Store::found(model::OwnershipRecord record) {
  records_.push_back({std::move(record), ++revision_});
  log_.push_back(records_.back());
  return revision_;
}

// ---- Who reaches it ----

// The largest set of managers that are up and can all talk to each other; empty: no majority.
std::vector<NodeIndex> Store::quorum() const {
  std::vector<NodeIndex> best;
  for (unsigned set = 1; set < (1U << managers_); ++set) {
    const auto size = static_cast<std::size_t>(std::popcount(set));
    if (2 * size <= managers_ || size <= best.size()) continue;
    std::vector<NodeIndex> members;
    for (NodeIndex node = 0; node < managers_; ++node) {
      if ((set >> node & 1U) != 0) members.push_back(node);
    }
    const bool together = std::ranges::all_of(members, [&](NodeIndex one) {
      return world_.hosts[one]->up() && std::ranges::all_of(members, [&](NodeIndex other) {
               return one == other || world_.network.open_both_ways(one, other);
             });
    });
    if (together) best = std::move(members);
  }
  return best;
}

bool Store::reaches(NodeIndex node) const {
  if (cut_[node]) return false;
  return std::ranges::any_of(quorum(), [&](NodeIndex manager) {
    return manager == node || world_.network.open_both_ways(node, manager);
  });
}

// ---- Requests ----

void Store::submit(Request request) {
  const Weather& weather = world_.weather;
  Duration delay = world_.random.between(500us, 4ms);
  if (world_.random.permille(weather.store_late_permille)) {
    delay += world_.random.between({}, weather.store_latest);
  }
  if (world_.random.permille(weather.store_failed_permille) && request.record) {
    // The client has lost its connection: the request may have gone out.
    Request copy = request;
    copy.answer = [](const StoreAnswer&) {};
    reply(request, {});
    if (world_.random.percent(50)) return;
    request = std::move(copy);
  }
  world_.queue.after(delay, [this, request = std::move(request)] { execute(request, kTries); });
}

void Store::execute(const Request& request, int tries) {
  if (!reaches(request.from)) {
    if (tries == 0 || world_.random.percent(20)) return;
    world_.queue.after(world_.random.between(1ms, 400ms),
                       [this, request, tries] { execute(request, tries - 1); });
    return;
  }
  const ContainerIndex container = index_of(request.container);
  StoredRecord& stored = records_[container];
  if (!request.record) return reply(request, {StoreAnswer::Kind::kRead, stored});
  const bool compares = world_.options.sabotage != Sabotage::kSwap;
  if (compares && stored.revision != request.expected) {
    return reply(request, {StoreAnswer::Kind::kRefused, stored});
  }
  const StoredRecord before = stored;
  stored = {*request.record, ++revision_};
  world_.invariants.swapped(container, before.record, stored.record, request.life);
  world_.note(container, [&] {
    return std::format("store: revision {}: {} (by {})", stored.revision,
                       policy::ownership::to_string(stored.record),
                       policy::ownership::to_string(request.life));
  });
  ++world_.tally.swaps;
  changed(container);
  reply(request, {StoreAnswer::Kind::kApplied, stored});
}

void Store::reply(const Request& request, StoreAnswer answer) {
  if (world_.random.permille(world_.weather.store_lost_permille)) {
    ++world_.tally.lost_answers;
    return;
  }
  const Duration delay = world_.random.between(300us, 2ms);
  world_.queue.after(delay, [this, request, answer = std::move(answer)] {
    Daemon* daemon = world_.hosts[request.from]->daemon();
    const bool same = daemon != nullptr && daemon->life() == request.life;
    if (same && reaches(request.from)) daemon->post([request, answer] { request.answer(answer); });
  });
}

// ---- Watches ----

void Store::watch(NodeIndex node) {
  watches_[node] = {.wanted = true, .life = world_.hosts[node]->daemon()->life().incarnation};
  const std::size_t until = log_.size();
  world_.queue.after(world_.random.between(1ms, 30ms), [this, node, until] { tell(node, until); });
}

void Store::changed(ContainerIndex container) {
  log_.push_back(records_[container]);
  const std::size_t until = log_.size();
  for (NodeIndex node = 0; node < world_.hosts.size(); ++node) {
    Duration delay = world_.random.between(500us, 4ms);
    if (world_.random.permille(world_.weather.watch_late_permille)) {
      delay += world_.random.between({}, world_.weather.store_latest);
    }
    world_.queue.after(delay, [this, node, until] { tell(node, until); });
  }
}

void Store::tell(NodeIndex node, std::size_t until) {
  Watch& watch = watches_[node];
  Daemon* daemon = world_.hosts[node]->daemon();
  if (!watch.wanted || daemon == nullptr || daemon->life().incarnation != watch.life) return;
  if (watch.snapshot && watch.next >= until) return;
  if (!reaches(node) || world_.queue.now() < watches_held_until_) return;  // looked at again
  if (!std::exchange(watch.snapshot, true)) {
    daemon->post([daemon, records = records_, revision = revision_] {
      daemon->store_snapshot(records, revision);
    });
    watch.next = log_.size();
    return;
  }
  for (; watch.next < until; ++watch.next) {
    daemon->post([daemon, change = log_[watch.next]] { daemon->record_changed(change); });
  }
}

void Store::hold_watches(Duration time) {
  watches_held_until_ = std::max(watches_held_until_, world_.queue.now() + time);
}

void Store::mend_all() {
  cut_.assign(cut_.size(), false);
  watches_held_until_ = {};
}

// Watches that were broken begin where they ended.
void Store::look() {
  const std::size_t until = log_.size();
  for (NodeIndex node = 0; node < world_.hosts.size(); ++node) {
    if (world_.weather.watch_late_permille == 0 || world_.random.percent(10)) tell(node, until);
  }
  world_.queue.after(kStoreLook, [this] { look(); });
}

}  // namespace perdure::sim
