// Frames over a local (AF_UNIX) stream socket: the transport of the control socket.
//
// On the wire a frame is its length (u32, little endian) and that many bytes. One descriptor may
// travel with a frame, as SCM_RIGHTS with any of its bytes (this code sends it with the first).
// Every client is suspect: none can make the server hold more than the bounds below or keep it from
// serving others. A peer that shuts down its sending side counts as closed.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/clock.h"
#include "base/fd.h"
#include "base/result.h"
#include "io/loop.h"

namespace perdure::io {

// A frame that announces more ends its connection: control messages are small, bulk data goes by
// descriptor.
inline constexpr std::size_t kMaxFrameBytes = std::size_t{16} << 20;
// Unsent bytes of one connection; beyond it the peer does not read and is disconnected. Two of the
// largest frames fit.
inline constexpr std::size_t kMaxSendQueueBytes = std::size_t{33} << 20;
// Connections at once; the next is accepted and closed at once. Bounds memory with the two above.
inline constexpr std::size_t kMaxConnections = 128;
// From a frame's first byte to its last; a peer that stops in between is disconnected.
inline constexpr Duration kPartialFrameTime = std::chrono::seconds(10);

struct Frame {
  std::string payload = {};
  UniqueFd fd = {};  // empty if none came or is to be sent
};

// As the kernel recorded them when the peer connected (or, seen from a client, began to listen).
struct PeerCredentials {
  pid_t pid = 0;
  uid_t uid = 0;
  gid_t gid = 0;
  std::vector<gid_t> supplementary_groups;
  bool in_group(gid_t group) const;
};
Result<PeerCredentials> peer_credentials(int socket_fd);
// kNotFound: no such group; a number is taken as it is.
Result<gid_t> find_group(const std::string& name);

using ConnectionId = std::uint64_t;  // never used again within one server

// One client. Belongs to its server; loop thread only. Keep the id, not the reference:
// UnixServer::find().
class Connection {
 public:
  virtual ~Connection() = default;
  virtual ConnectionId id() const = 0;
  virtual const PeerCredentials& peer() const = 0;

  // Queues a frame. kInvalid: larger than the frame limit, nothing is sent. kTransient: the peer
  // does not read (send queue full) and is disconnected. kNotFound: closed already.
  virtual Status send(Frame frame) = 0;
  Status send(std::string_view payload) { return send(Frame{std::string(payload), {}}); }

  // Not sent yet. Who streams waits for on_drained before there is much.
  virtual std::size_t queued_bytes() const = 0;

  // While paused no frame is delivered and the peer's writes block in time. Nor is its end noticed.
  virtual void pause_reading() = 0;
  virtual void resume_reading() = 0;

  // At once: what is queued is dropped.
  virtual void close() = 0;
  // No frame is delivered any more; closes when all that is queued has been sent (or the peer does
  // not take it within the partial frame time).
  virtual void close_when_sent() = 0;
};

struct UnixServerOptions {
  std::string path = {};            // at most 100 bytes (sun_path, with a suffix)
  mode_t mode = 0660;               // who may connect needs write permission
  std::optional<gid_t> group = {};  // of the socket file; none: ours
  std::size_t max_frame_bytes = kMaxFrameBytes;
  std::size_t max_send_queue_bytes = kMaxSendQueueBytes;
  std::size_t max_connections = kMaxConnections;
  Duration partial_frame_time = kPartialFrameTime;
};

// Called on the loop's thread, from the loop only: never from inside a call of Connection or
// UnixServer. A callback may close any connection; it must not destroy the server.
struct UnixServerHandlers {
  std::function<void(Connection&)> on_open = {};          // may be empty
  std::function<void(Connection&, Frame)> on_frame = {};  // required
  // All that was queued has been sent. Not called when send() could send it at once. May be empty.
  std::function<void(Connection&)> on_drained = {};
  // Once per opened connection, whoever closed it. kCancelled: the peer or we closed; kTransient:
  // the peer does not read; kTimeout: it stopped within a frame; kInvalid: frame too large; kIo.
  // May be empty.
  std::function<void(ConnectionId, const Error&)> on_close = {};
};

class UnixServer {
 public:
  // Replaces a socket that a dead server left; the socket appears at `path` listening and with its
  // final mode. kConflict: another server is alive on it ("PATH.lock" is locked, or something
  // accepts connections there). kExists: `path` is no socket.
  static Result<std::unique_ptr<UnixServer>> listen(Loop& loop, UnixServerOptions options,
                                                    UnixServerHandlers handlers);
  UnixServer(const UnixServer&) = delete;
  UnixServer& operator=(const UnixServer&) = delete;
  // Closes all connections without calling on_close, and removes the socket if it is still ours.
  virtual ~UnixServer() = default;

  // Null once it is closed.
  virtual Connection* find(ConnectionId id) = 0;
  virtual std::size_t connection_count() const = 0;

 protected:
  UnixServer() = default;
};

class FrameReader;

// The other side, blocking, for the command line. No thread, no loop.
class FramedClient {
 public:
  // kNotFound: no such socket. kTransient: nobody listens there. kPermission. kTimeout.
  static Result<FramedClient> connect(const std::string& path, Instant deadline);

  // The descriptor, if any, is a copy for the peer; `fd` stays ours. kTimeout: the connection is
  // unusable then.
  Status send(std::string_view payload, Instant deadline, int fd = -1);
  // Nothing if the peer closed between two frames. kTimeout: call again, nothing is lost. kInvalid:
  // larger than kMaxFrameBytes. kIo: the peer closed within a frame.
  Result<std::optional<Frame>> receive(Instant deadline);

  int fd() const { return socket_.get(); }  // for poll()

  Result<PeerCredentials> peer() const;  // who listens

  FramedClient(FramedClient&&) noexcept;
  FramedClient& operator=(FramedClient&&) noexcept;
  ~FramedClient();

 private:
  explicit FramedClient(UniqueFd socket);
  UniqueFd socket_;
  std::unique_ptr<FrameReader> reader_;
};

}  // namespace perdure::io
