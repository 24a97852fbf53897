// Inside of this room: the frames of tls.h apart from TLS and sockets. Nothing here waits or does I/O.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <span>
#include <string>
#include <string_view>

#include "base/result.h"
#include "io/tls.h"

namespace perdure::io {

inline constexpr std::size_t kTlsFrameHeaderBytes = 12;
// The largest content of a TLS record (RFC 8446, 5.1).
inline constexpr std::size_t kTlsRecordBytes = std::size_t{16} << 10;

// Frames on their way in: says where the next bytes belong, so that they are read straight to their place.
class TlsFrameReader {
 public:
  enum class Step {
    kMore,   // space() for more bytes
    kBody,   // the message is complete, a body follows: accept() a place for it
    kFrame,  // take() it
  };
  struct Frame {
    std::string message;
    IncomingBody body;
  };

  explicit TlsFrameReader(std::size_t max_message_bytes) : max_message_bytes_(max_message_bytes) {}
  // From the next frame on.
  void set_max_message_bytes(std::size_t bytes) { max_message_bytes_ = bytes; }

  // Never empty. Memory for a message grows with what has come of it, not with what was announced.
  std::span<std::byte> space();
  // So many bytes have been put into space(). kInvalid: the message is too long.
  Result<Step> filled(std::size_t bytes);

  std::string_view message() const { return message_; }
  std::uint64_t body_bytes() const { return body_bytes_; }
  // kInvalid: not as long as announced.
  Result<Step> accept(IncomingBody body);

  Frame take();
  bool within_frame() const { return done_ > 0; }
  std::uint64_t frame_bytes() const;  // announced, of the frame that is read, as far as is known
  std::uint64_t frame_bytes_done() const { return done_; }
  std::uint64_t total_bytes() const { return total_; }  // ever

 private:
  Result<Step> parse_header();
  Step after_message() const { return body_bytes_ > 0 ? Step::kBody : Step::kFrame; }

  std::size_t max_message_bytes_;
  std::array<std::byte, kTlsFrameHeaderBytes> header_{};
  std::size_t message_bytes_ = 0;
  std::uint64_t body_bytes_ = 0;
  std::uint64_t done_ = 0;  // of the frame, header included
  std::uint64_t total_ = 0;
  std::string message_;
  bool accepted_ = false;
  IncomingBody body_;
};

// Frames on their way out, in order, cut into spans that each fill one record.
class TlsFrameWriter {
 public:
  // Larger than kMaxTlsMessageBytes never.
  void push(std::string message, OutgoingBody body);
  bool empty() const { return queue_.empty(); }
  std::uint64_t queued_bytes() const { return queued_bytes_; }

  // The next bytes, the same ones until they are sent(): straight from where they lie if that fills a record, else
  // gathered. Not when empty().
  std::span<const std::byte> next();
  // Whether anything follows next().
  bool more_after_next() const { return queued_bytes_ > current_.size(); }
  // All of next(). Lets go of the frames that are through.
  void sent();
  void clear();

 private:
  struct Outgoing {
    std::array<std::byte, kTlsFrameHeaderBytes> header;
    std::string message;
    OutgoingBody body;
  };
  // A place in the queue: piece 0 is the header, 1 the message, then the body's.
  struct Place {
    std::size_t frame = 0;
    std::size_t piece = 0;
    std::size_t offset = 0;
  };
  static std::span<const std::byte> piece_of(const Outgoing& outgoing, std::size_t piece);
  // What is left of the piece at `place`, which first moves over finished and empty ones; empty: the queue's end.
  std::span<const std::byte> rest_at(Place& place) const;

  std::deque<Outgoing> queue_;
  Place place_;  // of what has not been sent; frame 0 always
  std::span<const std::byte> current_;
  std::array<std::byte, kTlsRecordBytes> gathered_;
  std::uint64_t queued_bytes_ = 0;
};

}  // namespace perdure::io
