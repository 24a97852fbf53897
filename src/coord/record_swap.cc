// Swaps, and what to do when nobody knows what has become of one (docs/cluster.md, "The record", rule 3).
#include <algorithm>
#include <format>
#include <utility>
#include <vector>

#include "coord/cluster_keys.h"
#include "coord/record_jobs.h"

namespace perdure::coord {
namespace {

using SwapAnswer = std::function<void(SwapOutcome)>;

SwapOutcome applied(StoredRecord now) { return {SwapOutcome::Kind::kApplied, std::move(now), std::nullopt, std::nullopt}; }
SwapOutcome refused(std::optional<StoredRecord> now) {
  return {SwapOutcome::Kind::kRefused, std::move(now), std::nullopt, std::nullopt};
}
SwapOutcome unknown(Error error, std::optional<SentSwap> sent) {
  return {SwapOutcome::Kind::kUnknown, std::nullopt, std::move(error), std::move(sent)};
}

class SwapJob final : public RecordJob {
 public:
  SwapJob(RecordStore::State& state, RecordStore::SwapRequest request, Instant deadline, SwapAnswer answer)
      : RecordJob(state, deadline),
        sent_{std::move(request.record), request.expected},
        spec_yaml_(std::move(request.spec_yaml)),
        answer_(std::move(answer)) {
    sent_.record.writer = state.self;
    sent_.record.nonce = request.nonce ? *request.nonce : state.random();
  }

  void begin() {
    if (Status good = check(); !good) return fail_later(std::move(good.error()));
    if (const StoredRecord* base = state_.seen_at(sent_.record.container, sent_.expected)) return send(base->bytes);
    read(record_key(sent_.record.container), [this](Result<std::optional<KeyValue>> value) { take_base(std::move(value)); });
  }

 private:
  Status check() const {
    PERDURE_TRY(check_record(sent_.record));
    if (sent_.expected <= 0) return perdure::fail(ErrorCode::kInvalid, "a swap expects a revision; records are made by create()");
    if (!spec_yaml_ || spec_yaml_->size() <= kMaxSpecBytes) return {};
    return perdure::fail(ErrorCode::kInvalid, std::format("specification of '{}': more than {} bytes",
                                                          sent_.record.container.str(), kMaxSpecBytes));
  }

  void fail_later(Error error) {
    state_.loop.post(guarded([this, error = std::move(error)] { finish(answer_, unknown(error, std::nullopt)); }));
  }

  void take_base(Result<std::optional<KeyValue>> value) {
    if (!value) return finish(answer_, unknown(std::move(value.error()), sent_));
    if (!*value || (*value)->modified != sent_.expected) return take_found(*value);
    send((*value)->value);
  }

  void send(const std::string& before) {
    const std::string key = record_key(sent_.record.container);
    bytes_ = encode_record(sent_.record, before);
    // The host whose death this swap answers may have had the store's leader.
    Transaction transaction{{{key, sent_.expected}}, {Write{key, bytes_}}, true};
    if (spec_yaml_) transaction.writes.push_back(Write{spec_key(sent_.record.container), encode_spec(*spec_yaml_)});
    commit(std::move(transaction), deadline_, [this](Result<TransactionResult> result) {
      if (!result) return finish(answer_, unknown(std::move(result.error()), sent_));
      if (!result->applied) return take_found(result->found.at(0));
      StoredRecord now{sent_.record, result->revision, std::move(bytes_)};
      state_.remember(now);
      finish(answer_, applied(std::move(now)));
    });
  }

  // Another revision than the expected one.
  void take_found(const std::optional<KeyValue>& value) {
    if (!value) return finish(answer_, refused(std::nullopt));
    auto stored = read_record(*value);
    if (!stored) return finish(answer_, unknown(std::move(stored.error()), sent_));
    state_.remember(*stored);
    // Sent twice under one nonce: the first was applied.
    if (stored->record.nonce == sent_.record.nonce) return finish(answer_, applied(std::move(*stored)));
    finish(answer_, refused(std::move(*stored)));
  }

  SentSwap sent_;
  std::optional<std::string> spec_yaml_;
  SwapAnswer answer_;
  std::string bytes_;
};

class ResolveJob final : public RecordJob {
 public:
  ResolveJob(RecordStore::State& state, SentSwap sent, Instant deadline, SwapAnswer answer)
      : RecordJob(state, deadline), sent_(std::move(sent)), answer_(std::move(answer)) {}

  void begin() {
    read(record_key(sent_.record.container), [this](Result<std::optional<KeyValue>> value) {
      if (!value) return again(std::move(value.error()));
      judge(*value);
    });
  }

 private:
  void again(Error error) {
    if (!later([this] { begin(); })) finish(answer_, unknown(std::move(error), sent_));
  }

  void judge(const std::optional<KeyValue>& value) {
    if (!value) return finish(answer_, refused(std::nullopt));
    auto stored = read_record(*value);
    if (!stored) return finish(answer_, unknown(std::move(stored.error()), sent_));
    state_.remember(*stored);
    if (stored->record.nonce == sent_.record.nonce) return finish(answer_, applied(std::move(*stored)));
    if (stored->revision != sent_.expected) return finish(answer_, refused(std::move(*stored)));
    bar_the_way(std::move(*stored));
  }

  // It may still come: the same value at a new revision makes it fail.
  void bar_the_way(StoredRecord stored) {
    stored.record.writer = state_.self;
    stored.record.nonce = state_.random();
    stored.bytes = encode_record(stored.record, stored.bytes);
    const std::string key = record_key(sent_.record.container);
    Transaction transaction{{{key, sent_.expected}}, {Write{key, stored.bytes}}};
    commit(std::move(transaction), [this, stored = std::move(stored)](Result<TransactionResult> result) mutable {
      // Whatever has become of this one: the record says it. If it came, the revision is another one.
      if (!result) return again(std::move(result.error()));
      if (!result->applied) return judge(result->found.at(0));
      stored.revision = result->revision;
      state_.remember(stored);
      finish(answer_, refused(std::move(stored)));
    });
  }

  SentSwap sent_;
  SwapAnswer answer_;
};

}  // namespace

void start_swap(RecordStore::State& state, RecordStore::SwapRequest request, Instant deadline, SwapAnswer answer) {
  start_job<SwapJob>(state, std::move(request), deadline, std::move(answer));
}

void start_resolve(RecordStore::State& state, SentSwap sent, Instant deadline, SwapAnswer answer) {
  start_job<ResolveJob>(state, std::move(sent), deadline, std::move(answer));
}

}  // namespace perdure::coord
