#include "coord/etcd_admin.h"

#include <algorithm>
#include <format>
#include <utility>

#include "coord/etcd_caller.h"
#include "coord/etcd_messages.h"
#include "coord/snapshot_download.h"

namespace perdure::coord {
namespace {

constexpr std::string_view kAddMethod = "/etcdserverpb.Cluster/MemberAdd";
constexpr std::string_view kRemoveMethod = "/etcdserverpb.Cluster/MemberRemove";
constexpr std::string_view kUpdateMethod = "/etcdserverpb.Cluster/MemberUpdate";
constexpr std::string_view kListMethod = "/etcdserverpb.Cluster/MemberList";
constexpr std::string_view kPromoteMethod = "/etcdserverpb.Cluster/MemberPromote";
constexpr std::string_view kAlarmMethod = "/etcdserverpb.Maintenance/Alarm";
constexpr std::string_view kDefragmentMethod = "/etcdserverpb.Maintenance/Defragment";

EtcdMember to_member(const etcdserverpb::Member& message) {
  return EtcdMember{message.id(),
                    message.name(),
                    {message.peerurls().begin(), message.peerurls().end()},
                    {message.clienturls().begin(), message.clienturls().end()},
                    message.islearner()};
}

template <typename Members>
std::vector<EtcdMember> to_members(const Members& messages) {
  std::vector<EtcdMember> members;
  for (const etcdserverpb::Member& message : messages) members.push_back(to_member(message));
  return members;
}

// etcd's words (rpctypes/error.go) for what a caller reacts to.
Error with_code(Error error) {
  const auto says = [&](std::string_view words) { return error.message().find(words) != std::string::npos; };
  ErrorCode code = error.code();
  if (says("member not found")) code = ErrorCode::kNotFound;
  if (says("Peer URLs already exists") || says("member ID already exist")) code = ErrorCode::kExists;
  if (says("in sync with leader") || says("too many learner members") || says("unhealthy cluster") ||
      says("not enough started members")) {
    code = ErrorCode::kTransient;
  }
  return Error(code, error.message());
}

EtcdCall make_call(std::string what, std::string_view method, std::string message, Instant deadline) {
  EtcdCall call{std::move(what), std::string(method), std::move(message)};
  call.deadline = deadline;
  return call;
}

etcdserverpb::AlarmType to_message(EtcdAlarm::Kind kind) {
  switch (kind) {
    case EtcdAlarm::Kind::kNoSpace: return etcdserverpb::NOSPACE;
    case EtcdAlarm::Kind::kCorrupt: return etcdserverpb::CORRUPT;
    case EtcdAlarm::Kind::kOther: return etcdserverpb::NONE;
  }
  return etcdserverpb::NONE;
}

EtcdAlarm to_alarm(const etcdserverpb::AlarmMember& message) {
  const auto kind = message.alarm() == etcdserverpb::NOSPACE   ? EtcdAlarm::Kind::kNoSpace
                    : message.alarm() == etcdserverpb::CORRUPT ? EtcdAlarm::Kind::kCorrupt
                                                               : EtcdAlarm::Kind::kOther;
  return EtcdAlarm{message.memberid(), kind};
}

EtcdMemberStatus to_member_status(const etcdserverpb::StatusResponse& message) {
  EtcdMemberStatus status;
  status.member = message.header().member_id();
  status.version = message.version();
  status.cluster_id = message.header().cluster_id();
  status.leader = message.leader();
  status.database_bytes = static_cast<std::uint64_t>(message.dbsize());
  status.used_bytes = static_cast<std::uint64_t>(message.dbsizeinuse());
  status.raft_index = message.raftindex();
  status.raft_term = message.raftterm();
  status.revision = message.header().revision();
  status.learner = message.islearner();
  status.errors = {message.errors().begin(), message.errors().end()};
  return status;
}

}  // namespace

std::string initial_cluster(const AddedMember& added, std::string_view name) {
  std::string text;
  for (const EtcdMember& member : added.members) {
    const bool is_new = member.id == added.member.id;
    for (const std::string& url : member.peer_urls) {
      if (!is_new && member.name.empty()) continue;  // added and never started: it takes no part in the boot
      text += std::format("{}{}={}", text.empty() ? "" : ",", is_new ? name : std::string_view(member.name), url);
    }
  }
  return text;
}

struct EtcdAdmin::State {
  State(io::Loop& loop_, EtcdClient& client_, io::Pool& pool_) : loop(loop_), client(client_), pool(pool_) {}

  io::Loop& loop;
  EtcdClient& client;
  io::Pool& pool;
  io::Lifetime lifetime;

  // Reads the reply as a Message and hands it to `convert`, unless the admin has ended.
  template <typename Message, typename T, typename Convert>
  std::function<void(Result<std::string>)> reader(std::string what, Answer<T> answer, Convert convert) {
    return [token = lifetime.token(), what = std::move(what), answer = std::move(answer),
            convert](Result<std::string> reply) {
      if (!token.alive()) return;
      if (!reply) return answer(fail(with_code(std::move(reply.error()))));
      auto message = parse_reply<Message>(*reply, what);
      if (!message) return answer(fail(message.error()));
      answer(convert(*message));
    };
  }

  void change(std::string what, std::string_view method, std::string message, Instant deadline,
              Answer<std::vector<EtcdMember>> answer) {
    EtcdCall call = make_call(what, method, std::move(message), deadline);
    call.resend = Resend::kOnlyIfUnseen;
    client.caller().call(std::move(call),
                         reader<etcdserverpb::MembersResponse>(std::move(what), std::move(answer), [](const auto& response) {
                           return to_members(response.members());
                         }));
  }
};

EtcdAdmin::EtcdAdmin(io::Loop& loop, EtcdClient& client, io::Pool& pool)
    : state_(std::make_shared<State>(loop, client, pool)) {}
EtcdAdmin::~EtcdAdmin() { state_->lifetime.end(); }

void EtcdAdmin::members(Instant deadline, Answer<std::vector<EtcdMember>> answer) {
  etcdserverpb::MemberListRequest request;
  request.set_linearizable(true);
  EtcdCall call = make_call("list etcd's members", kListMethod, request.SerializeAsString(), deadline);
  call.leader = Leader::kNotNeeded;
  state_->client.caller().call(
      std::move(call), state_->reader<etcdserverpb::MembersResponse>("list etcd's members", std::move(answer), [](const auto& response) {
        return to_members(response.members());
      }));
}

void EtcdAdmin::add_learner(std::string peer_url, Instant deadline, Answer<AddedMember> answer) {
  etcdserverpb::MemberAddRequest request;
  request.add_peerurls(peer_url);
  request.set_islearner(true);
  const std::string what = std::format("add etcd member '{}'", peer_url);
  EtcdCall call = make_call(what, kAddMethod, request.SerializeAsString(), deadline);
  call.resend = Resend::kOnlyIfUnseen;
  state_->client.caller().call(
      std::move(call), state_->reader<etcdserverpb::MemberAddResponse>(what, std::move(answer), [](const auto& response) {
        return AddedMember{to_member(response.member()), to_members(response.members())};
      }));
}

void EtcdAdmin::promote(std::uint64_t member, Instant deadline, Answer<std::vector<EtcdMember>> answer) {
  etcdserverpb::MemberPromoteRequest request;
  request.set_id(member);
  state_->change(std::format("promote etcd member {:x}", member), kPromoteMethod, request.SerializeAsString(), deadline,
                 std::move(answer));
}

void EtcdAdmin::remove(std::uint64_t member, Instant deadline, Answer<std::vector<EtcdMember>> answer) {
  etcdserverpb::MemberRemoveRequest request;
  request.set_id(member);
  state_->change(std::format("remove etcd member {:x}", member), kRemoveMethod, request.SerializeAsString(), deadline,
                 std::move(answer));
}

void EtcdAdmin::update_peer_urls(std::uint64_t member, std::vector<std::string> urls, Instant deadline,
                                 Answer<std::vector<EtcdMember>> answer) {
  etcdserverpb::MemberUpdateRequest request;
  request.set_id(member);
  for (std::string& url : urls) request.add_peerurls(std::move(url));
  state_->change(std::format("update etcd member {:x}", member), kUpdateMethod, request.SerializeAsString(), deadline,
                 std::move(answer));
}

void EtcdAdmin::member_status(std::string endpoint, Instant deadline, Answer<EtcdMemberStatus> answer) {
  EtcdCall call = make_call("ask for the status", kStatusMethod, {}, deadline);
  call.leader = Leader::kNotNeeded;
  state_->client.caller().call_endpoint(
      endpoint, std::move(call),
      state_->reader<etcdserverpb::StatusResponse>("ask for the status", std::move(answer), to_member_status));
}

void EtcdAdmin::defragment(std::string endpoint, Instant deadline, Answer<bool> answer) {
  EtcdCall call = make_call("defragment", kDefragmentMethod, {}, deadline);
  call.leader = Leader::kNotNeeded;
  state_->client.caller().call_endpoint(endpoint, std::move(call),
                                        state_->reader<etcdserverpb::DefragmentResponse>(
                                            "defragment", std::move(answer), [](const auto&) { return true; }));
}

void EtcdAdmin::alarms(Instant deadline, Answer<std::vector<EtcdAlarm>> answer) {
  state_->client.caller().call(make_call("list etcd's alarms", kAlarmMethod, {}, deadline),
                               state_->reader<etcdserverpb::AlarmResponse>(
                                   "list etcd's alarms", std::move(answer), [](const auto& response) {
                                     std::vector<EtcdAlarm> alarms;
                                     for (const auto& alarm : response.alarms()) alarms.push_back(to_alarm(alarm));
                                     return alarms;
                                   }));
}

void EtcdAdmin::disarm(EtcdAlarm alarm, Instant deadline, Answer<bool> answer) {
  etcdserverpb::AlarmRequest request;
  request.set_action(etcdserverpb::AlarmRequest::DEACTIVATE);
  request.set_memberid(alarm.member);
  request.set_alarm(to_message(alarm.kind));
  state_->client.caller().call(make_call("disarm etcd's alarm", kAlarmMethod, request.SerializeAsString(), deadline),
                               state_->reader<etcdserverpb::AlarmResponse>("disarm etcd's alarm", std::move(answer),
                                                                           [](const auto&) { return true; }));
}

void EtcdAdmin::snapshot(std::string path, Instant deadline, Answer<SnapshotFile> answer) {
  download_snapshot(state_->loop, state_->client.caller(), state_->pool, state_->lifetime.token(), std::move(path), deadline,
                    std::move(answer));
}

}  // namespace perdure::coord
