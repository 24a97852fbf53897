// Cluster: containers whose names and addresses this node takes for the first time.
#include <format>
#include <memory>
#include <string>
#include <utility>

#include "base/log.h"
#include "io/when_all.h"
#include "node/cluster/claim.h"
#include "node/cluster/cluster.h"
#include "node/node.h"

namespace perdure::node {
namespace {

constexpr Duration kClaimTime = std::chrono::seconds(10);

}  // namespace

void Cluster::claim(const model::ContainerSpec& spec, model::DesiredState desired, Done done) {
  if (!member()) return done({});
  if (!ready()) {
    return done(fail(ErrorCode::kTransient, "etcd cannot be reached, and without it nobody can say who owns a container: " +
                                                membership_->store_trouble()));
  }
  if (membership_->identity().witness) {
    return done(fail(ErrorCode::kConflict, std::format("node '{}' is a witness and runs no containers; run '{}' on another node",
                                                       membership_->identity().node.str(), spec.name.str())));
  }
  const model::NodeDescription* self = membership_->view().node(membership_->identity().node);
  if (self != nullptr && self->cordoned && options_.node.find(spec.name) == nullptr) {
    return done(fail(ErrorCode::kConflict, std::format("node '{0}' is cordoned; 'perdure node uncordon {0}' lets it take new containers",
                                                       self->life.node.str())));
  }
  membership_->records().create(
      claim_of(spec, membership_->self(), desired, options_.clock.wall()), options_.clock.now() + kClaimTime,
      [this, token = lifetime_.token(), name = spec.name, done = std::move(done)](Result<coord::StoredRecord> created) {
        if (!token.alive()) return;
        if (!created && !membership_->view().current()) {
          return done(fail(std::move(created).error().context("etcd cannot be reached")));
        }
        if (!created) return done(fail(std::move(created).error()));
        claimed_.insert_or_assign(name, *std::move(created));
        done({});
      });
}

Term Cluster::claimed(const ContainerName& name) const {
  const auto found = claimed_.find(name);
  return found == claimed_.end() ? Term{} : found->second.record.term;
}

void Cluster::disclaim(const ContainerName& name) {
  const auto found = claimed_.find(name);
  if (found == claimed_.end()) return;
  const coord::Revision revision = found->second.revision;
  claimed_.erase(found);
  membership_->records().remove(name, revision, options_.clock.now() + kClaimTime, [name](const Result<bool>& removed) {
    if (removed) return;
    log::warning("{}: its record could not be taken back: {}; 'perdure rm {}' does", name.str(), removed.error().message(),
                 name.str());
  });
}

void Cluster::fetch_image(const std::string& digest, Done done) {
  std::vector<NodeName> sources;
  for (const PeerState& peer : membership_->peers().connected()) sources.push_back(peer.life.node);
  images_->fetch(digest, std::move(sources), std::move(done));
}

void Cluster::claim_running(ContainerService& service, Done done) {
  const bool stopped = service.record().state.desired != policy::DesiredState::kRunning;
  claim(service.spec(), stopped ? model::DesiredState::kStopped : model::DesiredState::kRunning, [this, name = service.spec().name, done = std::move(done)](Status claimed) {
    if (claimed) {
      ContainerService* found = options_.node.find(name);
      const auto mine = claimed_.find(name);
      if (found != nullptr && mine != claimed_.end() && mine->second.record.term <= found->record().term) {
        // Its generations are those of a later owner for whoever compares them.
        claimed = fail(ErrorCode::kConflict,
                       std::format("it was in another cluster, under a higher term ({}) than it would have here ({}): 'perdure export' it, "
                                   "remove it, and 'perdure import' it again",
                                   found->record().term.value, mine->second.record.term.value));
        disclaim(name);
      } else if (found != nullptr) {
        attach(*found);
        if (!durable_directory().empty()) options_.node.change_store(*found);
      } else {
        disclaim(name);
      }
    }
    done(std::move(claimed));
  });
}

void Cluster::adopt_all(Done done) {
  const auto failures = std::make_shared<std::string>();
  io::WhenAll claims([failures, done = std::move(done)] {
    if (failures->empty()) return done({});
    done(fail(ErrorCode::kConflict,
              "this node is a member, but not all of its containers could be taken into the cluster: " + *failures));
  });
  for (ContainerService* service : options_.node.containers()) {
    if (owned_.contains(service->spec().name)) continue;
    claim_running(*service, [failures, ended = claims.begin(), name = service->spec().name.str()](const Status& claimed) {
      if (!claimed) *failures += std::format("{}'{}': {}", failures->empty() ? "" : "; ", name, claimed.error().message());
      ended();
    });
  }
  claims.all_begun();
}

}  // namespace perdure::node
