// The only file of this room, with its .cc, that knows gRPC: calls and streams of bytes to endpoints. Not for other rooms.
//
// Loop thread only. One thread waits for gRPC's completions and posts each to the loop; a call or a stream is freed there, when
// gRPC has given back all that it was given.
#pragma once

#include <cstddef>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/clock.h"
#include "base/result.h"
#include "coord/etcd_client.h"
#include "io/loop.h"

namespace perdure::coord {

// gRPC's numbers (grpc/status.h) that matter here.
enum class RpcCode : int {
  kOk = 0,
  kCancelled = 1,
  kInvalidArgument = 3,
  kDeadlineExceeded = 4,
  kNotFound = 5,
  kPermissionDenied = 7,
  kResourceExhausted = 8,
  kFailedPrecondition = 9,
  kOutOfRange = 11,
  kUnavailable = 14,
  kUnauthenticated = 16,
};

struct RpcStatus {
  RpcCode code = RpcCode::kOk;  // another number: as gRPC has it
  std::string message;
  // It is certain that no server has looked at the request.
  bool not_sent = false;
  bool ok() const { return code == RpcCode::kOk; }
};

class Channel;  // to one endpoint, with the credentials it was made with

// A member without a leader refuses what needs one at once, instead of when its patience ends.
enum class Leader { kNeeded, kNotNeeded };

struct RpcRequest {
  std::shared_ptr<Channel> channel;
  std::string method;  // "/etcdserverpb.KV/Range"
  std::string message;
  Instant connect_until;
  Instant deadline;
  Leader leader = Leader::kNeeded;
};

struct RpcStreamRequest {
  std::shared_ptr<Channel> channel;
  std::string method;
  std::optional<Instant> deadline;
  Leader leader = Leader::kNeeded;
};

class RpcStream {
 public:
  // Cancels; no handler is called any more.
  virtual ~RpcStream() = default;
  virtual void send(std::string message) = 0;  // any number, sent in order; a bound is the caller's business
  virtual void sends_done() = 0;               // nothing more will be sent
  virtual void read() = 0;                     // the next message, once; not before the last has come
};

struct RpcStreamHandlers {
  std::function<void(std::string)> on_message;  // of one read()
  std::function<void(RpcStatus)> on_end;        // once; nothing follows
};

class GrpcTransport {
 public:
  static Result<std::unique_ptr<GrpcTransport>> create(io::Loop& loop);
  ~GrpcTransport();
  GrpcTransport(const GrpcTransport&) = delete;
  GrpcTransport& operator=(const GrpcTransport&) = delete;

  // kInvalid: no such endpoint, or credentials missing or too many for it.
  Result<std::shared_ptr<Channel>> connect(const std::string& endpoint, const std::optional<EtcdCredentials>& credentials);
  static const std::string& endpoint_of(const Channel& channel);
  static bool is_failing(const Channel& channel);  // its last attempt to connect failed

  // Waits until the channel is connected, but not beyond `connect_until`, and only then sends: not_sent says that it was not.
  // `done` once, later.
  void call(RpcRequest request, std::function<void(RpcStatus, std::string)> done);
  std::unique_ptr<RpcStream> open(RpcStreamRequest request, RpcStreamHandlers handlers);

  std::size_t calls_in_flight() const;

 private:
  struct State;
  explicit GrpcTransport(std::shared_ptr<State> state);
  std::shared_ptr<State> state_;
};

// "https://192.0.2.1:7401" taken apart.
struct EndpointParts {
  bool tls = false;
  std::string target;  // as gRPC wants it: "ipv4:192.0.2.1:7401", "ipv6:[::1]:7401", "dns:///host:7401"
};
Result<EndpointParts> parse_endpoint(std::string_view endpoint);  // kInvalid

}  // namespace perdure::coord
