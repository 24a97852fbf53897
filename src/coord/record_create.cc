// Creation and removal.
//
// A creation compares that the record is absent; so would a copy of it that comes late, perhaps after others have used and removed the
// name. It therefore also compares the creating node's own key: while its outcome is not known, that key is written again with
// the same value, and what is still under way can no longer succeed.
#include <format>
#include <set>
#include <utility>
#include <vector>

#include "coord/cluster_keys.h"
#include "coord/record_jobs.h"

namespace perdure::coord {
namespace {

class CreateJob final : public RecordJob {
 public:
  CreateJob(RecordStore::State& state, CreateRequest request, Instant deadline, Answer<StoredRecord> answer)
      : RecordJob(state, deadline), request_(std::move(request)), answer_(std::move(answer)) {}

  void begin() {
    if (Status good = check(); !good) {
      state_.loop.post(guarded([this, error = good.error()] { fail_with(error); }));
      return;
    }
    find_guard();
  }

 private:
  const ContainerName& name() const { return request_.record.container; }
  void fail_with(Error error) { finish(answer_, Result<StoredRecord>(perdure::fail(std::move(error)))); }
  void fail_with(ErrorCode code, std::string message) { fail_with(Error(code, std::move(message))); }

  Status check() {
    request_.record.term = Term{1};
    request_.record.writer = state_.self;
    PERDURE_TRY(check_record(request_.record));
    const std::set<model::IpAddress> distinct(request_.addresses.begin(), request_.addresses.end());
    if (request_.addresses.size() > kMaxRecordAddresses || distinct.size() != request_.addresses.size()) {
      return perdure::fail(ErrorCode::kInvalid, std::format("container '{}': at most {} different addresses are allowed",
                                                            name().str(), kMaxRecordAddresses));
    }
    if (request_.spec_yaml.size() <= kMaxSpecBytes) return {};
    return perdure::fail(ErrorCode::kInvalid,
                         std::format("specification of '{}': more than {} bytes", name().str(), kMaxSpecBytes));
  }

  // The record and the addresses must be absent.
  std::vector<Condition> absences() const {
    std::vector<Condition> conditions{{record_key(name()), 0}};
    for (const model::IpAddress& address : request_.addresses) conditions.push_back({address_key(address), 0});
    return conditions;
  }

  void find_guard() {
    read(node_key(state_.self.node), [this](Result<std::optional<KeyValue>> value) {
      if (!value) return again(std::move(value.error()), [this] { find_guard(); });
      if (!*value) {
        return fail_with(ErrorCode::kPermission, std::format("node '{}' is not a member of the cluster (any more)",
                                                             state_.self.node.str()));
      }
      guard_ = (*value)->modified;
      see_absent();
    });
  }

  // Rule 2: the first term is above the revision at which the record was seen to be absent.
  void see_absent() {
    commit({absences(), {}}, [this](Result<TransactionResult> result) {
      if (!result) return again(std::move(result.error()), [this] { see_absent(); });
      if (!result->applied) return refuse(result->found);
      request_.record.term = Term{static_cast<std::uint64_t>(result->revision) + 1};
      send();
    });
  }

  void send() {
    request_.record.nonce = state_.random();
    bytes_ = encode_record(request_.record);
    Transaction transaction{absences(), {Write{record_key(name()), bytes_}, Write{spec_key(name()), encode_spec(request_.spec_yaml)}}};
    transaction.conditions.push_back({node_key(state_.self.node), guard_});
    for (const model::IpAddress& address : request_.addresses) {
      transaction.writes.push_back(Write{address_key(address), encode_claim({name(), request_.record.term})});
    }
    commit(std::move(transaction), [this](Result<TransactionResult> result) {
      if (!result && result.error().code() == ErrorCode::kInvalid) return fail_with(std::move(result.error()));
      if (!result) return again(std::move(result.error()), [this] { bar_the_way(); });
      if (result->applied) return created(StoredRecord{request_.record, result->revision, bytes_});
      const auto& found = result->found;
      for (std::size_t i = 0; i + 1 < found.size(); ++i) {
        if (found[i]) return refuse(found);
      }
      // Only the guard has moved: the node has written its own key meanwhile.
      again(Error(ErrorCode::kTransient, "the node's own key keeps changing"), [this] { find_guard(); });
    });
  }

  void bar_the_way() {
    read(node_key(state_.self.node), [this](Result<std::optional<KeyValue>> value) {
      if (!value) return again(std::move(value.error()), [this] { bar_the_way(); });
      if (!*value || (*value)->modified != guard_) return look();
      const std::string key = node_key(state_.self.node);
      commit({{{key, guard_}}, {Write{key, (*value)->value}}}, [this](Result<TransactionResult> result) {
        if (!result) return again(std::move(result.error()), [this] { bar_the_way(); });
        look();
      });
    });
  }

  // The guard is another one: what was sent has come by now, or never will.
  void look() {
    read(record_key(name()), [this](Result<std::optional<KeyValue>> value) {
      if (!value) return again(std::move(value.error()), [this] { look(); });
      if (!*value) return find_guard();
      auto stored = read_record(**value);
      if (stored && stored->record.nonce == request_.record.nonce) return created(std::move(*stored));
      refuse({*value});
    });
  }

  void created(StoredRecord stored) {
    state_.remember(stored);
    finish(answer_, Result<StoredRecord>(std::move(stored)));
  }

  // `found` in the order of absences().
  void refuse(const std::vector<std::optional<KeyValue>>& found) {
    if (found.at(0)) {
      const auto stored = read_record(*found[0]);
      if (!stored) return fail_with(stored.error());
      return fail_with(ErrorCode::kExists, std::format("container '{}' exists already, on node '{}'", name().str(),
                                                       stored->record.owner.node.str()));
    }
    for (std::size_t i = 1; i < found.size() && i <= request_.addresses.size(); ++i) {
      if (!found[i]) continue;
      const auto claim = decode_claim(found[i]->value);
      return fail_with(ErrorCode::kConflict, std::format("address {} of container '{}' is held by container '{}'",
                                                         model::to_string(request_.addresses[i - 1]), name().str(),
                                                         claim ? claim->container.str() : "(not readable)"));
    }
    find_guard();
  }

  void again(Error error, std::function<void()> step) {
    if (!later(std::move(step))) fail_with(std::move(error).context(std::format("create the record of '{}'", name().str())));
  }

  CreateRequest request_;
  Answer<StoredRecord> answer_;
  Revision guard_ = 0;
  std::string bytes_;
};

class RemoveJob final : public RecordJob {
 public:
  RemoveJob(RecordStore::State& state, ContainerName name, Revision expected, Instant deadline, Answer<bool> answer)
      : RecordJob(state, deadline), name_(std::move(name)), expected_(expected), answer_(std::move(answer)) {}

  void begin() {
    state_.coordination.list(std::string(kAddressesPrefix), deadline_, guarded([this](Result<Snapshot> claims) {
                               if (!claims) return fail_with(std::move(claims.error()));
                               send(*claims);
                             }));
  }

 private:
  void fail_with(Error error) {
    finish(answer_, Result<bool>(perdure::fail(std::move(error).context(std::format("remove the record of '{}'", name_.str())))));
  }

  void send(const Snapshot& claims) {
    Transaction transaction{{{record_key(name_), expected_}},
                            {Write{record_key(name_), std::nullopt}, Write{spec_key(name_), std::nullopt}}};
    for (const KeyValue& value : claims.values) {
      const auto claim = decode_claim(value.value);
      if (!claim || claim->container != name_) continue;
      transaction.conditions.push_back({value.key, value.modified});
      transaction.writes.push_back(Write{value.key, std::nullopt});
    }
    commit(std::move(transaction), [this](Result<TransactionResult> result) {
      if (!result) return fail_with(std::move(result.error()));
      if (result->applied) {
        state_.seen.erase(name_);
        return finish(answer_, Result<bool>(true));
      }
      const auto& record = result->found.at(0);
      if (!record || record->modified != expected_) return finish(answer_, Result<bool>(false));
      // A claim has changed under us.
      if (!later([this] { begin(); })) fail_with(Error(ErrorCode::kTransient, "its addresses keep changing"));
    });
  }

  const ContainerName name_;
  const Revision expected_;
  Answer<bool> answer_;
};

}  // namespace

void start_create(RecordStore::State& state, CreateRequest request, Instant deadline, Answer<StoredRecord> answer) {
  start_job<CreateJob>(state, std::move(request), deadline, std::move(answer));
}

void start_remove(RecordStore::State& state, ContainerName name, Revision expected, Instant deadline, Answer<bool> answer) {
  start_job<RemoveJob>(state, std::move(name), expected, deadline, std::move(answer));
}

}  // namespace perdure::coord
