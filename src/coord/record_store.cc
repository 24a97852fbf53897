#include "coord/record_store.h"

#include <sys/random.h>

#include <format>
#include <utility>

#include "base/assert.h"
#include "coord/cluster_keys.h"
#include "coord/record_jobs.h"

namespace perdure::coord {
namespace {

// Records that swaps build on; a cluster has fewer containers.
constexpr std::size_t kMaxSeen = 4096;

model::Nonce random_nonce() {
  model::Nonce nonce{};
  PERDURE_ASSERT(::getrandom(nonce.data(), nonce.size(), 0) == static_cast<ssize_t>(nonce.size()));
  return nonce;
}

}  // namespace

Result<StoredRecord> read_record(const KeyValue& stored) {
  const ParsedKey key = parse_key(stored.key);
  auto record = decode_record(stored.value);
  if (!record) return fail(std::move(record.error()).context(std::format("record of container '{}'", key.rest)));
  if (key.kind != KeyKind::kRecord || record->container.str() != key.rest) {
    return fail(ErrorCode::kInvalid, std::format("record under '{}': it is of container '{}'", stored.key, record->container.str()));
  }
  return StoredRecord{std::move(*record), stored.modified, stored.value};
}

Status check_record(const model::OwnershipRecord& record) {
  const auto back = decode_record(encode_record(record));
  if (back) return {};
  return fail(back.error().context(std::format("record of container '{}'", record.container.str())));
}

void RecordStore::State::remember(const StoredRecord& stored) {
  const auto known = seen.find(stored.record.container);
  if (known != seen.end()) {
    if (known->second.revision < stored.revision) known->second = stored;
    return;
  }
  if (seen.size() >= kMaxSeen) seen.clear();
  seen.emplace(stored.record.container, stored);
}

const StoredRecord* RecordStore::State::seen_at(const ContainerName& name, Revision revision) const {
  const auto known = seen.find(name);
  return known != seen.end() && known->second.revision == revision ? &known->second : nullptr;
}

RecordStore::RecordStore(io::Loop& loop, Coordination& coordination, model::NodeLife self, Random16 random)
    : state_(std::make_shared<State>(loop, coordination, std::move(self), random ? std::move(random) : random_nonce)) {}

RecordStore::~RecordStore() {
  // What a job's answer holds may come back here.
  const auto jobs = std::exchange(state_->jobs, {});
}

void RecordStore::read(ContainerName name, Instant deadline, Answer<std::optional<StoredRecord>> answer) {
  state_->coordination.read(record_key(name), deadline,
                            [weak = std::weak_ptr(state_), answer = std::move(answer)](Result<std::optional<KeyValue>> value) {
                              const auto state = weak.lock();
                              if (!state) return;
                              if (!value) return answer(fail(std::move(value.error())));
                              if (!*value) return answer(std::nullopt);
                              auto stored = read_record(**value);
                              if (!stored) return answer(fail(std::move(stored.error())));
                              state->remember(*stored);
                              answer(std::move(*stored));
                            });
}

void RecordStore::create(CreateRequest request, Instant deadline, Answer<StoredRecord> answer) {
  start_create(*state_, std::move(request), deadline, std::move(answer));
}

void RecordStore::swap(SwapRequest request, Instant deadline, std::function<void(SwapOutcome)> answer) {
  start_swap(*state_, std::move(request), deadline, std::move(answer));
}

void RecordStore::resolve(SentSwap sent, Instant deadline, std::function<void(SwapOutcome)> answer) {
  start_resolve(*state_, std::move(sent), deadline, std::move(answer));
}

void RecordStore::remove(ContainerName name, Revision expected, Instant deadline, Answer<bool> answer) {
  start_remove(*state_, std::move(name), expected, deadline, std::move(answer));
}

void RecordStore::observe(const StoredRecord& stored) { state_->remember(stored); }
void RecordStore::forget(const ContainerName& name) { state_->seen.erase(name); }

}  // namespace perdure::coord
