// Membership: what an operator changes, and nodes that join.
#include <algorithm>
#include <format>
#include <utility>

#include "base/log.h"
#include "io/endpoint.h"
#include "node/cluster/membership.h"
#include "node/cluster/peer_codec.h"
#include "pki/join_token.h"

namespace perdure::node {
namespace {

// With an embedded etcd: three managers survive the loss of one; more cost every write without need.
constexpr std::size_t kDefaultManagers = 3;
constexpr std::uint32_t kMaxTokenUses = 1000;
constexpr Duration kKeysLook = std::chrono::hours(1);
// The view lags behind what this node itself has just written.
constexpr Duration kSwapPause = std::chrono::milliseconds(50);
constexpr int kSwapTries = 60;
// etcd elects another leader within a second when one has died, with its node perhaps for which something is to be changed.
constexpr Duration kStorePatience = std::chrono::seconds(10);
constexpr Duration kChangeTime = std::chrono::seconds(1);  // of one try; what went to a dead leader is never answered

bool may_come_back(ErrorCode code) { return code == ErrorCode::kTransient || code == ErrorCode::kTimeout; }

std::unexpected<Error> changed_by_others(const NodeName& node) {
  return fail(ErrorCode::kTransient, std::format("the entry of node '{}' is changed by others again and again; try again", node.str()));
}

}  // namespace

void Membership::make_token(Duration valid_for, std::uint32_t uses,
                            std::function<void(Result<coord::StoredToken>, std::string)> done) {
  auto token = pki::make_join_token(trust_->identity().authorities);
  if (!token) return done(fail(token.error()), {});
  coord::StoredToken stored;
  stored.id = token->id;
  stored.secret_sha256 = pki::secret_hash(token->secret);
  stored.expires = options_.clock.wall() + std::chrono::duration_cast<WallTime::duration>(valid_for);
  stored.uses_left = std::clamp<std::uint32_t>(uses, 1, kMaxTokenUses);
  auto key = coord::token_key(token->id);
  if (!key) return done(fail(key.error()), {});
  coord::Transaction transaction;
  transaction.conditions = {{*key, 0}};
  transaction.writes = {{*key, coord::encode_token(stored)}};
  client_->commit(std::move(transaction), deadline(),
                  [alive = lifetime_.token(), done = std::move(done), stored,
                   text = pki::to_string(*token)](const Result<coord::TransactionResult>& written) {
                    if (!alive.alive()) return;
                    if (!written) return done(fail(written.error()), {});
                    if (!written->applied) return done(fail(ErrorCode::kTransient, "try again"), {});
                    done(stored, text);
                  });
}

void Membership::change_node(const NodeName& node, std::function<void(model::NodeDescription&)> change,
                             std::function<void(Status)> done) {
  try_change_node(node, std::move(change), {kSwapTries, options_.clock.now() + kStorePatience}, std::move(done));
}

void Membership::try_change_node(const NodeName& node, std::function<void(model::NodeDescription&)> change, Attempts left,
                                 std::function<void(Status)> done) {
  const auto found = view_->nodes().find(node);
  if (found == view_->nodes().end()) {
    return done(fail(ErrorCode::kNotFound, std::format("the cluster has no node '{}'", node.str())));
  }
  model::NodeDescription changed = found->second.value;
  change(changed);
  if (changed == found->second.value) return done({});
  const std::string key = coord::node_key(node);
  coord::Transaction transaction;
  transaction.conditions = {{key, found->second.revision}};
  transaction.writes = {{key, coord::encode_node(changed, found->second.bytes)}};
  client_->commit(std::move(transaction), options_.clock.now() + kChangeTime,
                  [this, alive = lifetime_.token(), done = std::move(done), node, change = std::move(change),
                   left](const Result<coord::TransactionResult>& written) {
                    if (!alive.alive()) return;
                    if (!written) {
                      if (!may_come_back(written.error().code()) || options_.clock.now() >= left.end) return done(fail(written.error()));
                      // A lost answer may have been a yes: the view will say so.
                      return try_later([this, node, change, left, done] { try_change_node(node, change, left, done); });
                    }
                    if (written->applied) return done({});
                    if (left.tries <= 1) return done(changed_by_others(node));
                    try_later([this, node, change, left = Attempts{left.tries - 1, left.end}, done] {
                      try_change_node(node, change, left, done);
                    });
                  });
}

// The view learns meanwhile what the others have written.
void Membership::try_later(std::function<void()> again) {
  swap_timers_.add(options_.loop.after(kSwapPause, std::move(again)));
}

void Membership::remove_node(const NodeName& node, const std::string& reason, std::function<void(Status)> done) {
  const auto found = view_->nodes().find(node);
  if (found == view_->nodes().end()) {
    return done(fail(ErrorCode::kNotFound, std::format("the cluster has no node '{}'", node.str())));
  }
  // The entry goes first: as long as it is there, who leads etcd would put the member back.
  leaving_ = node == identity_.node;
  auto forgotten = [this, node, done](Status gone) {
    if (!gone) leaving_ = false;
    if (!gone || !etcd_) return done(std::move(gone));
    etcd_->remove_member(node, [done](Status removed) {
      done(removed ? Status{} : Status(fail(std::move(removed).error().context("its etcd member"))));
    });
  };
  if (!etcd_) return revoke(node, reason, kSwapTries, std::move(forgotten));
  etcd_->check_removal(node, [this, node, reason, done, forgotten = std::move(forgotten)](Status possible) {
    if (possible) return revoke(node, reason, kSwapTries, forgotten);
    leaving_ = false;
    done(fail(std::move(possible).error().context("its etcd member")));
  });
}

void Membership::revoke(const NodeName& node, const std::string& reason, int tries, std::function<void(Status)> done) {
  const auto entry = view_->nodes().find(node);
  if (entry == view_->nodes().end()) return done({});
  coord::Revocation revocation{.node = node,
                               .serials = {entry->second.value.certificate_serial},
                               .revoked = options_.clock.wall(),
                               .reason = reason};
  const auto before = view_->revocations().find(node);
  coord::Transaction transaction;
  const std::string node_key = coord::node_key(node);
  const std::string revocation_key = coord::revocation_key(node);
  transaction.conditions = {{node_key, entry->second.revision},
                            {revocation_key, before == view_->revocations().end() ? 0 : before->second.revision}};
  std::string bytes;
  if (before != view_->revocations().end()) {
    const auto& old = before->second.value.serials;
    revocation.serials.insert(revocation.serials.begin(), old.begin(), old.end());
    if (revocation.serials.size() > coord::kMaxSerials) {
      revocation.serials.erase(revocation.serials.begin(), revocation.serials.end() - coord::kMaxSerials);
    }
    bytes = before->second.bytes;
  }
  transaction.writes = {{node_key, std::nullopt}, {revocation_key, coord::encode_revocation(revocation, bytes)}};
  client_->commit(std::move(transaction), deadline(),
                  [this, alive = lifetime_.token(), done, node, reason, tries](const Result<coord::TransactionResult>& written) {
                    if (!alive.alive()) return;
                    if (!written) return done(fail(written.error()));
                    if (written->applied) return done({});
                    if (tries <= 1) return done(changed_by_others(node));
                    try_later([this, node, reason, tries, done] { revoke(node, reason, tries - 1, done); });
                  });
}

void Membership::rotate_keys(std::function<void(Status)> done) {
  const auto& settings = view_->cluster();
  if (!settings) return done(fail(ErrorCode::kTransient, "the cluster's settings are not known: etcd cannot be reached"));
  coord::ClusterSettings changed = settings->value;
  std::uint32_t newest = 0;
  for (const pki::WrappedKey& key : changed.keys) newest = std::max(newest, key.id);
  if (changed.keys.size() >= pki::kMaxKeys) changed.keys.erase(changed.keys.begin());
  auto key = trust_->make_key(newest + 1);
  if (!key) return done(fail(key.error()));
  changed.keys.push_back(*key);
  write_settings(changed, std::move(done));
}

void Membership::change_timing(const policy::lease::Timing& timing, std::function<void(Status)> done) {
  const auto& settings = view_->cluster();
  if (!settings || !view_->current()) {
    return done(fail(ErrorCode::kTransient, "the cluster's settings cannot be changed: " + store_trouble_));
  }
  if (settings->value.timing == timing) return done({});
  coord::ClusterSettings changed = settings->value;
  changed.timing = timing;
  write_settings(changed, std::move(done));
}

// Over what the view shows of them now.
void Membership::write_settings(const coord::ClusterSettings& changed, std::function<void(Status)> done) {
  const auto& settings = view_->cluster();
  coord::Transaction transaction;
  const std::string cluster_key(coord::kClusterKey);
  transaction.conditions = {{cluster_key, settings->revision}};
  transaction.writes = {{cluster_key, coord::encode_cluster(changed, settings->bytes)}};
  client_->commit(std::move(transaction), deadline(),
                  [alive = lifetime_.token(), done = std::move(done)](const Result<coord::TransactionResult>& written) {
                    if (!alive.alive()) return;
                    if (!written) return done(fail(written.error()));
                    if (written->applied) return done({});
                    done(fail(ErrorCode::kTransient, "the cluster's settings were changed by another; try again"));
                  });
}

// Every manager looks; the swap lets one of them do it.
void Membership::look_at_keys() {
  keys_timer_ = options_.loop.after(std::min(kKeysLook, options_.key_life / 4), [this] {
    look_at_keys();
    const auto& settings = view_->cluster();
    if (!settings || !view_->current() || trust_->authority() == nullptr) return;
    const auto& keys = settings->value.keys;
    const auto newest = std::ranges::max_element(keys, {}, &pki::WrappedKey::id);
    if (newest == keys.end() || options_.clock.wall() - newest->created < options_.key_life) return;
    rotate_keys([this, id = newest->id + 1](const Status& rotated) {
      if (!rotated) return log::debug("the key of stored capsules is not replaced: {}", rotated.error().message());
      report(control::v1::SEVERITY_INFO, "keys_rotated",
             std::format("what is stored from now on is sealed with key {}; the older ones stay for reading", id), {});
    });
  });
}

// ---- Nodes that join ----

Result<model::NodeDescription> Membership::admitted(const peer::v1::JoinRequest& request,
                                                    const coord::StoredToken& token) const {
  if (!pki::matches(request.token_secret(), token.secret_sha256)) {
    return fail(ErrorCode::kPermission, "the token's secret is wrong");
  }
  if (options_.clock.wall() >= token.expires) {
    return fail(ErrorCode::kPermission, std::format("the token expired at {} (this node's clock says {}); make a new one: "
                                                    "'perdure cluster token'",
                                                    format_wall_time(token.expires),
                                                    format_wall_time(options_.clock.wall())));
  }
  if (token.uses_left == 0) return fail(ErrorCode::kPermission, "the token was used; make a new one: 'perdure cluster token'");
  PERDURE_ASSIGN(auto name, NodeName::parse(request.name()));
  if (const model::NodeDescription* there = view_->node(name)) {
    return fail(ErrorCode::kExists,
                std::format("the cluster has a node '{}' ({}); give this one another name with --node-name, or remove that "
                            "one first: 'perdure node remove {}'",
                            name.str(), there->addresses.empty() ? "no address" : there->addresses.front(), name.str()));
  }
  model::NodeDescription node{.life = {name, Incarnation{}}};
  if (request.addresses().empty() || request.addresses_size() > static_cast<int>(coord::kMaxNodeAddresses)) {
    return fail(ErrorCode::kInvalid, "a node needs 1 to 16 addresses");
  }
  for (const std::string& address : request.addresses()) {
    PERDURE_ASSIGN(const auto endpoint, io::Endpoint::parse(address, kPeerPort));
    node.addresses.push_back(to_string(endpoint));
    for (const auto& [other, there] : view_->nodes()) {
      if (std::ranges::find(there.value.addresses, node.addresses.back()) == there.value.addresses.end()) continue;
      return fail(ErrorCode::kConflict, std::format("address {} belongs to node '{}'", node.addresses.back(), other.str()));
    }
  }
  for (const auto& [key, value] : request.labels()) {
    PERDURE_TRY(model::check_label(key, value));
    node.labels[key] = value;
  }
  if (node.labels.size() > coord::kMaxLabels) return fail(ErrorCode::kInvalid, "too many labels");
  PERDURE_ASSIGN(node.facts, from_peer(request.facts()));
  node.version = request.version().substr(0, coord::kMaxShortText);
  node.joined = options_.clock.wall();
  node.witness = request.witness();
  if (request.external_etcd() != identity_.external.has_value()) {
    return fail(ErrorCode::kInvalid,
                identity_.external ? "this cluster uses an etcd of its own: give --etcd-ca, --etcd-cert and --etcd-key"
                                   : "this cluster's nodes run etcd themselves: leave out --etcd-ca, --etcd-cert and --etcd-key");
  }
  const auto managers = std::ranges::count_if(view_->nodes(), [](const auto& entry) { return entry.second.value.manager; });
  node.manager = request.witness() || managers < static_cast<std::ptrdiff_t>(kDefaultManagers);
  if (node.manager && !identity_.external) node.etcd_peer_url = etcd_peer_url(node.addresses.front());
  return node;
}

void Membership::admit(peer::v1::JoinRequest request, ResponderRef respond) {
  const auto refuse = [this, respond, name = request.name().substr(0, 80)](const Error& error) {
    report(control::v1::SEVERITY_WARNING, "join_refused", std::format("node '{}' may not join", name), error.message());
    respond->refuse(error);
  };
  if (trust_->authority() == nullptr) {
    std::string others;
    for (const auto& [name, node] : view_->nodes()) {
      if (node.value.manager && !node.value.addresses.empty()) others += (others.empty() ? "" : ", ") + node.value.addresses.front();
    }
    return refuse(Error(ErrorCode::kUnsupported,
                        std::format("node '{}' is no manager and cannot sign certificates; join at one of: {}",
                                    identity_.node.str(), others)));
  }
  if (!view_->current()) return refuse(Error(ErrorCode::kTransient, "etcd cannot be reached: " + store_trouble_));
  // The store itself is asked: a token that another manager has made a moment ago need not be in the view yet.
  auto key = coord::token_key(request.token_id());
  if (!key) return refuse(key.error());
  client_->read(*key, deadline(),
                [this, alive = lifetime_.token(), request = std::move(request), respond,
                 refuse](const Result<std::optional<coord::KeyValue>>& found) {
                  if (!alive.alive()) return;
                  if (!found) return refuse(Error(ErrorCode::kTransient, found.error().message()));
                  if (!*found) {
                    return refuse(Error(ErrorCode::kPermission,
                                        "this cluster knows no such token; make one: 'perdure cluster token'"));
                  }
                  admit_with(request, **found, respond, refuse);
                });
}

void Membership::admit_with(const peer::v1::JoinRequest& request, const coord::KeyValue& stored, const ResponderRef& respond,
                            const std::function<void(const Error&)>& refuse) {
  auto token = coord::decode_token(stored.value);
  if (!token) return refuse(token.error());
  auto node = admitted(request, *token);
  if (!node) return refuse(node.error());
  coord::StoredToken used = *token;
  --used.uses_left;
  coord::Transaction transaction;
  const std::string node_key = coord::node_key(node->life.node);
  transaction.conditions = {{stored.key, stored.modified}, {node_key, 0}};
  transaction.writes = {{stored.key, used.uses_left > 0 ? std::optional(coord::encode_token(used, stored.value)) : std::nullopt},
                        {node_key, coord::encode_node(*node)}};
  client_->commit(std::move(transaction), deadline(),
                  [this, alive = lifetime_.token(), request, node = *node,
                   respond](const Result<coord::TransactionResult>& written) {
                    if (!alive.alive()) return;
                    if (!written) return respond->refuse(Error(ErrorCode::kTimeout, written.error().message()));
                    if (!written->applied) {
                      return respond->refuse(Error(ErrorCode::kConflict, "another node joined at this moment; try again"));
                    }
                    sign_in(request, node, respond);
                  });
}

void Membership::sign_in(const peer::v1::JoinRequest& request, const model::NodeDescription& node, ResponderRef respond) {
  const pki::Authority* authority = trust_->authority();
  pki::NodeCertificateRequest wanted{.node = node.life.node, .public_key_pem = request.public_key_pem(), .addresses = {}};
  for (const std::string& listen : node.addresses) {
    if (const auto endpoint = io::Endpoint::parse(listen, kPeerPort)) wanted.addresses.push_back(io::host_of(*endpoint));
  }
  auto certificate = authority->sign(wanted, options_.clock);
  if (!certificate) return respond->refuse(certificate.error());
  peer::v1::Message message;
  peer::v1::JoinReply& reply = *message.mutable_joined();
  reply.set_cluster_id(identity_.cluster_id);
  reply.set_certificate_pem(*certificate);
  reply.set_authority_certificate_pem(trust_->identity().authorities);
  if (node.manager) reply.set_authority_key_pem(authority->private_key());
  for (const pki::SealingKey& key : trust_->identity().ring.keys()) *reply.add_keys() = to_peer(key);
  for (const std::string& endpoint : client_->endpoints()) reply.add_etcd_endpoints(endpoint);
  peers_->forget_refusals(node.addresses);
  reply.set_manager(node.manager);
  reply.set_external_etcd(identity_.external.has_value());
  report(control::v1::SEVERITY_INFO, "node_joined",
         std::format("node '{}' ({}) has joined{}", node.life.node.str(), node.addresses.front(),
                     node.witness ? " as a witness" : node.manager ? " as a manager" : ""),
         {});
  respond->answer(std::move(message));
}

}  // namespace perdure::node
