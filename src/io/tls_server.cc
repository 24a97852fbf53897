#include <poll.h>
#include <sys/socket.h>

#include <cerrno>
#include <format>
#include <map>
#include <utility>

#include "base/assert.h"
#include "base/log.h"
#include "io/accepting.h"
#include "io/tls_connection.h"
#include "io/tls_context.h"
#include "io/tls_socket.h"

namespace perdure::io {

namespace {

class TlsServerImpl final : public TlsServer, public TlsConnectionOwner {
 public:
  TlsServerImpl(Loop& loop, TlsServerOptions options, std::shared_ptr<const TlsContextImpl> context,
                TlsHandlers handlers)
      : loop_(loop),
        options_(std::make_shared<const TlsServerOptions>(std::move(options))),
        context_(std::move(context)),
        handlers_(std::make_shared<const TlsHandlers>(std::move(handlers))) {
    PERDURE_ASSERT(handlers_->on_frame);
  }
  ~TlsServerImpl() override;
  Status start();

  void use(std::shared_ptr<const TlsContext> context) override;
  TlsConnection* find(TlsConnectionId id) override;
  std::vector<std::string> addresses() const override;

  void opened(TlsConnectionImpl& connection) override;
  void refused(const TlsPeer& peer, const Error& why) override;
  void closed(TlsConnectionId id, const TlsPeer& peer, Error why) override;
  void release(TlsConnectionId id) override { connections_.erase(id); }

 private:
  struct Listener {
    UniqueFd socket;
    std::string address;
    Watch watch;
    Timer retry;
  };
  Status listen_at(const std::string& address);
  void accept_some(Listener& listener);
  void accept_failed(Listener& listener, int error_number);
  void open_connection(UniqueFd socket, std::string address);

  Loop& loop_;
  const std::shared_ptr<const TlsServerOptions> options_;
  std::shared_ptr<const TlsContextImpl> context_;
  const std::shared_ptr<const TlsHandlers> handlers_;
  std::map<TlsConnectionId, std::shared_ptr<TlsConnectionImpl>> connections_;
  std::vector<std::unique_ptr<Listener>> listeners_;
  Lifetime lifetime_;
};

TlsServerImpl::~TlsServerImpl() {
  for (auto& [id, connection] : connections_) connection->end();
}

Status TlsServerImpl::start() {
  if (options_->addresses.empty()) return fail(ErrorCode::kInvalid, "listen for nodes: no address is given");
  for (const std::string& address : options_->addresses) PERDURE_TRY(listen_at(address));
  return {};
}

Status TlsServerImpl::listen_at(const std::string& address) {
  PERDURE_ASSIGN(const Endpoint endpoint, Endpoint::parse(address));
  auto listener = std::make_unique<Listener>();
  PERDURE_ASSIGN(listener->socket, listen_on(endpoint));
  PERDURE_ASSIGN(const Endpoint bound, local_endpoint(listener->socket.get()));
  listener->address = to_string(bound);
  PERDURE_ASSIGN(listener->watch,
                 loop_.watch_readable(listener->socket.get(), [this, at = listener.get()] { accept_some(*at); }));
  listeners_.push_back(std::move(listener));
  return {};
}

std::vector<std::string> TlsServerImpl::addresses() const {
  std::vector<std::string> result;
  for (const auto& listener : listeners_) result.push_back(listener->address);
  return result;
}

void TlsServerImpl::use(std::shared_ptr<const TlsContext> context) {
  std::shared_ptr<const TlsContextImpl> next = TlsContextImpl::of(std::move(context));
  PERDURE_ASSERT(next != nullptr && next->check_server());
  context_ = std::move(next);
}

TlsConnection* TlsServerImpl::find(TlsConnectionId id) {
  const auto found = connections_.find(id);
  return found == connections_.end() || !found->second->visible() ? nullptr : found->second.get();
}

void TlsServerImpl::accept_some(Listener& listener) {
  const Lifetime::Token token = lifetime_.token();  // on_refused may be the end of us
  for (int i = 0; i < kAcceptsPerTurn && token.alive(); ++i) {
    sockaddr_storage address{};
    socklen_t size = sizeof address;
    UniqueFd socket(
        ::accept4(listener.socket.get(), reinterpret_cast<sockaddr*>(&address), &size, SOCK_NONBLOCK | SOCK_CLOEXEC));
    if (!socket) {
      const int error = errno;
      if (error == EAGAIN) return;
      if (error == EMFILE || error == ENFILE || error == ENOBUFS || error == ENOMEM) {
        return accept_failed(listener, error);
      }
      continue;  // that connection has failed already (accept(2), "Error handling")
    }
    open_connection(std::move(socket), to_string(Endpoint::from(address)));
  }
}

void TlsServerImpl::accept_failed(Listener& listener, int error_number) {
  log::error("{}", Error::from_errno(std::format("accept on {}", listener.address), error_number).message());
  listener.watch.set_events(0);
  listener.retry = loop_.after(kAcceptRetryTime, [at = &listener] { at->watch.set_events(POLLIN); });
}

void TlsServerImpl::open_connection(UniqueFd socket, std::string address) {
  const TlsPeer unknown{{}, {}, {}, address};
  if (connections_.size() >= options_->max_connections) {
    socket.reset();
    return refused(unknown, Error(ErrorCode::kTransient, std::format("{} connections are open, {} is closed at once",
                                                                     connections_.size(), describe(unknown))));
  }
  TlsConnectionOptions options{TlsRole::kServer,         std::move(address),   {},
                               options_->handshake_time, options_->stall_time, options_->max_queue_bytes};
  auto connection =
      TlsConnectionImpl::start(loop_, *this, std::move(socket), std::move(options), context_, handlers_);
  if (!connection) return refused(unknown, connection.error());
  connections_.emplace((*connection)->id(), *connection);
}

void TlsServerImpl::opened(TlsConnectionImpl& connection) {
  const std::shared_ptr<const TlsHandlers> handlers = handlers_;
  if (handlers->on_open) handlers->on_open(connection);
}

void TlsServerImpl::refused(const TlsPeer& peer, const Error& why) {
  const std::shared_ptr<const TlsServerOptions> options = options_;
  if (options->on_refused) options->on_refused(peer, why);
}

void TlsServerImpl::closed(TlsConnectionId id, const TlsPeer& peer, Error why) {
  if (!handlers_->on_close) return;
  loop_.post([token = lifetime_.token(), handlers = handlers_, id, peer, why = std::move(why)] {
    if (token.alive()) handlers->on_close(id, peer, why);
  });
}

}  // namespace

Result<std::unique_ptr<TlsServer>> TlsServer::listen(Loop& loop, TlsServerOptions options,
                                                     std::shared_ptr<const TlsContext> context,
                                                     TlsHandlers handlers) {
  std::shared_ptr<const TlsContextImpl> implementation = TlsContextImpl::of(std::move(context));
  PERDURE_TRY(implementation->check_server());
  auto server =
      std::make_unique<TlsServerImpl>(loop, std::move(options), std::move(implementation), std::move(handlers));
  PERDURE_TRY(server->start());
  return server;
}

}  // namespace perdure::io
