#include "capsule/format/index.h"

#include <algorithm>

#include "capsule.pb.h"

namespace perdure::capsule {

void append_record(const v1::IndexRecord& record, std::string& index) {
  for (std::uint64_t length = record.ByteSizeLong();; length >>= 7) {
    if (length < 0x80) {
      index.push_back(static_cast<char>(length));
      break;
    }
    index.push_back(static_cast<char>((length & 0x7f) | 0x80));
  }
  record.AppendToString(&index);
}

void RunWriter::add(std::uint64_t first_page, std::uint64_t page_count, RunSource source) {
  if (page_count_ > 0 && source == source_ && first_page == first_page_ + page_count_) {
    page_count_ += page_count;
    return;
  }
  finish();
  first_page_ = first_page;
  page_count_ = page_count;
  source_ = source;
}

void RunWriter::finish() {
  if (page_count_ == 0) return;
  runs_.add_gap_pages(first_page_ - written_end_);
  runs_.add_length_and_source(page_count_ << 1 | (source_ == RunSource::kParent ? 1 : 0));
  written_end_ = first_page_ + page_count_;
  page_count_ = 0;
}

void write_entry(const FileEntry& entry, v1::Entry& message) {
  message.set_path(entry.path);
  message.set_type(static_cast<std::uint32_t>(entry.type));
  message.set_mode(entry.mode);
  message.set_uid(entry.uid);
  message.set_gid(entry.gid);
  message.set_device(entry.device);
  message.set_modified_ns(entry.modified_ns);
  message.set_size_bytes(entry.size_bytes);
  message.set_target(entry.target);
  message.set_hard_link_to(entry.hard_link_to);
  for (const auto& [key, value] : entry.xattrs) {
    v1::KeyValue* xattr = message.add_xattrs();
    xattr->set_key(key);
    xattr->set_value(value);
  }
}

Result<FileEntry> read_entry(const v1::Entry& message) {
  FileEntry entry;
  entry.path = message.path();
  if (message.type() > static_cast<std::uint32_t>(FileType::kSocket)) {
    return fail(ErrorCode::kCorrupt, "file entry of an unknown type");
  }
  entry.type = static_cast<FileType>(message.type());
  entry.mode = message.mode();
  entry.uid = message.uid();
  entry.gid = message.gid();
  entry.device = message.device();
  entry.modified_ns = message.modified_ns();
  entry.size_bytes = message.size_bytes();
  entry.target = message.target();
  entry.hard_link_to = message.hard_link_to();
  for (const v1::KeyValue& xattr : message.xattrs()) {
    if (!entry.xattrs.empty() && entry.xattrs.rbegin()->first >= xattr.key()) {
      return fail(ErrorCode::kCorrupt, "xattrs out of order or twice");
    }
    entry.xattrs.emplace(xattr.key(), xattr.value());
  }
  return entry;
}

const FileTree* find_tree(const Capsule* capsule, const std::string& volume) {
  if (capsule == nullptr) return nullptr;
  const auto found = std::ranges::lower_bound(capsule->trees, volume, {}, &FileTree::volume);
  return found != capsule->trees.end() && found->volume == volume ? &*found : nullptr;
}

const FileEntry* find_entry(const FileTree& tree, const std::string& path) {
  const auto found = std::ranges::lower_bound(tree.entries, path, {}, &FileEntry::path);
  return found != tree.entries.end() && found->path == path ? &*found : nullptr;
}

bool same_entry(const FileEntry& a, const FileEntry& b) {
  return a.path == b.path && a.type == b.type && a.mode == b.mode && a.uid == b.uid &&
         a.gid == b.gid && a.device == b.device && a.modified_ns == b.modified_ns &&
         a.size_bytes == b.size_bytes && a.target == b.target && a.hard_link_to == b.hard_link_to &&
         a.xattrs == b.xattrs && a.content.same_as(b.content);
}

}  // namespace perdure::capsule
