#include "node/cluster/founding.h"

#include <sys/random.h>

#include <filesystem>
#include <format>
#include <utility>

#include "base/log.h"
#include "coord/cluster_codec.h"
#include "coord/etcd_server.h"
#include "io/atomic_file.h"
#include "io/endpoint.h"
#include "node/cluster/durable_directory.h"
#include "node/cluster/membership.h"
#include "node/cluster/peer_codec.h"
#include "peer.pb.h"
#include "pki/join_token.h"

namespace perdure::node {
namespace {

constexpr Duration kJoinTime = std::chrono::seconds(20);

std::string hexadecimal(const coord::ClusterId& id) {
  std::string text;
  for (const std::uint8_t byte : id) text += std::format("{:02x}", byte);
  return text;
}

// What both ways have in common: who this node will be.
Result<ClusterIdentity> identity_of(const FoundingWish& wish) {
  PERDURE_ASSIGN(NodeName name, wish.node_name.empty() ? default_node_name() : NodeName::parse(wish.node_name));
  ClusterIdentity identity{.cluster_id = {}, .node = std::move(name)};
  std::vector<std::string> listen = wish.listen;
  if (listen.empty()) {
    PERDURE_ASSIGN(std::string address, default_address());
    listen.push_back(std::move(address));
  }
  if (listen.size() > coord::kMaxNodeAddresses) {
    return fail(ErrorCode::kInvalid, std::format("{} addresses; at most {} are taken", listen.size(), coord::kMaxNodeAddresses));
  }
  for (const std::string& text : listen) {
    PERDURE_ASSIGN(const auto endpoint, io::Endpoint::parse(text, kPeerPort));
    if (endpoint.is_any()) {
      return fail(ErrorCode::kInvalid, std::format("--listen {}: name the address that other nodes reach this one at", text));
    }
    identity.listen.push_back(to_string(endpoint));
  }
  if (wish.labels.size() > coord::kMaxLabels) return fail(ErrorCode::kInvalid, "more than 16 labels");
  for (const auto& [key, value] : wish.labels) PERDURE_TRY(model::check_label(key, value));
  identity.labels = wish.labels;
  return identity;
}

Result<std::vector<std::string>> hosts_of(const ClusterIdentity& identity) {
  std::vector<std::string> hosts;
  for (const std::string& listen : identity.listen) {
    PERDURE_ASSIGN(const auto endpoint, io::Endpoint::parse(listen, kPeerPort));
    hosts.push_back(io::host_of(endpoint));
  }
  return hosts;
}

Status write_membership(const Paths& paths, const ClusterIdentity& identity, const pki::NodeIdentity& files) {
  PERDURE_TRY(io::make_directories(cluster_directory(paths), 0700));
  const pki::NodeFiles writer(cluster_directory(paths));
  PERDURE_TRY(writer.write(files));
  if (Status written = io::write_file_atomically(identity_path(paths), to_json(identity), 0600); !written) {
    (void)writer.remove_all();
    return written;
  }
  return {};
}

}  // namespace

// ---- A new cluster ----

Result<FoundedCluster> found_cluster(const InitWish& wish, const Paths& paths, const Clock& clock) {
  PERDURE_ASSIGN(ClusterIdentity identity, identity_of(wish.node));
  if (!wish.durable_directory.empty()) PERDURE_TRY(check_unmarked(wish.durable_directory));
  FoundedCluster founded{.identity = std::move(identity), .files = {}, .settings = {}};
  if (::getrandom(founded.settings.id.data(), founded.settings.id.size(), 0) != static_cast<ssize_t>(founded.settings.id.size())) {
    return fail_errno("make the cluster's id");
  }
  founded.identity.cluster_id = hexadecimal(founded.settings.id);
  founded.identity.manager = true;
  founded.identity.external = wish.external;
  founded.identity.endpoints = {etcd_client_url(founded.identity.listen.front())};

  PERDURE_ASSIGN(pki::Authority authority, pki::Authority::create(founded.identity.cluster_id, clock));
  PERDURE_ASSIGN(founded.files.key, pki::make_private_key());
  PERDURE_ASSIGN(const std::string public_key, pki::public_key_of(founded.files.key));
  PERDURE_ASSIGN(auto hosts, hosts_of(founded.identity));
  PERDURE_ASSIGN(founded.files.certificate, authority.sign({.node = founded.identity.node,
                                                            .public_key_pem = public_key,
                                                            .addresses = std::move(hosts)},
                                                           clock));
  founded.files.authorities = authority.certificate();
  PERDURE_ASSIGN(founded.files.revocations, authority.revocation_list({}, clock));
  PERDURE_ASSIGN(const pki::SealingKey key, pki::KeyRing::make_key(1, clock.wall()));
  founded.files.ring = pki::KeyRing({key});
  PERDURE_ASSIGN(auto wrapped, pki::wrap(key, authority.private_key()));

  founded.settings.authority_certificate_pem = authority.certificate();
  founded.settings.created = clock.wall();
  founded.settings.keys = {std::move(wrapped)};
  founded.settings.durable_directory = wish.durable_directory;
  founded.identity.durable_directory = wish.durable_directory;
  founded.settings.standbys = wish.standbys;
  founded.settings.timing = wish.timing;
  founded.settings.external_etcd = wish.external.has_value();
  founded.files.authority.emplace(std::move(authority));
  const std::string& id = founded.identity.cluster_id;
  if (!wish.durable_directory.empty()) PERDURE_TRY(mark_durable_directory(wish.durable_directory, id));
  if (Status written = write_membership(paths, founded.identity, founded.files); !written) {
    unmark_durable_directory(wish.durable_directory, id);
    return fail(std::move(written).error());
  }
  return founded;
}

Status forget_membership(const Paths& paths, const ClusterIdentity& identity, WallTime now) {
  PERDURE_TRY(pki::NodeFiles(cluster_directory(paths)).remove_all());
  PERDURE_TRY(coord::set_data_aside(etcd_options(paths, identity), now));
  std::error_code error;
  std::filesystem::remove(identity_path(paths), error);
  if (error) return fail(ErrorCode::kIo, std::format("remove '{}': {}", identity_path(paths), error.message()));
  return io::sync_directory(cluster_directory(paths));
}

// ---- Joining ----

Joining::Joining(io::Loop& loop, io::Pool& pool, const Clock& clock, Paths paths, model::HostFacts facts, std::string version)
    : loop_(loop),
      pool_(pool),
      clock_(clock),
      paths_(std::move(paths)),
      facts_(std::move(facts)),
      version_(std::move(version)) {}

Joining::~Joining() = default;

void Joining::finish(Result<JoinedCluster> joined) {
  limit_.reset();
  // The connection's own callback may be what ends it.
  loop_.post([client = std::shared_ptr<io::TlsClient>(std::move(client_))] {});
  if (done_) std::exchange(done_, nullptr)(std::move(joined));
}

void Joining::begin(const JoinWish& wish, Done done) {
  wish_ = wish;
  done_ = std::move(done);
  const auto prepare = [&]() -> Status {
    PERDURE_ASSIGN(identity_, identity_of(wish_.node));
    PERDURE_ASSIGN(const pki::JoinToken token, pki::parse_join_token(wish_.token));
    token_id_ = token.id;
    token_secret_ = token.secret;
    PERDURE_ASSIGN(private_key_, pki::make_private_key());
    if (wish_.external) {
      for (const auto& file : {wish_.external->authority_file, wish_.external->certificate_file, wish_.external->key_file}) {
        PERDURE_TRY(read_file(file).transform([](auto&&) {}));
      }
    }
    PERDURE_ASSIGN(const auto endpoint, io::Endpoint::parse(wish_.address, kPeerPort));
    io::TlsOptions options;
    options.authority_fingerprint = token.fingerprint;
    options.clock = &clock_;
    PERDURE_ASSIGN(const auto context, io::TlsContext::create(std::move(options)));
    io::TlsHandlers handlers;
    handlers.on_open = [this](io::TlsConnection& connection) { ask(connection); };
    handlers.on_frame = [this](io::TlsConnection&, const std::string& text, io::IncomingBody) { answered(text); };
    handlers.on_close = [this](io::TlsConnectionId, const io::TlsPeer&, const Error& error) {
      if (done_ && client_) finish(fail(Error(error).context("the connection ended before an answer")));
    };
    PERDURE_ASSIGN(client_, io::TlsClient::connect(loop_, {.address = to_string(endpoint), .expected_name = {}}, context,
                                                   std::move(handlers), [this](const Error& error) {
                                                     finish(fail(Error(error).context(std::format("join at {}", wish_.address))));
                                                   }));
    return {};
  };
  if (Status prepared = prepare(); !prepared) return finish(fail(std::move(prepared).error()));
  limit_ = loop_.after(kJoinTime, [this] {
    finish(fail(ErrorCode::kTimeout, std::format("node at {} has not answered within {}; what it has decided is not known: "
                                                 "'perdure node list' there shows it",
                                                 wish_.address, format_duration(kJoinTime))));
  });
}

void Joining::ask(io::TlsConnection& connection) {
  peer::v1::Message message;
  message.set_id(1);
  peer::v1::JoinRequest& request = *message.mutable_join();
  request.set_token_id(token_id_);
  request.set_token_secret(token_secret_);
  request.set_name(identity_->node.str());
  for (const std::string& listen : identity_->listen) request.add_addresses(listen);
  for (const auto& [key, value] : identity_->labels) (*request.mutable_labels())[key] = value;
  request.set_witness(wish_.witness);
  request.set_external_etcd(wish_.external.has_value());
  request.set_version(version_);
  *request.mutable_facts() = to_peer(facts_);
  const auto public_key = pki::public_key_of(private_key_);
  if (!public_key) return finish(fail(public_key.error()));
  request.set_public_key_pem(*public_key);
  if (Status sent = connection.send(message.SerializeAsString()); !sent) finish(fail(std::move(sent).error()));
}

void Joining::answered(const std::string& text) {
  peer::v1::Message message;
  if (!message.ParseFromString(text) || !(message.has_error() || message.has_joined())) {
    return finish(fail(ErrorCode::kInvalid, std::format("the answer of {} cannot be read; compare the versions", wish_.address)));
  }
  if (message.has_error()) {
    const auto last = static_cast<std::uint32_t>(ErrorCode::kFenced);
    const auto code = message.error().code() <= last ? static_cast<ErrorCode>(message.error().code()) : ErrorCode::kIo;
    return finish(fail(code, std::format("refused by {}: {}", wish_.address, message.error().message())));
  }
  write(message.joined());
}

void Joining::write(const peer::v1::JoinReply& reply) {
  // Neither its end nor the limit is news from here on: what is written is written.
  limit_.reset();
  loop_.post([client = std::shared_ptr<io::TlsClient>(std::move(client_))] {});
  const auto build = [&]() -> Result<std::shared_ptr<JoinedCluster>> {
    auto joined = std::make_shared<JoinedCluster>(JoinedCluster{*identity_, {}});
    joined->identity.cluster_id = reply.cluster_id();
    joined->identity.manager = reply.manager();
    joined->identity.witness = wish_.witness;
    joined->identity.endpoints.assign(reply.etcd_endpoints().begin(), reply.etcd_endpoints().end());
    joined->files.certificate = reply.certificate_pem();
    joined->files.key = private_key_;
    joined->files.authorities = reply.authority_certificate_pem();
    std::vector<pki::SealingKey> keys;
    for (const peer::v1::KeyOfRing& key : reply.keys()) {
      PERDURE_ASSIGN(pki::SealingKey read, from_peer(key));
      keys.push_back(read);
    }
    joined->files.ring = pki::KeyRing(std::move(keys));
    if (!reply.authority_key_pem().empty()) {
      PERDURE_ASSIGN(auto authority, pki::Authority::load(reply.authority_certificate_pem(), reply.authority_key_pem()));
      PERDURE_ASSIGN(joined->files.revocations, authority.revocation_list({}, clock_));
      joined->files.authority.emplace(std::move(authority));
    }
    PERDURE_ASSIGN(const auto info, pki::read_certificate(reply.certificate_pem()));
    if (info.name != identity_->node.str() || info.organisation != reply.cluster_id()) {
      return fail(ErrorCode::kInvalid, "the certificate that was sent is of another node or cluster");
    }
    if (reply.external_etcd() != wish_.external.has_value()) {
      return fail(ErrorCode::kInvalid, "the answer does not say which etcd the cluster uses; compare the versions");
    }
    joined->identity.external = wish_.external;
    if (wish_.external) joined->identity.external->endpoints = std::exchange(joined->identity.endpoints, {});
    return joined;
  };
  auto joined = build();
  if (!joined) return finish(fail(std::move(joined).error()));
  auto work = [paths = paths_, joined = *joined] { return write_membership(paths, joined->identity, joined->files); };
  auto done = [this, joined = *joined](Status written) {
    if (!written) return finish(fail(std::move(written).error()));
    finish(std::move(*joined));
  };
  if (Status submitted = pool_.submit(loop_, lifetime_, std::move(work), std::move(done)); !submitted) {
    finish(fail(std::move(submitted).error()));
  }
}

}  // namespace perdure::node
