#include "node/cluster/revival.h"

#include <algorithm>
#include <format>
#include <utility>

#include "base/log.h"
#include "capsule/format/codec.h"
#include "node/cluster/peer_codec.h"

namespace perdure::node {

Revival::Revival(RevivalOptions options, ContainerName container, Term known, Done done)
    : options_(std::move(options)), container_(std::move(container)), known_(known), done_(std::move(done)) {
  timer_ = options_.loop.after(Duration::zero(), [this] { read(); });
}

Revival::~Revival() = default;

void Revival::finish(HeldElsewhere found) {
  timer_.reset();
  // It may end this.
  options_.loop.post([done = std::exchange(done_, nullptr), found = std::move(found)] {
    if (done) done(found);
  });
}

void Revival::read() {
  options_.records.read(container_, options_.clock.now() + options_.call_time,
                        [this, token = lifetime_.token()](const Result<std::optional<coord::StoredRecord>>& record) {
                          if (!token.alive()) return;
                          if (record) return judge(*record);
                          log::debug("{}: its record cannot be read yet: {}", container_.str(), record.error().message());
                          timer_ = options_.loop.after(options_.call_time, [this] { read(); });
                        });
}

void Revival::judge(const std::optional<coord::StoredRecord>& record) {
  // Of what is not this node's, or not known, nothing is restored: that is said by whoever looks after the record.
  if (!record || record->record.owner.node != options_.self || record->record.term < known_) return finish({});
  if (record->record.desired != model::DesiredState::kRunning || record->record.standbys.empty()) return finish({});
  term_ = record->record.term;
  left_ = record->record.standbys;
  limit_ = options_.clock.now() + options_.standby_wait;
  look();
}

void Revival::look() {
  if (asking_) return;
  for (const model::NodeLife& standby : left_) {
    const PeerState* peer = options_.peers.find(standby.node);
    if (peer == nullptr) continue;
    if (peer->life == standby) return ask(standby);
    log::warning("{}: node '{}', its standby, has been restarted and has lost its memory", container_.str(),
                 standby.node.str());
    std::erase(left_, model::NodeLife(standby));
    return look();
  }
  if (left_.empty() || options_.clock.now() >= limit_) return finish({.capsule = nullptr, .term = term_, .lost = true});
  timer_ = options_.loop.after(options_.look_interval, [this] { look(); });
}

void Revival::ask(const model::NodeLife& standby) {
  asking_ = true;
  peer::v1::Message message;
  message.mutable_fetch_generation()->set_container(container_.str());
  message.mutable_fetch_generation()->set_term(term_.value);
  options_.peers.request(standby.node, Channel::kBulk, std::move(message), {}, options_.fetch_time,
                         [this, token = lifetime_.token(), standby](std::expected<PeerMessage, PeerRefusal> answer) {
                           if (token.alive()) answered(standby, std::move(answer));
                         });
}

void Revival::answered(const model::NodeLife& standby, std::expected<PeerMessage, PeerRefusal> answer) {
  if (!answer) {
    const Error& error = answer.error().error;
    log::warning("{}: its newest generation cannot be had from node '{}': {}", container_.str(), standby.node.str(),
                 error.message());
    asking_ = false;
    // A connection that is not up yet, or has ended: it is asked again while there is time.
    if (error.code() != ErrorCode::kTransient && error.code() != ErrorCode::kTimeout) std::erase(left_, standby);
    timer_ = options_.loop.after(options_.look_interval, [this] { look(); });
    return;
  }
  const Status submitted = options_.pool.submit(
      options_.loop, lifetime_,
      [body = std::move(answer->body), name = container_.str()]() -> Result<capsule::CapsuleRef> {
        if (!body) return fail(ErrorCode::kInvalid, "the answer holds no generation");
        PERDURE_ASSIGN(capsule::Capsule capsule, capsule::decode(body, nullptr, nullptr));
        if (capsule.manifest.container != name) return fail(ErrorCode::kInvalid, "it is of another container");
        return std::make_shared<const capsule::Capsule>(std::move(capsule));
      },
      [this, standby](Result<capsule::CapsuleRef> capsule) { taken(standby, std::move(capsule)); });
  if (!submitted) taken(standby, fail(submitted.error()));
}

void Revival::taken(const model::NodeLife& standby, Result<capsule::CapsuleRef> capsule) {
  asking_ = false;
  if (capsule) {
    log::info("{}: generation {} is fetched from node '{}', which stood by", container_.str(),
              to_string((*capsule)->manifest.generation), standby.node.str());
    return finish({.capsule = *std::move(capsule), .term = term_, .lost = false});
  }
  log::error("{}: what node '{}' holds cannot be read: {}", container_.str(), standby.node.str(), capsule.error().message());
  std::erase(left_, standby);
  look();
}

}  // namespace perdure::node
