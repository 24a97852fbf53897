// The work of RecordStore, one object per call. Inside of this room.
#pragma once

#include <algorithm>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "coord/record_store.h"

namespace perdure::coord {

struct RecordStore::State : std::enable_shared_from_this<RecordStore::State> {
  State(io::Loop& loop_, Coordination& coordination_, model::NodeLife self_, Random16 random_)
      : loop(loop_), coordination(coordination_), self(std::move(self_)), random(std::move(random_)) {}

  io::Loop& loop;
  Coordination& coordination;
  const model::NodeLife self;
  const Random16 random;
  std::map<ContainerName, StoredRecord> seen;
  std::map<std::uint64_t, std::shared_ptr<void>> jobs;
  std::uint64_t next_job = 1;

  void remember(const StoredRecord& stored);
  const StoredRecord* seen_at(const ContainerName& name, Revision revision) const;
};

// A call on its way: lives in State::jobs until it has answered; every callback of it asks whether it still does.
class RecordJob {
 public:
  RecordJob(RecordStore::State& state, Instant deadline) : state_(state), deadline_(deadline), id_(state.next_job++) {}
  RecordJob(const RecordJob&) = delete;
  RecordJob& operator=(const RecordJob&) = delete;
  virtual ~RecordJob() = default;

 protected:
  RecordStore::State& state_;
  const Instant deadline_;

  // A callback that does nothing once this job is over.
  template <typename Fn>
  auto guarded(Fn fn) {
    return [weak = std::weak_ptr<void>(mark_), fn = std::move(fn)]<typename... Args>(Args&&... args) {
      if (const auto alive = weak.lock()) fn(std::forward<Args>(args)...);
    };
  }
  // A part of what is left: an answer that is lost must not cost all of it.
  Instant step_deadline() const {
    const Instant now = BootClock::now();
    return std::min(deadline_, now + std::max((deadline_ - now) / 4, kLeastStep));
  }
  void read(const std::string& key, std::function<void(Result<std::optional<KeyValue>>)> then) {
    state_.coordination.read(key, step_deadline(), guarded(std::move(then)));
  }
  void commit(Transaction transaction, std::function<void(Result<TransactionResult>)> then) {
    commit(std::move(transaction), step_deadline(), std::move(then));
  }
  void commit(Transaction transaction, Instant until, std::function<void(Result<TransactionResult>)> then) {
    state_.coordination.commit(std::move(transaction), until, guarded(std::move(then)));
  }
  // Tries again after a pause that grows; false: no time is left.
  bool later(std::function<void()> step) {
    if (BootClock::now() + pause_ >= deadline_) return false;
    timer_ = state_.loop.after(pause_, guarded(std::move(step)));
    pause_ = std::min(2 * pause_, kLongestPause);
    return true;
  }
  // `answer` is called with the job already gone.
  template <typename Answer, typename... Args>
  void finish(Answer& answer, Args&&... args) {
    const auto done = std::exchange(answer, nullptr);
    const auto keep = state_.jobs.extract(id_);
    mark_.reset();
    timer_.reset();
    if (done) done(std::forward<Args>(args)...);
  }

 private:
  template <typename Job, typename... Args>
  friend void start_job(RecordStore::State& state, Args&&... args);
  static constexpr Duration kLongestPause = std::chrono::seconds(1);
  static constexpr Duration kLeastStep = std::chrono::milliseconds(250);

  const std::uint64_t id_;
  Duration pause_ = std::chrono::milliseconds(20);
  std::shared_ptr<char> mark_ = std::make_shared<char>('\0');
  io::Timer timer_;
};

template <typename Job, typename... Args>
void start_job(RecordStore::State& state, Args&&... args) {
  auto job = std::make_shared<Job>(state, std::forward<Args>(args)...);
  state.jobs.emplace(job->id_, job);
  job->begin();
}

void start_create(RecordStore::State& state, CreateRequest request, Instant deadline, Answer<StoredRecord> answer);
void start_swap(RecordStore::State& state, RecordStore::SwapRequest request, Instant deadline,
                std::function<void(SwapOutcome)> answer);
void start_resolve(RecordStore::State& state, SentSwap sent, Instant deadline, std::function<void(SwapOutcome)> answer);
void start_remove(RecordStore::State& state, ContainerName name, Revision expected, Instant deadline, Answer<bool> answer);

// What the bounds of the codec say of it.
Status check_record(const model::OwnershipRecord& record);

}  // namespace perdure::coord
