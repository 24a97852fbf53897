// etcd's messages from our values, and back. Pure. Inside of this room.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "coord/coordination.h"
#include "etcd_rpc.pb.h"

namespace perdure::coord {

inline constexpr std::string_view kRangeMethod = "/etcdserverpb.KV/Range";
inline constexpr std::string_view kTxnMethod = "/etcdserverpb.KV/Txn";
inline constexpr std::string_view kCompactMethod = "/etcdserverpb.KV/Compact";
inline constexpr std::string_view kWatchMethod = "/etcdserverpb.Watch/Watch";
inline constexpr std::string_view kLeaseGrantMethod = "/etcdserverpb.Lease/LeaseGrant";
inline constexpr std::string_view kLeaseKeepAliveMethod = "/etcdserverpb.Lease/LeaseKeepAlive";
inline constexpr std::string_view kStatusMethod = "/etcdserverpb.Maintenance/Status";

// The first key after all that begin with `prefix`.
std::string prefix_end(std::string_view prefix);
KeyValue to_value(etcdserverpb::KeyValue&& pair);

// kInvalid: more keys or bytes than kMaxTransactionKeys and kMaxValueBytes, a key that is empty or written twice.
Status check_transaction(const Transaction& transaction);
etcdserverpb::TxnRequest to_request(const Transaction& transaction);
// kIo: not an answer to this request.
Result<TransactionResult> to_result(const Transaction& transaction, etcdserverpb::TxnResponse&& response);

// By revision, in the order in which they came.
std::map<Revision, std::vector<Change>> to_changes(etcdserverpb::WatchResponse&& response);

template <typename Message>
Result<Message> parse_reply(const std::string& bytes, std::string_view what) {
  Message message;
  if (message.ParseFromString(bytes)) return message;
  return fail(ErrorCode::kIo, std::string(what) + ": etcd's answer cannot be read");
}

}  // namespace perdure::coord
