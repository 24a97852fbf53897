// What this node has of all containers, for whoever plans a recovery; and requests that it makes of itself as of a peer.
#include <algorithm>
#include <memory>
#include <ranges>
#include <utility>

#include "model/spec_yaml.h"
#include "node/cluster/cluster.h"
#include "node/cluster/peer_codec.h"
#include "node/policy_terms.h"
#include "node/status_codec.h"

namespace perdure::node {
namespace {

namespace p1 = peer::v1;

// The answer of a request that this node makes of itself.
class OwnResponder final : public Responder {
 public:
  explicit OwnResponder(Peers::Answer answer) : answer_(std::move(answer)) {}
  void answer(p1::Message message, io::OutgoingBody) override { answer_(PeerMessage{std::move(message), nullptr}); }
  void refuse(const Error& error, Term term) override { answer_(std::unexpected(PeerRefusal{error, term})); }
  bool gone() const override { return false; }

 private:
  const Peers::Answer answer_;
};

}  // namespace

void Cluster::ask_self(p1::Message message, Peers::Answer answer) {
  PeerRequestTable table = request_table();
  const auto handler = table.find(message.body_case());
  if (handler == table.end()) return answer(std::unexpected(PeerRefusal{Error(ErrorCode::kUnsupported, "not served"), {}}));
  handler->second(PeerRequest{.from = membership_->self(),
                              .content = {std::move(message), nullptr},
                              .respond = std::make_shared<OwnResponder>(std::move(answer))});
}

namespace {

constexpr std::size_t kMaxCopies = 16;

void add_copy(p1::Inventory::Row& row, const Generation& generation, bool committed, bool durable, WallTime created) {
  p1::Inventory::Copy& copy = *row.add_copies();
  *copy.mutable_generation() = to_peer(generation);
  copy.set_committed(committed);
  copy.set_durable(durable);
  copy.set_created_unix_ms(unix_ms(created));
}

void fill_row(p1::Inventory::Row& row, const ContainerService& service) {
  row.set_container(service.spec().name.str());
  row.set_term(service.record().term.value);
  row.set_runs(service.status().pid > 0);
  row.set_owner(true);
  row.set_waits(service.record().awaits_word && service.status().phase == policy::Phase::kWaiting);
  row.set_image_digest(service.record().image_digest);
  row.set_spec_yaml(model::to_yaml(service.spec()));
  row.set_stopped(service.record().state.desired == policy::DesiredState::kStopped);
  std::vector<policy::GenerationInfo> good;
  for (const policy::GenerationInfo& info : service.generations()) {
    if (info.mark == policy::Mark::kNone && info.state == policy::CommitState::kCommitted) good.push_back(info);
  }
  std::ranges::reverse(good);
  for (const policy::GenerationInfo& info : good | std::views::take(kMaxCopies)) {
    const auto kept = service.table().find(info.id);
    add_copy(row, info.id, true, info.durable, kept ? kept->manifest.created : WallTime{});
  }
}

}  // namespace

void Cluster::on_inventory(const PeerRequest& request) {
  if (!request.respond || !standbys_) return;
  auto message = std::make_shared<p1::Message>();
  p1::Inventory& inventory = *message->mutable_inventoried();
  inventory.set_node(membership_->identity().node.str());
  inventory.set_incarnation(options_.incarnation.value);
  std::map<ContainerName, std::string> held;  // with the image that it needs
  for (const ContainerService* service : options_.node.containers()) fill_row(*inventory.add_rows(), *service);
  for (const replica::HeldContainer& one : standbys_->table().all()) {
    if (options_.node.find(one.container) == nullptr && one.newest) held[one.container] = standbys_->image_of(one.container);
  }
  // What lies on the disk is read.
  const Status submitted = options_.pool.submit(
      options_.loop, lifetime_,
      [message, held = std::move(held), table = standbys_->shared_table()] {
        for (const auto& [name, image] : held) {
          p1::Inventory::Row& row = *message->mutable_inventoried()->add_rows();
          row.set_container(name.str());
          row.set_term(table->term_of(name).value);
          row.set_image_digest(image);
          if (const auto newest = table->fetch(name, std::nullopt)) {
            add_copy(row, (*newest)->manifest.generation, true, false, (*newest)->manifest.created);
          }
        }
        return true;
      },
      [message, respond = request.respond](bool) { respond->answer(std::move(*message)); });
  if (!submitted) request.respond->refuse(Error(ErrorCode::kTimeout, "this node is busy"));
}

}  // namespace perdure::node
