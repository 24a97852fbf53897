#include "image/archive_format.h"

#include <sys/stat.h>

#include <algorithm>
#include <format>

#include "base/assert.h"
#include "base/units.h"
#include "image/archive.h"

namespace perdure::image {
namespace {

constexpr std::string_view kOverlayPrefix = "trusted.overlay.";
constexpr std::string_view kOverlayMeanings[] = {"opaque", "redirect", "metacopy", "whiteout", "xwhiteouts"};
constexpr std::size_t kMaxAttributeValueBytes = std::size_t{64} << 10;  // XATTR_SIZE_MAX
constexpr std::uint32_t kPermissionBits = 07777;
constexpr std::uint32_t kNoId = ~std::uint32_t{0};  // chown(2): leave it as it is
constexpr std::uint32_t kNanosecondsPerSecond = 1'000'000'000;

std::unexpected<Error> corrupt(std::string_view what) {
  return fail(ErrorCode::kCorrupt, std::format("image archive: {}", what));
}

std::unexpected<Error> too_much(std::string_view what) {
  return fail(ErrorCode::kInvalid, std::format("image archive: {}", what));
}

std::uint64_t number_of(std::span<const std::byte> bytes) {
  std::uint64_t value = 0;
  for (std::size_t i = 0; i < bytes.size(); ++i) value |= std::to_integer<std::uint64_t>(bytes[i]) << (8 * i);
  return value;
}

bool is_component(std::string_view name) {
  return !name.empty() && name.size() <= kMaxNameBytes && name != "." && name != ".." && !name.contains('/') &&
         !name.contains('\0');
}

bool is_tree_path(std::string_view path) {
  if (path.size() > kMaxTreePathBytes) return false;
  for (;;) {
    const auto slash = path.find('/');
    if (!is_component(path.substr(0, slash))) return false;
    if (slash == std::string_view::npos) return true;
    path.remove_prefix(slash + 1);
  }
}

std::size_t most_bytes(RecordType type) {
  return type == RecordType::kData ? kDataHeadBytes + kMaxDataBytes : kMaxRecordBytes;
}

}  // namespace

bool belongs_to_image(std::string_view attribute) {
  if (attribute == "security.capability" || attribute.starts_with("user.")) return true;
  return attribute.starts_with(kOverlayPrefix) &&
         std::ranges::contains(kOverlayMeanings, attribute.substr(kOverlayPrefix.size()));
}

RecordWriter::RecordWriter(std::vector<std::byte>& buffer, RecordType type) : buffer_(buffer) {
  put_number(static_cast<std::uint32_t>(type), 4);
  put_number(0, 4);
  start_ = buffer_.size();
}

RecordWriter::~RecordWriter() {
  const std::uint64_t length = buffer_.size() - start_ + announced_;
  PERDURE_ASSERT(length <= kDataHeadBytes + kMaxDataBytes);
  for (std::size_t i = 0; i < 4; ++i) buffer_[start_ - 4 + i] = static_cast<std::byte>(length >> (8 * i));
}

void RecordWriter::put_number(std::uint64_t value, std::size_t bytes) {
  for (std::size_t i = 0; i < bytes; ++i) buffer_.push_back(static_cast<std::byte>(value >> (8 * i)));
}

void RecordWriter::put_bytes(std::string_view bytes) {
  const auto data = std::as_bytes(std::span(bytes));
  buffer_.insert(buffer_.end(), data.begin(), data.end());
}

void RecordWriter::put_text(std::string_view text) {
  put_number(text.size(), 4);
  put_bytes(text);
}

void RecordWriter::put_meta(const EntryMeta& meta) {
  put_number(meta.mode, 4);
  put_number(meta.uid, 4);
  put_number(meta.gid, 4);
  put_number(static_cast<std::uint64_t>(meta.modified_s), 8);
  put_number(meta.modified_ns, 4);
  put_number(meta.attributes.size(), 4);
  for (const auto& [name, value] : meta.attributes) {
    put_text(name);
    put_text(value);
  }
}

// Fields of a record in their order. The first one that is missing or out of its bounds makes the rest empty.
class ArchiveReader::Body {
 public:
  explicit Body(std::span<const std::byte> bytes) : bytes_(bytes) {}

  std::uint64_t number(std::size_t size) {
    if (bytes_.size() < size) return refuse("a record is too short"), 0;
    const std::uint64_t value = number_of(bytes_.first(size));
    bytes_ = bytes_.subspan(size);
    return value;
  }
  std::string text(std::size_t limit) {
    const std::uint64_t size = number(4);
    if (size > limit) return refuse(std::format("a text of {} bytes", size)), "";
    if (size > bytes_.size()) return refuse("a record is too short"), "";
    const auto taken = bytes_.first(size);
    bytes_ = bytes_.subspan(size);
    return {reinterpret_cast<const char*>(taken.data()), taken.size()};
  }
  std::string component() {
    std::string name = text(kMaxNameBytes);
    if (!is_component(name)) refuse("a name that is none");
    return name;
  }
  EntryMeta meta(std::uint32_t type) {
    EntryMeta meta;
    meta.mode = static_cast<std::uint32_t>(number(4));
    if ((meta.mode & ~kPermissionBits) != type) refuse(std::format("a mode {:o} in the wrong place", meta.mode));
    owners_and_times(meta);
    attributes(meta);
    return meta;
  }
  EntryMeta meta_of_node() {
    EntryMeta meta;
    meta.mode = static_cast<std::uint32_t>(number(4));
    const std::uint32_t type = meta.mode & ~kPermissionBits;
    if (type != S_IFCHR && type != S_IFBLK && type != S_IFIFO && type != S_IFSOCK) {
      refuse(std::format("a mode {:o} in the wrong place", meta.mode));
    }
    owners_and_times(meta);
    attributes(meta);
    return meta;
  }
  void refuse(std::string_view why) {
    if (why_.empty()) why_ = why;
    bytes_ = {};
  }
  // Everything has been said, and nothing besides.
  Status done() {
    if (!bytes_.empty()) refuse("a record is too long");
    return why_.empty() ? Status{} : Status(corrupt(why_));
  }

 private:
  void owners_and_times(EntryMeta& meta) {
    meta.uid = static_cast<std::uint32_t>(number(4));
    meta.gid = static_cast<std::uint32_t>(number(4));
    if (meta.uid == kNoId || meta.gid == kNoId) refuse("an owner that is none");
    meta.modified_s = static_cast<std::int64_t>(number(8));
    meta.modified_ns = static_cast<std::uint32_t>(number(4));
    if (meta.modified_ns >= kNanosecondsPerSecond) refuse("a time that is none");
  }
  void attributes(EntryMeta& meta) {
    const std::uint64_t count = number(4);
    if (count > kMaxAttributes) return refuse(std::format("{} attributes of one file", count));
    for (std::uint64_t i = 0; i < count && why_.empty(); ++i) {
      std::string name = text(kMaxNameBytes);
      if (!belongs_to_image(name) || name.contains('\0')) return refuse("an attribute that belongs to no image");
      if (!meta.attributes.empty() && meta.attributes.back().first >= name) return refuse("attributes out of order");
      std::string value = text(kMaxAttributeValueBytes);
      meta.attributes.emplace_back(std::move(name), std::move(value));
    }
  }

  std::span<const std::byte> bytes_;
  std::string why_;
};

Status ArchiveReader::feed(std::span<const std::byte> bytes) {
  if (error_) return fail(*error_);
  while (!bytes.empty()) {
    if (Status taken = take(bytes); !taken) {
      error_ = taken.error();
      return taken;
    }
  }
  return {};
}

// True when SIZE bytes are in gathered_.
bool ArchiveReader::gather(std::span<const std::byte>& bytes, std::size_t size) {
  const std::size_t take = std::min(size - gathered_.size(), bytes.size());
  gathered_.insert(gathered_.end(), bytes.begin(), bytes.begin() + static_cast<std::ptrdiff_t>(take));
  bytes = bytes.subspan(take);
  return gathered_.size() == size;
}

Status ArchiveReader::take(std::span<const std::byte>& bytes) {
  if (stage_ == Stage::kEnded) return corrupt("bytes after its end");
  if (stage_ == Stage::kMagic) {
    if (!gather(bytes, kArchiveMagic.size())) return {};
    const bool ours = std::ranges::equal(gathered_, std::as_bytes(std::span(kArchiveMagic)));
    gathered_.clear();
    stage_ = Stage::kHeader;
    return ours ? Status{} : Status(corrupt("it does not begin like one, or is of another version"));
  }
  if (!in_record_) {
    if (!gather(bytes, kRecordHeadBytes)) return {};
    return begin_record();
  }
  if (record_.type == RecordType::kData) return take_data(bytes);
  if (!gather(bytes, record_.left)) return {};
  return finish_record();
}

Status ArchiveReader::begin_record() {
  record_.type = static_cast<RecordType>(number_of(std::span(gathered_).first(4)));
  record_.left = number_of(std::span(gathered_).last(4));
  gathered_.clear();
  in_record_ = true;
  if (record_.left > most_bytes(record_.type)) return corrupt(std::format("a record of {} bytes", record_.left));
  if (record_.type == RecordType::kData) {
    if (!file_open_) return corrupt("data of no file");
    if (record_.left <= kDataHeadBytes) return corrupt("data without bytes");
    data_placed_ = false;
    return {};
  }
  PERDURE_TRY(end_open_file());
  return record_.left == 0 ? finish_record() : Status{};
}

Status ArchiveReader::take_data(std::span<const std::byte>& bytes) {
  if (!data_placed_) {
    if (!gather(bytes, kDataHeadBytes)) return {};
    const std::uint64_t offset = number_of(gathered_);
    gathered_.clear();
    record_.left -= kDataHeadBytes;
    data_placed_ = true;
    if (offset < file_position_ || offset > file_size_ || record_.left > file_size_ - offset) {
      return corrupt("data outside of its file");
    }
    file_position_ = offset;
    return {};
  }
  const auto piece = bytes.first(std::min(record_.left, bytes.size()));
  PERDURE_TRY(sink_.data(file_position_, piece));
  file_position_ += piece.size();
  record_.left -= piece.size();
  bytes = bytes.subspan(piece.size());
  in_record_ = record_.left != 0;
  return {};
}

Status ArchiveReader::finish_record() {
  const std::vector<std::byte> bytes = std::exchange(gathered_, {});
  in_record_ = false;
  Body body(bytes);
  if (stage_ == Stage::kHeader) {
    if (record_.type != RecordType::kHeader) return corrupt("it has no header");
    stage_ = Stage::kRoot;
    return sink_.header({reinterpret_cast<const char*>(bytes.data()), bytes.size()});
  }
  if (stage_ == Stage::kRootLeft) {
    if (record_.type != RecordType::kEnd) return corrupt("more than one root");
    stage_ = Stage::kEnded;
    return body.done();
  }
  if (stage_ == Stage::kRoot && record_.type != RecordType::kDirectory) return corrupt("it has no root");
  switch (record_.type) {
    case RecordType::kDirectory:
      return on_directory(body);
    case RecordType::kLeave:
      PERDURE_TRY(body.done());
      return on_leave();
    case RecordType::kFile:
      return on_file(body);
    case RecordType::kSymlink:
      return on_symlink(body);
    case RecordType::kNode:
      return on_node(body);
    case RecordType::kLink:
      return on_link(body);
    case RecordType::kHeader:
    case RecordType::kData:
    case RecordType::kEnd:
      break;
  }
  return corrupt(std::format("a record of type {} in the wrong place", static_cast<std::uint32_t>(record_.type)));
}

Status ArchiveReader::check_entry(std::string_view name) {
  if (++entries_ > kMaxArchiveEntries) return too_much(std::format("more than {} files", kMaxArchiveEntries));
  if (path_bytes_.back() + name.size() > kMaxTreePathBytes) {
    return too_much(std::format("a path of more than {} bytes", kMaxTreePathBytes));
  }
  return {};
}

Status ArchiveReader::count_content(std::uint64_t bytes) {
  if (bytes > kMaxArchiveContentBytes - content_bytes_) {
    return too_much(std::format("more than {} of content", format_bytes(Bytes{kMaxArchiveContentBytes})));
  }
  content_bytes_ += bytes;
  return {};
}

Status ArchiveReader::on_directory(Body& body) {
  const EntryMeta meta = body.meta(S_IFDIR);
  if (stage_ == Stage::kRoot) {
    const std::string name = body.text(0);
    PERDURE_TRY(body.done());
    stage_ = Stage::kTree;
    path_bytes_.push_back(0);
    return sink_.enter_directory(name, meta);
  }
  const std::string name = body.component();
  PERDURE_TRY(body.done());
  PERDURE_TRY(check_entry(name));
  if (path_bytes_.size() > kMaxTreeDepth) return too_much(std::format("deeper than {} directories", kMaxTreeDepth));
  path_bytes_.push_back(path_bytes_.back() + name.size() + 1);
  return sink_.enter_directory(name, meta);
}

Status ArchiveReader::on_leave() {
  path_bytes_.pop_back();
  if (path_bytes_.empty()) stage_ = Stage::kRootLeft;
  return sink_.leave_directory();
}

Status ArchiveReader::on_file(Body& body) {
  const EntryMeta meta = body.meta(S_IFREG);
  const std::uint64_t size = body.number(8);
  const std::string name = body.component();
  PERDURE_TRY(body.done());
  PERDURE_TRY(check_entry(name));
  PERDURE_TRY(count_content(size));
  file_open_ = true;
  file_size_ = size;
  file_position_ = 0;
  return sink_.begin_file(name, meta, size);
}

Status ArchiveReader::end_open_file() {
  if (!std::exchange(file_open_, false)) return {};
  return sink_.end_file();
}

Status ArchiveReader::on_symlink(Body& body) {
  const EntryMeta meta = body.meta(S_IFLNK);
  const std::string target = body.text(kMaxTargetBytes);
  if (target.empty() || target.contains('\0')) body.refuse("a link without a target");
  const std::string name = body.component();
  PERDURE_TRY(body.done());
  PERDURE_TRY(check_entry(name));
  return sink_.symlink(name, meta, target);
}

Status ArchiveReader::on_node(Body& body) {
  const EntryMeta meta = body.meta_of_node();
  const std::uint64_t device = body.number(8);
  const std::string name = body.component();
  PERDURE_TRY(body.done());
  PERDURE_TRY(check_entry(name));
  return sink_.node(name, meta, device);
}

Status ArchiveReader::on_link(Body& body) {
  const std::string target = body.text(kMaxTreePathBytes);
  if (!is_tree_path(target)) body.refuse("a path that is none");
  const std::string name = body.component();
  PERDURE_TRY(body.done());
  PERDURE_TRY(check_entry(name));
  PERDURE_ASSIGN(const std::uint64_t size, sink_.link(name, target));
  return count_content(size);
}

}  // namespace perdure::image
