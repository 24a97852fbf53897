#include "io/tls_frame.h"

#include <algorithm>
#include <cstring>
#include <format>
#include <utility>

#include "base/assert.h"

namespace perdure::io {

namespace {

constexpr std::size_t kFirstMessageBytes = std::size_t{64} << 10;

template <typename Number>
void put(std::span<std::byte> into, Number number) {
  for (std::size_t i = 0; i < sizeof(Number); ++i) {
    into[i] = static_cast<std::byte>((number >> (8 * i)) & 0xff);
  }
}

template <typename Number>
Number get(std::span<const std::byte> from) {
  Number number = 0;
  for (std::size_t i = 0; i < sizeof(Number); ++i) {
    number |= static_cast<Number>(static_cast<Number>(from[i]) << (8 * i));
  }
  return number;
}

}  // namespace

std::uint64_t OutgoingBody::size_bytes() const {
  std::uint64_t bytes = 0;
  for (const std::span<const std::byte> piece : pieces) bytes += piece.size();
  return bytes;
}

// --- in

std::span<std::byte> TlsFrameReader::space() {
  if (done_ < kTlsFrameHeaderBytes) {
    return std::span(header_).subspan(static_cast<std::size_t>(done_));
  }
  const std::uint64_t after_header = done_ - kTlsFrameHeaderBytes;
  if (after_header < message_bytes_) {
    const auto had = static_cast<std::size_t>(after_header);
    if (message_.size() == had) {
      message_.resize(std::min(message_bytes_, std::max(kFirstMessageBytes, 2 * had)));
    }
    return std::as_writable_bytes(std::span(message_)).subspan(had);
  }
  PERDURE_ASSERT(accepted_);
  return body_.target.subspan(static_cast<std::size_t>(after_header - message_bytes_));
}

Result<TlsFrameReader::Step> TlsFrameReader::filled(std::size_t bytes) {
  done_ += bytes;
  total_ += bytes;
  if (done_ < kTlsFrameHeaderBytes) return Step::kMore;
  // Bytes never go over the end of what space() gave: here the header is just complete, or has been before.
  if (done_ == kTlsFrameHeaderBytes) return parse_header();
  const std::uint64_t after_header = done_ - kTlsFrameHeaderBytes;
  if (after_header < message_bytes_) return Step::kMore;
  if (!accepted_) return after_message();
  return done_ == frame_bytes() ? Step::kFrame : Step::kMore;
}

Result<TlsFrameReader::Step> TlsFrameReader::parse_header() {
  const std::span<const std::byte> header(header_);
  message_bytes_ = get<std::uint32_t>(header);
  body_bytes_ = get<std::uint64_t>(header.subspan(4));
  if (message_bytes_ > max_message_bytes_) {
    return fail(ErrorCode::kInvalid, std::format("the peer announced a message of {} bytes; {} is the limit",
                                                 message_bytes_, max_message_bytes_));
  }
  return message_bytes_ > 0 ? Step::kMore : after_message();
}

Result<TlsFrameReader::Step> TlsFrameReader::accept(IncomingBody body) {
  PERDURE_ASSERT(!accepted_ && body_bytes_ > 0);
  if (body.target.size() != body_bytes_) {
    return fail(ErrorCode::kInvalid,
                std::format("the place for a body of {} bytes has {}", body_bytes_, body.target.size()));
  }
  accepted_ = true;
  body_ = std::move(body);
  return Step::kMore;
}

std::uint64_t TlsFrameReader::frame_bytes() const {
  return kTlsFrameHeaderBytes + message_bytes_ + (accepted_ ? body_bytes_ : 0);
}

TlsFrameReader::Frame TlsFrameReader::take() {
  PERDURE_ASSERT(done_ >= kTlsFrameHeaderBytes && done_ == frame_bytes());
  done_ = 0;
  message_bytes_ = 0;
  body_bytes_ = 0;
  accepted_ = false;
  return Frame{std::exchange(message_, {}), std::exchange(body_, {})};
}

// --- out

void TlsFrameWriter::push(std::string message, OutgoingBody body) {
  PERDURE_ASSERT(message.size() <= kMaxTlsMessageBytes);
  const std::uint64_t body_bytes = body.size_bytes();
  queued_bytes_ += kTlsFrameHeaderBytes + message.size() + body_bytes;
  Outgoing outgoing{{}, std::move(message), std::move(body)};
  const std::span<std::byte> header(outgoing.header);
  put(header, static_cast<std::uint32_t>(outgoing.message.size()));
  put(header.subspan(4), body_bytes);
  queue_.push_back(std::move(outgoing));
}

std::span<const std::byte> TlsFrameWriter::piece_of(const Outgoing& outgoing, std::size_t piece) {
  if (piece == 0) return outgoing.header;
  if (piece == 1) return std::as_bytes(std::span(outgoing.message));
  return outgoing.body.pieces[piece - 2];
}

std::span<const std::byte> TlsFrameWriter::rest_at(Place& place) const {
  while (place.frame < queue_.size()) {
    const Outgoing& outgoing = queue_[place.frame];
    for (; place.piece < outgoing.body.pieces.size() + 2; ++place.piece, place.offset = 0) {
      const auto rest = piece_of(outgoing, place.piece).subspan(place.offset);
      if (!rest.empty()) return rest;
    }
    place = {place.frame + 1, 0, 0};
  }
  return {};
}

std::span<const std::byte> TlsFrameWriter::next() {
  PERDURE_ASSERT(!queue_.empty());
  if (!current_.empty()) return current_;
  Place place = place_;
  std::span<const std::byte> rest = rest_at(place);
  if (rest.size() >= kTlsRecordBytes) return current_ = rest.first(kTlsRecordBytes);
  std::size_t filled = 0;
  while (filled < kTlsRecordBytes && !rest.empty()) {
    const std::size_t bytes = std::min(rest.size(), kTlsRecordBytes - filled);
    std::memcpy(gathered_.data() + filled, rest.data(), bytes);
    filled += bytes;
    place.offset += bytes;
    rest = rest_at(place);
  }
  return current_ = std::span(gathered_).first(filled);
}

void TlsFrameWriter::sent() {
  std::size_t bytes = std::exchange(current_, {}).size();
  queued_bytes_ -= bytes;
  while (bytes > 0) {
    const std::size_t step = std::min(bytes, rest_at(place_).size());
    place_.offset += step;
    bytes -= step;
  }
  rest_at(place_);  // over what is finished
  queue_.erase(queue_.begin(), queue_.begin() + static_cast<std::ptrdiff_t>(place_.frame));
  place_.frame = 0;
}

void TlsFrameWriter::clear() {
  queue_.clear();
  place_ = {};
  current_ = {};
  queued_bytes_ = 0;
}

}  // namespace perdure::io
