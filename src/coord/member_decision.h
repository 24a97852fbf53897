// Which nodes are members of the embedded etcd, one step at a time. Pure.
//
// One member for one or two managers (two members would survive less than one), three from three managers on, five from
// five on. A node joins as a learner and is promoted when it has caught up. Members whose node is gone are removed. Never two
// changes at once; nothing while a change could cost the quorum; no second member without a third in sight.
#pragma once

#include <cstdint>
#include <string>
#include <variant>
#include <vector>

#include "base/ids.h"
#include "coord/etcd_admin.h"

namespace perdure::coord {

struct ManagerNode {
  NodeName node;
  std::string peer_url;
  std::string client_url;
  bool reachable = false;  // now, as far as the deciding node knows
};

struct MemberView {
  EtcdMember member;
  bool healthy = false;    // answers and knows a leader
  bool caught_up = false;  // of a learner: within kCaughtUpEntries of the leader
};
inline constexpr std::uint64_t kCaughtUpEntries = 1000;

struct NoMemberStep {
  std::string reason;  // why nothing is to be done, or cannot be now
  bool settled = false;  // it is as it should be
  bool operator==(const NoMemberStep&) const = default;
};
struct AddLearner {
  NodeName node;
  std::string peer_url;
  bool operator==(const AddLearner&) const = default;
};
struct PromoteMember {
  std::uint64_t id = 0;
  std::string name;
  bool operator==(const PromoteMember&) const = default;
};
struct RemoveMember {
  std::uint64_t id = 0;
  std::string name;
  std::string reason;
  bool operator==(const RemoveMember&) const = default;
};
struct UpdatePeerUrl {
  std::uint64_t id = 0;
  std::string url;
  bool operator==(const UpdatePeerUrl&) const = default;
};
using MemberStep = std::variant<NoMemberStep, AddLearner, PromoteMember, RemoveMember, UpdatePeerUrl>;

std::size_t wanted_members(std::size_t managers);
// `managers`: nodes that are managers and not removed, by name. `members`: as the store lists them.
MemberStep decide_members(const std::vector<ManagerNode>& managers, const std::vector<MemberView>& members);
std::string to_string(const MemberStep& step);

}  // namespace perdure::coord
