// Inside of this room: frames in and out of a non-blocking local stream socket, shared by server
// and client.
#pragma once

#include <array>
#include <cstddef>
#include <deque>
#include <string>

#include "base/result.h"
#include "io/unix_socket.h"

namespace perdure::io {

inline constexpr std::size_t kFrameHeaderBytes = 4;

enum class ReadProgress {
  kFrame,    // one is complete: take() it before the next call
  kPart,     // some bytes came, more may be there
  kNothing,  // nothing to read now
  kEnd,      // the peer closed
};

// Never reads beyond the end of a frame, so a descriptor that comes along belongs to the frame that
// is read.
class FrameReader {
 public:
  explicit FrameReader(std::size_t max_frame_bytes) : max_frame_bytes_(max_frame_bytes) {}

  // One recvmsg(). kInvalid: the announced length is beyond the limit (the stream is lost). kIo.
  Result<ReadProgress> read_some(int socket_fd);
  Frame take();
  bool within_frame() const { return header_bytes_ > 0; }

 private:
  Result<ReadProgress> advance(std::size_t got);

  std::size_t max_frame_bytes_;
  std::array<unsigned char, kFrameHeaderBytes> header_{};
  std::size_t header_bytes_ = 0;
  std::size_t length_ = 0;
  Frame frame_;
};

// Frames on their way out, in order.
class FrameWriter {
 public:
  void push(Frame frame);
  // Sends what the socket takes. kTransient never: true if all is sent, false if the socket is
  // full.
  Result<bool> write_some(int socket_fd);
  std::size_t queued_bytes() const { return queued_bytes_; }

 private:
  struct Outgoing {
    std::array<unsigned char, kFrameHeaderBytes> header;
    Frame frame;
    std::size_t sent = 0;
    std::size_t size() const { return kFrameHeaderBytes + frame.payload.size(); }
  };
  static ssize_t send_rest(int socket_fd, Outgoing& outgoing);

  std::deque<Outgoing> queue_;
  std::size_t queued_bytes_ = 0;
};

}  // namespace perdure::io
