// CRIU's image files: a magic number (two for most), then entries of u32 length and a protobuf message.
// (criu/image.c, criu/protobuf.c, criu/include/magic.h of CRIU 4.x)
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace google::protobuf {
class MessageLite;
}

namespace perdure::capsule {

inline constexpr std::uint32_t kImageCommonMagic = 0x54564319;   // IMG_COMMON_MAGIC
inline constexpr std::uint32_t kPagemapMagic = 0x56084025;       // PAGEMAP_MAGIC
inline constexpr std::uint32_t kCoreMagic = 0x55053847;          // CORE_MAGIC
inline constexpr std::uint32_t kFilesMagic = 0x56303138;         // FILES_MAGIC
inline constexpr std::uint32_t kTcpStreamMagic = 0x51465506;     // TCP_STREAM_MAGIC

struct ImageEntries {
  std::string_view header;  // the magic numbers, as they stand in the file
  std::vector<std::string_view> entries;
};

// Splits an image into its entries; views into `bytes`. kCorrupt naming `name` when a length leaves the
// file or the magic is not `magic`. `limit` bounds the number of entries: some images end in raw bytes that
// are no entries (tcp-stream).
Result<ImageEntries> split_image(std::string_view name, std::string_view bytes, std::uint32_t magic,
                                 std::size_t limit = SIZE_MAX);

// One of them. False: it is no such message.
bool parse_message(std::string_view bytes, google::protobuf::MessageLite& message);

void append_image_magic(std::string& image, std::uint32_t magic);
void append_image_entry(std::string& image, std::string_view message);

}  // namespace perdure::capsule
