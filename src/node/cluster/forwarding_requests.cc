// Operators' requests that other nodes answer.
#include <algorithm>
#include <format>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "node/cluster/cluster_request.h"
#include "node/cluster/forwarding.h"
#include "node/status_codec.h"

namespace perdure::node {
namespace {

namespace v1 = control::v1;

// A forwarded request says when it ends; this ends one whose node has forgotten it.
constexpr Duration kForwardLimit = std::chrono::hours(24);
// Of all nodes, for a list: who has not answered is shown from its records.
constexpr Duration kListTime = std::chrono::seconds(2);
constexpr Duration kRemoveTime = std::chrono::seconds(10);
// A part of what a request sends ahead (log_stream.cc), so that it never stands still while the client reads.
constexpr std::size_t kTellTaken = std::size_t{128} << 10;

class ForwardRequest final : public ClusterRequest {
 public:
  ForwardRequest(RequestSetup setup, NodeName owner) : ClusterRequest(std::move(setup)), owner_(std::move(owner)) {}
  ~ForwardRequest() override {
    if (!sent_ || is_finished() || cluster() == nullptr || !cluster()->member()) return;
    peer::v1::Message gone;
    gone.mutable_forwarded_input()->set_token(token_);
    gone.mutable_forwarded_input()->set_gone(true);
    cluster()->membership()->peers().notice(owner_, std::move(gone));
  }

  void begin() override {
    static std::uint64_t next = 1;
    token_ = next++;
    sent_ = true;
    peer::v1::Message forward;
    forward.mutable_forward()->set_request(message().SerializeAsString());
    forward.mutable_forward()->set_token(token_);
    cluster()->membership()->peers().request(
        owner_, Channel::kControl, std::move(forward), {}, kForwardLimit,
        alive([this](const std::expected<PeerMessage, PeerRefusal>& answer) {
          if (!answer) {
            Error error = Error(answer.error().error).context(std::format("node '{}', which has to answer this", owner_.str()));
            return fail(error, remedy());
          }
          v1::Response response;
          if (!response.ParseFromString(answer->message.forwarded().response())) {
            return fail(Error(ErrorCode::kInvalid, std::format("the answer of node '{}' cannot be read; compare the versions",
                                                               owner_.str())));
          }
          if (is_final(response)) return finish(std::move(response));
          received_ += answer->message.forwarded().response().size();
          send(std::move(response));
          if (received_ - told_ >= kTellTaken && queued_bytes() < kTellTaken) tell_taken();
        }));
  }

  void drained() override {
    if (received_ > told_) tell_taken();
  }

  void answered(std::uint32_t question, bool yes) override {
    if (cluster() == nullptr || !cluster()->member()) return;
    v1::AnswerRequest answer;
    answer.set_question(question);
    answer.set_yes(yes);
    peer::v1::Message input;
    input.mutable_forwarded_input()->set_token(token_);
    input.mutable_forwarded_input()->set_answer(answer.SerializeAsString());
    cluster()->membership()->peers().notice(owner_, std::move(input));
  }

 private:
  std::string remedy() {
    const auto name = ContainerName::parse(container_of(message()));
    if (!name || cluster() == nullptr || !cluster()->member()) return {};
    const std::string waits = cluster()->waits_for_owner(*name);
    if (!waits.empty()) return std::format("this node stands by and {}", waits);
    const auto away = cluster()->owner_unreachable(*name);
    return away ? away->waits_remedy() : std::string();
  }

  void tell_taken() {
    if (cluster() == nullptr || !cluster()->member()) return;
    told_ = received_;
    peer::v1::Message input;
    input.mutable_forwarded_input()->set_token(token_);
    input.mutable_forwarded_input()->set_taken_bytes(received_);
    cluster()->membership()->peers().notice(owner_, std::move(input));
  }

  const NodeName owner_;
  std::uint64_t token_ = 0;
  std::uint64_t received_ = 0;  // bytes of answers
  std::uint64_t told_ = 0;
  bool sent_ = false;
};

// What has to be done with a descriptor is done where the container is.
class ElsewhereRequest final : public ClusterRequest {
 public:
  ElsewhereRequest(RequestSetup setup, NodeName owner) : ClusterRequest(std::move(setup)), owner_(std::move(owner)) {}
  void begin() override {
    fail(Error(ErrorCode::kConflict, std::format("container '{}' is on node '{}'", container_of(message()), owner_.str())),
         std::format("run the same command on node '{}'", owner_.str()));
  }

 private:
  const NodeName owner_;
};

// A record whose owner is no member any more, or has nothing of the container: nobody else can remove it.
class OrphanRemoveRequest final : public ClusterRequest {
 public:
  OrphanRemoveRequest(RequestSetup setup, coord::StoredRecord record)
      : ClusterRequest(std::move(setup)), record_(std::move(record)) {}

  void begin() override {
    const std::string& name = message().remove().name();
    const std::string& owner = record_.record.owner.node.str();
    if (!message().remove().force()) {
      return fail(Error(ErrorCode::kConflict, std::format("container '{}' belongs to node '{}', where nothing of it is known any more", name,
                                                          owner)),
                  std::format("'perdure cluster recover {}' shows what is left of it; with --force its record goes, and its name and its "
                              "addresses are free: make sure that it does not run on '{}'",
                              name, owner));
    }
    cluster()->membership()->records().remove(
        record_.record.container, record_.revision, node().clock().now() + kRemoveTime, alive([this](const Result<bool>& removed) {
          if (!removed) return fail(Error(removed.error()).context("its record"));
          if (!*removed) return fail(Error(ErrorCode::kTransient, "its record was changed meanwhile"), "try again");
          v1::Response response;
          response.mutable_remove()->set_name(message().remove().name());
          finish(std::move(response));
        }));
  }

 private:
  const coord::StoredRecord record_;
};

// The containers of all nodes: each is asked; of one that does not answer in time, what its records say is shown.
class ClusterListRequest final : public ClusterRequest {
 public:
  using ClusterRequest::ClusterRequest;
  void begin() override {
    for (const ContainerService* service : node().containers()) rows_[service->spec().name.str()] = status_of(*service, node().clock());
    for (v1::ContainerStatus& row : cluster()->others()) rows_.try_emplace(row.name(), std::move(row));
    v1::Request list;
    list.set_id(1);
    list.mutable_list()->set_this_node(true);
    open_ = 1;
    for (const PeerState& peer : cluster()->membership()->peers().connected()) {
      ++open_;
      peer::v1::Message forward;
      forward.mutable_forward()->set_request(list.SerializeAsString());
      cluster()->membership()->peers().request(
          peer.life.node, Channel::kControl, std::move(forward), {}, kListTime,
          alive([this](const std::expected<PeerMessage, PeerRefusal>& answer) {
            v1::Response response;
            if (answer && response.ParseFromString(answer->message.forwarded().response()) && response.has_list()) {
              for (const v1::ContainerStatus& row : response.list().containers()) rows_[row.name()] = row;
            }
            one_done();
          }));
    }
    one_done();
  }

 private:
  void one_done() {
    if (--open_ > 0) return;
    v1::Response response;
    response.mutable_list();
    for (auto& [name, row] : rows_) *response.mutable_list()->add_containers() = std::move(row);
    finish(std::move(response));
  }

  std::map<std::string, v1::ContainerStatus> rows_;
  std::size_t open_ = 0;
};

// Of a removal that no node can answer: the record.
std::optional<coord::StoredRecord> orphan(const RequestSetup& setup) {
  if (!setup.message.has_remove()) return std::nullopt;
  const auto name = ContainerName::parse(setup.message.remove().name());
  Membership& membership = *setup.cluster->membership();
  const coord::StoredRecord* record = name && setup.node.find(*name) == nullptr ? membership.view().record(*name) : nullptr;
  if (record == nullptr) return std::nullopt;
  const NodeName& owner = record->record.owner.node;
  const bool is_member = membership.view().node(owner) != nullptr;
  return owner == membership.identity().node || !is_member ? std::optional(*record) : std::nullopt;
}

// Which node has to answer; absent: this one.
std::optional<NodeName> answering_node(const RequestSetup& setup) {
  const Membership& membership = *setup.cluster->membership();
  if (setup.message.has_node_drain()) {
    const auto name = NodeName::parse(setup.message.node_drain().node());
    if (name && *name != membership.identity().node) return *name;
    return std::nullopt;
  }
  if (setup.message.has_run()) {
    const auto wanted = NodeName::parse(setup.message.run().node());
    return wanted && *wanted != membership.identity().node ? std::optional(*wanted) : std::nullopt;
  }
  const auto name = ContainerName::parse(container_of(setup.message));
  return name ? setup.cluster->owner_of(*name) : std::nullopt;
}

}  // namespace

std::unique_ptr<ControlRequest> make_forwarding_request(RequestSetup& setup) {
  if (setup.cluster == nullptr || !setup.cluster->member()) return nullptr;
  if (setup.message.has_list() && !setup.message.list().this_node()) {
    return std::make_unique<ClusterListRequest>(std::move(setup));
  }
  if (auto record = orphan(setup)) return std::make_unique<OrphanRemoveRequest>(std::move(setup), *std::move(record));
  const auto node = answering_node(setup);
  if (!node) return nullptr;
  if (setup.message.has_inspect() || setup.message.has_events() || setup.message.has_explain()) {
    // Its record and this node's events are all that can be had.
    const auto name = ContainerName::parse(container_of(setup.message));
    if (name && setup.cluster->owner_unreachable(*name)) return nullptr;
  }
  if (setup.message.has_export_()) return std::make_unique<ElsewhereRequest>(std::move(setup), *node);
  return std::make_unique<ForwardRequest>(std::move(setup), *node);
}

}  // namespace perdure::node
