#include "capsule/criu/image_server.h"

#include <fcntl.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <sys/un.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <format>

#include "criu_images.pb.h"
#include "io/poll.h"

namespace perdure::capsule {
namespace {

constexpr std::size_t kMaxRequestBytes = 4096;
constexpr int kPipeBytes = 1 << 20;  // the largest that a process without CAP_SYS_RESOURCE may have
constexpr std::size_t kPiecesPerWrite = 64;

Status receive_exactly(int socket, void* to, std::size_t size, Instant deadline) {
  auto* at = static_cast<std::byte*>(to);
  while (size > 0) {
    PERDURE_ASSIGN(const bool ready, io::wait_for_descriptor(socket, POLLIN, deadline));
    if (!ready) return fail(ErrorCode::kTimeout, "CRIU stopped within a request for an image");
    const ssize_t got = ::recv(socket, at, size, 0);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return fail_errno("read request for an image");
    if (got == 0) return fail(ErrorCode::kCancelled, "CRIU closed the image connection");
    at += got;
    size -= static_cast<std::size_t>(got);
  }
  return {};
}

Result<UniqueFd> receive_pipe(int socket) {
  char dummy = 0;
  iovec io{.iov_base = &dummy, .iov_len = 1};
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int))] = {};
  msghdr message{};
  message.msg_iov = &io;
  message.msg_iovlen = 1;
  message.msg_control = control;
  message.msg_controllen = sizeof control;
  ssize_t got = 0;
  do {
    got = ::recvmsg(socket, &message, MSG_CMSG_CLOEXEC);
  } while (got < 0 && errno == EINTR);
  if (got <= 0) return fail_errno("receive pipe from CRIU");
  const cmsghdr* header = CMSG_FIRSTHDR(&message);
  if (header == nullptr || header->cmsg_type != SCM_RIGHTS) {
    return fail(ErrorCode::kIo, "CRIU sent no pipe for an image");
  }
  int fd = -1;
  std::memcpy(&fd, CMSG_DATA(header), sizeof fd);
  return UniqueFd(fd);
}

constexpr Duration kRequestTime = std::chrono::seconds(5);  // CRIU writes a request in one go

}  // namespace

Result<ImageServer> ImageServer::listen(const std::string& directory,
                                        ImageCatalogue& catalogue, const LateImages& late) {
  const std::string path = directory + "/streamer-serve.sock";
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.size() >= sizeof address.sun_path) {
    return fail(ErrorCode::kInvalid, std::format("socket path '{}' is too long", path));
  }
  std::memcpy(address.sun_path, path.c_str(), path.size() + 1);
  UniqueFd listener(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (!listener ||
      ::bind(listener.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0 ||
      ::listen(listener.get(), 1) != 0) {
    return fail_errno(std::format("listen on '{}'", path));
  }
  return ImageServer(std::move(listener), catalogue, late);
}

Status ImageServer::answer_request() {
  const Instant deadline = BootClock::now() + kRequestTime;
  std::uint32_t length = 0;
  PERDURE_TRY(receive_exactly(connection_.get(), &length, sizeof length, deadline));
  if (length > kMaxRequestBytes) return fail(ErrorCode::kIo, "CRIU asked for an image with an absurd name");
  std::string bytes(length, '\0');
  PERDURE_TRY(receive_exactly(connection_.get(), bytes.data(), bytes.size(), deadline));
  criu::StreamerRequest request;
  if (!request.ParseFromString(bytes)) return fail(ErrorCode::kIo, "request for an image cannot be parsed");

  const ServedImage* image = catalogue_->find(request.filename());
  criu::StreamerReply reply;
  reply.set_exists(image != nullptr);
  const std::string text = reply.SerializeAsString();
  const auto size = static_cast<std::uint32_t>(text.size());
  std::string frame(reinterpret_cast<const char*>(&size), sizeof size);
  frame += text;
  if (::send(connection_.get(), frame.data(), frame.size(), MSG_NOSIGNAL) !=
      static_cast<ssize_t>(frame.size())) {
    return fail_errno("answer request for an image");
  }
  if (image == nullptr) return {};
  PERDURE_ASSIGN(UniqueFd pipe, receive_pipe(connection_.get()));
  ::fcntl(pipe.get(), F_SETFL, O_NONBLOCK);
  if (image->pages != nullptr) ::fcntl(pipe.get(), F_SETPIPE_SZ, kPipeBytes);
  transfers_.push_back({std::move(pipe), image, is_awaited(request.filename()), 0, 0});
  return {};
}

bool ImageServer::is_awaited(const std::string& name) const {
  return late_is_due_ && std::ranges::find(late_->names, name) != late_->names.end();
}

void ImageServer::take_late_images() {
  late_is_due_ = false;
  for (const Image& image : late_->take()) catalogue_->change(image);
  for (Transfer& transfer : transfers_) transfer.waits = false;
}

Status ImageServer::continue_transfer(Transfer& transfer, bool& finished) {
  const auto* runs = transfer.image->pages == nullptr ? nullptr : &transfer.image->pages->runs();
  for (;;) {
    std::vector<iovec> pieces;
    if (runs == nullptr) {
      const std::string& bytes = transfer.image->bytes;
      if (transfer.offset < bytes.size()) {
        pieces.push_back({const_cast<char*>(bytes.data()) + transfer.offset, bytes.size() - transfer.offset});
      }
    } else {
      std::size_t offset = transfer.offset;
      for (std::size_t i = transfer.run; i < runs->size() && pieces.size() < kPiecesPerWrite; ++i) {
        const auto bytes = (*runs)[i].bytes().subspan(offset);
        pieces.push_back({const_cast<std::byte*>(bytes.data()), bytes.size()});
        offset = 0;
      }
    }
    finished = pieces.empty();
    if (finished) return {};
    // By reference: CRIU copies from our pages. They belong to a capsule, which never changes and outlives this call.
    const ssize_t written = ::vmsplice(transfer.pipe.get(), pieces.data(), pieces.size(), SPLICE_F_NONBLOCK);
    if (written < 0) {
      if (errno == EINTR) continue;
      if (errno == EAGAIN) return {};
      if (errno == EPIPE) {  // CRIU has read what it wanted
        finished = true;
        return {};
      }
      return fail_errno("write image to CRIU");
    }
    transfer.offset += static_cast<std::size_t>(written);
    while (runs != nullptr && transfer.run < runs->size() &&
           transfer.offset >= (*runs)[transfer.run].bytes().size()) {
      transfer.offset -= (*runs)[transfer.run].bytes().size();
      ++transfer.run;
    }
  }
}

Status ImageServer::serve(int done_fd, Instant deadline) {
  for (;;) {
    std::vector<pollfd> polled;
    polled.push_back({.fd = done_fd, .events = POLLIN, .revents = 0});
    // A negative descriptor is passed over: CRIU makes no more requests once it has closed the connection.
    const int requests = requests_ended_ ? -1 : connection_ ? connection_.get() : listener_.get();
    polled.push_back({.fd = requests, .events = POLLIN, .revents = 0});
    polled.push_back({.fd = late_is_due_ ? late_->ready_fd : -1, .events = POLLIN, .revents = 0});
    for (const Transfer& transfer : transfers_) {
      polled.push_back({.fd = transfer.waits ? -1 : transfer.pipe.get(), .events = POLLOUT, .revents = 0});
    }
    PERDURE_ASSIGN(const bool ready, io::poll_until(polled, deadline));
    if (!ready) return fail(ErrorCode::kTimeout, "CRIU did not finish the restore in time");

    std::size_t index = 3;
    for (auto transfer = transfers_.begin(); transfer != transfers_.end(); ++index) {
      bool finished = false;
      if (polled[index].revents != 0) PERDURE_TRY(continue_transfer(*transfer, finished));
      transfer = finished ? transfers_.erase(transfer) : std::next(transfer);
    }
    if (polled[2].revents != 0) take_late_images();
    if (polled[1].revents != 0) {
      if (!connection_) {
        connection_.reset(::accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC));
      } else if (const Status answered = answer_request(); !answered) {
        if (answered.error().code() != ErrorCode::kCancelled) return answered;
        requests_ended_ = true;
      }
    }
    if (polled[0].revents != 0) return {};
  }
}

}  // namespace perdure::capsule
