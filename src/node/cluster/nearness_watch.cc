#include "node/cluster/nearness_watch.h"

#include <utility>

#include "base/log.h"
#include "node/policy_terms.h"

namespace perdure::node {

namespace near = policy::nearness;

NearnessWatch::NearnessWatch(Environment environment, near::Options options)
    : environment_(std::move(environment)), options_(options) {}

void NearnessWatch::watch(const ContainerName& name, std::vector<model::Vicinity> near) {
  watched_.erase(name);
  if (near.empty()) return;
  watched_.emplace(name, Watched{.near = std::move(near), .since = next_++, .machine = near::Nearness(options_)});
  if (!timer_.active()) timer_ = environment_.loop.after(options_.look_interval, [this] { look_at_all(); });
}

void NearnessWatch::was_placed(const ContainerName& name) { handle(name, near::WasPlaced{}); }

void NearnessWatch::look_at_all() {
  if (watched_.empty()) return;
  timer_ = environment_.loop.after(options_.look_interval, [this] { look_at_all(); });
  std::vector<ContainerName> names;
  for (const auto& [name, one] : watched_) names.push_back(name);
  for (const ContainerName& name : names) {
    const auto found = watched_.find(name);
    if (found != watched_.end()) handle(name, environment_.look(name, found->second.near));
  }
}

void NearnessWatch::handle(const ContainerName& name, const near::Event& event) {
  const auto found = watched_.find(name);
  if (found == watched_.end()) return;
  const std::uint64_t since = found->second.since;
  for (const near::Effect& effect : found->second.machine.handle(event, environment_.clock.now())) {
    log::debug("{}: nearness: {} -> {}", name.str(), near::to_string(event), near::to_string(effect));
    if (const auto* go = std::get_if<near::HandOver>(&effect)) {
      hand_over(name, since, go->target);
    } else {
      environment_.events.append(event_of(name, std::get<policy::Emit>(effect)));
    }
  }
}

void NearnessWatch::hand_over(const ContainerName& name, std::uint64_t since, const NodeName& target) {
  environment_.hand_over(name, target, [this, token = lifetime_.token(), name, since](const std::string& why) {
    if (!token.alive()) return;
    const auto found = watched_.find(name);
    if (found != watched_.end() && found->second.since == since) handle(name, near::MoveFailed{why});
  });
}

void NearnessWatch::fill(control::v1::ContainerStatus& status, const ContainerName& name) const {
  const auto found = watched_.find(name);
  if (found == watched_.end()) return;
  const near::Nearness& machine = found->second.machine;
  for (const std::string& one : machine.too_far()) status.add_too_far(one);
  if (!machine.too_far().empty()) status.set_too_far_reason(machine.held_back());
}

}  // namespace perdure::node
