// Coordination over etcd's v3 API (3.4 and 3.5): gRPC to one endpoint at a time, this host's own member first.
//
// One thread belongs to the client: it waits for gRPC's completions and posts them. Everything else happens on the loop's
// thread, so that no state is shared and no channel is ever destroyed inside one of gRPC's callbacks.
//
// A list goes to the next endpoint when one cannot be reached, has no leader, is a learner, or does not answer within its
// time. A read is sent to one member after the other, at the pace of repeat_pause, until the first answer. A commit goes to the next endpoint only when it is certain that the one before has not had it: its
// connection could not be made, or the member refused it before looking at it. Once sent, an answer or the deadline ends it; but a
// repeated one is sent as a read is.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/clock.h"
#include "base/result.h"
#include "coord/coordination.h"
#include "io/loop.h"

namespace perdure::coord {

class EtcdCaller;

// PEM texts.
struct EtcdCredentials {
  std::string authority;    // whom servers' certificates must be signed by; nothing else is trusted
  std::string certificate;  // ours
  std::string key;
};

struct EtcdClientOptions {
  // "https://192.0.2.1:7401", "https://[2001:db8::1]:7401", "http://127.0.0.1:2379"; at most kMaxEndpoints. The first is preferred.
  std::vector<std::string> endpoints;
  // Needed for https, refused with http.
  std::optional<EtcdCredentials> credentials = {};
  // What one endpoint gets of a call's time while others are left; the last one gets all that is left.
  Duration endpoint_time = std::chrono::milliseconds(250);
  // An endpoint that failed is tried after the others for so long.
  Duration avoid_time = std::chrono::seconds(1);
  // Between two copies of a read or a repeated commit: so long for `repeat_steady`, in which etcd elects a leader, then doubling.
  Duration repeat_pause = std::chrono::milliseconds(20);
  Duration repeat_steady = std::chrono::milliseconds(200);
  // A watch asks its member for a sign of life each third of this and gives it up after the whole of it without one.
  Duration watch_silence = std::chrono::seconds(3);
  // Between attempts to open a watch or to be granted a lease: doubles from the first to the last.
  Duration retry_first = std::chrono::milliseconds(50);
  Duration retry_last = std::chrono::seconds(1);
};
inline constexpr std::size_t kMaxEndpoints = 16;
inline constexpr std::size_t kMaxCallsInFlight = 1024;             // beyond it calls answer kTransient at once
inline constexpr std::size_t kMaxListBytes = std::size_t{256} << 20;  // of one prefix; more is kInvalid

// gRPC 1.51 can be told to use TLS 1.3 only by taking all older suites away, which it reads from its environment: sets
// GRPC_SSL_CIPHER_SUITES. At the beginning of main(), before any thread. Without it TLS 1.2 is accepted when a server asks for it; an
// EtcdServer never does.
Status require_tls_1_3();

class EtcdClient final : public Coordination {
 public:
  // kInvalid: an endpoint or credentials that cannot be read. Connects when it is used first.
  static Result<std::unique_ptr<EtcdClient>> create(io::Loop& loop, EtcdClientOptions options);
  // No call is answered any more. Blocks until gRPC has let go of its calls: 100 ms at most.
  ~EtcdClient() override;

  void read(std::string key, Instant deadline, Answer<std::optional<KeyValue>> answer) override;
  void list(std::string prefix, Instant deadline, Answer<Snapshot> answer) override;
  void commit(Transaction transaction, Instant deadline, Answer<TransactionResult> answer) override;
  std::unique_ptr<Subscription> watch(std::string prefix, WatchHandlers handlers) override;
  std::unique_ptr<Subscription> keep_lease(std::chrono::seconds time_to_live, LeaseHandlers handlers) override;
  void status(Instant deadline, Answer<StoreStatus> answer) override;

  // From the next call on; calls under way end on their old connections, watches and leases move over without a word.
  // kInvalid: nothing is changed.
  Status use_credentials(EtcdCredentials credentials);
  Status use_endpoints(std::vector<std::string> endpoints);
  std::vector<std::string> endpoints() const;

  EtcdCaller& caller();  // for etcd_admin.h

  EtcdClient(const EtcdClient&) = delete;
  EtcdClient& operator=(const EtcdClient&) = delete;

 private:
  struct State;
  explicit EtcdClient(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

}  // namespace perdure::coord
