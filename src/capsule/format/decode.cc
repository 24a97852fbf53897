#include <google/protobuf/io/coded_stream.h>

#include <algorithm>
#include <format>
#include <utility>

#include "capsule.pb.h"
#include "capsule/format/codec.h"
#include "capsule/format/index.h"
#include "capsule/format/layout.h"
#include "capsule/format/part_codec.h"
#include "capsule/format/validate.h"

namespace perdure::capsule {
namespace {

std::span<const std::byte> stored_bytes(const SlabRef& file, const Part& part) {
  return file->bytes().subspan(part.offset, part.stored_bytes);
}

// Every byte of the file belongs to the header, to a part or to padding, and verifies.
Status verify(const SlabRef& file, const Layout& layout) {
  std::uint64_t end = layout.header_end;
  for (std::size_t i = 0; i < layout.parts.size(); ++i) {
    const Part& part = layout.parts[i];
    const auto padding = file->bytes().subspan(end, part.offset - end);
    if (std::ranges::any_of(padding, [](std::byte b) { return b != std::byte{0}; })) {
      return corrupt(std::format("padding before part {}: not zero", i));
    }
    if (digest_of(stored_bytes(file, part)) != part.digest) {
      return corrupt(std::format("part {} ({}): digest does not match", i, to_string(part.kind)));
    }
    end = part.offset + part.stored_bytes;
  }
  return {};
}

// The index or the images, unpacked into one string.
Result<std::string> read_stream(const SlabRef& file, const Layout& layout, PartKind kind) {
  std::string content(layout.content_of(kind), '\0');
  std::size_t done = 0;
  for (std::size_t i = 0; i < layout.parts.size(); ++i) {
    const Part& part = layout.parts[i];
    if (part.kind != kind) continue;
    const auto target =
        std::as_writable_bytes(std::span(content)).subspan(done, part.content_bytes);
    if (auto unpacked = unpack(stored_bytes(file, part), part.codec, target); !unpacked) {
      return fail(
          std::move(unpacked).error().context(std::format("part {} ({})", i, to_string(kind))));
    }
    done += part.content_bytes;
  }
  return content;
}

// The pages of the file in the order of the stream, where they lie: uncompressed ones in the file.
class PageStream {
 public:
  static Result<PageStream> open(const SlabRef& file, const Layout& layout) {
    PageStream stream;
    std::uint64_t compressed = 0;
    for (const Part& part : layout.parts) {
      if (part.kind != PartKind::kPages) continue;
      if (part.codec != Compression::kNone) compressed += part.content_bytes;
    }
    PERDURE_ASSIGN(auto unpacked, Slab::allocate(compressed, Slab::Prefault::kNo));
    std::uint64_t used = 0;
    for (std::size_t i = 0; i < layout.parts.size(); ++i) {
      const Part& part = layout.parts[i];
      if (part.kind != PartKind::kPages) continue;
      if (part.codec == Compression::kNone) {
        stream.append({0, part.content_bytes / kPageSize, file, part.offset});
        continue;
      }
      const auto target = unpacked->writable().subspan(used, part.content_bytes);
      if (auto done = unpack(stored_bytes(file, part), part.codec, target); !done) {
        return fail(std::move(done).error().context(std::format("part {} (pages)", i)));
      }
      stream.append({0, part.content_bytes / kPageSize, unpacked, used});
      used += part.content_bytes;
    }
    return stream;
  }

  // The next `count` pages, as pages `first_page` and following of `object`.
  Status take(std::uint64_t first_page, std::uint64_t count, PagedObject& object) {
    while (count > 0) {
      if (next_ == runs_.size()) return corrupt("index: more pages than there are");
      const PageRun& run = runs_[next_];
      const std::uint64_t taken = std::min(count, run.page_count - within_);
      if (!object.append({first_page, taken, run.slab, run.slab_offset + within_ * kPageSize})) {
        return corrupt("index: page numbers out of range");
      }
      within_ += taken;
      if (within_ == run.page_count) {
        ++next_;
        within_ = 0;
      }
      first_page += taken;
      count -= taken;
    }
    return {};
  }
  bool at_end() const { return next_ == runs_.size(); }

 private:
  void append(PageRun run) { runs_.push_back(std::move(run)); }
  std::vector<PageRun> runs_;
  std::size_t next_ = 0;
  std::uint64_t within_ = 0;  // pages of the next run that are taken already
};

// Pages [first, first + count) of the parent's object; all of them must be there.
Status take_from_parent(const PagedObject* parent, std::uint64_t first, std::uint64_t count,
                        PagedObject& object) {
  const auto missing = [] { return corrupt("index: pages of the parent that it does not have"); };
  if (parent == nullptr) return missing();
  auto run = std::ranges::upper_bound(parent->runs(), first, {}, &PageRun::end_page);
  while (count > 0) {
    if (run == parent->runs().end() || run->first_page > first) return missing();
    const std::uint64_t skipped = first - run->first_page;
    const std::uint64_t taken = std::min(count, run->page_count - skipped);
    if (!object.append({first, taken, run->slab, run->slab_offset + skipped * kPageSize})) {
      return corrupt("index: page numbers out of range");
    }
    first += taken;
    count -= taken;
    ++run;
  }
  return {};
}

class IndexReader {
 public:
  IndexReader(const Capsule* parent, std::string_view images, PageStream& pages, Capsule& capsule)
      : parent_(parent), images_(images), pages_(pages), capsule_(capsule) {}

  Status read(const std::string& index) {
    google::protobuf::io::CodedInputStream in(reinterpret_cast<const std::uint8_t*>(index.data()),
                                              static_cast<int>(index.size()));
    in.SetTotalBytesLimit(static_cast<int>(index.size()));
    v1::IndexRecord record;
    while (static_cast<std::size_t>(in.CurrentPosition()) < index.size()) {
      std::uint32_t length = 0;
      if (!in.ReadVarint32(&length) ||
          length > index.size() - static_cast<std::size_t>(in.CurrentPosition())) {
        return corrupt("index: a record leaves it");
      }
      const auto limit = in.PushLimit(static_cast<int>(length));
      record.Clear();
      if (!record.ParseFromCodedStream(&in) || !in.ConsumedEntireMessage()) {
        return corrupt("index: a record is no protobuf message");
      }
      in.PopLimit(limit);
      PERDURE_TRY(read_record(record));
    }
    if (!images_.empty()) return corrupt("index: image bytes that belong to no image");
    if (!pages_.at_end()) return corrupt("index: pages that belong to no object");
    return {};
  }

 private:
  Status read_record(const v1::IndexRecord& record) {
    switch (record.record_case()) {
      case v1::IndexRecord::kImage:
        return read_image(record.image());
      case v1::IndexRecord::kMemory:
        return read_memory(record.memory());
      case v1::IndexRecord::kTree:
        return read_tree(record.tree());
      case v1::IndexRecord::kEntry:
        return read_file(record.entry());
      case v1::IndexRecord::kUnchanged:
        return read_unchanged(record.unchanged());
      case v1::IndexRecord::RECORD_NOT_SET:
        break;
    }
    return corrupt("index: a record of an unknown kind");
  }

  Status read_image(const v1::Image& message) {
    if (!capsule_.memory.empty() || !capsule_.trees.empty() ||
        capsule_.images.size() == kMaxImages) {
      return corrupt("index: an image out of place, or too many");
    }
    Image image{message.name(), {}};
    if (message.from_parent()) {
      const Image* old = parent_image(message.name());
      if (old == nullptr || message.size_bytes() != 0) {
        return corrupt("index: an image of the parent that it does not have");
      }
      image.bytes = old->bytes;
    } else {
      if (message.size_bytes() > images_.size()) return corrupt("index: an image leaves its part");
      image.bytes = images_.substr(0, message.size_bytes());
      images_.remove_prefix(message.size_bytes());
    }
    capsule_.images.push_back(std::move(image));
    return {};
  }

  const Image* parent_image(const std::string& name) const {
    if (parent_ == nullptr) return nullptr;
    const auto found = std::ranges::lower_bound(parent_->images, name, {}, &Image::name);
    return found != parent_->images.end() && found->name == name ? &*found : nullptr;
  }

  Status read_memory(const v1::MemoryObject& message) {
    if (!capsule_.trees.empty() || capsule_.memory.size() == kMaxMemoryObjects ||
        (!capsule_.memory.empty() && capsule_.memory.rbegin()->first >= message.name())) {
      return corrupt("index: a memory object out of place, twice, or too many");
    }
    const PagedObject* old = nullptr;
    if (parent_ != nullptr) {
      const auto found = parent_->memory.find(message.name());
      if (found != parent_->memory.end()) old = &found->second;
    }
    PagedObject object;
    PERDURE_TRY(read_runs(message.runs(), old, object));
    capsule_.memory.emplace(message.name(), std::move(object));
    return {};
  }

  Status read_tree(const v1::Tree& message) {
    if (capsule_.trees.size() == kMaxTrees ||
        (!capsule_.trees.empty() && capsule_.trees.back().volume >= message.volume())) {
      return corrupt("index: a volume out of place, twice, or too many");
    }
    capsule_.trees.push_back(FileTree{message.volume(), {}});
    parent_tree_ = find_tree(parent_, message.volume());
    next_unchanged_ = 0;
    return {};
  }

  Status check_entry(std::uint64_t more) const {
    if (capsule_.trees.empty() || more > kMaxFileEntries ||
        capsule_.trees.back().entries.size() > kMaxFileEntries - more) {
      return corrupt("index: files without a volume, or too many");
    }
    return {};
  }

  Status read_file(const v1::Entry& message) {
    PERDURE_TRY(check_entry(1));
    PERDURE_ASSIGN(FileEntry entry, read_entry(message));
    const FileEntry* old =
        parent_tree_ == nullptr ? nullptr : find_entry(*parent_tree_, entry.path);
    PERDURE_TRY(read_runs(message.runs(), old == nullptr ? nullptr : &old->content, entry.content));
    capsule_.trees.back().entries.push_back(std::move(entry));
    return {};
  }

  Status read_unchanged(const v1::UnchangedEntries& message) {
    PERDURE_TRY(check_entry(message.count()));
    const std::size_t there = parent_tree_ == nullptr ? 0 : parent_tree_->entries.size();
    // Each of the parent's entries at most once: a few bytes must not become millions of files.
    if (message.first() < next_unchanged_ || message.first() > there ||
        message.count() > there - message.first()) {
      return corrupt("index: files of the parent that it does not have");
    }
    next_unchanged_ = message.first() + message.count();
    if (message.count() == 0) return {};
    const auto begin = parent_tree_->entries.begin() + static_cast<std::ptrdiff_t>(message.first());
    auto& entries = capsule_.trees.back().entries;
    entries.insert(entries.end(), begin, begin + static_cast<std::ptrdiff_t>(message.count()));
    return {};
  }

  Status read_runs(const v1::Runs& message, const PagedObject* parent, PagedObject& object) {
    if (message.gap_pages_size() != message.length_and_source_size()) {
      return corrupt("index: runs without a length");
    }
    std::uint64_t at = 0;
    for (int i = 0; i < message.gap_pages_size(); ++i) {
      const std::uint64_t gap = message.gap_pages(i);
      const std::uint64_t count = message.length_and_source(i) >> 1;
      if (count == 0 || count > kMaxPageNumber || gap > kMaxPageNumber - at ||
          count > kMaxPageNumber - at - gap) {
        return corrupt("index: page numbers out of range");
      }
      at += gap;
      if ((message.length_and_source(i) & 1) != 0) {
        PERDURE_TRY(take_from_parent(parent, at, count, object));
      } else {
        PERDURE_TRY(pages_.take(at, count, object));
      }
      at += count;
    }
    return {};
  }

  const Capsule* parent_;
  std::string_view images_;  // not handed out yet
  PageStream& pages_;
  Capsule& capsule_;
  const FileTree* parent_tree_ = nullptr;
  std::uint64_t next_unchanged_ = 0;
};

Status check_size(const SlabRef& file, const Layout& layout, const DecodeOptions& options) {
  const std::uint64_t size = file->bytes().size();
  if (size < layout.size_bytes) {
    return corrupt(std::format("truncated: {} of {} bytes are there", size, layout.size_bytes));
  }
  if (size > layout.size_bytes) {
    return corrupt(std::format("{} bytes behind the end", size - layout.size_bytes));
  }
  std::uint64_t content = 0;
  for (const std::uint64_t bytes : layout.content_bytes) content += bytes;
  if (content > options.content_limit_bytes) {
    return fail(ErrorCode::kNoSpace, std::format("its content is {}, at most {} are allowed here",
                                                 format_bytes(Bytes{content}),
                                                 format_bytes(Bytes{options.content_limit_bytes})));
  }
  if (layout.content_of(PartKind::kIndex) > kMaxIndexBytes ||
      layout.content_of(PartKind::kImages) > kMaxImageBytes) {
    return corrupt("index or images: too large");
  }
  return {};
}

Status check_parent(const Layout& layout, const Capsule* parent, const Digest* parent_digest) {
  if (!layout.manifest.parent) return {};
  const std::string name = std::format("delta on {} ({})", to_string(*layout.manifest.parent),
                                       to_string(*layout.manifest.parent_digest));
  if (parent == nullptr || parent_digest == nullptr) {
    return fail(ErrorCode::kInvalid, name + ": cannot be decoded without that capsule");
  }
  if (*parent_digest != *layout.manifest.parent_digest ||
      parent->manifest.generation != *layout.manifest.parent) {
    return corrupt(std::format("{}: the capsule offered as its parent is {} ({})", name,
                               to_string(parent->manifest.generation), to_string(*parent_digest)));
  }
  return {};
}

Result<Capsule> decode_verified(const SlabRef& file, Layout& layout, const Capsule* parent) {
  PERDURE_ASSIGN(const std::string index, read_stream(file, layout, PartKind::kIndex));
  PERDURE_ASSIGN(const std::string images, read_stream(file, layout, PartKind::kImages));
  PERDURE_ASSIGN(PageStream pages, PageStream::open(file, layout));
  Capsule capsule;
  IndexReader reader(layout.manifest.parent ? parent : nullptr, images, pages, capsule);
  PERDURE_TRY(reader.read(index));
  capsule.manifest = std::move(layout.manifest);
  Requirements& needs = capsule.manifest.requirements;
  if (std::exchange(needs.cpu_features_from_parent, false)) {
    needs.cpu_features = parent->manifest.requirements.cpu_features;
  }
  if (auto good = check_capsule(capsule); !good) return corrupt(good.error().message());
  return capsule;
}

}  // namespace

Result<Capsule> decode(SlabRef file, const Capsule* parent, const Digest* parent_digest,
                       const DecodeOptions& options) {
  PERDURE_ASSIGN(Layout layout, read_layout(file->bytes()));
  const std::string name = std::format("capsule {} of '{}'", to_string(layout.manifest.generation),
                                       layout.manifest.container);
  const auto decoded = [&]() -> Result<Capsule> {
    PERDURE_TRY(check_size(file, layout, options));
    PERDURE_TRY(verify(file, layout));
    PERDURE_TRY(check_parent(layout, parent, parent_digest));
    return decode_verified(file, layout, parent);
  };
  Result<Capsule> capsule = decoded();
  if (!capsule) return fail(std::move(capsule).error().context(name));
  return capsule;
}

}  // namespace perdure::capsule
