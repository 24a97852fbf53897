#include "coord/etcd_messages.h"

#include <algorithm>
#include <format>
#include <set>
#include <utility>

namespace perdure::coord {
namespace {

// etcd refuses requests beyond 1.5 MiB (--max-request-bytes); keys, conditions and framing need some.
constexpr std::size_t kMaxTransactionBytes = std::size_t{1400} << 10;
constexpr std::size_t kMaxKeyBytes = 1024;

Status check_key(const std::string& key) {
  if (!key.empty() && key.size() <= kMaxKeyBytes) return {};
  return fail(ErrorCode::kInvalid, std::format("key '{}': 1 to {} bytes are allowed", key.substr(0, 80), kMaxKeyBytes));
}

}  // namespace

std::string prefix_end(std::string_view prefix) {
  std::string end(prefix);
  while (!end.empty()) {
    const auto last = static_cast<unsigned char>(end.back());
    if (last < 0xff) {
      end.back() = static_cast<char>(last + 1);
      return end;
    }
    end.pop_back();
  }
  return std::string(1, '\0');  // etcd: to the end of all keys
}

KeyValue to_value(etcdserverpb::KeyValue&& pair) {
  return KeyValue{std::move(*pair.mutable_key()), std::move(*pair.mutable_value()), pair.create_revision(),
                  pair.mod_revision(), pair.lease()};
}

Status check_transaction(const Transaction& transaction) {
  const std::size_t keys = transaction.conditions.size() + transaction.writes.size();
  if (keys == 0 || keys > kMaxTransactionKeys) {
    return fail(ErrorCode::kInvalid, std::format("a transaction of {} keys: 1 to {} are allowed", keys, kMaxTransactionKeys));
  }
  std::size_t bytes = 0;
  for (const Condition& condition : transaction.conditions) PERDURE_TRY(check_key(condition.key));
  std::set<std::string_view> written;
  for (const Write& write : transaction.writes) {
    PERDURE_TRY(check_key(write.key));
    if (!written.insert(write.key).second) {
      return fail(ErrorCode::kInvalid, std::format("a transaction writes '{}' twice", write.key));
    }
    const std::size_t size = write.value ? write.value->size() : 0;
    if (size > kMaxValueBytes) {
      return fail(ErrorCode::kInvalid,
                  std::format("the value of '{}' has {} bytes: at most {} are allowed", write.key, size, kMaxValueBytes));
    }
    bytes += size;
  }
  const auto is_written = [&](const Condition& condition) { return written.contains(condition.key); };
  if (transaction.repeated && std::ranges::none_of(transaction.conditions, is_written)) {
    return fail(ErrorCode::kInvalid, "a repeated transaction that writes nothing that it compares could be carried out twice");
  }
  if (bytes > kMaxTransactionBytes) {
    return fail(ErrorCode::kInvalid,
                std::format("a transaction of {} bytes: at most {} are allowed", bytes, kMaxTransactionBytes));
  }
  return {};
}

etcdserverpb::TxnRequest to_request(const Transaction& transaction) {
  etcdserverpb::TxnRequest request;
  for (const Condition& condition : transaction.conditions) {
    auto* compare = request.add_compare();
    compare->set_result(etcdserverpb::Compare::EQUAL);
    compare->set_target(etcdserverpb::Compare::MOD);
    compare->set_key(condition.key);
    compare->set_mod_revision(condition.modified);  // etcd takes 0 for a key that is not there
    // Also makes a transaction that writes nothing linearizable.
    request.add_failure()->mutable_request_range()->set_key(condition.key);
  }
  for (const Write& write : transaction.writes) {
    auto* operation = request.add_success();
    if (write.value) {
      auto* put = operation->mutable_request_put();
      put->set_key(write.key);
      put->set_value(*write.value);
      put->set_lease(write.lease);
    } else {
      operation->mutable_request_delete_range()->set_key(write.key);
    }
  }
  return request;
}

Result<TransactionResult> to_result(const Transaction& transaction, etcdserverpb::TxnResponse&& response) {
  TransactionResult result;
  result.applied = response.succeeded();
  result.revision = response.header().revision();
  if (result.applied) return result;
  if (response.responses_size() != static_cast<int>(transaction.conditions.size())) {
    return fail(ErrorCode::kIo, std::format("etcd answered a transaction of {} conditions with {} values",
                                            transaction.conditions.size(), response.responses_size()));
  }
  for (auto& answer : *response.mutable_responses()) {
    auto& pairs = *answer.mutable_response_range()->mutable_kvs();
    result.found.push_back(pairs.empty() ? std::nullopt : std::optional(to_value(std::move(pairs[0]))));
  }
  return result;
}

std::map<Revision, std::vector<Change>> to_changes(etcdserverpb::WatchResponse&& response) {
  std::map<Revision, std::vector<Change>> changes;
  for (auto& event : *response.mutable_events()) {
    const Revision revision = event.kv().mod_revision();
    Change change{event.kv().key(), std::nullopt, revision};
    if (event.type() == etcdserverpb::Event::PUT) change.value = to_value(std::move(*event.mutable_kv()));
    changes[revision].push_back(std::move(change));
  }
  return changes;
}

}  // namespace perdure::coord
