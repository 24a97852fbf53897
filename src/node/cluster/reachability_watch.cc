#include "node/cluster/reachability_watch.h"

#include <format>
#include <utility>

#include "base/log.h"
#include "node/bridge_name.h"
#include "node/policy_terms.h"

namespace perdure::node {

namespace reach = policy::reachability;

ReachabilityWatch::ReachabilityWatch(Environment environment, reach::Options options)
    : environment_(std::move(environment)), options_(options) {}

void ReachabilityWatch::watch(const ContainerName& name, const model::NetworkSpec& network) {
  watched_.erase(name);
  if (network.reachability.empty()) return;
  watched_.emplace(name, Watched{.bridge = bridge_of(network),
                                 .addresses = {network.reachability.begin(), network.reachability.end()},
                                 .since = next_++,
                                 .machine = reach::Reachability(network.reachability, options_)});
  if (!round_.active() && !is_asking_) begin_round();
}

void ReachabilityWatch::came_from_unreachable(const ContainerName& name) { handle(name, reach::CameFromUnreachable{}); }

// ---- Rounds ----

void ReachabilityWatch::begin_round() {
  if (watched_.empty()) return;
  std::map<std::string, Addresses> wanted;
  for (const auto& [name, one] : watched_) wanted[one.bridge].insert(one.addresses.begin(), one.addresses.end());
  round_ = environment_.loop.after(options_.probe_interval, [this] {
    if (!is_asking_) begin_round();
  });
  const Status submitted = environment_.pool.submit(
      environment_.loop, lifetime_,
      [wanted = std::move(wanted), find = environment_.find_reachable] {
        Answers answers;
        for (const auto& [bridge, addresses] : wanted) {
          answers.emplace(bridge, find({.bridge = bridge, .addresses = addresses}));
        }
        return answers;
      },
      [this](const Answers& answers) {
        is_asking_ = false;
        end_round(answers);
        if (!round_.active()) begin_round();
      });
  is_asking_ = submitted.has_value();
  if (!submitted) log::warning("ask for the addresses of network.reachability: {}", submitted.error().message());
}

void ReachabilityWatch::end_round(const Answers& answers) {
  std::vector<ContainerName> names;
  for (const auto& [name, one] : watched_) names.push_back(name);
  for (const ContainerName& name : names) {
    const auto found = watched_.find(name);
    if (found == watched_.end()) continue;
    const auto answer = answers.find(found->second.bridge);
    if (answer == answers.end()) continue;  // watched since
    if (!answer->second) {
      handle(name, reach::ProbeFailed{answer->second.error().message()});
    } else {
      handle(name, reach::Probed{*answer->second, environment_.candidates(name)});
    }
  }
}

void ReachabilityWatch::look(const ContainerName& name, const model::NetworkSpec& network,
                             std::function<void(Result<Addresses>)> done) {
  if (!looking_.insert(name).second) {
    return done(fail(ErrorCode::kConflict, std::format("the addresses of '{}' are being asked for already", name.str())));
  }
  const Status submitted = environment_.pool.submit(
      environment_.loop, lifetime_,
      [query = network::ReachQuery{.bridge = bridge_of(network),
                                   .addresses = {network.reachability.begin(), network.reachability.end()}},
       find = environment_.find_reachable] { return find(query); },
      [this, name, done](Result<Addresses> found) {
        looking_.erase(name);
        done(std::move(found));
      });
  if (submitted) return;
  looking_.erase(name);
  done(fail(submitted.error()));
}

// ---- The machine ----

void ReachabilityWatch::handle(const ContainerName& name, const reach::Event& event) {
  const auto found = watched_.find(name);
  if (found == watched_.end()) return;
  log::debug("{}: reachability: {}", name.str(), reach::to_string(event));
  for (const reach::Effect& effect : found->second.machine.handle(event, environment_.clock.now())) {
    log::debug("{}: reachability: -> {}", name.str(), reach::to_string(effect));
    perform(name, effect);
  }
}

void ReachabilityWatch::handle_later(const ContainerName& name, std::uint64_t since, const reach::Event& event) {
  const auto found = watched_.find(name);
  if (found != watched_.end() && found->second.since == since) handle(name, event);
}

void ReachabilityWatch::perform(const ContainerName& name, const reach::Effect& effect) {
  const auto found = watched_.find(name);
  if (found == watched_.end()) return;
  const std::uint64_t since = found->second.since;
  if (const auto* ask = std::get_if<reach::AskStandby>(&effect)) {
    environment_.ask_standby(ask->node, name, [this, token = lifetime_.token(), name, since, ask = *ask](reach::Reaches reaches) {
      if (token.alive()) handle_later(name, since, reach::StandbyAnswered{ask.node, ask.question, reaches});
    });
  } else if (const auto* go = std::get_if<reach::HandOver>(&effect)) {
    environment_.hand_over(name, go->target, [this, token = lifetime_.token(), name, since](const std::string& why) {
      if (token.alive()) handle_later(name, since, reach::MoveFailed{why});
    });
  } else {
    emit(name, std::get<policy::Emit>(effect));
  }
}

void ReachabilityWatch::emit(const ContainerName& name, const policy::Emit& effect) {
  environment_.events.append(event_of(name, effect));
}

void ReachabilityWatch::fill(control::v1::ContainerStatus& status, const ContainerName& name) const {
  const auto found = watched_.find(name);
  if (found == watched_.end()) return;
  const reach::Reachability& machine = found->second.machine;
  for (const reach::AddressStatus& address : machine.addresses()) {
    control::v1::ReachabilityRow& row = *status.add_reachability();
    row.set_address(model::to_string(address.address));
    if (address.state != reach::State::kUnknown) row.set_answers(address.state == reach::State::kReachable);
    if (address.last_answer) row.set_last_answer_age_ns(Duration(environment_.clock.now() - *address.last_answer).count());
  }
  status.set_reachability_reason(machine.held_back());
}

}  // namespace perdure::node
