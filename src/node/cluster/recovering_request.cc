#include "node/cluster/recovering_request.h"

#include <algorithm>
#include <chrono>
#include <format>
#include <memory>
#include <utility>

#include "base/log.h"
#include "model/spec_yaml.h"
#include "node/cluster/claim.h"
#include "node/cluster/peer_codec.h"
#include "node/policy_terms.h"
#include "node/status_codec.h"

namespace perdure::node {
namespace {

namespace v1 = control::v1;
namespace p1 = peer::v1;

constexpr Duration kInventoryTime = std::chrono::seconds(5);
constexpr Duration kSwapTime = std::chrono::seconds(10);
constexpr Duration kTakePrepareTime = std::chrono::minutes(10);
constexpr Duration kTakeRestoreTime = std::chrono::minutes(10);
constexpr Duration kNextLook = std::chrono::milliseconds(200);
// Until the owner has read the record that was written for it.
constexpr Duration kOwnerReads = std::chrono::seconds(20);

}  // namespace

// ---- What there is ----

std::string RecoveringRequest::no_quorum() {
  std::string members;
  std::string silent;
  for (const auto& [name, node] : membership().view().nodes()) {
    if (node.value.etcd_peer_url.empty()) continue;
    members += (members.empty() ? "'" : ", '") + name.str() + "'";
    if (name == self() || membership().peers().find(name) != nullptr) continue;
    silent += (silent.empty() ? "'" : ", '") + name.str() + "'";
  }
  std::string text = "has no quorum";
  if (!members.empty()) text += std::format(": of its managers {} this node cannot reach {}", members, silent.empty() ? "none" : silent);
  return text + std::format(" ({})", membership().store_trouble());
}

void RecoveringRequest::ask(const NodeName& to, p1::Message message, Duration limit, Peers::Answer answer) {
  if (to == self()) return cluster()->ask_self(std::move(message), std::move(answer));
  membership().peers().request(to, Channel::kControl, std::move(message), {}, limit, std::move(answer));
}

void RecoveringRequest::collect(std::set<ContainerName> of, std::function<void()> then) {
  of_ = std::move(of);
  then_ = std::move(then);
  inventories_.clear();
  durable_.clear();
  durable_images_.clear();
  std::vector<NodeName> nodes{self()};
  for (const PeerState& peer : membership().peers().connected()) nodes.push_back(peer.life.node);
  open_ = nodes.size();
  for (const NodeName& node : nodes) {
    p1::Message message;
    message.mutable_inventory();
    ask(node, std::move(message), kInventoryTime, alive([this, node](const std::expected<PeerMessage, PeerRefusal>& answer) {
          if (answer) {
            if (auto inventory = from_peer(answer->message.inventoried())) inventories_.push_back(*std::move(inventory));
          } else {
            log::warning("recover: node '{}' does not say what it has: {}", node.str(), answer.error().error.message());
          }
          if (--open_ == 0) collect_durable();
        }));
  }
}

// One node reads it for all. Who runs no containers, or is to take none, need not have it mounted.
void RecoveringRequest::collect_durable() {
  if (!require_member()) return;
  takers_.clear();
  for (const auto& [name, node] : membership().view().nodes()) {
    const bool reached = std::ranges::any_of(inventories_, [&](const NodeInventory& it) { return it.life.node == name; });
    if (reached && !node.value.witness && !node.value.cordoned) takers_.push_back(name);
  }
  std::ranges::stable_partition(takers_, [&](const NodeName& name) { return name == self(); });
  unasked_.assign(takers_.rbegin(), takers_.rend());
  if (membership().identity().durable_directory.empty() || unasked_.empty()) return collected();
  const NodeName first = unasked_.back();
  unasked_.pop_back();
  ask_durable(first);
}

void RecoveringRequest::ask_durable(const NodeName& node) {
  p1::Message message;
  p1::InventoryRequest& wanted = *message.mutable_inventory();
  wanted.set_durable_directory(true);
  for (const auto& [name, record] : membership().view().records()) {
    if (of_.empty() || of_.contains(name)) wanted.add_containers(name.str());
  }
  // This node does not limit what it asks of itself, and the directory may hang.
  auto answered = std::make_shared<bool>(false);
  auto got = alive([this, node, answered](const std::expected<PeerMessage, PeerRefusal>& answer) {
    if (std::exchange(*answered, true)) return;
    timer_.reset();
    auto inventory = answer ? from_peer(answer->message.inventoried()) : Result<NodeInventory>(perdure::fail(answer.error().error));
    if (inventory) {
      for (auto& [name, row] : inventory->rows) {
        durable_[name] = std::move(row.copies);
        durable_images_[name] = std::move(row.image_digest);
      }
      return collected();
    }
    log::warning("recover: node '{}' does not say what the durable directory has: {}", node.str(), inventory.error().message());
    if (unasked_.empty()) return collected();
    const NodeName next = unasked_.back();
    unasked_.pop_back();
    ask_durable(next);
  });
  timer_ = this->node().loop().after(kInventoryTime, [got] {
    got(std::unexpected(PeerRefusal{Error(ErrorCode::kTimeout, "the durable directory does not answer"), {}}));
  });
  ask(node, std::move(message), kInventoryTime, got);
}

void RecoveringRequest::collected() {
  if (require_member()) std::exchange(then_, nullptr)();
}

RecoveryQuestion RecoveringRequest::question(const std::set<ContainerName>& only) {
  RecoveryQuestion question{.records = {},
                            .nodes = inventories_,
                            .now = node().clock().wall(),
                            .only = only,
                            .durable = durable_,
                            .takers = takers_,
                            .to = {},
                            .dead = {},
                            .unusable = unusable_};
  for (const auto& [name, record] : membership().view().records()) question.records.emplace(name, record.record);
  return question;
}

// ---- One container ----

void RecoveringRequest::bring_back(const RecoveryRow& row, std::string ordered_by, BroughtBack done) {
  row_ = row;
  ordered_by_ = std::move(ordered_by);
  brought_back_ = std::move(done);
  const coord::StoredRecord* stored = membership().view().record(row.name);
  taken_from_ = stored == nullptr ? *row.node : stored->record.owner.node;
  // Whoever changes it while the target is prepared knows more than the plan.
  expected_ = stored == nullptr ? 0 : stored->revision;
  if (row_.action == RecoveryAction::kAdoptRunning) return write([this] { finish_row({}); });
  if (row_.has_service) {
    limit_ = node().clock().now() + kOwnerReads;
    return write([this] { go_back(); });
  }
  prepare();
}

void RecoveringRequest::finish_row(std::optional<Error> error) {
  if (error && error->code() == ErrorCode::kCorrupt && row_.generation) unusable_[row_.name].insert(*row_.generation);
  std::exchange(brought_back_, nullptr)(std::move(error));
}

void RecoveringRequest::write(std::function<void()> then) {
  if (auto changed = check_before_write(row_)) return finish_row(std::move(changed));
  if (!row_.write) return then();
  if (expected_ == 0) return create(std::move(then));
  swap(expected_, std::move(then));
}

// etcd was put back to a time before it was made: its name and addresses are claimed again.
void RecoveringRequest::create(std::function<void()> then) {
  const RecoveryRow& row = row_;
  const auto inventory = std::ranges::find_if(inventories_, [&](const NodeInventory& it) { return it.life.node == row.node; });
  const auto spec = inventory == inventories_.end()
                        ? Result<model::ContainerSpec>(perdure::fail(ErrorCode::kNotFound, "no node has its specification"))
                        : model::read_spec(inventory->rows.at(row.name).spec_yaml, "its specification");
  if (!spec) return finish_row(spec.error());
  coord::CreateRequest request = claim_of(*spec, row.write->owner, row.write->desired, row.write->created);
  request.record.image_digest = inventory->rows.at(row.name).image_digest;
  membership().records().create(std::move(request), node().clock().now() + kSwapTime,
                                alive([this, then = std::move(then)](const Result<coord::StoredRecord>& created) {
                                  if (!created) return finish_row(created.error());
                                  model::OwnershipRecord& wanted = *row_.write;
                                  wanted.spec_digest = created->record.spec_digest;
                                  wanted.image_digest = created->record.image_digest;
                                  wanted.term = std::max(wanted.term, created->record.term);
                                  swap(created->revision, then);
                                }));
}

void RecoveringRequest::swap(coord::Revision expected, std::function<void()> then) {
  revision_ = 0;
  membership().records().swap(
      {.record = *row_.write, .expected = expected}, node().clock().now() + kSwapTime,
      alive([this, then = std::move(then)](const coord::SwapOutcome& outcome) {
        if (outcome.kind == coord::SwapOutcome::Kind::kApplied && outcome.now) {
          revision_ = outcome.now->revision;
          return then();
        }
        if (outcome.kind == coord::SwapOutcome::Kind::kUnknown) {
          return finish_row(Error(ErrorCode::kTimeout, std::format("whether its record was written is not known{}; try again",
                                                             outcome.error ? ": " + outcome.error->message() : "")));
        }
        finish_row(Error(ErrorCode::kConflict, "its record was changed by another; look again"));
      }));
}

// A node with a service of it, which waits for a word.
void RecoveringRequest::go_back() {
  if (!require_member()) return;
  const RecoveryRow& row = row_;
  v1::Request restore;
  restore.set_id(1);
  restore.mutable_restore()->set_name(row.name.str());
  restore.mutable_restore()->set_generation(to_string(*row.generation));
  p1::Message message;
  message.mutable_forward()->set_request(restore.SerializeAsString());
  ask(*row.node, std::move(message), kTakeRestoreTime, alive([this](const std::expected<PeerMessage, PeerRefusal>& answer) {
        if (!answer) return finish_row(answer.error().error);
        v1::Response response;
        if (!response.ParseFromString(answer->message.forwarded().response())) {
          return finish_row(Error(ErrorCode::kInvalid, "the answer cannot be read; compare the versions"));
        }
        if (response.has_progress() || response.has_question()) return;
        if (!response.has_error()) return finish_row({});
        // It has not read its record yet.
        if (revision_ > 0 && response.error().code() == v1::ERROR_CONFLICT && node().clock().now() < limit_) {
          timer_ = node().loop().after(kNextLook, [this] { go_back(); });
          return;
        }
        finish_row(Error(ErrorCode::kConflict, response.error().message()));
      }));
}

// As the target knows it, or whoever it gets the generation from; records do not name it.
std::string RecoveringRequest::image_digest() const {
  if (row_.durable) return durable_images_.at(row_.name);
  const NodeName& holder = row_.from ? *row_.from : *row_.node;
  for (const NodeInventory& inventory : inventories_) {
    if (inventory.life.node != holder) continue;
    const auto known = inventory.rows.find(row_.name);
    if (known != inventory.rows.end()) return known->second.image_digest;
  }
  return {};
}

// A node that stood by takes it as in a move; but what its peers know is newer.
void RecoveringRequest::prepare() {
  const RecoveryRow& row = row_;
  const auto& specs = membership().view().specs();
  const auto spec = specs.find(row.name);
  const auto inventory = std::ranges::find_if(inventories_, [&](const NodeInventory& it) { return it.life.node == row.node; });
  if (spec == specs.end() || inventory == inventories_.end()) {
    return finish_row(Error(ErrorCode::kNotFound, "etcd has no specification of it"));
  }
  p1::Message message;
  p1::MovePrepare& wanted = *message.mutable_move_prepare();
  wanted.set_container(row.name.str());
  wanted.set_term(row.write->term.value);
  wanted.set_spec_yaml(spec->second.value);
  wanted.set_image_digest(image_digest());
  if (row.durable || row.from) {
    *wanted.mutable_bring() = to_peer(*row.generation);
    wanted.set_bring_from(row.from ? row.from->str() : std::string());
  }
  ask(*row.node, std::move(message), kTakePrepareTime, alive([this](const std::expected<PeerMessage, PeerRefusal>& answer) {
        if (!answer) return finish_row(answer.error().error);
        const p1::MovePrepared& prepared = answer->message.move_prepared();
        if (!prepared.refusal().empty()) {
          return finish_row(Error(prepared.unusable() ? ErrorCode::kCorrupt : ErrorCode::kConflict, prepared.refusal()));
        }
        write([this] { take(); });
      }));
}

void RecoveringRequest::take() {
  const RecoveryRow& row = row_;
  p1::Message message;
  p1::MoveTake& order = *message.mutable_move_take();
  order.set_container(row.name.str());
  order.set_term(row.write->term.value);
  *order.mutable_generation() = to_peer(*row.generation);
  order.set_record_revision(revision_);
  order.set_goes_back(true);
  order.set_restores(1);
  order.set_failures(1);
  order.set_created_unix_ms(unix_ms(row.write->created));
  order.set_ordered_by(ordered_by_);
  order.set_taken_from(taken_from_.str());
  ask(*row.node, std::move(message), kTakeRestoreTime, alive([this](const std::expected<PeerMessage, PeerRefusal>& answer) {
        if (!answer) return finish_row(answer.error().error);
        const p1::MoveTaken& taken = answer->message.move_taken();
        if (!taken.running()) return finish_row(Error(ErrorCode::kConflict, taken.error()));
        finish_row({});
      }));
}

}  // namespace perdure::node
