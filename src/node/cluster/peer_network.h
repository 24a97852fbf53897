// Sessions with the other nodes of the cluster over TLS: dialled, accepted, watched, and ended when a peer falls silent.
//
// A session is two connections, control and bulk, both dialled by the node whose name is lower; it is up when both have said Hello.
// The control connection carries pings; a peer that does not answer them within `silence` is down, its requests fail, and its
// connections are made anew. Loop thread only.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "io/loop.h"
#include "io/tls.h"
#include "node/cluster/peer_protocol.h"
#include "node/cluster/peers.h"
#include "pki/sealed_channel.h"

namespace perdure::node {

struct PeerNetworkOptions {
  io::Loop& loop;
  const Clock& clock;
  model::NodeLife self;
  std::string cluster_id;               // 16 bytes
  std::string version;
  ProtocolRange protocols = kPeerProtocols;
  std::vector<std::string> listen;      // "192.0.2.1:7400"
  std::uint64_t body_limit_bytes = std::uint64_t{64} << 30;
  Duration ping_interval = std::chrono::milliseconds(500);
  Duration silence = std::chrono::seconds(2);          // from the last word of a peer until it counts as down
  Duration redial_first = std::chrono::milliseconds(100);  // doubles up to redial_limit
  Duration redial_limit = std::chrono::seconds(3);
};

struct PeerNetworkHandlers {
  std::function<void(const model::NodeLife&)> on_up;
  std::function<void(const model::NodeLife&, const Error&)> on_down;
  // A session is up: what keys of another channel between the two are made of, and who dialled. Before on_up.
  std::function<void(const model::NodeLife&, const std::array<std::byte, 32>& material, pki::ChannelRole)> on_keys;
  // Who dialled knows of the session that is up, and so has the keys.
  std::function<void(const model::NodeLife&)> on_keys_known;
  // Whether this peer may be a peer (known, not revoked); its certificate has been verified against the authority.
  std::function<Status(const io::TlsPeer&)> check;
  // From a connection without a certificate.
  std::function<void(peer::v1::JoinRequest, ResponderRef)> on_join;
  // A connection that was refused, by us or by them; said at most once per peer and reason in a while.
  std::function<void(const std::string& who, const Error&)> on_refused;
};

class PeerNetwork final : public Peers {
 public:
  // What TlsServer::listen says. `table` and handlers are called from the loop only.
  static Result<std::unique_ptr<PeerNetwork>> start(PeerNetworkOptions options, io::TlsIdentity identity,
                                                    PeerRequestTable table, PeerNetworkHandlers handlers);
  ~PeerNetwork() override;

  // A renewed certificate; for connections made from now on.
  Status use(io::TlsIdentity identity);
  // Whom there should be sessions with; others are ended.
  void set_peers(const std::vector<model::NodeDescription>& nodes);
  // Of a node at these addresses ("HOST:PORT") that is let in: when it is refused again, that is news.
  void forget_refusals(const std::vector<std::string>& addresses);

  void request(const NodeName& to, Channel channel, peer::v1::Message message, io::OutgoingBody body, Duration limit,
               Answer answer) override;
  void notice(const NodeName& to, peer::v1::Message message) override;
  const PeerState* find(const NodeName& node) const override;
  std::vector<PeerState> connected() const override;
  // Why there is no session with this node; empty: there is, or none was tried.
  std::string trouble(const NodeName& node) const;
  std::vector<std::string> addresses() const;  // as bound
  std::uint64_t refused() const { return refused_; }

 private:
  struct Session;
  struct Line;
  class LineResponder;
  using Lines = std::map<io::TlsConnectionId, std::unique_ptr<Line>>;

  PeerNetwork(PeerNetworkOptions options, PeerRequestTable table, PeerNetworkHandlers handlers);
  io::TlsHandlers line_handlers(std::optional<NodeName> dialled, Channel channel);
  Result<std::shared_ptr<const io::TlsContext>> make_context(io::TlsIdentity identity,
                                                             io::TlsOptions::ClientCertificate clients);
  void opened(io::TlsConnection& connection, const std::optional<NodeName>& dialled, Channel channel);
  peer::v1::Message own_hello(Channel channel) const;
  void received(io::TlsConnection& connection, std::string text, io::IncomingBody body);
  Result<io::IncomingBody> place_body(io::TlsConnection& connection, std::string_view text, std::uint64_t bytes);
  void closed(io::TlsConnectionId id, const Error& error);
  void greeted(Line& line, const peer::v1::Hello& hello);
  void refuse_version(Line& line, const std::string& name, const Error& why);
  void answered(Line& line, PeerMessage message);
  void asked(Line& line, PeerMessage message);
  void dial(Session& session, Channel channel);
  void redial_later(Session& session, Channel channel, const Error& error);
  void dial_the_other(Session& session, Channel channel);
  void check_up(Session& session);
  bool is_up(const Line& line) const;
  void make_keys(const Session& session, const Line& control);
  void ping(const NodeName& node);
  void end(Session& session, const Error& error);
  void lost(Session& session, const Error& error);
  void ping();
  void hang_up(Line& line);
  Status send(Line& line, const peer::v1::Message& message, io::OutgoingBody body = {});
  Line* line_of(const NodeName& node, Channel channel);
  void report_refused(const std::string& who, const Error& error);

  const PeerNetworkOptions options_;
  const PeerRequestTable table_;
  const PeerNetworkHandlers handlers_;
  std::shared_ptr<const io::TlsContext> server_context_;
  std::shared_ptr<const io::TlsContext> client_context_;
  std::map<NodeName, std::unique_ptr<Session>> sessions_;
  bool peers_known_ = false;
  Lines lines_;
  std::unique_ptr<io::TlsServer> server_;
  std::map<std::string, Instant> told_;  // refusals, not to be told again soon
  std::uint64_t refused_ = 0;
  io::Timer ping_timer_;
  io::Lifetime lifetime_;
};

}  // namespace perdure::node
