#include "node/cluster/membership.h"

#include <algorithm>
#include <format>
#include <set>
#include <utility>

#include "base/log.h"
#include "io/atomic_file.h"
#include "io/endpoint.h"
#include "node/cluster/peer_codec.h"

namespace perdure::node {
namespace {

// The store's revision is remembered this often: it only has to tell a store that was put back from one that was not.
constexpr Duration kHistoryInterval = std::chrono::seconds(30);
constexpr Duration kRetry = std::chrono::seconds(1);
constexpr Duration kStartMemberTime = std::chrono::seconds(20);
constexpr Duration kRenewTime = std::chrono::seconds(10);

}  // namespace

namespace {

bool is_of_cluster(const std::vector<std::optional<coord::KeyValue>>& found, const coord::ClusterId& id) {
  if (found.empty() || !found.front()) return false;
  const auto there = coord::decode_cluster(found.front()->value);
  return there && there->id == id;
}

}  // namespace

std::string cluster_directory(const Paths& paths) { return paths.state_dir + "/cluster"; }
std::string identity_path(const Paths& paths) { return cluster_directory(paths) + "/cluster.json"; }
std::string etcd_directory(const Paths& paths) { return paths.state_dir + "/etcd"; }
std::string snapshot_directory(const Paths& paths) { return paths.state_dir + "/etcd-snapshots"; }

coord::EtcdServerOptions etcd_options(const Paths& paths, const ClusterIdentity& identity) {
  const pki::NodeFiles files(cluster_directory(paths));
  coord::EtcdServerOptions options;
  options.name = identity.node.str();
  options.data_directory = etcd_directory(paths);
  options.log_file = paths.state_dir + "/etcd.log";
  options.client_url = etcd_client_url(identity.listen.front());
  options.peer_url = etcd_peer_url(identity.listen.front());
  options.tls = coord::EtcdTlsFiles{files.authorities_path(), files.certificate_path(), files.certificate_path(),
                                    files.revocations_path()};
  return options;
}

Membership::Membership(MembershipOptions options, ClusterIdentity identity, PeerRequestTable table,
                       MembershipHandlers handlers)
    : options_(std::move(options)),
      identity_(std::move(identity)),
      table_(std::move(table)),
      handlers_(std::move(handlers)),
      saved_(identity_) {}

Membership::~Membership() = default;

Result<std::unique_ptr<Membership>> Membership::open(MembershipOptions options, ClusterIdentity identity,
                                                     pki::NodeIdentity files, PeerRequestTable table,
                                                     MembershipHandlers handlers) {
  std::unique_ptr<Membership> membership(
      new Membership(std::move(options), std::move(identity), std::move(table), std::move(handlers)));
  PERDURE_TRY(membership->make_trust(std::move(files)));
  PERDURE_TRY(membership->make_store());
  PERDURE_TRY(membership->make_etcd());
  PERDURE_TRY(membership->make_peers());
  return membership;
}

Status Membership::make_trust(pki::NodeIdentity files) {
  std::vector<std::string> addresses;
  for (const std::string& listen : identity_.listen) {
    PERDURE_ASSIGN(const auto endpoint, io::Endpoint::parse(listen, kPeerPort));
    addresses.push_back(io::host_of(endpoint));
  }
  TrustHandlers handlers;
  handlers.ask_manager = [this](const std::string& key, auto answer) { ask_manager(key, std::move(answer)); };
  handlers.identity_changed = [this] {
    if (Status used = peers_->use(trust_->tls()); !used) log::error("{}", used.error().message());
    register_self();  // what would be revoked is the serial number in its entry
    if (identity_.external) return;
    const io::TlsIdentity tls = trust_->tls();
    if (Status used = client_->use_credentials({tls.authority, tls.certificate, tls.key}); !used) {
      log::error("{}", used.error().message());
    }
  };
  handlers.ring_changed = [this] { handlers_.ring_changed(); };
  handlers.report = [this](const std::string& text, const std::string& reason) {
    report(control::v1::SEVERITY_WARNING, "certificate", text, reason);
  };
  trust_ = std::make_unique<Trust>(TrustOptions{.loop = options_.loop,
                                                .pool = options_.pool,
                                                .clock = options_.clock,
                                                .directory = cluster_directory(options_.paths),
                                                .node = identity_.node,
                                                .addresses = std::move(addresses)},
                                   std::move(files), std::move(handlers));
  return {};
}

Status Membership::make_store() {
  coord::EtcdClientOptions options;
  if (identity_.external) {
    options.endpoints = identity_.external->endpoints;
    coord::EtcdCredentials credentials;
    PERDURE_ASSIGN(credentials.authority, read_file(identity_.external->authority_file));
    PERDURE_ASSIGN(credentials.certificate, read_file(identity_.external->certificate_file));
    PERDURE_ASSIGN(credentials.key, read_file(identity_.external->key_file));
    options.credentials = std::move(credentials);
  } else {
    const io::TlsIdentity tls = trust_->tls();
    options.credentials = coord::EtcdCredentials{tls.authority, tls.certificate, tls.key};
    options.endpoints = identity_.endpoints;
    if (options.endpoints.empty()) options.endpoints.push_back(etcd_client_url(identity_.listen.front()));
  }
  PERDURE_ASSIGN(client_, coord::EtcdClient::create(options_.loop, std::move(options)));
  records_ = std::make_unique<coord::RecordStore>(options_.loop, *client_, self());
  view_ = std::make_unique<coord::ClusterView>(options_.loop, *client_,
                                               coord::ClusterView::Options{.known = identity_.history});
  watch_view();
  return {};
}

Status Membership::make_etcd() {
  if (identity_.external || !identity_.manager) return {};
  EtcdKeeperHandlers handlers;
  handlers.managers = [this] { return managers(); };
  handlers.start_member = [this](const NodeName& node, const MemberToStart& added, std::function<void(Status)> done) {
    start_member(node, added, std::move(done));
  };
  handlers.own_changed = [this] { retry_ = options_.loop.after(kRetry, [this] { register_self(); }); };
  handlers.report = [this](const std::string& text, const std::string& reason) {
    report(reason.empty() ? control::v1::SEVERITY_INFO : control::v1::SEVERITY_WARNING, "etcd", text, reason);
  };
  EtcdKeeperOptions options{.loop = options_.loop,
                            .pool = options_.pool,
                            .clock = options_.clock,
                            .server = etcd_options(options_.paths, identity_),
                            .snapshot_directory = snapshot_directory(options_.paths)};
  options.server.on_death = [this](const std::string& how, Duration pause) {
    report(control::v1::SEVERITY_WARNING, "etcd_died",
           std::format("etcd has ended and is started again in {}", format_duration(pause)), how);
  };
  etcd_ = std::make_unique<EtcdKeeper>(std::move(options), *client_, std::move(handlers));
  return {};
}

Status Membership::make_peers() {
  table_[peer::v1::Message::kRenew] = [this](PeerRequest request) { on_renew(std::move(request)); };
  table_[peer::v1::Message::kStartMember] = [this](PeerRequest request) { on_start_member(std::move(request)); };
  PeerNetworkHandlers handlers;
  handlers.on_keys = handlers_.peer_keys;
  handlers.on_keys_known = handlers_.peer_keys_known;
  handlers.on_up = [this](const model::NodeLife& life) {
    log::info("node {}: connected", life.node.str());
    if (handlers_.peer_up) handlers_.peer_up(life);
  };
  handlers.on_down = [this](const model::NodeLife& life, const Error& error) {
    report(control::v1::SEVERITY_WARNING, "node_unreachable", std::format("node '{}' cannot be reached", life.node.str()),
           error.message());
    if (handlers_.peer_down) handlers_.peer_down(life, error);
  };
  handlers.check = [this](const io::TlsPeer& peer) { return check_peer(peer); };
  handlers.on_join = [this](peer::v1::JoinRequest request, ResponderRef respond) {
    admit(std::move(request), std::move(respond));
  };
  handlers.on_refused = [this](const std::string& who, const Error& error) {
    report(control::v1::SEVERITY_WARNING, "peer_refused", std::format("no connection with '{}'", who), error.message());
  };
  std::string id;
  for (std::size_t i = 0; i + 1 < identity_.cluster_id.size(); i += 2) {
    id.push_back(static_cast<char>(std::stoi(identity_.cluster_id.substr(i, 2), nullptr, 16)));
  }
  PERDURE_ASSIGN(peers_, PeerNetwork::start({.loop = options_.loop,
                                             .clock = options_.clock,
                                             .self = self(),
                                             .cluster_id = id,
                                             .version = options_.version,
                                             .listen = identity_.listen},
                                            trust_->tls(), std::move(table_), std::move(handlers)));
  return {};
}

Status Membership::start(const coord::EtcdStartRequest* etcd, std::optional<coord::ClusterSettings> settings) {
  if (etcd != nullptr && etcd_) PERDURE_TRY(etcd_->start(*etcd));
  founding_ = std::move(settings);
  trust_->start();
  if (founding_) {
    found(*founding_);
  } else {
    view_->start();
  }
  keep_history();
  look_at_keys();
  return {};
}

// ---- A new cluster ----

void Membership::found(const coord::ClusterSettings& settings) {
  coord::Transaction transaction;
  const std::string cluster_key(coord::kClusterKey);
  const std::string node_key = coord::node_key(identity_.node);
  transaction.conditions = {{cluster_key, 0}, {node_key, 0}};
  transaction.writes = {{cluster_key, coord::encode_cluster(settings)},
                        {node_key, coord::encode_node(description(nullptr))}};
  client_->commit(std::move(transaction), deadline(),
                  [this, token = lifetime_.token(), settings](const Result<coord::TransactionResult>& written) {
                    if (!token.alive()) return;
                    // Not applied: an attempt before, whose answer was lost, or somebody else's cluster.
                    const bool ours = written && (written->applied || is_of_cluster(written->found, settings.id));
                    if (ours) {
                      founding_.reset();
                      return view_->start();
                    }
                    if (written) {
                      store_trouble_ = std::format("that etcd holds another cluster below '{}': join that one, or remove what is there "
                                                   "if it is gone for good",
                                                   coord::kRootPrefix);
                      return handlers_.foreign_store(store_trouble_);
                    }
                    store_trouble_ = written.error().message();
                    retry_ = options_.loop.after(kRetry, [this, settings] { found(settings); });
                  });
}

// ---- What the store says ----

void Membership::watch_view() {
  coord::ViewHandlers handlers;
  handlers.on_node = [this](const NodeName&) { follow_nodes(); };
  handlers.on_record = [this](const ContainerName& name) {
    if (const coord::StoredRecord* record = view_->record(name)) {
      records_->observe(*record);
    } else {
      records_->forget(name);
    }
    handlers_.record_changed(name);
  };
  handlers.on_cluster = [this] {
    if (view_->cluster()) {
      trust_->follow(view_->cluster()->value);
      identity_.durable_directory = view_->cluster()->value.durable_directory;
      save_identity();
    }
    handlers_.settings_changed();
  };
  handlers.on_revocation = [this](const NodeName&) { follow_nodes(); };
  handlers.on_current = [this] { settle(); };
  handlers.on_old = [this](const Error& error) {
    store_trouble_ = error.message();
    report(control::v1::SEVERITY_WARNING, "etcd_away",
           "etcd cannot be reached; containers run on and are checkpointed, changes of ownership wait",
           error.message());
  };
  handlers.on_history_lost = [this](const coord::StoreHistory& before, const coord::StoreHistory& now) {
    const std::string reason =
        std::format("its revision is {} where {} was seen before", now.revision, before.revision);
    report(control::v1::SEVERITY_ERROR, "etcd_went_back",
           "etcd was put back to an earlier state, or is another one; 'perdure cluster recover' shows what that means",
           reason);
    handlers_.history_lost(reason);
  };
  subscription_ = view_->subscribe(std::move(handlers));
}

void Membership::settle() {
  if (!store_trouble_.empty()) {
    store_trouble_.clear();
    log::info("etcd answers");
  }
  for (const auto& [key, problem] : view_->problems()) {
    report(control::v1::SEVERITY_ERROR, "unreadable", std::format("etcd's key '{}' cannot be read", key), problem.message());
  }
  if (etcd_ && !std::exchange(members_watched_, true)) etcd_->watch_members();
  follow_nodes();
  register_self();
  if (registered_) handlers_.current();
}

void Membership::follow_nodes() {
  std::vector<model::NodeDescription> nodes;
  std::vector<std::string> serials;
  for (const auto& [name, node] : view_->nodes()) nodes.push_back(node.value);
  for (const auto& [name, revocation] : view_->revocations()) {
    serials.insert(serials.end(), revocation.value.serials.begin(), revocation.value.serials.end());
  }
  if (leaving_ && view_->node(identity_.node) == nullptr) nodes.clear();
  peers_->set_peers(nodes);
  trust_->follow(serials);
  follow_endpoints();
  if (registered_ && !leaving_ && view_->current() && view_->node(identity_.node) == nullptr) {
    report(control::v1::SEVERITY_ERROR, "removed_from_cluster",
           "this node is no member of the cluster any more; 'perdure cluster leave --force' makes it one of its own",
           {});
  }
  handlers_.nodes_changed();
}

void Membership::follow_endpoints() {
  if (identity_.external || !view_->current()) return;
  const std::string own = etcd_client_url(identity_.listen.front());
  std::vector<std::string> endpoints;
  if (etcd_ && etcd_->is_member()) endpoints.push_back(own);
  for (const auto& [name, node] : view_->nodes()) {
    if (!node.value.etcd_client_url.empty() && node.value.etcd_client_url != own) {
      endpoints.push_back(node.value.etcd_client_url);
    }
  }
  if (endpoints.empty() || endpoints == identity_.endpoints) return;
  identity_.endpoints = endpoints;
  if (Status used = client_->use_endpoints(endpoints); !used) log::error("{}", used.error().message());
  save_identity();
}

void Membership::use_own_store_alone() {
  identity_.endpoints = {etcd_client_url(identity_.listen.front())};
  if (Status used = client_->use_endpoints(identity_.endpoints); !used) log::error("{}", used.error().message());
  save_identity();
}

coord::Revision Membership::highest_revision() const { return std::max(identity_.history.revision, view_->revision()); }

void Membership::keep_history() {
  history_timer_ = options_.loop.after(kHistoryInterval, [this] {
    if (view_->current() && view_->history().revision > identity_.history.revision) {
      identity_.history = view_->history();
      save_identity();
    }
    keep_history();
  });
}

void Membership::save_identity() {
  if (identity_ == saved_) return;
  saved_ = identity_;
  const Status submitted = options_.pool.submit(
      options_.loop, lifetime_,
      [path = identity_path(options_.paths), text = to_json(identity_)] {
        return io::write_file_atomically(path, text, 0600);
      },
      [](const Status& written) {
        if (!written) log::error("{}", written.error().message());
      });
  if (!submitted) saved_.cluster_id.clear();  // written with the next change
}

// ---- This node's own entry ----

model::NodeDescription Membership::description(const model::NodeDescription* before) const {
  model::NodeDescription node = before != nullptr ? *before : model::NodeDescription{.life = self()};
  node.life = self();
  node.addresses = identity_.listen;
  if (before == nullptr) {
    node.labels = identity_.labels;
    node.joined = options_.clock.wall();
  }
  node.manager = identity_.manager;
  node.witness = identity_.witness;
  node.version = options_.version;
  node.facts = options_.facts;
  node.certificate_serial = trust_->certificate().serial;
  const bool has_member = etcd_ && etcd_->is_member();
  node.etcd_client_url = has_member ? etcd_client_url(identity_.listen.front()) : std::string();
  node.etcd_peer_url = identity_.manager && !identity_.external ? etcd_peer_url(identity_.listen.front()) : std::string();
  return node;
}

void Membership::register_self() {
  if (registering_ || leaving_ || !view_->current()) return;
  const auto found = view_->nodes().find(identity_.node);
  if (found == view_->nodes().end()) {
    report(control::v1::SEVERITY_ERROR, "not_a_member",
           std::format("the cluster knows no node '{}'; join it again", identity_.node.str()), {});
    return;
  }
  const model::NodeDescription wanted = description(&found->second.value);
  if (wanted == found->second.value) {
    registered_ = true;
    return;
  }
  registering_ = true;
  coord::Transaction transaction;
  const std::string key = coord::node_key(identity_.node);
  transaction.conditions = {{key, found->second.revision}};
  transaction.writes = {{key, coord::encode_node(wanted, found->second.bytes)}};
  client_->commit(std::move(transaction), deadline(),
                  [this, token = lifetime_.token()](const Result<coord::TransactionResult>& written) {
                    if (!token.alive()) return;
                    registering_ = false;
                    const bool first = !registered_;
                    if (written && written->applied) registered_ = true;
                    // Whatever happened: what the view shows next decides whether there is more to be said.
                    retry_ = options_.loop.after(kRetry, [this] { register_self(); });
                    if (first && registered_) handlers_.current();
                  });
}

Status Membership::check_peer(const io::TlsPeer& peer) const {
  if (peer.organisation != identity_.cluster_id) {
    return fail(ErrorCode::kPermission, "its certificate is of another cluster");
  }
  const auto name = NodeName::parse(peer.name);
  if (!name) return fail(ErrorCode::kPermission, "its certificate names no node");
  const auto revoked = view_->revocations().find(*name);
  if (revoked != view_->revocations().end() &&
      std::ranges::find(revoked->second.value.serials, peer.serial) != revoked->second.value.serials.end()) {
    return fail(ErrorCode::kPermission, std::format("the certificate of node '{}' was revoked: {}", peer.name,
                                                    revoked->second.value.reason));
  }
  if (view_->revision() > 0 && view_->node(*name) == nullptr) {
    return fail(ErrorCode::kPermission, std::format("node '{}' is no member of the cluster", peer.name));
  }
  return {};
}

// ---- etcd's members and certificates ----

std::vector<coord::ManagerNode> Membership::managers() const {
  std::vector<coord::ManagerNode> all;
  for (const auto& [name, node] : view_->nodes()) {
    if (!node.value.manager || node.value.addresses.empty()) continue;
    all.push_back({name, etcd_peer_url(node.value.addresses.front()), etcd_client_url(node.value.addresses.front()),
                   name == identity_.node || peers_->find(name) != nullptr});
  }
  return all;
}

void Membership::start_member(const NodeName& node, const MemberToStart& added, std::function<void(Status)> done) {
  peer::v1::Message message;
  message.mutable_start_member()->set_initial_cluster(added.initial_cluster);
  message.mutable_start_member()->set_member_id(added.id);
  peers_->request(node, Channel::kControl, std::move(message), {}, kStartMemberTime,
                  [done = std::move(done)](const std::expected<PeerMessage, PeerRefusal>& answer) {
                    done(answer ? Status{} : Status(fail(answer.error().error)));
                  });
}

void Membership::on_start_member(PeerRequest request) {
  if (!request.respond) return;
  if (!etcd_) {
    return request.respond->refuse(Error(ErrorCode::kConflict, std::format("node '{}' is no manager", identity_.node.str())));
  }
  const peer::v1::StartMember& start = request.content.message.start_member();
  etcd_->join({start.member_id(), start.initial_cluster()}, identity_.cluster_id,
              [this, respond = request.respond](const Status& started) {
                if (!started) return respond->refuse(started.error());
                peer::v1::Message message;
                message.mutable_member_started();
                respond->answer(std::move(message));
                if (!std::exchange(members_watched_, true)) etcd_->watch_members();
              });
}

void Membership::ask_manager(const std::string& public_key,
                             std::function<void(Result<RenewedCertificate>)> answer) {
  for (const PeerState& peer : peers_->connected()) {
    const model::NodeDescription* node = view_->node(peer.life.node);
    if (node == nullptr || !node->manager) continue;
    peer::v1::Message message;
    message.mutable_renew()->set_public_key_pem(public_key);
    for (const std::string& listen : identity_.listen) message.mutable_renew()->add_addresses(listen);
    peers_->request(peer.life.node, Channel::kControl, std::move(message), {}, kRenewTime,
                    [answer](const std::expected<PeerMessage, PeerRefusal>& renewed) {
                      if (!renewed) return answer(fail(renewed.error().error));
                      const peer::v1::RenewReply& reply = renewed->message.renewed();
                      RenewedCertificate certificate{reply.certificate_pem(), reply.authority_certificate_pem(), {}};
                      for (const peer::v1::KeyOfRing& key : reply.keys()) {
                        if (auto read = from_peer(key)) certificate.keys.push_back(*read);
                      }
                      answer(std::move(certificate));
                    });
    return;
  }
  answer(fail(ErrorCode::kTransient, "no manager is connected"));
}

void Membership::on_renew(PeerRequest request) {
  if (!request.respond) return;
  const pki::Authority* authority = trust_->authority();
  if (authority == nullptr) {
    return request.respond->refuse(Error(ErrorCode::kConflict, std::format("node '{}' is no manager", identity_.node.str())));
  }
  const peer::v1::RenewRequest& renew = request.content.message.renew();
  // For the node that asks and for nobody else; the addresses are those of its entry.
  const model::NodeDescription* node = view_->node(request.from.node);
  if (node == nullptr) return request.respond->refuse(Error(ErrorCode::kPermission, "no member of the cluster"));
  pki::NodeCertificateRequest wanted{.node = request.from.node, .public_key_pem = renew.public_key_pem(), .addresses = {}};
  for (const std::string& listen : node->addresses) {
    if (const auto endpoint = io::Endpoint::parse(listen, kPeerPort)) wanted.addresses.push_back(io::host_of(*endpoint));
  }
  auto certificate = authority->sign(wanted, options_.clock);
  if (!certificate) return request.respond->refuse(certificate.error());
  peer::v1::Message message;
  message.mutable_renewed()->set_certificate_pem(*certificate);
  message.mutable_renewed()->set_authority_certificate_pem(trust_->identity().authorities);
  for (const pki::SealingKey& key : trust_->identity().ring.keys()) *message.mutable_renewed()->add_keys() = to_peer(key);
  request.respond->answer(std::move(message));
}

void Membership::report(control::v1::Severity severity, std::string_view kind, std::string text, std::string reason) {
  if (severity == control::v1::SEVERITY_INFO) {
    log::info("{}", text);
  } else {
    log::warning("{}{}{}", text, reason.empty() ? "" : ": ", reason);
  }
  control::v1::Event event;
  event.set_severity(severity);
  event.set_kind(std::string(kind));
  event.set_text(std::move(text));
  event.set_reason(std::move(reason));
  options_.events.append(std::move(event));
}

}  // namespace perdure::node
