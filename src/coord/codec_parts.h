// What the codecs of cluster.proto share. Inside of this room.
#pragma once

#include <google/protobuf/io/coded_stream.h>
#include <google/protobuf/io/zero_copy_stream_impl_lite.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstring>
#include <format>
#include <string>
#include <string_view>

#include "base/clock.h"
#include "base/result.h"
#include "cluster.pb.h"
#include "coord/coordination.h"

namespace perdure::coord {

inline std::unexpected<Error> bad(std::string_view field, std::string_view why) {
  return fail(ErrorCode::kInvalid, std::format("{}: {}", field, why));
}

template <typename T>
Result<T> named(std::string_view field, Result<T> result) {
  if (!result) return fail(std::move(result.error()).context(field));
  return result;
}

template <typename Message>
Result<Message> parsed(std::string_view bytes) {
  Message message;
  if (bytes.size() > kMaxValueBytes) return bad(message.GetTypeName(), std::format("{} bytes are too many", bytes.size()));
  if (message.ParseFromArray(bytes.data(), static_cast<int>(bytes.size()))) return message;
  return bad(message.GetTypeName(), "it is damaged");
}

// What was there before, for its unknown fields; nothing if it cannot be read.
template <typename Message>
Message unchecked(std::string_view bytes) {
  auto message = parsed<Message>(bytes);
  return message ? std::move(*message) : Message();
}

// Equal messages, equal bytes: maps have an order.
template <typename Message>
std::string serialized(const Message& message) {
  std::string bytes;
  {
    google::protobuf::io::StringOutputStream stream(&bytes);
    google::protobuf::io::CodedOutputStream output(&stream);
    output.SetSerializationDeterministic(true);
    (void)message.SerializeToCodedStream(&output);
  }
  return bytes;
}

inline Status check_size(std::string_view field, std::string_view text, std::size_t limit) {
  if (text.size() <= limit) return {};
  return bad(field, std::format("{} bytes: at most {} are allowed", text.size(), limit));
}

// Goes into logs and onto terminals: no control characters.
inline Status check_text(std::string_view field, std::string_view text, std::size_t limit) {
  PERDURE_TRY(check_size(field, text, limit));
  const bool plain = std::ranges::none_of(text, [](char c) { return static_cast<unsigned char>(c) < 0x20 || c == 0x7f; });
  if (plain) return {};
  return bad(field, "it has control characters");
}

inline Status check_count(std::string_view field, int count, std::size_t limit) {
  if (static_cast<std::size_t>(count) <= limit) return {};
  return bad(field, std::format("{}: at most {} are allowed", count, limit));
}

// Kept as the hexadecimal text that it is everywhere else.
inline constexpr std::size_t kMaxSerialDigits = 64;
inline Status check_serial(std::string_view serial) {
  const bool good = !serial.empty() && serial.size() <= kMaxSerialDigits && std::ranges::all_of(serial, [](char c) {
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F');
  });
  if (good) return {};
  return bad("serial number", std::format("1 to {} hexadecimal digits are expected", kMaxSerialDigits));
}

template <std::size_t N>
Status read_array(std::string_view field, std::string_view bytes, std::array<std::uint8_t, N>& into) {
  if (bytes.size() != N) return bad(field, std::format("{} bytes: {} are expected", bytes.size(), N));
  std::memcpy(into.data(), bytes.data(), N);
  return {};
}

inline constexpr std::int64_t kLastUnixMs = 253402300799999;  // the end of the year 9999
inline Result<WallTime> read_time(std::string_view field, std::int64_t unix_ms) {
  if (unix_ms >= 0 && unix_ms <= kLastUnixMs) return WallTime(std::chrono::milliseconds(unix_ms));
  return bad(field, "it is no time");
}
inline std::int64_t to_unix_ms(WallTime time) {
  return std::chrono::duration_cast<std::chrono::milliseconds>(time.time_since_epoch()).count();
}

}  // namespace perdure::coord
