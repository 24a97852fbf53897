#include <poll.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <format>

#include "io/frame.h"
#include "io/poll.h"
#include "io/socket_address.h"
#include "io/unix_socket.h"

namespace perdure::io {

namespace {

// A local connect() waits only for room in the listener's backlog, and only as long as the send
// timeout.
Status set_send_timeout(int fd, Duration timeout) {
  const auto microseconds = std::max<std::int64_t>(
      std::chrono::duration_cast<std::chrono::microseconds>(timeout).count(), 1);
  timeval value{};
  value.tv_sec = microseconds / 1'000'000;
  value.tv_usec = microseconds % 1'000'000;
  if (::setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &value, sizeof value) != 0) {
    return fail_errno("set the time limit of a connection");
  }
  return {};
}

Error local_connect_error(const std::string& path, int error_number) {
  const std::string what = std::format("connect to '{}'", path);
  switch (error_number) {
    case ENOENT:
      return Error(ErrorCode::kNotFound, what + ": no such socket; is perdured running?");
    case ECONNREFUSED:
      return Error(ErrorCode::kTransient, what + ": nobody listens; is perdured running?");
    case EAGAIN:
      return Error(ErrorCode::kTimeout, what + ": not accepted in time");
    default:
      return Error::from_errno(what, error_number);
  }
}

}  // namespace

Result<FramedClient> FramedClient::connect(const std::string& path, Instant deadline) {
  PERDURE_ASSIGN(const sockaddr_un address, socket_address(path));
  UniqueFd socket(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (!socket) return fail_errno("create a socket");
  do {
    PERDURE_TRY(set_send_timeout(socket.get(), deadline - BootClock::now()));
    if (::connect(socket.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0) {
      return FramedClient(std::move(socket));
    }
  } while (errno == EINTR && BootClock::now() < deadline);
  return fail(local_connect_error(path, errno == EINTR ? EAGAIN : errno));
}

FramedClient::FramedClient(UniqueFd socket)
    : socket_(std::move(socket)), reader_(std::make_unique<FrameReader>(kMaxFrameBytes)) {}
FramedClient::FramedClient(FramedClient&&) noexcept = default;
FramedClient& FramedClient::operator=(FramedClient&&) noexcept = default;
FramedClient::~FramedClient() = default;

Status FramedClient::send(std::string_view payload, Instant deadline, int fd) {
  if (payload.size() > kMaxFrameBytes) {
    return fail(ErrorCode::kInvalid, std::format("send {} bytes: {} is the limit of a frame",
                                                 payload.size(), kMaxFrameBytes));
  }
  Frame frame{std::string(payload), {}};
  if (fd >= 0) {
    PERDURE_ASSIGN(frame.fd, duplicate(fd));
  }
  FrameWriter writer;
  writer.push(std::move(frame));
  for (;;) {
    PERDURE_ASSIGN(const bool all, writer.write_some(socket_.get()));
    if (all) return {};
    PERDURE_ASSIGN(const bool writable, wait_for_descriptor(socket_.get(), POLLOUT, deadline));
    if (!writable) return fail(ErrorCode::kTimeout, "send: the peer does not read");
  }
}

Result<std::optional<Frame>> FramedClient::receive(Instant deadline) {
  for (;;) {
    PERDURE_ASSIGN(const ReadProgress progress, reader_->read_some(socket_.get()));
    switch (progress) {
      case ReadProgress::kFrame:
        return reader_->take();
      case ReadProgress::kPart:
        continue;
      case ReadProgress::kEnd:
        if (!reader_->within_frame()) return std::nullopt;
        return fail(ErrorCode::kIo, "receive: the peer closed within a frame");
      case ReadProgress::kNothing:
        break;
    }
    PERDURE_ASSIGN(const bool readable, wait_for_descriptor(socket_.get(), POLLIN, deadline));
    if (!readable) return fail(ErrorCode::kTimeout, "receive: no answer in time");
  }
}

Result<PeerCredentials> FramedClient::peer() const {
  return peer_credentials(socket_.get());
}

}  // namespace perdure::io
