// The control socket: who may speak, which requests are open, and where their answers go (control.proto).
//
// Loop thread only. Only root and the members of one group are served: whoever may speak here may start
// processes as root. The caller's rights are the kernel's word (SO_PEERCRED), never the message's.
#pragma once

#include <sys/types.h>

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <utility>

#include "base/result.h"
#include "control.pb.h"
#include "io/unix_socket.h"
#include "node/control_request.h"
#include "node/node.h"

namespace perdure::node {

class Cluster;

// Open requests of one connection; the next is refused. The command line has one at a time.
inline constexpr std::size_t kMaxOpenRequests = 32;

struct ControlServiceOptions {
  std::string path;
  std::optional<gid_t> group;  // none: root only
  Cluster* cluster = nullptr;  // null in tests of a single host
};

class ControlService final : private RequestHost {
 public:
  // What UnixServer::listen says. The node outlives the service.
  static Result<std::unique_ptr<ControlService>> listen(Node& node, ControlServiceOptions options);
  ~ControlService() override;

  // The containers are known: requests that waited for that begin.
  void containers_known();

 private:
  struct Client {
    std::map<std::uint64_t, std::unique_ptr<ControlRequest>> requests;
  };

  ControlService(Node& node, ControlServiceOptions options) : node_(node), options_(std::move(options)) {}
  Status send(io::ConnectionId connection, const control::v1::Response& response) override;
  void finished(io::ConnectionId connection, std::uint64_t request_id) override;
  std::size_t queued_bytes(io::ConnectionId connection) override;
  const std::shared_ptr<std::atomic<int>>& transfers() override { return transfers_; }

  bool may_speak(const io::PeerCredentials& peer) const;
  void opened(io::Connection& connection);
  void received(io::Connection& connection, io::Frame frame);
  void answered(Client& client, const control::v1::AnswerRequest& answer);
  void drained(io::Connection& connection);
  void closed(io::ConnectionId connection);
  void refuse(io::ConnectionId connection, std::uint64_t id, const Error& error);
  void begin(io::ConnectionId connection, std::uint64_t id);

  Node& node_;
  const ControlServiceOptions options_;
  const std::shared_ptr<std::atomic<int>> transfers_ = std::make_shared<std::atomic<int>>(0);
  bool containers_known_ = false;
  std::unique_ptr<io::UnixServer> server_;
  std::map<io::ConnectionId, Client> clients_;
  std::set<std::pair<io::ConnectionId, std::uint64_t>> waiting_;  // for containers_known()
  io::Lifetime lifetime_;
};

}  // namespace perdure::node
