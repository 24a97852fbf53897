// For tests of archives: a whole archive as text, receiving one, and making one record by record.
#pragma once

#include <sys/stat.h>

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "gtest/gtest.h"
#include "image/archive.h"
#include "image/archive_format.h"
#include "image/oci_layout.h"

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

// In pieces; the last may be shorter.
template <typename Reader>
Status feed(Reader& reader, std::string_view archive, std::size_t piece_bytes = std::size_t{1} << 20) {
  while (!archive.empty()) {
    const std::string_view piece = archive.substr(0, piece_bytes);
    PERDURE_TRY(reader.feed(std::as_bytes(std::span(piece))));
    archive.remove_prefix(piece.size());
  }
  return {};
}

inline Result<PreparedImage> receive(const std::string& images_dir, const std::string& digest, std::string_view archive,
                                     std::size_t piece_bytes = std::size_t{1} << 20) {
  PERDURE_ASSIGN(const auto unpacker, Unpacker::begin(images_dir, digest));
  PERDURE_TRY(feed(*unpacker, archive, piece_bytes));
  return unpacker->finish();
}

inline EntryMeta meta(std::uint32_t mode) {
  return {.mode = mode, .uid = 0, .gid = 0, .modified_s = 1'700'000'000, .modified_ns = 1, .attributes = {}};
}

// Writes what it is told to, also what no Packer would.
class ArchiveMaker {
 public:
  ArchiveMaker& bytes(std::string_view text) {
    const auto data = std::as_bytes(std::span(text));
    buffer_.insert(buffer_.end(), data.begin(), data.end());
    return *this;
  }
  ArchiveMaker& magic() { return bytes(kArchiveMagic); }
  ArchiveMaker& header(std::string_view description) {
    RecordWriter(buffer_, RecordType::kHeader).put_bytes(description);
    return *this;
  }
  // Magic, header and root.
  ArchiveMaker& begin(const std::string& digest = "", const std::string& tree = "") {
    return magic().header(to_json({digest, tree, "a test", {}})).directory("");
  }
  ArchiveMaker& directory(std::string_view name, const EntryMeta& with = meta(S_IFDIR | 0755)) {
    RecordWriter record(buffer_, RecordType::kDirectory);
    record.put_meta(with);
    record.put_text(name);
    return *this;
  }
  ArchiveMaker& leave() { return empty(RecordType::kLeave); }
  ArchiveMaker& file(std::string_view name, std::uint64_t size_bytes, const EntryMeta& with = meta(S_IFREG | 0644)) {
    RecordWriter record(buffer_, RecordType::kFile);
    record.put_meta(with);
    record.put_number(size_bytes, 8);
    record.put_text(name);
    return *this;
  }
  ArchiveMaker& data(std::uint64_t offset, std::string_view text) {
    RecordWriter record(buffer_, RecordType::kData);
    record.put_number(offset, 8);
    record.put_bytes(text);
    return *this;
  }
  ArchiveMaker& symlink(std::string_view name, std::string_view target) {
    RecordWriter record(buffer_, RecordType::kSymlink);
    record.put_meta(meta(S_IFLNK | 0777));
    record.put_text(target);
    record.put_text(name);
    return *this;
  }
  ArchiveMaker& node(std::string_view name, std::uint32_t mode, std::uint64_t device) {
    RecordWriter record(buffer_, RecordType::kNode);
    record.put_meta(meta(mode));
    record.put_number(device, 8);
    record.put_text(name);
    return *this;
  }
  ArchiveMaker& link(std::string_view name, std::string_view target) {
    RecordWriter record(buffer_, RecordType::kLink);
    record.put_text(target);
    record.put_text(name);
    return *this;
  }
  ArchiveMaker& empty(RecordType type) {
    const RecordWriter record(buffer_, type);
    return *this;
  }
  ArchiveMaker& end() { return leave().empty(RecordType::kEnd); }

  std::string text() const { return {reinterpret_cast<const char*>(buffer_.data()), buffer_.size()}; }

 private:
  std::vector<std::byte> buffer_;
};

}  // namespace perdure::image::test
