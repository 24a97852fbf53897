// From endpoint to endpoint: which one is asked, and when the next one may be. Inside of this room.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/clock.h"
#include "base/result.h"
#include "coord/etcd_client.h"
#include "coord/grpc_transport.h"
#include "io/loop.h"

namespace perdure::coord {

// The one thing in which calls differ: may it be sent again when it is not known whether it was carried out?
enum class Resend {
  kAllowed,
  kOnlyIfUnseen,
  // Is sent again while the answers are awaited, to one member after the other: what a member has passed on to a leader that is dead
  // is lost, and nobody says so (etcd, server/etcdserver/v3_server.go, processInternalRaftRequestOnce). Without a leader a member
  // keeps what is proposed until there is one, so commits go with Leader::kNotNeeded; a read it would forget.
  kRepeated,
};

struct EtcdCall {
  std::string what;    // for messages: "read '/perdure/1/cluster'"
  std::string method;
  std::string message;
  Resend resend = Resend::kAllowed;
  Leader leader = Leader::kNeeded;
  Instant deadline = {};
};

class EtcdCaller {
 public:
  static Result<std::unique_ptr<EtcdCaller>> create(io::Loop& loop, EtcdClientOptions options);
  ~EtcdCaller();

  // Goes round the endpoints until the deadline. `done` once, later.
  void call(EtcdCall call, std::function<void(Result<std::string>)> done);
  // One attempt at one endpoint, which need not be one of ours.
  void call_endpoint(const std::string& endpoint, EtcdCall call, std::function<void(Result<std::string>)> done);

  // Where a stream is best opened now.
  std::shared_ptr<Channel> best() const;
  void avoid(const std::shared_ptr<Channel>& channel);

  Status use(std::vector<std::string> endpoints, std::optional<EtcdCredentials> credentials);
  // Called when there are new channels, until the handle is destroyed.
  std::shared_ptr<void> on_new_channels(std::function<void()> fn);

  const EtcdClientOptions& options() const;
  io::Loop& loop();
  GrpcTransport& transport();

 private:
  struct State;
  class Walk;
  class Volley;
  explicit EtcdCaller(std::shared_ptr<State> state);
  std::shared_ptr<State> state_;
};

// As callers of Coordination see it: kTimeout, kTransient, kPermission, kInvalid, kIo. `what` names the call.
Error to_error(const RpcStatus& status, std::string_view what, std::string_view endpoint);

}  // namespace perdure::coord
