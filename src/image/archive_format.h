// The bytes of an archive (archive.h), and their reader, which knows nothing of files.
//
//   archive = magic, record*              all numbers little endian
//   magic   = "PERDIMG1"
//   record  = type u32, length u32, body of that many bytes
//
//   type        body
//   header      the image.json of the image; the first record, once
//   directory   meta, name       enters it; the first one is the root, its name is empty
//   leave                        the directory that was entered last; its modification time is set now
//   file        meta, size u64, name
//   data        offset u64, bytes: of the file before; offsets rise; what no data covers is a hole
//   symlink     meta, target, name
//   node        meta, device u64, name: device nodes, FIFOs, sockets; type by the mode
//   link        target, name     another name of what `target`, a path from the root, is already
//   end                          after the root has been left; nothing follows
//
//   meta = mode u32, uid u32, gid u32, modified_s i64, modified_ns u32, attribute count u32, (name, value)*
//   name, target, value = length u32, bytes
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/result.h"

namespace perdure::image {

inline constexpr std::string_view kArchiveMagic = "PERDIMG1";
inline constexpr std::size_t kRecordHeadBytes = 8;
// All attributes of one file fit (a value has 64 KiB at most, and few have more than one).
inline constexpr std::size_t kMaxRecordBytes = std::size_t{1} << 20;
inline constexpr std::size_t kDataHeadBytes = 8;
inline constexpr std::size_t kMaxDataBytes = std::size_t{1} << 20;  // of one data record, without its offset
inline constexpr std::size_t kMaxNameBytes = 255;                   // NAME_MAX
// A path in the tree; what lies above it on any host must leave room for it (PATH_MAX, 4096).
inline constexpr std::size_t kMaxTreePathBytes = 3500;
inline constexpr std::size_t kMaxTreeDepth = 512;
inline constexpr std::size_t kMaxTargetBytes = 4095;
inline constexpr std::size_t kMaxAttributes = 512;

enum class RecordType : std::uint32_t {
  kHeader = 1,
  kDirectory,
  kLeave,
  kFile,
  kData,
  kSymlink,
  kNode,
  kLink,
  kEnd,
};

using Attributes = std::vector<std::pair<std::string, std::string>>;  // sorted by name

struct EntryMeta {
  std::uint32_t mode = 0;  // type and permissions
  std::uint32_t uid = 0;
  std::uint32_t gid = 0;
  std::int64_t modified_s = 0;
  std::uint32_t modified_ns = 0;
  Attributes attributes;
};

// Capabilities, user attributes, and what of an overlay says which names a lower directory shows. What the host's
// security module adds is not the image, nor what ties an overlay's upper directory to its host.
bool belongs_to_image(std::string_view attribute);

// One record at the end of a buffer. begin() … put …; the length is filled in by the destructor.
class RecordWriter {
 public:
  RecordWriter(std::vector<std::byte>& buffer, RecordType type);
  RecordWriter(const RecordWriter&) = delete;
  RecordWriter& operator=(const RecordWriter&) = delete;
  ~RecordWriter();

  void put_number(std::uint64_t value, std::size_t bytes);
  void put_bytes(std::string_view bytes);
  void put_text(std::string_view text);  // with its length before it
  void put_meta(const EntryMeta& meta);
  // Bytes that follow the buffer from elsewhere belong to this record.
  void announce(std::size_t bytes) { announced_ = bytes; }

 private:
  std::vector<std::byte>& buffer_;
  std::size_t start_;
  std::size_t announced_ = 0;
};

// What an archive says, in its order. Names are single components that are neither "." nor "..", modes fit the call,
// depths, lengths and sums are within the bounds.
class ArchiveSink {
 public:
  virtual ~ArchiveSink() = default;
  virtual Status header(std::string_view description) = 0;
  virtual Status enter_directory(const std::string& name, const EntryMeta& meta) = 0;
  virtual Status leave_directory() = 0;
  virtual Status begin_file(const std::string& name, const EntryMeta& meta, std::uint64_t size_bytes) = 0;
  virtual Status data(std::uint64_t offset, std::span<const std::byte> bytes) = 0;
  virtual Status end_file() = 0;
  virtual Status symlink(const std::string& name, const EntryMeta& meta, const std::string& target) = 0;
  virtual Status node(const std::string& name, const EntryMeta& meta, std::uint64_t device) = 0;
  // The size of what was linked, which counts again.
  virtual Result<std::uint64_t> link(const std::string& name, const std::string& target) = 0;
};

// Takes an archive's bytes in pieces of any size. File contents are passed on as they come, everything else waits for
// its record to be complete (kMaxRecordBytes). After an error every further call returns it.
class ArchiveReader {
 public:
  explicit ArchiveReader(ArchiveSink& sink) : sink_(sink) {}

  Status feed(std::span<const std::byte> bytes);
  bool complete() const { return stage_ == Stage::kEnded && !error_; }

 private:
  enum class Stage { kMagic, kHeader, kRoot, kTree, kRootLeft, kEnded };
  struct Record {
    RecordType type{};
    std::size_t left = 0;  // bytes of the body that have not come yet
  };
  class Body;

  Status take(std::span<const std::byte>& bytes);
  bool gather(std::span<const std::byte>& bytes, std::size_t size);
  Status begin_record();
  Status take_data(std::span<const std::byte>& bytes);
  Status finish_record();
  Status on_directory(Body& body);
  Status on_leave();
  Status on_file(Body& body);
  Status on_symlink(Body& body);
  Status on_node(Body& body);
  Status on_link(Body& body);
  Status end_open_file();
  Status check_entry(std::string_view name);
  Status count_content(std::uint64_t bytes);

  ArchiveSink& sink_;
  Stage stage_ = Stage::kMagic;
  std::vector<std::byte> gathered_;  // magic, record head or body, until complete
  bool in_record_ = false;
  Record record_;
  bool file_open_ = false;
  bool data_placed_ = false;  // the offset of the data record has been read
  std::uint64_t file_size_ = 0;
  std::uint64_t file_position_ = 0;      // where the next data goes; below it everything has been said
  std::vector<std::size_t> path_bytes_;  // of the directories entered, deepest last; with the '/' after them
  std::uint64_t entries_ = 0;
  std::uint64_t content_bytes_ = 0;
  std::optional<Error> error_;
};

}  // namespace perdure::image
