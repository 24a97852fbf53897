#include "coord/memory_coordination.h"

#include <algorithm>
#include <deque>
#include <format>
#include <map>
#include <utility>

#include "coord/etcd_messages.h"
#include "coord/memory_state.h"

namespace perdure::coord {
namespace {

class MemoryWatch;
class MemoryLease;

}  // namespace

struct MemoryCoordination::State : std::enable_shared_from_this<MemoryCoordination::State> {
  State(io::Loop& loop_, std::shared_ptr<MemoryStore::State> store_) : loop(loop_), store(std::move(store_)) {}

  io::Loop& loop;
  std::shared_ptr<MemoryStore::State> store;
  std::uint64_t listener = 0;

  bool away = false;
  std::size_t requests_to_lose = 0;
  std::size_t answers_to_lose = 0;
  bool holds_requests = false;
  bool holds_answers = false;
  bool holds_watches = false;
  std::deque<std::function<void()>> held_requests;
  std::deque<std::function<void()>> held_answers;

  std::map<std::uint64_t, std::shared_ptr<void>> calls;  // not answered yet
  std::map<std::uint64_t, std::weak_ptr<MemoryWatch>> watches;
  std::map<std::uint64_t, std::weak_ptr<MemoryLease>> leases;
  std::map<LeaseId, io::Timer> orphans;  // leases that nobody renews any more
  std::uint64_t next_id = 1;

  std::optional<Error> unreachable() const {
    if (away) return Error(ErrorCode::kTransient, "the store cannot be reached");
    if (!store->leader) return Error(ErrorCode::kTransient, "the store has no leader");
    return std::nullopt;
  }

  template <typename T>
  void start(Instant deadline, std::function<Result<T>()> carry_out, Answer<T> answer);
  void pump();
};

namespace {

template <typename T>
struct MemoryCall {
  Answer<T> answer;
  io::Timer timer;
};

}  // namespace

template <typename T>
void MemoryCoordination::State::start(Instant deadline, std::function<Result<T>()> carry_out, Answer<T> answer) {
  const std::uint64_t id = next_id++;
  const auto call = std::make_shared<MemoryCall<T>>();
  call->answer = std::move(answer);
  calls.emplace(id, call);
  const std::weak_ptr<State> weak = weak_from_this();
  const auto finish = [weak, id, waiting = std::weak_ptr(call)](Result<T> result) {
    const auto self = weak.lock();
    const auto waited = waiting.lock();
    if (!self || !waited || self->calls.erase(id) == 0) return;
    waited->answer(std::move(result));
  };
  call->timer = loop.at(deadline, [finish] { finish(fail(ErrorCode::kTimeout, "no answer in time")); });
  if (requests_to_lose > 0) {
    --requests_to_lose;
    return;
  }
  const bool answer_is_lost = answers_to_lose > 0;
  if (answer_is_lost) --answers_to_lose;
  const auto arrive = [weak, finish, answer_is_lost, carry_out = std::move(carry_out)] {
    const auto self = weak.lock();
    if (!self) return;
    Result<T> result = self->unreachable() ? fail(*self->unreachable()) : carry_out();
    if (answer_is_lost) return;
    const auto come_back = [finish, result = std::move(result)] { finish(result); };
    if (self->holds_answers) {
      self->held_answers.push_back(come_back);
    } else {
      self->loop.post(come_back);
    }
  };
  if (holds_requests) {
    held_requests.push_back(arrive);
  } else {
    loop.post(arrive);
  }
}

namespace {

class MemoryWatch : public std::enable_shared_from_this<MemoryWatch> {
 public:
  MemoryWatch(std::string prefix, WatchHandlers handlers) : prefix_(std::move(prefix)), handlers_(std::move(handlers)) {}

  void end() { ended_ = true; }

  void look(const MemoryStore::State& store, const std::optional<Error>& unreachable) {
    const auto self = shared_from_this();
    if (ended_) return;
    if (unreachable) {
      if (!std::exchange(lost_, true) && handlers_.on_lost) handlers_.on_lost(*unreachable);
      return;
    }
    if (std::exchange(lost_, false) && handlers_.on_found) handlers_.on_found();
    if (ended_) return;
    if (last_ < store.compacted || last_ == 0 || cluster_id_ != store.cluster_id || last_ > store.revision) {
      last_ = store.revision;
      cluster_id_ = store.cluster_id;
      if (handlers_.on_snapshot) handlers_.on_snapshot(store.snapshot(prefix_));
      return;
    }
    tell_changes(store);
  }

 private:
  void tell_changes(const MemoryStore::State& store) {
    // Copied: a handler may change the store.
    const std::map<Revision, std::vector<Change>> missed(store.log.upper_bound(last_), store.log.end());
    last_ = store.revision;
    for (const auto& [revision, changes] : missed) {
      std::vector<Change> ours;
      std::ranges::copy_if(changes, std::back_inserter(ours), [&](const Change& c) { return c.key.starts_with(prefix_); });
      if (!ours.empty() && handlers_.on_changes) handlers_.on_changes(revision, ours);
      if (ended_) return;
    }
  }

  const std::string prefix_;
  const WatchHandlers handlers_;
  bool ended_ = false;
  bool lost_ = false;
  Revision last_ = 0;
  std::uint64_t cluster_id_ = 0;
};

class MemoryLease : public std::enable_shared_from_this<MemoryLease> {
 public:
  MemoryLease(io::Loop& loop, Duration life, Coordination::LeaseHandlers handlers)
      : loop_(loop), life_(life), handlers_(std::move(handlers)) {}

  LeaseId id() const { return ended_ ? 0 : id_; }
  Instant good_until() const { return good_until_; }
  void end() {
    ended_ = true;
    timer_.reset();
  }

  void look(MemoryStore::State& store, bool reachable, const std::function<void()>& again) {
    const auto self = shared_from_this();
    if (ended_) return;
    const Instant now = BootClock::now();
    if (id_ == 0) {
      if (!reachable) return;
      id_ = store.grant();
      good_until_ = now + life_;
      if (handlers_.on_granted) handlers_.on_granted(id_);
    } else if (!store.leases.contains(id_) || now >= good_until_) {
      store.expire(id_);
      end();
      if (handlers_.on_lost) handlers_.on_lost(Error(ErrorCode::kTimeout, std::format("lease {:x}: it has expired", id_)));
      return;
    } else if (reachable) {
      good_until_ = now + life_;
    }
    if (!ended_) timer_ = loop_.at(std::min(good_until_, now + life_ / 3), again);
  }

 private:
  io::Loop& loop_;
  const Duration life_;
  const Coordination::LeaseHandlers handlers_;
  bool ended_ = false;
  LeaseId id_ = 0;
  Instant good_until_{};
  io::Timer timer_;
};

class Handle final : public Subscription {
 public:
  explicit Handle(std::function<void()> end) : end_(std::move(end)) {}
  ~Handle() override { end_(); }

 private:
  std::function<void()> end_;
};

}  // namespace

// Watches and leases look at the store after each of its changes, and at what this node can see of it.
void MemoryCoordination::State::pump() {
  loop.post([weak = weak_from_this()] {
    const auto self = weak.lock();
    if (!self) return;
    const auto unreachable = self->unreachable();
    for (const auto& [id, lease] : std::map(self->leases)) {
      const auto alive = lease.lock();
      if (!alive) continue;
      alive->look(*self->store, !unreachable, [weak] {
        if (const auto owner = weak.lock()) owner->pump();
      });
    }
    if (self->holds_answers || self->holds_watches) return;
    for (const auto& [id, watch] : std::map(self->watches)) {
      if (const auto alive = watch.lock()) alive->look(*self->store, unreachable);
    }
  });
}

MemoryCoordination::MemoryCoordination(io::Loop& loop, MemoryStore& store)
    : state_(std::make_shared<State>(loop, store.state_)) {
  state_->listener = store.state_->next_listener++;
  store.state_->listeners.emplace(state_->listener, [weak = std::weak_ptr(state_)] {
    if (const auto state = weak.lock()) state->pump();
  });
}

MemoryCoordination::~MemoryCoordination() { state_->store->listeners.erase(state_->listener); }

void MemoryCoordination::read(std::string key, Instant deadline, Answer<std::optional<KeyValue>> answer) {
  state_->start<std::optional<KeyValue>>(
      deadline,
      [store = state_->store, key = std::move(key)]() -> Result<std::optional<KeyValue>> {
        const auto found = store->values.find(key);
        return found == store->values.end() ? std::nullopt : std::optional(found->second);
      },
      std::move(answer));
}

void MemoryCoordination::list(std::string prefix, Instant deadline, Answer<Snapshot> answer) {
  state_->start<Snapshot>(
      deadline, [store = state_->store, prefix = std::move(prefix)]() -> Result<Snapshot> { return store->snapshot(prefix); },
      std::move(answer));
}

void MemoryCoordination::commit(Transaction transaction, Instant deadline, Answer<TransactionResult> answer) {
  if (Status good = check_transaction(transaction); !good) {
    state_->loop.post([weak = std::weak_ptr(state_), error = good.error(), answer = std::move(answer)] {
      if (!weak.expired()) answer(fail(error));
    });
    return;
  }
  state_->start<TransactionResult>(
      deadline,
      [store = state_->store, transaction = std::move(transaction)] { return store->commit(transaction); },
      std::move(answer));
}

std::unique_ptr<Subscription> MemoryCoordination::watch(std::string prefix, WatchHandlers handlers) {
  const auto watch = std::make_shared<MemoryWatch>(std::move(prefix), std::move(handlers));
  const std::uint64_t id = state_->next_id++;
  state_->watches.emplace(id, watch);
  state_->pump();
  return std::make_unique<Handle>([weak = std::weak_ptr(state_), id, watch] {
    watch->end();
    if (const auto state = weak.lock()) state->watches.erase(id);
  });
}

std::unique_ptr<Subscription> MemoryCoordination::keep_lease(std::chrono::seconds time_to_live, LeaseHandlers handlers) {
  const auto lease = std::make_shared<MemoryLease>(state_->loop, time_to_live, std::move(handlers));
  const std::uint64_t id = state_->next_id++;
  state_->leases.emplace(id, lease);
  state_->pump();
  return std::make_unique<Handle>([weak = std::weak_ptr(state_), id, lease] {
    const auto state = weak.lock();
    const LeaseId left = lease->id();
    lease->end();
    if (!state) return;
    state->leases.erase(id);
    if (left == 0) return;
    // Nobody renews it: it ends in its time.
    state->orphans[left] = state->loop.at(lease->good_until(), [store = state->store, left] { store->expire(left); });
  });
}

void MemoryCoordination::status(Instant deadline, Answer<StoreStatus> answer) {
  state_->start<StoreStatus>(
      deadline,
      [store = state_->store]() -> Result<StoreStatus> {
        std::uint64_t bytes = 0;
        for (const auto& [key, value] : store->values) bytes += key.size() + value.value.size();
        return StoreStatus{"memory", store->cluster_id, 1, 1, store->revision, bytes};
      },
      std::move(answer));
}

void MemoryCoordination::lose_requests(std::size_t count) { state_->requests_to_lose = count; }
void MemoryCoordination::lose_answers(std::size_t count) { state_->answers_to_lose = count; }
void MemoryCoordination::hold_requests() { state_->holds_requests = true; }
std::size_t MemoryCoordination::held_requests() const { return state_->held_requests.size(); }

void MemoryCoordination::release_requests() {
  state_->holds_requests = false;
  for (auto& arrive : std::exchange(state_->held_requests, {})) state_->loop.post(std::move(arrive));
}

void MemoryCoordination::drop_held_requests() {
  state_->holds_requests = false;
  state_->held_requests.clear();
}

void MemoryCoordination::hold_answers() { state_->holds_answers = true; }

void MemoryCoordination::release_answers() {
  state_->holds_answers = false;
  for (auto& come_back : std::exchange(state_->held_answers, {})) state_->loop.post(std::move(come_back));
  state_->pump();
}

void MemoryCoordination::hold_watches() { state_->holds_watches = true; }

void MemoryCoordination::release_watches() {
  state_->holds_watches = false;
  state_->pump();
}

void MemoryCoordination::set_away(bool away) {
  state_->away = away;
  state_->pump();
}

}  // namespace perdure::coord
