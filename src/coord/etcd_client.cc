#include "coord/etcd_client.h"

#include <format>
#include <utility>

#include "coord/etcd_caller.h"
#include "coord/etcd_messages.h"
#include "coord/etcd_subscriptions.h"

namespace perdure::coord {

struct EtcdClient::State {
  explicit State(std::unique_ptr<EtcdCaller> caller_) : caller(std::move(caller_)) {}
  std::unique_ptr<EtcdCaller> caller;
  io::Lifetime lifetime;

  template <typename T>
  void refuse(Error error, Answer<T> answer) {
    caller->loop().post([token = lifetime.token(), error = std::move(error), answer = std::move(answer)]() mutable {
      if (token.alive()) answer(fail(std::move(error)));
    });
  }
};

EtcdClient::EtcdClient(std::unique_ptr<State> state) : state_(std::move(state)) {}
EtcdClient::~EtcdClient() = default;

Result<std::unique_ptr<EtcdClient>> EtcdClient::create(io::Loop& loop, EtcdClientOptions options) {
  PERDURE_ASSIGN(auto caller, EtcdCaller::create(loop, std::move(options)));
  return std::unique_ptr<EtcdClient>(new EtcdClient(std::make_unique<State>(std::move(caller))));
}

void EtcdClient::read(std::string key, Instant deadline, Answer<std::optional<KeyValue>> answer) {
  etcdserverpb::RangeRequest request;
  request.set_key(key);
  EtcdCall call{std::format("read '{}'", key), std::string(kRangeMethod), request.SerializeAsString()};
  call.resend = Resend::kRepeated;
  call.deadline = deadline;
  state_->caller->call(std::move(call), [answer = std::move(answer)](Result<std::string> reply) {
    if (!reply) return answer(fail(std::move(reply.error())));
    auto response = parse_reply<etcdserverpb::RangeResponse>(*reply, "read");
    if (!response) return answer(fail(response.error()));
    if (response->kvs().empty()) return answer(std::nullopt);
    answer(to_value(std::move(*response->mutable_kvs(0))));
  });
}

void EtcdClient::list(std::string prefix, Instant deadline, Answer<Snapshot> answer) {
  list_prefix(*state_->caller, std::move(prefix), deadline, [answer = std::move(answer)](Result<Listing> listing) {
    if (!listing) return answer(fail(std::move(listing.error())));
    answer(std::move(listing->snapshot));
  });
}

void EtcdClient::commit(Transaction transaction, Instant deadline, Answer<TransactionResult> answer) {
  if (Status good = check_transaction(transaction); !good) return state_->refuse(std::move(good.error()), std::move(answer));
  const std::string& first = transaction.writes.empty() ? transaction.conditions.front().key : transaction.writes.front().key;
  EtcdCall call{std::format("commit '{}'", first), std::string(kTxnMethod), to_request(transaction).SerializeAsString()};
  call.deadline = deadline;
  // A transaction that writes nothing may be asked again.
  call.resend = transaction.writes.empty() ? Resend::kAllowed : transaction.repeated ? Resend::kRepeated : Resend::kOnlyIfUnseen;
  if (call.resend == Resend::kRepeated) call.leader = Leader::kNotNeeded;
  state_->caller->call(std::move(call), [transaction = std::move(transaction), answer = std::move(answer)](
                                            Result<std::string> reply) {
    if (!reply) return answer(fail(std::move(reply.error())));
    auto response = parse_reply<etcdserverpb::TxnResponse>(*reply, "commit");
    if (!response) return answer(fail(response.error()));
    answer(to_result(transaction, std::move(*response)));
  });
}

std::unique_ptr<Subscription> EtcdClient::watch(std::string prefix, WatchHandlers handlers) {
  return open_etcd_watch(*state_->caller, std::move(prefix), std::move(handlers));
}

std::unique_ptr<Subscription> EtcdClient::keep_lease(std::chrono::seconds time_to_live, LeaseHandlers handlers) {
  return keep_etcd_lease(*state_->caller, time_to_live, std::move(handlers));
}

void EtcdClient::status(Instant deadline, Answer<StoreStatus> answer) {
  EtcdCall call{"ask for the status", std::string(kStatusMethod), {}};
  call.leader = Leader::kNotNeeded;
  call.deadline = deadline;
  state_->caller->call(std::move(call), [answer = std::move(answer)](Result<std::string> reply) {
    if (!reply) return answer(fail(std::move(reply.error())));
    const auto response = parse_reply<etcdserverpb::StatusResponse>(*reply, "ask for the status");
    if (!response) return answer(fail(response.error()));
    StoreStatus status;
    status.version = response->version();
    status.cluster_id = response->header().cluster_id();
    status.leader = response->leader();
    status.member = response->header().member_id();
    status.revision = response->header().revision();
    status.database_bytes = static_cast<std::uint64_t>(response->dbsize());
    answer(std::move(status));
  });
}

Status EtcdClient::use_credentials(EtcdCredentials credentials) {
  return state_->caller->use(state_->caller->options().endpoints, std::move(credentials));
}

Status EtcdClient::use_endpoints(std::vector<std::string> endpoints) {
  return state_->caller->use(std::move(endpoints), state_->caller->options().credentials);
}

std::vector<std::string> EtcdClient::endpoints() const { return state_->caller->options().endpoints; }

EtcdCaller& EtcdClient::caller() { return *state_->caller; }

}  // namespace perdure::coord
