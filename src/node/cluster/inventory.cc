// What this node has of all containers, for whoever plans a recovery; and requests that it makes of itself as of a peer.
#include <algorithm>
#include <format>
#include <memory>
#include <ranges>
#include <utility>

#include "model/spec_yaml.h"
#include "node/cluster/cluster.h"
#include "node/cluster/durable_directory.h"
#include "node/cluster/peer_codec.h"
#include "node/policy_terms.h"
#include "node/status_codec.h"
#include "replica/directory_store.h"

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

// What its owner has marked was passed over; what is damaged, or builds on what is not there, restores nothing.
bool is_restorable(const replica::StoredGeneration& stored, const std::map<Generation, const replica::StoredGeneration*>& all) {
  const replica::StoredGeneration* at = &stored;
  for (std::size_t depth = 0; depth <= replica::kMaxChain; ++depth) {
    if (!at->info || at->corrupt) return false;
    if (!at->info->manifest.parent) return true;
    const auto parent = all.find(*at->info->manifest.parent);
    if (parent == all.end() || !parent->second->info || parent->second->info->digest != at->info->manifest.parent_digest) return false;
    at = parent->second;
  }
  return false;
}

void add_stored(p1::Inventory& inventory, const ContainerName& name, const std::vector<replica::StoredGeneration>& stored) {
  std::map<Generation, const replica::StoredGeneration*> all;
  for (const replica::StoredGeneration& one : stored) all.emplace(one.generation, &one);
  p1::Inventory::Row& row = *inventory.add_rows();
  row.set_container(name.str());
  for (const replica::StoredGeneration& one : stored | std::views::reverse) {
    if (row.copies_size() >= static_cast<int>(kMaxCopies)) break;
    if (!one.marks.empty() || !is_restorable(one, all)) continue;
    add_copy(row, one.generation, true, true, one.info->manifest.created);
    if (row.image_digest().empty()) row.set_image_digest(one.info->manifest.image_digest);
  }
}

}  // namespace

std::function<Result<std::unique_ptr<replica::CapsuleStore>>()> Cluster::durable_reader(const ContainerName& name) {
  replica::DirectoryStoreOptions options;
  options.directory = durable_directory() + "/" + name.str();
  options.container = name.str();
  options.access = replica::DirectoryStoreOptions::Access::kReader;
  return [files = shared_files_, directory = durable_directory(), id = membership_->identity().cluster_id,
          options]() -> Result<std::unique_ptr<replica::CapsuleStore>> {
    if (directory.empty()) return fail(ErrorCode::kUnsupported, "this cluster has no durable directory that all nodes see");
    PERDURE_TRY(check_durable_directory(directory, id));
    PERDURE_ASSIGN(auto store, replica::DirectoryStore::open(options, files));
    return std::unique_ptr<replica::CapsuleStore>(std::move(store));
  };
}

void Cluster::load_durable(const ContainerName& name, const Generation& generation,
                           std::function<void(Result<replica::RestorableGeneration>)> done) {
  auto work = [open = durable_reader(name), generation]() -> Result<replica::RestorableGeneration> {
    PERDURE_ASSIGN(const auto store, open());
    PERDURE_ASSIGN(const auto stored, store->list());
    const auto found = std::ranges::find(stored, generation, &replica::StoredGeneration::generation);
    if (found == stored.end() || !found->info) {
      return fail(ErrorCode::kNotFound, std::format("generation {} is not in the durable directory any more", to_string(generation)));
    }
    PERDURE_ASSIGN(capsule::CapsuleRef capsule, store->load(generation));
    return replica::RestorableGeneration{generation, found->info->digest, std::move(capsule), {}};
  };
  const Status submitted = options_.node.store_pool().submit(
      options_.loop, lifetime_, std::move(work),
      [done](Result<replica::RestorableGeneration> loaded) { done(std::move(loaded)); });
  if (!submitted) done(fail(submitted.error()));
}

void Cluster::tell_durable(const PeerRequest& request) {
  if (durable_directory().empty()) {
    return request.respond->refuse(Error(ErrorCode::kUnsupported, "this cluster has no durable directory that all nodes see"), {});
  }
  using Reader = std::pair<ContainerName, std::function<Result<std::unique_ptr<replica::CapsuleStore>>()>>;
  std::vector<Reader> readers;
  for (const std::string& text : request.content.message.inventory().containers()) {
    if (auto name = ContainerName::parse(text)) readers.emplace_back(*name, durable_reader(*name));
  }
  auto work = [readers = std::move(readers), directory = durable_directory(),
               id = membership_->identity().cluster_id]() -> Result<std::shared_ptr<p1::Message>> {
    PERDURE_TRY(check_durable_directory(directory, id));
    auto message = std::make_shared<p1::Message>();
    message->mutable_inventoried();
    for (const auto& [name, open] : readers) {
      auto store = open();
      if (!store && store.error().code() == ErrorCode::kNotFound) continue;  // it has never been written there
      if (!store) return fail(std::move(store).error());
      PERDURE_ASSIGN(const auto stored, (*store)->list());
      add_stored(*message->mutable_inventoried(), name, stored);
    }
    return message;
  };
  const Status submitted = options_.node.store_pool().submit(
      options_.loop, lifetime_, std::move(work),
      [node = membership_->self(), respond = request.respond](Result<std::shared_ptr<p1::Message>> message) {
        if (!message) return respond->refuse(message.error(), {});
        (*message)->mutable_inventoried()->set_node(node.node.str());
        (*message)->mutable_inventoried()->set_incarnation(node.incarnation.value);
        respond->answer(std::move(**message), {});
      });
  if (!submitted) request.respond->refuse(Error(ErrorCode::kTimeout, "this node's durable directory does not answer"), {});
}

void Cluster::on_inventory(const PeerRequest& request) {
  if (!request.respond || !standbys_) return;
  if (request.content.message.inventory().durable_directory()) return tell_durable(request);
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
