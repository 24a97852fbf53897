#include "capsule/criu/image_file.h"

#include <google/protobuf/message_lite.h>

#include <cstring>
#include <format>

namespace perdure::capsule {
namespace {

std::uint32_t load_u32(std::string_view bytes) {
  std::uint32_t value = 0;
  std::memcpy(&value, bytes.data(), sizeof value);
  return value;
}

void append_u32(std::string& out, std::uint32_t value) {
  char bytes[sizeof value];
  std::memcpy(bytes, &value, sizeof value);
  out.append(bytes, sizeof bytes);
}

}  // namespace

Result<ImageEntries> split_image(std::string_view name, std::string_view bytes,
                                 std::uint32_t magic, std::size_t limit) {
  constexpr std::size_t kHeader = 2 * sizeof(std::uint32_t);
  if (bytes.size() < kHeader || load_u32(bytes) != kImageCommonMagic ||
      load_u32(bytes.substr(4)) != magic) {
    return fail(ErrorCode::kCorrupt, std::format("CRIU image '{}' has an unknown magic number", name));
  }
  ImageEntries result{bytes.substr(0, kHeader), {}};
  bytes.remove_prefix(kHeader);
  while (!bytes.empty() && result.entries.size() < limit) {
    if (bytes.size() < sizeof(std::uint32_t) ||
        load_u32(bytes) > bytes.size() - sizeof(std::uint32_t)) {
      return fail(ErrorCode::kCorrupt, std::format("CRIU image '{}' ends within an entry", name));
    }
    const std::uint32_t length = load_u32(bytes);
    result.entries.push_back(bytes.substr(sizeof(std::uint32_t), length));
    bytes.remove_prefix(sizeof(std::uint32_t) + length);
  }
  return result;
}

bool parse_message(std::string_view bytes, google::protobuf::MessageLite& message) {
  return message.ParseFromArray(bytes.data(), static_cast<int>(bytes.size()));
}

void append_image_magic(std::string& image, std::uint32_t magic) {
  append_u32(image, kImageCommonMagic);
  append_u32(image, magic);
}

void append_image_entry(std::string& image, std::string_view message) {
  append_u32(image, static_cast<std::uint32_t>(message.size()));
  image.append(message);
}

}  // namespace perdure::capsule
