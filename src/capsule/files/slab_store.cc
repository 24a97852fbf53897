#include "capsule/files/slab_store.h"

#include <algorithm>
#include <cstring>
#include <format>
#include <unordered_map>
#include <unordered_set>

#include "base/assert.h"
#include "capsule/files/inode.h"

namespace perdure::capsule::files {
namespace {

struct Usage {
  const Slab* slab = nullptr;
  std::uint64_t live_pages = 0;
  std::uint64_t pages() const { return slab->bytes().size() / kPageSize; }
};

// Content of hard links is that of the entry they link to, and counts once.
std::vector<Usage> usage_of(const FileList& files) {
  std::unordered_map<const Slab*, Usage> usage;
  for (const auto& file : files) {
    if (!file->entry.hard_link_to.empty()) continue;
    for (const PageRun& run : file->entry.content.runs()) {
      Usage& used = usage[run.slab.get()];
      used.slab = run.slab.get();
      used.live_pages += run.page_count;
    }
  }
  std::vector<Usage> list;
  for (const auto& [slab, used] : usage) list.push_back(used);
  std::ranges::sort(list, {}, &Usage::pages);
  return list;
}

std::vector<Usage> choose_victims(const std::vector<Usage>& slabs) {
  std::vector<Usage> victims;
  const std::size_t merged = slabs.size() > kMaxSlabs ? slabs.size() / 2 : 0;
  for (std::size_t i = 0; i < slabs.size(); ++i) {
    const Usage& used = slabs[i];
    const bool half_dead = used.pages() >= kMinRepackPages && used.live_pages * 2 < used.pages();
    if (i < merged || half_dead) victims.push_back(used);
  }
  return victims;
}

bool refers_to(const PagedObject& content, const std::unordered_set<const Slab*>& slabs) {
  return std::ranges::any_of(content.runs(),
                             [&](const PageRun& run) { return slabs.contains(run.slab.get()); });
}

// The same pages, with those of the victims at their offsets in `slab`, in the order in which they
// were copied.
Result<PagedObject> moved(const PagedObject& content,
                          const std::unordered_set<const Slab*>& victims, const SlabRef& slab,
                          std::uint64_t& offset) {
  PagedObject result;
  for (PageRun run : content.runs()) {
    if (victims.contains(run.slab.get())) {
      run.slab = slab;
      run.slab_offset = offset;
      offset += run.page_count * kPageSize;
    }
    PERDURE_TRY(result.append(std::move(run)));
  }
  return result;
}

}  // namespace

Result<SlabBuilder> SlabBuilder::create(const SlabStoreOptions& options, Where where,
                                        std::uint64_t pages) {
  SlabBuilder builder;
  builder.purpose_ = "captured pages of " + options.name;
  if (where == Where::kMemory) {
    PERDURE_ASSIGN(builder.memory_, Slab::allocate(pages * kPageSize, Slab::Prefault::kNo));
  } else {
    PERDURE_ASSIGN(builder.file_, open_unlinked_file(options.staging, builder.purpose_));
  }
  return builder;
}

Result<std::uint64_t> SlabBuilder::add(std::span<const std::byte> pages) {
  const std::uint64_t offset = used_bytes_;
  if (memory_ != nullptr) {
    PERDURE_ASSERT(offset + pages.size() <= memory_->bytes().size());
    std::memcpy(memory_->writable().data() + offset, pages.data(), pages.size());
  } else {
    PERDURE_TRY(write_all(file_.get(), pages, purpose_));
  }
  used_bytes_ += pages.size();
  return offset;
}

Result<SlabRef> SlabBuilder::finish() {
  if (memory_ != nullptr) return SlabRef(std::move(memory_));
  PERDURE_ASSIGN(SlabRef slab, Slab::map_file(file_, used_bytes_, purpose_));
  return slab;
}

Result<StoredPages> StoredPages::store(const PageSink& sink, const SlabStoreOptions& options,
                                       std::uint64_t held_in_memory_bytes) {
  StoredPages stored;
  stored.memory_pages_ = sink.memory_pages();
  if (stored.memory_pages_ > 0) {
    const bool room =
        held_in_memory_bytes + stored.memory_pages_ * kPageSize <= options.max_memory_bytes;
    const auto where = room ? SlabBuilder::Where::kMemory : SlabBuilder::Where::kFile;
    PERDURE_ASSIGN(SlabBuilder builder, SlabBuilder::create(options, where, stored.memory_pages_));
    for (std::uint64_t page = 0; page < stored.memory_pages_;) {
      const auto bytes = sink.memory_at(page);
      PERDURE_TRY(builder.add(bytes));
      page += bytes.size() / kPageSize;
    }
    PERDURE_ASSIGN(stored.from_memory_, builder.finish());
  }
  if (sink.file_pages() > 0) {
    PERDURE_ASSIGN(stored.from_file_, Slab::map_file(sink.file(), sink.file_pages() * kPageSize,
                                                     "changed pages of " + options.name));
  }
  return stored;
}

Status StoredPages::append_to(PagedObject& object, std::uint64_t first_page,
                              std::uint64_t sink_page, std::uint64_t page_count) const {
  if (sink_page < memory_pages_) {
    const std::uint64_t count = std::min(page_count, memory_pages_ - sink_page);
    PERDURE_TRY(object.append(PageRun{first_page, count, from_memory_, sink_page * kPageSize}));
    first_page += count;
    sink_page += count;
    page_count -= count;
  }
  if (page_count == 0) return {};
  return object.append(
      PageRun{first_page, page_count, from_file_, (sink_page - memory_pages_) * kPageSize});
}

HeldBytes held_by(const FileList& files) {
  HeldBytes held;
  for (const Usage& used : usage_of(files)) {
    (used.slab->is_file() ? held.files : held.memory) += used.slab->bytes().size();
  }
  return held;
}

Status repack(FileList& files, const SlabStoreOptions& options) {
  const std::vector<Usage> slabs = usage_of(files);
  const std::vector<Usage> chosen = choose_victims(slabs);
  if (chosen.empty()) return {};

  std::unordered_set<const Slab*> victims;
  std::uint64_t live_pages = 0;
  std::uint64_t memory_bytes = held_by(files).memory;
  for (const Usage& used : chosen) {
    victims.insert(used.slab);
    live_pages += used.live_pages;
    if (!used.slab->is_file()) memory_bytes -= used.slab->bytes().size();
  }
  const bool room = memory_bytes + live_pages * kPageSize <= options.max_memory_bytes;
  const auto where = room ? SlabBuilder::Where::kMemory : SlabBuilder::Where::kFile;
  PERDURE_ASSIGN(SlabBuilder builder, SlabBuilder::create(options, where, live_pages));
  for (const auto& file : files) {
    if (!file->entry.hard_link_to.empty()) continue;
    for (const PageRun& run : file->entry.content.runs()) {
      if (victims.contains(run.slab.get())) PERDURE_TRY(builder.add(run.bytes()));
    }
  }
  PERDURE_ASSIGN(const SlabRef slab, builder.finish());

  FileList result = files;
  std::unordered_map<std::string_view, const KnownFile*> moved_files;
  std::uint64_t offset = 0;
  for (auto& file : result) {
    if (!refers_to(file->entry.content, victims)) continue;
    auto copy = std::make_shared<KnownFile>(*file);
    if (copy->entry.hard_link_to.empty()) {
      PERDURE_ASSIGN(copy->entry.content, moved(file->entry.content, victims, slab, offset));
    } else {
      const auto primary = moved_files.find(copy->entry.hard_link_to);
      PERDURE_ASSERT(primary != moved_files.end());
      copy->entry.content = primary->second->entry.content;
    }
    file = std::move(copy);
    moved_files.emplace(file->entry.path, file.get());
  }
  files = std::move(result);
  return {};
}

}  // namespace perdure::capsule::files
