#include "node/control_service.h"

#include <format>
#include <utility>

#include "base/log.h"
#include "control_limits.h"
#include "node/status_codec.h"

namespace perdure::node {
namespace {

namespace v1 = control::v1;

constexpr mode_t kSocketMode = 0660;

}  // namespace

Result<std::unique_ptr<ControlService>> ControlService::listen(Node& node, ControlServiceOptions options) {
  std::unique_ptr<ControlService> service(new ControlService(node, std::move(options)));
  ControlService* raw = service.get();
  io::UnixServerOptions server;
  server.path = raw->options_.path;
  server.mode = kSocketMode;
  server.group = raw->options_.group;
  server.max_frame_bytes = control::kMaxResponseBytes;
  io::UnixServerHandlers handlers;
  handlers.on_open = [raw](io::Connection& connection) { raw->opened(connection); };
  handlers.on_frame = [raw](io::Connection& connection, io::Frame frame) {
    raw->received(connection, std::move(frame));
  };
  handlers.on_drained = [raw](io::Connection& connection) { raw->drained(connection); };
  handlers.on_close = [raw](io::ConnectionId id, const Error& error) {
    if (error.code() != ErrorCode::kCancelled) log::warning("control connection {}: {}", id, error.message());
    raw->closed(id);
  };
  PERDURE_ASSIGN(raw->server_, io::UnixServer::listen(node.loop(), std::move(server), std::move(handlers)));
  return service;
}

ControlService::~ControlService() { clients_.clear(); }

// ---- Connections ----

bool ControlService::may_speak(const io::PeerCredentials& peer) const {
  return peer.uid == 0 || (options_.group && peer.in_group(*options_.group));
}

void ControlService::opened(io::Connection& connection) {
  const io::PeerCredentials& peer = connection.peer();
  if (may_speak(peer)) {
    clients_.emplace(connection.id(), Client{});
    return;
  }
  log::warning("control socket: user {} (process {}) is neither root nor in the group of the socket; refused",
               peer.uid, peer.pid);
  refuse(connection.id(), 0,
         Error(ErrorCode::kPermission, std::format("user {} may not speak to perdured; run as root, or join the "
                                                   "group that owns {}",
                                                   peer.uid, options_.path)));
  connection.close_when_sent();
}

void ControlService::drained(io::Connection& connection) {
  const auto client = clients_.find(connection.id());
  if (client == clients_.end()) return;
  for (const auto& [id, request] : client->second.requests) request->drained();
}

std::size_t ControlService::queued_bytes(io::ConnectionId connection) {
  const io::Connection* found = server_->find(connection);
  return found == nullptr ? 0 : found->queued_bytes();
}

void ControlService::closed(io::ConnectionId connection) { clients_.erase(connection); }

void ControlService::refuse(io::ConnectionId connection, std::uint64_t id, const Error& error) {
  v1::Response response;
  response.set_id(id);
  *response.mutable_error() = to_proto(error);
  if (Status sent = send(connection, response); !sent) log::debug("{}", sent.error().message());
}

Status ControlService::send(io::ConnectionId connection, const v1::Response& response) {
  io::Connection* found = server_->find(connection);
  if (found == nullptr) return fail(ErrorCode::kNotFound, std::format("connection {} is closed", connection));
  return found->send(response.SerializeAsString());
}

// ---- Requests ----

void ControlService::received(io::Connection& connection, io::Frame frame) {
  const io::ConnectionId id = connection.id();
  const auto client = clients_.find(id);
  if (client == clients_.end()) return;
  v1::Request message;
  if (frame.payload.size() > control::kMaxRequestBytes || !message.ParseFromString(frame.payload)) {
    refuse(id, 0, Error(ErrorCode::kInvalid, std::format("a frame of {} bytes is no request that perdured {} "
                                                         "understands; compare the versions of both programs",
                                                         frame.payload.size(), PERDURE_VERSION)));
    connection.close_when_sent();
    return;
  }
  if (message.has_answer()) return answered(client->second, message.answer());
  auto& requests = client->second.requests;
  if (message.id() == 0 || requests.contains(message.id())) {
    refuse(id, message.id(),
           Error(ErrorCode::kInvalid, std::format("request number {} is 0 or in use on this connection", message.id())));
    return;
  }
  if (requests.size() >= kMaxOpenRequests) {
    refuse(id, message.id(), Error(ErrorCode::kTransient,
                                   std::format("{} requests of this connection are open; wait for one of them",
                                               requests.size())));
    return;
  }
  const std::uint64_t request_id = message.id();
  const bool must_wait = !containers_known_ && needs_containers(message);
  log::debug("control connection {}: request {} of kind {}", id, request_id, static_cast<int>(message.body_case()));
  requests.emplace(request_id, make_request({node_, options_.cluster, *this, id, std::move(message), std::move(frame.fd)}));
  if (must_wait) {
    waiting_.emplace(id, request_id);
  } else {
    begin(id, request_id);
  }
}

void ControlService::begin(io::ConnectionId connection, std::uint64_t id) {
  const auto client = clients_.find(connection);
  if (client == clients_.end()) return;
  const auto request = client->second.requests.find(id);
  if (request != client->second.requests.end()) request->second->begin();
}

void ControlService::containers_known() {
  containers_known_ = true;
  for (const auto& [connection, id] : std::exchange(waiting_, {})) begin(connection, id);
}

void ControlService::answered(Client& client, const v1::AnswerRequest& answer) {
  const auto request = client.requests.find(answer.request_id());
  if (request != client.requests.end()) request->second->answered(answer.question(), answer.yes());
}

void ControlService::finished(io::ConnectionId connection, std::uint64_t request_id) {
  node_.loop().post([this, token = lifetime_.token(), connection, request_id] {
    if (!token.alive()) return;
    const auto client = clients_.find(connection);
    if (client != clients_.end()) client->second.requests.erase(request_id);
  });
}

}  // namespace perdure::node
