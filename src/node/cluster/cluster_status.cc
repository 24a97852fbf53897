// Cluster: what is shown of it.
#include <algorithm>
#include <format>

#include "node/cluster/cluster.h"
#include "node/cluster/takeover_request.h"
#include "node/status_codec.h"

namespace perdure::node {
namespace {

namespace v1 = control::v1;

// A connection may have ended alone, and a standby needs a second for all that it does.
constexpr Duration kAwayTime = std::chrono::seconds(5);

v1::Phase phase_of(const model::OwnershipRecord& record) {
  if (record.desired == model::DesiredState::kStopped) return v1::PHASE_STOPPED;
  if (record.desired == model::DesiredState::kRemoved) return v1::PHASE_REMOVING;
  return record.phase == model::RecordPhase::kStarting ? v1::PHASE_STARTING : v1::PHASE_RUNNING;
}

}  // namespace

v1::NodeRow Cluster::node_row(const NodeName& name) const {
  v1::NodeRow row;
  row.set_name(name.str());
  const model::NodeDescription* node = membership_->view().node(name);
  if (node == nullptr) return row;
  const bool self = name == membership_->identity().node;
  const PeerState* peer = membership_->peers().find(name);
  const bool reachable = self || peer != nullptr;
  row.set_state(!reachable       ? v1::NODE_UNREACHABLE
                : node->witness  ? v1::NODE_WITNESS
                : node->cordoned ? v1::NODE_CORDONED
                                 : v1::NODE_READY);
  for (const std::string& address : node->addresses) row.add_addresses(address);
  for (const auto& [key, value] : node->labels) (*row.mutable_labels())[key] = value;
  row.set_memory_bytes(node->facts.memory_bytes);
  row.set_processors(node->facts.processors);
  row.set_witness(node->witness);
  row.set_manager(node->manager);
  row.set_etcd_member(!node->etcd_client_url.empty());
  row.set_version(node->version);
  row.set_incarnation(std::format("{:x}", node->life.incarnation.value));
  for (const auto& [container, record] : membership_->view().records()) {
    if (record.record.owner.node == name) row.set_owned(row.owned() + 1);
    if (record.record.standby(name) != nullptr) row.set_held(row.held() + 1);
  }
  if (!reachable) row.set_reason(membership_->peers().trouble(name));
  row.set_self(self);
  if (self) {
    row.set_held_bytes(standbys_->table().memory().count);
    row.set_fenced(standbys_->table().fenced());
    row.set_certificate_expires_unix_ms(unix_ms(membership_->trust().certificate().not_after));
  } else if (peer != nullptr) {
    const Duration ago = options_.clock.now() - peer->last_heard;
    row.set_last_seen_unix_ms(unix_ms(options_.clock.wall() - std::chrono::duration_cast<WallTime::duration>(ago)));
    if (peer->round_trip) row.set_round_trip_ns(peer->round_trip->count());
  }
  return row;
}

std::vector<v1::NodeRow> Cluster::node_rows() const {
  std::vector<v1::NodeRow> rows;
  for (const auto& [name, node] : membership_->view().nodes()) rows.push_back(node_row(name));
  return rows;
}

v1::ClusterReply Cluster::status() const {
  v1::ClusterReply reply;
  if (!membership_) return reply;
  reply.set_id(membership_->identity().cluster_id);
  for (v1::NodeRow& row : node_rows()) *reply.add_nodes() = std::move(row);
  reply.set_has_quorum(membership_->view().current());
  reply.set_external_etcd(membership_->identity().external.has_value());
  reply.set_etcd_error(membership_->store_trouble());
  reply.set_durable_directory(durable_directory());
  if (membership_->view().cluster()) {
    const policy::lease::Timing in_force = timing();
    reply.mutable_timing()->set_heartbeat_ns(in_force.heartbeat.count());
    reply.mutable_timing()->set_grant_ns(in_force.grant.count());
    reply.mutable_timing()->set_margin_ns(in_force.margin.count());
  }
  const auto ring = membership_->trust().ring();
  if (!ring->empty()) reply.set_key_id(ring->newest().id);
  std::size_t members = 0;
  std::size_t running = 0;  // nodes that run containers
  std::string holder;
  for (const auto& [name, node] : membership_->view().nodes()) {
    if (!node.value.etcd_client_url.empty()) {
      ++members;
      holder = name.str();
    }
    if (!node.value.witness) ++running;
  }
  reply.set_etcd_members(static_cast<std::uint32_t>(members));
  if (const EtcdKeeper* etcd = membership_->etcd(); etcd != nullptr && etcd->newest_snapshot()) {
    reply.set_newest_snapshot_unix_ms(unix_ms(*etcd->newest_snapshot()));
  }
  const std::size_t nodes = membership_->view().nodes().size();
  if (nodes == 1) {
    reply.add_warnings("one node: the loss of this host takes its containers with it; join a second and a third node, or a "
                       "witness: 'perdure cluster token'");
  } else if (members == 1 && !membership_->identity().external) {
    reply.add_warnings(std::format("the loss of '{}', which holds the only member of etcd, stops all changes of ownership, "
                                   "takeovers too; add a third node, or a witness: 'perdure cluster token'",
                                   holder));
  }
  if (running == 1 && nodes > 1) reply.add_warnings("only one node runs containers: there is nobody to stand by");
  for (const auto& [name, node] : membership_->view().nodes()) {
    if (name != membership_->identity().node && membership_->peers().find(name) == nullptr) {
      reply.add_warnings(std::format("node '{}' cannot be reached from here: {}", name.str(), membership_->peers().trouble(name)));
    }
  }
  return reply;
}

void Cluster::fill(v1::ContainerStatus& status, const ContainerName& name) const {
  if (!membership_) return;
  const coord::StoredRecord* record = membership_->view().record(name);
  if (record != nullptr) {
    status.set_node(record->record.owner.node.str());
    status.set_term(record->record.term.value);
  }
  const auto found = owned_.find(name);
  if (found == owned_.end()) {
    if (record != nullptr) {
      if (std::string waits = standbys_->waits_for_turn(name); !waits.empty()) status.set_phase_reason(std::move(waits));
      if (const auto untaken = untaken_.find(name); untaken != untaken_.end()) status.set_phase_reason(untaken->second);
      for (const model::NodeLife& standby : record->record.standbys) {
        v1::StandbyStatus& row = *status.add_standbys();
        row.set_node(standby.node.str());
        row.set_state(v1::STANDBY_READY);
        if (standby == membership_->self()) row.set_reason(waits_for_owner(name));
      }
    }
    return;
  }
  reachability_->fill(status, name);
  nearness_->fill(status, name);
  const policy::ownership::OwnershipStatus ownership = found->second->status();
  status.set_node(membership_->identity().node.str());
  if (ownership.record) status.set_term(ownership.record->term.value);
  status.set_standbys_wanted(ownership.wanted);
  const ContainerService* service = options_.node.find(name);
  std::uint32_t ready = 0;
  std::string why;
  for (const policy::ownership::PeerStatus& peer : ownership.peers) {
    const bool refused = !peer.refusal.empty() && !peer.recorded && !peer.learner;
    if (!peer.recorded && !peer.learner && !refused) continue;
    v1::StandbyStatus& row = *status.add_standbys();
    row.set_node(peer.node.str());
    row.set_state(refused                             ? v1::STANDBY_REFUSED
                  : peer.recorded && !peer.connected  ? v1::STANDBY_UNREACHABLE
                  : peer.recorded                     ? v1::STANDBY_READY
                  : peer.held                         ? v1::STANDBY_LEARNING
                                                      : v1::STANDBY_PREPARING);
    row.set_reason(peer.refusal);
    if (peer.recorded && peer.connected) ++ready;
    if (refused) why += std::format("{}{}: {}", why.empty() ? "" : "; ", peer.node.str(), peer.refusal);
    const OwnedContainer::StandbyFacts facts = found->second->facts_of(peer.node);
    row.set_held_bytes(facts.held_bytes);
    row.set_on_disk(facts.on_disk);
    if (peer.held) row.set_behind(peer.behind);
    if (peer.held && service != nullptr) {
      row.mutable_newest()->set_generation(to_string(*peer.held));
      for (const policy::GenerationInfo& info : service->generations()) {
        if (info.id != *peer.held) continue;
        row.mutable_newest()->set_age_ns(std::max(Duration::zero(), Duration(options_.clock.now() - info.captured_at)).count());
        if (!service->generations().empty()) {
          row.set_lag_ns(Duration(service->generations().back().captured_at - info.captured_at).count());
        }
      }
    }
    if (service == nullptr) continue;
    if (const auto shipping = service->shipping(peer.node)) {
      row.set_shipped_bytes(shipping->shipped_bytes);
      if (shipping->last_since_thaw > Duration::zero()) row.set_acknowledged_ns(shipping->last_since_thaw.count());
    }
  }
  if (ready < ownership.wanted) {
    if (why.empty()) {
      why = membership_->view().nodes().size() < 2 ? "the cluster has no other node"
            : !ownership.store_reachable           ? "etcd cannot be reached"
                                                   : "a node is being prepared";
    }
    status.set_standbys_reason(why);
  }
}

std::vector<v1::ContainerStatus> Cluster::others() const {
  std::vector<v1::ContainerStatus> rows;
  if (!membership_) return rows;
  for (const auto& [name, record] : membership_->view().records()) {
    if (auto row = row_of(name)) rows.push_back(*std::move(row));
  }
  return rows;
}

std::optional<v1::ContainerStatus> Cluster::row_of(const ContainerName& name) const {
  const coord::StoredRecord* stored = membership_ ? membership_->view().record(name) : nullptr;
  if (stored == nullptr || options_.node.find(name) != nullptr) return std::nullopt;
  v1::ContainerStatus row;
  row.set_name(name.str());
  row.set_phase(phase_of(stored->record));
  row.set_created_unix_ms(unix_ms(stored->record.created));
  row.set_spec_digest(stored->record.spec_digest);
  row.set_image_digest(stored->record.image_digest);
  row.set_application(stored->record.application);
  fill(row, name);
  tell_away(row, stored->record);
  return row;
}

bool Cluster::is_coming(const ContainerName& name) const {
  if (const ContainerService* here = options_.node.find(name); here != nullptr && here->comes_up()) return true;
  const coord::StoredRecord* stored = membership_ ? membership_->view().record(name) : nullptr;
  return stored != nullptr && node::is_coming(stored->record, membership_->self(), membership_->peers());
}

void Cluster::tell_away(v1::ContainerStatus& row, const model::OwnershipRecord& record) const {
  const StoreKnown store = membership_->view().current() ? StoreKnown::kYes : StoreKnown::kNo;
  const auto away = owner_away(record, membership_->self(), membership_->peers(), store);
  if (!away) return;
  row.set_phase(v1::PHASE_UNSPECIFIED);  // whether it runs, nobody knows who can be asked
  row.set_waits_for(away->waits_for);
  row.set_waits_remedy(away->remedy);
  for (v1::StandbyStatus& standby : *row.mutable_standbys()) {
    const auto node = NodeName::parse(standby.node());
    const bool self = node && *node == membership_->identity().node;
    if (node && !self && membership_->peers().find(*node) == nullptr) standby.set_state(v1::STANDBY_UNREACHABLE);
  }
}

std::optional<v1::ContainerStatus> Cluster::owner_unreachable(const ContainerName& name) const {
  auto row = row_of(name);
  return row && !row->waits_for().empty() ? std::move(row) : std::nullopt;
}

// ---- Owners that are away ----

void Cluster::look_for_waiting() {
  waiting_timer_ = options_.loop.after(kAwayTime, [this] { tell_waiting(); });
}

// Once per container and term, until its owner is there again.
void Cluster::tell_waiting() {
  if (!membership_) return;
  const StoreKnown store = membership_->view().current() ? StoreKnown::kYes : StoreKnown::kNo;
  std::map<ContainerName, Term> waiting;
  for (const auto& [name, record] : membership_->view().records()) {
    if (record.record.owner.node == membership_->identity().node && options_.node.find(name) != nullptr) continue;
    const auto away = owner_away(record.record, membership_->self(), membership_->peers(), store);
    if (!away || !away->needs_word) continue;
    waiting.emplace(name, record.record.term);
    const auto told = told_waiting_.find(name);
    if (told != told_waiting_.end() && told->second == record.record.term) continue;
    v1::Event event;
    event.set_severity(v1::SEVERITY_ERROR);
    event.set_container(name.str());
    event.set_kind("waiting_for_word");
    event.set_text(away->waits_for);
    event.set_reason(away->remedy);
    options_.events.append(std::move(event));
  }
  told_waiting_ = std::move(waiting);
}

}  // namespace perdure::node
