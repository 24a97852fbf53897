#include "io/frame.h"

#include <sys/socket.h>
#include <sys/uio.h>

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <cstring>
#include <format>

#include "base/assert.h"

namespace perdure::io {

namespace {

// What one call asks for. A payload grows as it arrives: an announcement alone costs no memory.
constexpr std::size_t kPayloadReadBytes = 64 * 1024;

// Keeps the first descriptor if `wanted` has none yet; closes every other.
void take_descriptors(msghdr& message, UniqueFd& wanted) {
  for (cmsghdr* control = CMSG_FIRSTHDR(&message); control != nullptr;
       control = CMSG_NXTHDR(&message, control)) {
    if (control->cmsg_level != SOL_SOCKET || control->cmsg_type != SCM_RIGHTS) continue;
    const std::size_t count = (control->cmsg_len - CMSG_LEN(0)) / sizeof(int);
    for (std::size_t i = 0; i < count; ++i) {
      int number = -1;
      std::memcpy(&number, CMSG_DATA(control) + i * sizeof(int), sizeof number);
      UniqueFd received(number);
      if (!wanted) wanted = std::move(received);
    }
  }
}

std::uint32_t decode_length(const std::array<unsigned char, kFrameHeaderBytes>& header) {
  std::uint32_t length = 0;
  for (std::size_t i = 0; i < header.size(); ++i) {
    length |= static_cast<std::uint32_t>(header[i]) << (8 * i);
  }
  return length;
}

std::array<unsigned char, kFrameHeaderBytes> encode_length(std::size_t length) {
  std::array<unsigned char, kFrameHeaderBytes> header{};
  for (std::size_t i = 0; i < header.size(); ++i) {
    header[i] = static_cast<unsigned char>(length >> (8 * i));
  }
  return header;
}

}  // namespace

Result<ReadProgress> FrameReader::read_some(int socket_fd) {
  const std::size_t had = frame_.payload.size();
  iovec piece{};
  if (header_bytes_ < kFrameHeaderBytes) {
    piece = {header_.data() + header_bytes_, kFrameHeaderBytes - header_bytes_};
  } else {
    const std::size_t wanted = std::min(length_ - had, kPayloadReadBytes);
    frame_.payload.resize(had + wanted);
    piece = {frame_.payload.data() + had, wanted};
  }
  alignas(cmsghdr) std::array<char, CMSG_SPACE(sizeof(int))> control{};
  msghdr message{};
  message.msg_iov = &piece;
  message.msg_iovlen = 1;
  message.msg_control = control.data();
  message.msg_controllen = CMSG_LEN(sizeof(int));  // room for one: the kernel closes the others
  const ssize_t got = ::recvmsg(socket_fd, &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
  const int error = errno;
  if (header_bytes_ == kFrameHeaderBytes) {
    frame_.payload.resize(had + static_cast<std::size_t>(std::max<ssize_t>(got, 0)));
  }
  if (got < 0) {
    if (error == EAGAIN || error == EINTR) return ReadProgress::kNothing;
    if (error == ECONNRESET) return ReadProgress::kEnd;
    return fail(Error::from_errno("receive from the peer", error));
  }
  take_descriptors(message, frame_.fd);
  if (got == 0) return ReadProgress::kEnd;
  return advance(static_cast<std::size_t>(got));
}

Result<ReadProgress> FrameReader::advance(std::size_t got) {
  if (header_bytes_ < kFrameHeaderBytes) {
    header_bytes_ += got;
    if (header_bytes_ < kFrameHeaderBytes) return ReadProgress::kPart;
    length_ = decode_length(header_);
    if (length_ > max_frame_bytes_) {
      return fail(ErrorCode::kInvalid,
                  std::format("the peer announced a frame of {} bytes; {} is the limit", length_,
                              max_frame_bytes_));
    }
  }
  return frame_.payload.size() == length_ ? ReadProgress::kFrame : ReadProgress::kPart;
}

Frame FrameReader::take() {
  PERDURE_ASSERT(header_bytes_ == kFrameHeaderBytes && frame_.payload.size() == length_);
  header_bytes_ = 0;
  length_ = 0;
  return std::exchange(frame_, Frame{});
}

void FrameWriter::push(Frame frame) {
  queued_bytes_ += kFrameHeaderBytes + frame.payload.size();
  queue_.push_back({encode_length(frame.payload.size()), std::move(frame)});
}

// The descriptor goes with the first byte and is then closed here.
ssize_t FrameWriter::send_rest(int socket_fd, Outgoing& outgoing) {
  std::array<iovec, 2> pieces{};
  std::size_t count = 0;
  std::size_t payload_sent = 0;
  if (outgoing.sent < kFrameHeaderBytes) {
    pieces[count++] = {outgoing.header.data() + outgoing.sent, kFrameHeaderBytes - outgoing.sent};
  } else {
    payload_sent = outgoing.sent - kFrameHeaderBytes;
  }
  std::string& payload = outgoing.frame.payload;
  if (payload_sent < payload.size()) {
    pieces[count++] = {payload.data() + payload_sent, payload.size() - payload_sent};
  }
  alignas(cmsghdr) std::array<char, CMSG_SPACE(sizeof(int))> control{};
  msghdr message{};
  message.msg_iov = pieces.data();
  message.msg_iovlen = count;
  if (outgoing.frame.fd) {
    message.msg_control = control.data();
    message.msg_controllen = control.size();
    cmsghdr* const header = CMSG_FIRSTHDR(&message);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(sizeof(int));
    const int number = outgoing.frame.fd.get();
    std::memcpy(CMSG_DATA(header), &number, sizeof number);
  }
  const ssize_t sent = ::sendmsg(socket_fd, &message, MSG_DONTWAIT | MSG_NOSIGNAL);
  if (sent > 0) outgoing.frame.fd.reset();
  return sent;
}

Result<bool> FrameWriter::write_some(int socket_fd) {
  while (!queue_.empty()) {
    Outgoing& outgoing = queue_.front();
    const ssize_t sent = send_rest(socket_fd, outgoing);
    if (sent < 0) {
      if (errno == EINTR) continue;
      if (errno == EAGAIN) return false;
      return fail_errno("send to the peer");
    }
    outgoing.sent += static_cast<std::size_t>(sent);
    queued_bytes_ -= static_cast<std::size_t>(sent);
    if (outgoing.sent == outgoing.size()) queue_.pop_front();
  }
  return true;
}

}  // namespace perdure::io
