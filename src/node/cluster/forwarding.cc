#include "node/cluster/forwarding.h"

#include <algorithm>
#include <format>
#include <utility>

#include "node/cluster/cluster.h"
#include "node/status_codec.h"

namespace perdure::node {
namespace {

namespace v1 = control::v1;

// A node that is gone takes its requests with it; looked for this often.
constexpr Duration kSweep = std::chrono::seconds(5);

}  // namespace

std::string container_of(const v1::Request& message) {
  switch (message.body_case()) {
    case v1::Request::kInspect: return message.inspect().name();
    case v1::Request::kExplain: return message.explain().this_node() ? std::string() : message.explain().name();
    case v1::Request::kLogs: return message.logs().name();
    case v1::Request::kCheckpoint: return message.checkpoint().name();
    case v1::Request::kGenerations: return message.generations().name();
    case v1::Request::kRestore: return message.restore().name();
    case v1::Request::kExport: return message.export_().name();
    case v1::Request::kStop: return message.stop().name();
    case v1::Request::kStart: return message.start().name();
    case v1::Request::kRemove: return message.remove().name();
    case v1::Request::kEvents: return message.events().name();
    case v1::Request::kMove: return message.move().name();
    default: return {};
  }
}

bool is_final(const v1::Response& response) {
  return !response.has_progress() && !response.has_log() && !response.has_event() && !response.has_question();
}

ForwardedRequests::ForwardedRequests(Node& node, Cluster*& cluster) : node_(node), cluster_(cluster) { sweep(); }

ForwardedRequests::~ForwardedRequests() { open_.clear(); }

PeerRequestTable ForwardedRequests::table() {
  PeerRequestTable table;
  table[peer::v1::Message::kForward] = [this](PeerRequest request) { on_forward(std::move(request)); };
  table[peer::v1::Message::kForwardedInput] = [this](const PeerRequest& request) { on_input(request); };
  return table;
}

void ForwardedRequests::sweep() {
  sweep_timer_ = node_.loop().after(kSweep, [this] { sweep(); });
  std::erase_if(open_, [](const auto& entry) { return entry.second.respond->gone(); });
}

std::size_t ForwardedRequests::queued_bytes(io::ConnectionId connection) {
  const auto found = open_.find(connection);
  return found == open_.end() ? 0 : found->second.sent_bytes - found->second.taken_bytes;
}

Status ForwardedRequests::send(io::ConnectionId connection, const v1::Response& response) {
  const auto found = open_.find(connection);
  if (found == open_.end() || found->second.respond->gone()) {
    return fail(ErrorCode::kNotFound, "the node that asked is gone");
  }
  peer::v1::Message message;
  message.set_more(!is_final(response));
  message.mutable_forwarded()->set_response(response.SerializeAsString());
  found->second.sent_bytes += message.forwarded().response().size();
  found->second.respond->answer(std::move(message));
  return {};
}

void ForwardedRequests::finished(io::ConnectionId connection, std::uint64_t) { end_later(connection); }

void ForwardedRequests::end_later(io::ConnectionId connection) {
  node_.loop().post([this, token = lifetime_.token(), connection] {
    if (token.alive()) open_.erase(connection);
  });
}

void ForwardedRequests::on_forward(PeerRequest request) {
  if (!request.respond) return;
  const peer::v1::Forward& forward = request.content.message.forward();
  v1::Request message;
  if (!message.ParseFromString(forward.request())) {
    return request.respond->refuse(Error(ErrorCode::kInvalid, "a request that cannot be read; compare the versions of both nodes"));
  }
  const auto of_node = std::ranges::count_if(
      open_, [&](const auto& entry) { return entry.second.from == request.from.node; });
  if (static_cast<std::size_t>(of_node) >= kMaxForwardedRequests) {
    return request.respond->refuse(Error(ErrorCode::kTimeout, "too many requests of that node are open here"));
  }
  const io::ConnectionId connection = next_++;
  Open& open = open_.emplace(connection, Open{request.from.node, forward.token(), request.respond, nullptr}).first->second;
  open.request = make_local_request({node_, cluster_, *this, connection, std::move(message), UniqueFd()});
  open.request->begin();
}

void ForwardedRequests::on_input(const PeerRequest& request) {
  const peer::v1::ForwardedInput& input = request.content.message.forwarded_input();
  for (auto& [connection, open] : open_) {
    if (open.from != request.from.node || open.token != input.token()) continue;
    if (input.gone()) return end_later(connection);
    if (input.taken_bytes() > 0) {
      open.taken_bytes = std::clamp(input.taken_bytes(), open.taken_bytes, open.sent_bytes);
      return open.request->drained();
    }
    v1::AnswerRequest answer;
    if (answer.ParseFromString(input.answer())) open.request->answered(answer.question(), answer.yes());
    return;
  }
}

}  // namespace perdure::node
