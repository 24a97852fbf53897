#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <format>
#include <map>

#include "base/assert.h"
#include "base/log.h"
#include "io/accepting.h"
#include "io/atomic_file.h"
#include "io/frame.h"
#include "io/socket_address.h"
#include "io/unix_socket.h"

namespace perdure::io {

namespace {

// Read from one client before the others have their turn.
constexpr int kReadsPerTurn = 32;
constexpr int kBacklog = 128;
// How long a socket file is asked whether somebody lives behind it.
constexpr Duration kProbeTime = std::chrono::milliseconds(200);
constexpr std::size_t kMaxPathBytes = 100;
constexpr const char* kLockSuffix = ".lock";
constexpr const char* kNewSuffix = ".new";

class ServerImpl;

class ConnectionImpl final : public Connection,
                             public std::enable_shared_from_this<ConnectionImpl> {
 public:
  ConnectionImpl(ServerImpl& server, ConnectionId id, UniqueFd socket, PeerCredentials peer);
  Status start();

  ConnectionId id() const override { return id_; }
  const PeerCredentials& peer() const override { return peer_; }
  Status send(Frame frame) override;
  using Connection::send;
  std::size_t queued_bytes() const override { return writer_.queued_bytes(); }
  void pause_reading() override;
  void resume_reading() override;
  void close() override { close_for(Error(ErrorCode::kCancelled, "closed")); }
  void close_when_sent() override;

  bool open() const { return server_ != nullptr; }
  // Lets go of everything, tells nobody.
  void end();

 private:
  void on_ready(short event);
  void read_frames();
  bool read_once();
  Status flush();
  void close_for(Error reason);
  void update_events();
  void watch_partial_frame();
  bool wants_frames() const { return open() && !paused_ && !finishing_; }

  ServerImpl* server_;  // null once closed
  const ConnectionId id_;
  const PeerCredentials peer_;
  FrameReader reader_;
  FrameWriter writer_;
  bool paused_ = false;
  bool finishing_ = false;
  UniqueFd socket_;
  Watch watch_;
  Timer deadline_;  // of a partial frame, or of the last bytes to a peer that we are finished with
};

class ServerImpl final : public UnixServer {
 public:
  ServerImpl(Loop& loop, UnixServerOptions options, UnixServerHandlers handlers, FileLock lock)
      : loop_(loop),
        options_(std::move(options)),
        handlers_(std::move(handlers)),
        lock_(std::move(lock)) {
    PERDURE_ASSERT(handlers_.on_frame);
  }
  ~ServerImpl() override;
  Status start();

  Connection* find(ConnectionId id) override;
  std::size_t connection_count() const override { return connections_.size(); }

  Loop& loop() { return loop_; }
  const UnixServerOptions& options() const { return options_; }
  void deliver(Connection& connection, Frame frame) {
    handlers_.on_frame(connection, std::move(frame));
  }
  void drained(Connection& connection) {
    if (handlers_.on_drained) handlers_.on_drained(connection);
  }
  void forget(ConnectionId id, Error reason);

 private:
  Status bind_and_listen();
  void accept_some();
  void accept_failed(int error_number);
  void open_connection(UniqueFd socket);

  Loop& loop_;
  const UnixServerOptions options_;
  const UnixServerHandlers handlers_;
  FileLock lock_;
  UniqueFd listener_;
  struct stat bound_{};  // the socket file that is ours
  bool full_ = false;    // said so in the log
  ConnectionId next_id_ = 1;
  std::map<ConnectionId, std::shared_ptr<ConnectionImpl>> connections_;
  Watch accept_watch_;
  Timer accept_retry_;
  Lifetime lifetime_;
};

// --- one connection

ConnectionImpl::ConnectionImpl(ServerImpl& server, ConnectionId id, UniqueFd socket,
                               PeerCredentials peer)
    : server_(&server),
      id_(id),
      peer_(std::move(peer)),
      reader_(server.options().max_frame_bytes),
      socket_(std::move(socket)) {}

Status ConnectionImpl::start() {
  PERDURE_ASSIGN(watch_, server_->loop().watch(socket_.get(), POLLIN,
                                               [this](short event) { on_ready(event); }));
  return {};
}

void ConnectionImpl::end() {
  server_ = nullptr;
  watch_.reset();
  deadline_.reset();
  socket_.reset();
}

void ConnectionImpl::close_for(Error reason) {
  if (!open()) return;
  const std::shared_ptr<ConnectionImpl> keep = shared_from_this();
  ServerImpl& server = *server_;
  end();
  server.forget(id_, std::move(reason));
}

void ConnectionImpl::update_events() {
  if (!open()) return;
  const int events = (wants_frames() ? POLLIN : 0) | (writer_.queued_bytes() > 0 ? POLLOUT : 0);
  watch_.set_events(static_cast<short>(events));
}

void ConnectionImpl::on_ready(short event) {
  const std::shared_ptr<ConnectionImpl> keep = shared_from_this();
  if (event == POLLIN) read_frames();
  if (event == POLLOUT && open()) {
    // A failed flush has closed the connection, which says it all.
    [[maybe_unused]] const Status flushed = flush();
    if (open() && writer_.queued_bytes() == 0) server_->drained(*this);
  }
}

void ConnectionImpl::read_frames() {
  for (int i = 0; i < kReadsPerTurn && wants_frames(); ++i) {
    if (!read_once()) break;
  }
  if (wants_frames()) watch_partial_frame();
}

// False: nothing more to read for now, or closed.
bool ConnectionImpl::read_once() {
  Result<ReadProgress> progress = reader_.read_some(socket_.get());
  if (!progress) {
    close_for(std::move(progress).error());
    return false;
  }
  switch (*progress) {
    case ReadProgress::kPart:
      return true;
    case ReadProgress::kNothing:
      return false;
    case ReadProgress::kEnd:
      close_for(Error(ErrorCode::kCancelled, "the peer closed"));
      return false;
    case ReadProgress::kFrame:
      deadline_.reset();
      server_->deliver(*this, reader_.take());
      return true;
  }
  return false;
}

void ConnectionImpl::watch_partial_frame() {
  if (!reader_.within_frame() || deadline_.active()) return;
  deadline_ = server_->loop().after(server_->options().partial_frame_time, [this] {
    close_for(Error(ErrorCode::kTimeout, "the peer stopped within a frame"));
  });
}

Status ConnectionImpl::send(Frame frame) {
  if (!open() || finishing_) {
    return fail(ErrorCode::kNotFound, std::format("send to connection {}: closed", id_));
  }
  const std::shared_ptr<ConnectionImpl> keep = shared_from_this();  // over a close on the way
  const UnixServerOptions& options = server_->options();
  if (frame.payload.size() > options.max_frame_bytes) {
    return fail(ErrorCode::kInvalid,
                std::format("send {} bytes to connection {}: {} is the limit of a frame",
                            frame.payload.size(), id_, options.max_frame_bytes));
  }
  const bool idle = writer_.queued_bytes() == 0;
  writer_.push(std::move(frame));
  if (idle) PERDURE_TRY(flush());
  if (writer_.queued_bytes() > options.max_send_queue_bytes) {
    Error error(ErrorCode::kTransient,
                std::format("send to connection {} (process {}): the peer does not read, {} bytes "
                            "are waiting",
                            id_, peer_.pid, writer_.queued_bytes()));
    close_for(error);
    return fail(std::move(error));
  }
  return {};
}

Status ConnectionImpl::flush() {
  const Result<bool> all = writer_.write_some(socket_.get());
  if (!all) {
    close_for(Error(ErrorCode::kCancelled, "the peer closed: " + all.error().message()));
    return fail(ErrorCode::kNotFound, std::format("send to connection {}: closed", id_));
  }
  if (*all && finishing_) {
    close();
    return {};
  }
  update_events();
  return {};
}

void ConnectionImpl::pause_reading() {
  if (paused_ || !open()) return;
  paused_ = true;
  if (!finishing_) deadline_.reset();
  update_events();
}

void ConnectionImpl::resume_reading() {
  if (!paused_ || !open()) return;
  paused_ = false;
  if (!finishing_) watch_partial_frame();
  update_events();
}

void ConnectionImpl::close_when_sent() {
  if (!open() || finishing_) return;
  if (writer_.queued_bytes() == 0) return close();
  finishing_ = true;
  deadline_ = server_->loop().after(server_->options().partial_frame_time, [this] {
    close_for(Error(ErrorCode::kTransient, "the peer does not read the last frames"));
  });
  update_events();
}

// --- the server

ServerImpl::~ServerImpl() {
  for (auto& [id, connection] : connections_) connection->end();
  connections_.clear();
  struct stat now{};
  if (listener_ && ::lstat(options_.path.c_str(), &now) == 0 && now.st_dev == bound_.st_dev &&
      now.st_ino == bound_.st_ino) {
    ::unlink(options_.path.c_str());
  }
}

Status ServerImpl::start() {
  PERDURE_TRY(bind_and_listen());
  PERDURE_ASSIGN(accept_watch_, loop_.watch_readable(listener_.get(), [this] { accept_some(); }));
  return {};
}

// Under a second name first, so that nobody meets a socket with the wrong mode, or one that
// refuses.
Status ServerImpl::bind_and_listen() {
  const std::string fresh = options_.path + kNewSuffix;
  PERDURE_ASSIGN(const sockaddr_un address, socket_address(fresh));
  UniqueFd socket(::socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  if (!socket) return fail_errno("create a socket");
  ::unlink(fresh.c_str());  // of a server that died in between; the lock is ours
  if (::bind(socket.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) {
    return fail_errno(std::format("bind socket '{}'", fresh));
  }
  const gid_t group = options_.group.value_or(static_cast<gid_t>(-1));
  if (::chown(fresh.c_str(), static_cast<uid_t>(-1), group) != 0 ||
      ::chmod(fresh.c_str(), options_.mode) != 0 || ::lstat(fresh.c_str(), &bound_) != 0) {
    return fail_errno(std::format("set group and mode of socket '{}'", fresh));
  }
  if (::listen(socket.get(), kBacklog) != 0) {
    return fail_errno(std::format("listen on '{}'", fresh));
  }
  if (::rename(fresh.c_str(), options_.path.c_str()) != 0) {
    return fail_errno(std::format("rename '{}' to '{}'", fresh, options_.path));
  }
  listener_ = std::move(socket);
  return {};
}

void ServerImpl::accept_some() {
  for (int i = 0; i < kAcceptsPerTurn; ++i) {
    UniqueFd socket(::accept4(listener_.get(), nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC));
    if (!socket) {
      if (errno == ECONNABORTED || errno == EINTR) continue;
      if (errno != EAGAIN) accept_failed(errno);
      return;
    }
    if (connections_.size() >= options_.max_connections) {
      if (!full_) {
        log::warning("socket '{}': {} connections are open, refusing more", options_.path,
                     connections_.size());
      }
      full_ = true;
      continue;
    }
    full_ = false;
    open_connection(std::move(socket));
  }
}

void ServerImpl::accept_failed(int error_number) {
  log::error(
      "{}",
      Error::from_errno(std::format("accept on '{}'", options_.path), error_number).message());
  accept_watch_.set_events(0);
  accept_retry_ = loop_.after(kAcceptRetryTime, [this] { accept_watch_.set_events(POLLIN); });
}

void ServerImpl::open_connection(UniqueFd socket) {
  auto peer = peer_credentials(socket.get());
  if (!peer) {
    log::error("socket '{}': {}", options_.path, peer.error().message());
    return;
  }
  const ConnectionId id = next_id_++;
  auto connection =
      std::make_shared<ConnectionImpl>(*this, id, std::move(socket), std::move(*peer));
  if (const Status started = connection->start(); !started) {
    log::error("socket '{}': {}", options_.path, started.error().message());
    return;
  }
  connections_.emplace(id, connection);
  if (handlers_.on_open) handlers_.on_open(*connection);
}

Connection* ServerImpl::find(ConnectionId id) {
  const auto found = connections_.find(id);
  return found == connections_.end() ? nullptr : found->second.get();
}

void ServerImpl::forget(ConnectionId id, Error reason) {
  connections_.erase(id);
  if (!handlers_.on_close) return;
  loop_.post([this, token = lifetime_.token(), id, reason = std::move(reason)] {
    if (token.alive()) handlers_.on_close(id, reason);
  });
}

// Nobody else serves there: the caller holds the lock, so what is left is a program that knows no
// lock.
Status check_free(const std::string& path) {
  struct stat found{};
  if (::lstat(path.c_str(), &found) != 0) {
    if (errno == ENOENT) return {};
    return fail_errno(std::format("look at '{}'", path));
  }
  if (!S_ISSOCK(found.st_mode)) {
    return fail(ErrorCode::kExists,
                std::format("listen on '{}': a file that is no socket is there", path));
  }
  const auto client = FramedClient::connect(path, BootClock::now() + kProbeTime);
  if (client || client.error().code() == ErrorCode::kTimeout) {
    return fail(ErrorCode::kConflict,
                std::format("listen on '{}': another program listens there", path));
  }
  return {};
}

}  // namespace

Result<std::unique_ptr<UnixServer>> UnixServer::listen(Loop& loop, UnixServerOptions options,
                                                       UnixServerHandlers handlers) {
  const std::string path = options.path;
  if (path.empty() || path.size() > kMaxPathBytes) {
    return fail(ErrorCode::kInvalid,
                std::format("socket path '{}' has {} bytes; 1 to {} are possible", path,
                            path.size(), kMaxPathBytes));
  }
  Result<FileLock> lock = FileLock::acquire(path + kLockSuffix);
  if (!lock) {
    return fail(std::move(lock).error().context(
        std::format("listen on '{}' (is another server running?)", path)));
  }
  PERDURE_TRY(check_free(path));
  auto server =
      std::make_unique<ServerImpl>(loop, std::move(options), std::move(handlers), std::move(*lock));
  PERDURE_TRY(server->start());
  return server;
}

}  // namespace perdure::io
