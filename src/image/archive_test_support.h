// For tests of archives: a whole archive as text, and receiving one.
#pragma once

#include <span>
#include <string>
#include <string_view>

#include "gtest/gtest.h"
#include "image/archive.h"

namespace perdure::image::test {

inline std::string pack(const PreparedImage& image, std::size_t piece_bytes = std::size_t{1} << 20) {
  auto packer = Packer::open(image);
  EXPECT_TRUE(packer) << packer.error().message();
  std::string archive;
  std::string piece(piece_bytes, '\0');
  while (packer && !(*packer)->finished()) {
    const auto size = (*packer)->read(std::as_writable_bytes(std::span(piece)));
    EXPECT_TRUE(size) << size.error().message();
    if (!size) break;
    EXPECT_TRUE(*size == piece.size() || (*packer)->finished()) << "short before its end";
    archive.append(piece, 0, *size);
  }
  return archive;
}

inline Result<PreparedImage> receive(const std::string& images_dir, const std::string& digest, std::string_view archive,
                                     std::size_t piece_bytes = std::size_t{1} << 20) {
  PERDURE_ASSIGN(const auto unpacker, Unpacker::begin(images_dir, digest));
  while (!archive.empty()) {
    const std::string_view piece = archive.substr(0, piece_bytes);
    PERDURE_TRY(unpacker->feed(std::as_bytes(std::span(piece))));
    archive.remove_prefix(piece.size());
  }
  return unpacker->finish();
}

}  // namespace perdure::image::test
