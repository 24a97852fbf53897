// The index of a capsule: records, runs and entries in protobuf. Internal to the format.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

#include "base/result.h"
#include "capsule/format/capsule.h"

namespace perdure::capsule::v1 {
class Entry;
class IndexRecord;
class Runs;
}  // namespace perdure::capsule::v1

namespace perdure::capsule {

// A protobuf parser counts in 32 bits; four million entries of 200 bytes fit.
inline constexpr std::uint64_t kMaxIndexBytes = std::uint64_t{1} << 30;
// All images but the pages: kernel state and socket queues, a few MB at most. They are unpacked
// into memory in one piece.
inline constexpr std::uint64_t kMaxImageBytes = std::uint64_t{1} << 30;

// Behind its length as a varint.
void append_record(const v1::IndexRecord& record, std::string& index);

enum class RunSource { kInline, kParent };

// Writes runs in rising order, joining those that continue each other.
class RunWriter {
 public:
  explicit RunWriter(v1::Runs& runs) : runs_(runs) {}
  void add(std::uint64_t first_page, std::uint64_t page_count, RunSource source);
  void finish();

 private:
  v1::Runs& runs_;
  std::uint64_t written_end_ = 0;
  std::uint64_t first_page_ = 0;  // of the run not written yet
  std::uint64_t page_count_ = 0;
  RunSource source_ = RunSource::kInline;
};

// All but the runs.
void write_entry(const FileEntry& entry, v1::Entry& message);
Result<FileEntry> read_entry(const v1::Entry& message);  // kCorrupt

const FileTree* find_tree(const Capsule* capsule, const std::string& volume);
const FileEntry* find_entry(const FileTree& tree, const std::string& path);
// Every field and every byte of content.
bool same_entry(const FileEntry& a, const FileEntry& b);

}  // namespace perdure::capsule
