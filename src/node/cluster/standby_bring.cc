// A generation that an operator wants restored on this node, which does not hold it: from another node's memory, or from the durable
// directory.
#include <algorithm>
#include <utility>

#include "capsule/format/codec.h"
#include "node/cluster/peer_codec.h"
#include "node/cluster/standby_held.h"

namespace perdure::node {
namespace {

namespace p1 = peer::v1;

// Gigabytes, over a network that others use too.
constexpr Duration kFetchTime = std::chrono::minutes(5);

Result<replica::RestorableGeneration> decoded(const capsule::SlabRef& body, const ContainerName& name, const Generation& wanted) {
  if (!body) return fail(ErrorCode::kInvalid, "the answer holds no generation");
  PERDURE_ASSIGN(const capsule::CapsuleInfo info, capsule::read_info(body->bytes()));
  PERDURE_ASSIGN(capsule::Capsule capsule, capsule::decode(body, nullptr, nullptr));
  if (capsule.manifest.container != name.str() || capsule.manifest.generation != wanted) {
    return fail(ErrorCode::kInvalid, "the answer holds another generation");
  }
  return replica::RestorableGeneration{wanted, info.digest, std::make_shared<const capsule::Capsule>(std::move(capsule)), {}};
}

}  // namespace

void StandbyService::bring(const ContainerName& name, const p1::MovePrepare& wanted, std::function<void(Status)> done) {
  const Generation generation = from_peer(wanted.bring());
  const auto held = table_->restorable(name);
  if (std::ranges::find(held, generation) != held.end()) return done({});
  auto keep = [this, token = lifetime_.token(), name, term = Term{wanted.term()},
               done = std::move(done)](Result<replica::RestorableGeneration> found) {
    if (!token.alive()) return;
    if (!found) return done(fail(std::move(found).error()));
    const replica::Holding holding{found->generation, found->digest};
    const Status submitted = environment_.pool.submit(
        environment_.loop, lifetime_,
        [table = table_, name, term, holding, capsule = std::move(found->capsule)] { return table->hold(name, term, holding, capsule); },
        [done](Status kept) { done(std::move(kept)); });
    if (!submitted) done(submitted);
  };
  if (wanted.bring_from().empty()) {
    if (!environment_.load_durable) return keep(fail(ErrorCode::kUnsupported, "there is no durable directory here"));
    return environment_.load_durable(name, generation, std::move(keep));
  }
  auto from = NodeName::parse(wanted.bring_from());
  if (!from) return keep(fail(std::move(from).error()));
  fetch_from(*from, name, wanted, std::move(keep));
}

void StandbyService::fetch_from(const NodeName& from, const ContainerName& name, const p1::MovePrepare& wanted,
                                std::function<void(Result<replica::RestorableGeneration>)> done) {
  p1::Message message;
  p1::FetchGeneration& fetch = *message.mutable_fetch_generation();
  fetch.set_container(name.str());
  fetch.set_term(wanted.term());
  *fetch.mutable_generation() = wanted.bring();
  environment_.peers.request(
      from, Channel::kBulk, std::move(message), {}, kFetchTime,
      [this, token = lifetime_.token(), name, generation = from_peer(wanted.bring()),
       done = std::move(done)](std::expected<PeerMessage, PeerRefusal> answer) {
        if (!token.alive()) return;
        if (!answer) return done(fail(answer.error().error));
        const Status submitted = environment_.pool.submit(
            environment_.loop, lifetime_, [body = std::move(answer->body), name, generation] { return decoded(body, name, generation); },
            [done](Result<replica::RestorableGeneration> found) { done(std::move(found)); });
        if (!submitted) done(fail(submitted.error()));
      });
}

}  // namespace perdure::node
