// One request on the control socket, from its frame to its final answer. Loop thread only.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "base/clock.h"
#include "base/fd.h"
#include "base/result.h"
#include "control.pb.h"
#include "io/loop.h"
#include "io/unix_socket.h"
#include "node/node.h"

namespace perdure::node {

class Cluster;

// Exports and imports at once: each holds a thread of the pool for as long as the other end of its pipe likes.
inline constexpr int kMaxTransfers = 2;
// The right to be one of them. Any thread.
class TransferSlot {
 public:
  // kTransient: all are taken.
  static Result<TransferSlot> take(std::shared_ptr<std::atomic<int>> taken);
  TransferSlot(TransferSlot&&) noexcept = default;
  TransferSlot& operator=(TransferSlot&&) = delete;
  ~TransferSlot();

 private:
  explicit TransferSlot(std::shared_ptr<std::atomic<int>> taken) : taken_(std::move(taken)) {}
  std::shared_ptr<std::atomic<int>> taken_;
};

// The connections, as a request sees them.
class RequestHost {
 public:
  virtual ~RequestHost() = default;
  virtual const std::shared_ptr<std::atomic<int>>& transfers() = 0;
  // Of the connection; 0 if it is gone.
  virtual std::size_t queued_bytes(io::ConnectionId connection) = 0;
  // What send() of io::Connection says.
  virtual Status send(io::ConnectionId connection, const control::v1::Response& response) = 0;
  // The request has sent its final answer; it is destroyed at the loop's next turn.
  virtual void finished(io::ConnectionId connection, std::uint64_t request_id) = 0;
};

struct RequestSetup {
  Node& node;
  Cluster* cluster = nullptr;  // null in tests of a single host
  RequestHost& host;
  io::ConnectionId connection = 0;
  control::v1::Request message;
  UniqueFd fd;
};

// Destroyed when it is finished or its connection is gone; whatever it started goes on.
class ControlRequest {
 public:
  explicit ControlRequest(RequestSetup setup) : setup_(std::move(setup)) {}
  virtual ~ControlRequest() = default;
  ControlRequest(const ControlRequest&) = delete;
  ControlRequest& operator=(const ControlRequest&) = delete;

  virtual void begin() = 0;
  // The operator's answer to a Question of this request.
  virtual void answered(std::uint32_t question, bool yes);
  // All that was sent on its connection has been taken by the client.
  virtual void drained();

 protected:
  // False: the connection is gone, and with it soon this request.
  bool send(control::v1::Response response);
  void finish(control::v1::Response response);  // once
  void fail(control::v1::Error error);
  void fail(const Error& error, std::string_view remedy = {});
  bool is_finished() const { return finished_; }

  // In a cluster the record's desired state is changed first, so that the silence that follows is no failure; then, and
  // without a cluster at once, `then`. Fails the request if the record cannot be changed.
  void settle(ContainerService& service, model::DesiredState desired, std::function<void(ContainerService&)> then);
  // Null after fail(): there is no such container.
  ContainerService* find_or_fail(const std::string& name);

  Node& node() { return setup_.node; }
  Cluster* cluster() { return setup_.cluster; }
  const control::v1::Request& message() const { return setup_.message; }
  UniqueFd take_fd() { return std::move(setup_.fd); }
  Result<TransferSlot> take_transfer() { return TransferSlot::take(setup_.host.transfers()); }
  // Of the cluster; null: archives are not sealed.
  std::shared_ptr<const pki::KeyRing> ring() {
    return node().cluster() == nullptr ? nullptr : node().cluster()->ring();
  }
  std::size_t queued_bytes() { return setup_.host.queued_bytes(setup_.connection); }

 private:
  RequestSetup setup_;
  bool finished_ = false;

 protected:
  io::Lifetime lifetime_;
};

// A request that waits until a container has come to where the operator wants it. Tells what goes on meanwhile.
class ContainerRequest : public ControlRequest {
 public:
  using ControlRequest::ControlRequest;
  ~ContainerRequest() override;

 protected:
  // From now on look() is called after every change, first at the loop's next turn; past the limit the request
  // fails with TIMEOUT.
  void wait_for(ContainerService& service, Duration limit);
  // Calls finish() or fail() when it has come.
  virtual void look(ContainerService& service) = 0;
  // The container has been removed; `error`: what could not be.
  virtual void gone(const std::string& error);
  // Calls look() at the loop's next turn.
  void look_soon();

  const std::string& name() const { return name_; }

 private:
  void changed();
  void tell_progress();
  void keep_telling();

  ContainerService* service_ = nullptr;
  std::uint64_t listener_ = 0;
  std::string name_;
  std::string release_error_;
  bool look_posted_ = false;
  std::string told_;
  io::Timer deadline_;
  io::Timer tick_;
};

// Never null: a request of no known kind answers so. What another node has to answer is passed on to it.
std::unique_ptr<ControlRequest> make_request(RequestSetup setup);
// The same, answered here.
std::unique_ptr<ControlRequest> make_local_request(RequestSetup setup);
// Whether it can be answered before the containers are known after a start of the daemon.
bool needs_containers(const control::v1::Request& message);

// Of the files beside control_requests.cc. Null: not one of those.
std::unique_ptr<ControlRequest> make_change_request(RequestSetup setup);
std::unique_ptr<ControlRequest> make_start_request(RequestSetup setup);     // run, start
std::unique_ptr<ControlRequest> make_transfer_request(RequestSetup setup);  // export, import
std::unique_ptr<ControlRequest> make_log_request(RequestSetup setup);
std::unique_ptr<ControlRequest> make_doctor_request(RequestSetup setup);
std::unique_ptr<ControlRequest> make_image_request(RequestSetup setup);
// What concerns a cluster, and what other nodes have to answer. Takes `setup` only if it is one of those; else null.
std::unique_ptr<ControlRequest> make_cluster_request(RequestSetup& setup);
std::unique_ptr<ControlRequest> make_forwarding_request(RequestSetup& setup);

}  // namespace perdure::node
