// Cluster: heartbeats and grants between this node and the others; how they are prepared for an end of perdured.
#include <format>
#include <utility>

#include "base/log.h"
#include "node/cluster/cluster.h"

namespace perdure::node {

Status Cluster::start_leases(const model::NodeLife& self) {
  LeaseServiceOptions options{.loop = options_.loop, .clock = options_.clock, .self = self, .listen = {}, .timing = timing()};
  for (const std::string& address : membership_->peers().addresses()) {
    PERDURE_ASSIGN(const auto endpoint, io::Endpoint::parse(address));
    options.listen.push_back(endpoint);
  }
  PERDURE_ASSIGN(leases_, LeaseService::start(std::move(options), lease_handlers()));
  return {};
}

// Until the store has said it: the default, which is as safe as any. A standby waits out what it is asked for.
policy::lease::Timing Cluster::timing() const {
  const auto& settings = membership_->view().cluster();
  return settings ? settings->value.timing : policy::lease::Timing{};
}

LeaseHandlers Cluster::lease_handlers() {
  LeaseHandlers handlers;
  handlers.grants_flow = [this](const ContainerName& name, const model::NodeLife& life) {
    if (OwnedContainer* found = owned(name)) found->handle(policy::ownership::GrantsFlow{life});
  };
  handlers.grants_stopped = [this](const ContainerName& name, const model::NodeLife& life) {
    log::warning("{}: '{}' has not answered the heartbeats for half a grant", name.str(), life.node.str());
    if (OwnedContainer* found = owned(name)) found->handle(policy::ownership::GrantsStopped{life});
  };
  handlers.owner_silent = [this](const policy::lease::OwnerSilent& silent) { standbys_->owner_silent(silent); };
  handlers.owner_heard = [this](const ContainerName& name) { standbys_->owner_heard(name); };
  handlers.term_unknown = [](const ContainerName& name, Term term) {
    log::debug("{}: a heartbeat of term {}, which the record has not shown here yet", name.str(), term.value);
  };
  handlers.long_grant_given = [this](const policy::lease::LongGrantGiven& given) { long_grant_given(given); };
  handlers.long_grant_given_back = [this](const policy::lease::LongGrantGivenBack& back) { long_grant_given_back(back); };
  handlers.long_grants_held = [this] {
    if (planned_end_) planned_end_->long_grants_held();
  };
  return handlers;
}

// ---- Restarts ----

void Cluster::long_grant_given(const policy::lease::LongGrantGiven& given) {
  control::v1::Event event;
  event.set_severity(control::v1::SEVERITY_INFO);
  event.set_container(given.container.str());
  event.set_kind("owner_restarts");
  event.set_text(std::format("perdured of '{}' is being restarted: this node takes over if it is silent for {} from now on",
                             given.owner.node.str(), format_duration(given.grant)));
  log::info("{}: {}", given.container.str(), event.text());
  options_.events.append(std::move(event));
}

void Cluster::long_grant_given_back(const policy::lease::LongGrantGivenBack& back) {
  control::v1::Event event;
  event.set_severity(control::v1::SEVERITY_INFO);
  event.set_container(back.container.str());
  event.set_kind("owner_restarted");
  event.set_text(std::format("perdured of '{}' has been restarted: this node takes over as soon as ever again", back.owner.node.str()));
  log::info("{}: {}", back.container.str(), event.text());
  options_.events.append(std::move(event));
}

std::string Cluster::waits_for_owner(const ContainerName& name) const {
  const coord::StoredRecord* record = membership_ ? membership_->view().record(name) : nullptr;
  const auto until = leases_ ? leases_->waits_long_until(name) : std::nullopt;
  if (record == nullptr || !until) return {};
  const auto left = std::chrono::ceil<std::chrono::seconds>(*until - options_.clock.now());
  return std::format("waits up to {} for '{}', which is restarting", format_duration(left),
                     record->record.owner.node.str());
}

void Cluster::prepare_end(Duration grant, std::function<void()> done) {
  if (!membership_ || planned_end_) return done();
  const auto stands_by = [this] { return standbys_->standing_by() > 0; };
  const Duration asked = owned_.empty() ? Duration::zero() : grant;
  if (asked == Duration::zero() && !stands_by()) return done();
  planned_end_ = std::make_unique<PlannedEnd>(
      PlannedEndOptions{.loop = options_.loop,
                        .leases = *leases_,
                        .peers = membership_->peers(),
                        .grant = asked,
                        .stands_by = stands_by},
      [this, asked, done = std::move(done)](const std::vector<policy::lease::LeaseHolder::Missing>& missing) {
        end_prepared(asked, missing);
        done();
      });
}

void Cluster::end_prepared(Duration grant, const std::vector<policy::lease::LeaseHolder::Missing>& missing) {
  for (const auto& [container, from] : missing) {
    control::v1::Event event;
    event.set_severity(control::v1::SEVERITY_WARNING);
    event.set_container(container.str());
    event.set_kind("no_long_grant");
    event.set_text(std::format("perdured ends, and '{}' has not promised to wait for it: '{}' may be taken over from there",
                               from.node.str(), container.str()));
    event.set_reason(std::format("no answer within {}", format_duration(kPlannedEndLimit)));
    log::warning("{}: {}", event.text(), event.reason());
    options_.events.append(std::move(event));
  }
  if (grant > Duration::zero() && missing.empty()) {
    log::info("the standbys of what runs here wait for up to {}", format_duration(grant));
  }
  if (standbys_->standing_by() > 0) {
    log::warning("{} containers have this node for a standby still: their owners notice by its silence that it ends",
                 standbys_->standing_by());
  }
}

void Cluster::peer_keys(const model::NodeLife& life, const std::array<std::byte, 32>& material, pki::ChannelRole role) {
  const model::NodeDescription* node = membership_ ? membership_->view().node(life.node) : nullptr;
  if (!leases_ || node == nullptr || node->addresses.empty()) return;
  const auto address = io::Endpoint::parse(node->addresses.front());
  if (!address) {
    log::error("node '{}': {}", life.node.str(), address.error().message());
    return;
  }
  leases_->session(life, *address, material, role);
}

}  // namespace perdure::node
