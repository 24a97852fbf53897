#include "coord/member_decision.h"

#include <algorithm>
#include <format>
#include <utility>

namespace perdure::coord {
namespace {

bool uses(const EtcdMember& member, const std::string& peer_url) {
  return std::ranges::find(member.peer_urls, peer_url) != member.peer_urls.end();
}

// A member that was never started has no name; its URL says whose it is.
const ManagerNode* manager_of(const std::vector<ManagerNode>& managers, const EtcdMember& member) {
  for (const ManagerNode& manager : managers) {
    if (member.name.empty() ? uses(member, manager.peer_url) : member.name == manager.node.str()) return &manager;
  }
  return nullptr;
}

std::string name_of(const EtcdMember& member) {
  if (!member.name.empty()) return member.name;
  return member.peer_urls.empty() ? std::format("{:x}", member.id) : member.peer_urls.front();
}

struct Count {
  std::size_t voters = 0;
  std::size_t healthy_voters = 0;
};

Count count(const std::vector<MemberView>& members) {
  Count result;
  for (const MemberView& view : members) {
    if (view.member.learner) continue;
    ++result.voters;
    if (view.healthy) ++result.healthy_voters;
  }
  return result;
}

std::size_t quorum(std::size_t voters) { return voters / 2 + 1; }

// Whether the voters that are left after `view` has gone, and are healthy, are a quorum of themselves.
bool may_remove(const Count& now, const MemberView& view) {
  if (view.member.learner) return true;
  const std::size_t voters = now.voters - 1;
  const std::size_t healthy = now.healthy_voters - (view.healthy ? 1 : 0);
  return voters >= 1 && healthy >= quorum(voters);
}

// The worst one first: what is ill, then the last by name.
const MemberView* one_too_many(const std::vector<MemberView>& members) {
  const MemberView* worst = nullptr;
  for (const MemberView& view : members) {
    if (view.member.learner) continue;
    const auto rank = [](const MemberView& of) { return std::pair(!of.healthy, of.member.name); };
    if (worst == nullptr || rank(view) > rank(*worst)) worst = &view;
  }
  return worst;
}

// Who could be a member and is none.
std::vector<const ManagerNode*> free_managers(const std::vector<ManagerNode>& managers, const std::vector<MemberView>& members) {
  std::vector<const ManagerNode*> free;
  for (const ManagerNode& manager : managers) {
    const bool is_member =
        std::ranges::any_of(members, [&](const MemberView& view) { return manager_of({manager}, view.member) != nullptr; });
    if (!is_member && manager.reachable) free.push_back(&manager);
  }
  return free;
}

NoMemberStep wait(std::string reason) { return NoMemberStep{std::move(reason), false}; }

MemberStep decide_about_learner(const MemberView& learner, const std::vector<ManagerNode>& managers, std::size_t voters) {
  const ManagerNode* manager = manager_of(managers, learner.member);
  if (voters >= wanted_members(managers.size())) {
    return RemoveMember{learner.member.id, name_of(learner.member), "there are members enough"};
  }
  if (learner.caught_up && learner.healthy) return PromoteMember{learner.member.id, name_of(learner.member)};
  if (learner.member.name.empty() && manager != nullptr && !manager->reachable) {
    return RemoveMember{learner.member.id, name_of(learner.member), "its node cannot be reached and has never started it"};
  }
  return wait(std::format("learner '{}' has not caught up yet", name_of(learner.member)));
}

}  // namespace

std::size_t wanted_members(std::size_t managers) {
  if (managers >= 5) return 5;
  return managers >= 3 ? 3 : 1;
}

MemberStep decide_members(const std::vector<ManagerNode>& managers, const std::vector<MemberView>& members) {
  const Count now = count(members);
  if (now.healthy_voters < quorum(now.voters)) {
    return wait(std::format("{} of {} members are healthy: no quorum, nothing can be changed", now.healthy_voters, now.voters));
  }
  for (const MemberView& view : members) {
    if (manager_of(managers, view.member) != nullptr) continue;
    if (!may_remove(now, view)) return wait(std::format("member '{}' is nobody's, but without it there would be no quorum", name_of(view.member)));
    return RemoveMember{view.member.id, name_of(view.member), "its node is no manager (any more)"};
  }
  for (const MemberView& view : members) {
    if (view.member.learner) return decide_about_learner(view, managers, now.voters);
  }
  for (const MemberView& view : members) {
    const ManagerNode& manager = *manager_of(managers, view.member);
    if (!uses(view.member, manager.peer_url)) return UpdatePeerUrl{view.member.id, manager.peer_url};
  }
  const std::size_t wanted = wanted_members(managers.size());
  if (now.voters > wanted) {
    const MemberView* worst = one_too_many(members);
    if (!may_remove(now, *worst)) return wait("there are too many members, but too few of them are healthy");
    return RemoveMember{worst->member.id, name_of(worst->member), std::format("{} members are enough for {} managers", wanted, managers.size())};
  }
  if (now.voters == wanted) return NoMemberStep{std::format("{} members for {} managers", now.voters, managers.size()), true};
  if (now.healthy_voters < now.voters) return wait("a member is ill: no other one is added meanwhile");
  const auto free = free_managers(managers, members);
  // An even number of members survives no more than one less does: nothing is begun that cannot be finished.
  if (free.size() < (now.voters % 2 == 1 ? 2U : 1U)) return wait("more members are wanted, and too few other managers can be reached");
  return AddLearner{free.front()->node, free.front()->peer_url};
}

std::string to_string(const MemberStep& step) {
  struct Words {
    std::string operator()(const NoMemberStep& no) const { return (no.settled ? "settled: " : "wait: ") + no.reason; }
    std::string operator()(const AddLearner& add) const { return std::format("add {} ({})", add.node.str(), add.peer_url); }
    std::string operator()(const PromoteMember& promote) const { return std::format("promote {}", promote.name); }
    std::string operator()(const RemoveMember& remove) const { return std::format("remove {}: {}", remove.name, remove.reason); }
    std::string operator()(const UpdatePeerUrl& update) const { return std::format("update {:x} to {}", update.id, update.url); }
  };
  return std::visit(Words{}, step);
}

}  // namespace perdure::coord
