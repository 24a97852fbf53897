#include <poll.h>

#include <format>
#include <utility>

#include "base/assert.h"
#include "io/tls_connection.h"
#include "io/tls_context.h"
#include "io/tls_socket.h"

namespace perdure::io {

namespace {

class TlsClientImpl final : public TlsClient, public TlsConnectionOwner {
 public:
  TlsClientImpl(Loop& loop, TlsClientOptions options, std::shared_ptr<const TlsContextImpl> context,
                TlsHandlers handlers, std::function<void(const Error&)> failed)
      : loop_(loop),
        options_(std::move(options)),
        context_(std::move(context)),
        handlers_(std::make_shared<const TlsHandlers>(std::move(handlers))),
        failed_(std::move(failed)) {
    PERDURE_ASSERT(handlers_->on_frame && failed_);
  }
  ~TlsClientImpl() override {
    if (connection_) connection_->end();
  }
  void start(const Endpoint& endpoint);

  TlsConnection* connection() override { return connection_ && connection_->visible() ? connection_.get() : nullptr; }

  void opened(TlsConnectionImpl& connection) override;
  void refused(const TlsPeer&, const Error& why) override { fail_with(why); }
  void closed(TlsConnectionId id, const TlsPeer& peer, Error why) override;
  void release(TlsConnectionId) override { connection_.reset(); }

 private:
  Status try_start(const Endpoint& endpoint);
  void on_connected();
  Status try_tls();
  // The last that is done: the callback may destroy us.
  void fail_with(Error why);

  Loop& loop_;
  const TlsClientOptions options_;
  std::shared_ptr<const TlsContextImpl> context_;
  const std::shared_ptr<const TlsHandlers> handlers_;
  std::function<void(const Error&)> failed_;
  UniqueFd socket_;  // until it is connected
  Watch watch_;
  Timer deadline_;
  std::shared_ptr<TlsConnectionImpl> connection_;
  Lifetime lifetime_;
};

void TlsClientImpl::start(const Endpoint& endpoint) {
  Status started = try_start(endpoint);
  if (started) return;
  loop_.post([this, token = lifetime_.token(), why = std::move(started).error()] {
    if (token.alive()) fail_with(why);
  });
}

Status TlsClientImpl::try_start(const Endpoint& endpoint) {
  PERDURE_ASSIGN(socket_, begin_connecting(endpoint));
  PERDURE_ASSIGN(watch_, loop_.watch(socket_.get(), POLLOUT, [this](short) { on_connected(); }));
  deadline_ = loop_.after(options_.connect_time, [this] {
    fail_with(Error(ErrorCode::kTimeout, std::format("connect to {}: no answer within {}", options_.address,
                                                     format_duration(options_.connect_time))));
  });
  return {};
}

void TlsClientImpl::on_connected() {
  deadline_.reset();
  watch_.reset();
  if (Status begun = try_tls(); !begun) fail_with(std::move(begun).error());
}

Status TlsClientImpl::try_tls() {
  PERDURE_TRY(finish_connecting(socket_.get(), options_.address));
  TlsConnectionOptions options{TlsRole::kClient,        options_.address,    options_.expected_name,
                               options_.handshake_time, options_.stall_time, options_.max_queue_bytes};
  PERDURE_ASSIGN(connection_, TlsConnectionImpl::start(loop_, *this, std::move(socket_), std::move(options),
                                                       std::move(context_), handlers_));
  return {};
}

void TlsClientImpl::fail_with(Error why) {
  watch_.reset();
  deadline_.reset();
  socket_.reset();
  const std::function<void(const Error&)> failed = std::exchange(failed_, nullptr);
  if (failed) failed(why);
}

void TlsClientImpl::opened(TlsConnectionImpl& connection) {
  failed_ = nullptr;
  const std::shared_ptr<const TlsHandlers> handlers = handlers_;
  if (handlers->on_open) handlers->on_open(connection);
}

void TlsClientImpl::closed(TlsConnectionId id, const TlsPeer& peer, Error why) {
  if (!handlers_->on_close) return;
  loop_.post([token = lifetime_.token(), handlers = handlers_, id, peer, why = std::move(why)] {
    if (token.alive()) handlers->on_close(id, peer, why);
  });
}

}  // namespace

Result<std::unique_ptr<TlsClient>> TlsClient::connect(Loop& loop, TlsClientOptions options,
                                                      std::shared_ptr<const TlsContext> context, TlsHandlers handlers,
                                                      std::function<void(const Error&)> failed) {
  PERDURE_ASSIGN(const Endpoint endpoint, Endpoint::parse(options.address));
  auto client = std::make_unique<TlsClientImpl>(loop, std::move(options), TlsContextImpl::of(std::move(context)),
                                                std::move(handlers), std::move(failed));
  client->start(endpoint);
  return client;
}

}  // namespace perdure::io
