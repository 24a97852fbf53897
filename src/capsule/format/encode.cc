#include <algorithm>
#include <format>
#include <set>
#include <utility>

#include "base/assert.h"
#include "capsule.pb.h"
#include "capsule/format/codec.h"
#include "capsule/format/index.h"
#include "capsule/format/layout.h"
#include "capsule/format/part_codec.h"
#include "capsule/format/validate.h"

namespace perdure::capsule {
namespace {

// Spread over the pages: enough for the ratio of the whole, a thousandth of the time of compressing
// 64 MB.
constexpr std::size_t kSamples = 16;
constexpr std::size_t kSampleBytes = 16384;

// Better than any content on any host: where even this gains nothing, sampling is left out.
constexpr double kHopefulRatio = 255;
constexpr CompressionSpeed kHopefulSpeed{5e9, 20e9};

constexpr std::byte kZeroPage[kPageSize]{};

// Pieces that follow each other, cut anywhere.
class Stream {
 public:
  void append(std::span<const std::byte> bytes) {
    if (bytes.empty()) return;
    size_ += bytes.size();
    if (!pieces_.empty() && pieces_.back().data() + pieces_.back().size() == bytes.data()) {
      pieces_.back() = {pieces_.back().data(), pieces_.back().size() + bytes.size()};
    } else {
      pieces_.push_back(bytes);
    }
  }
  std::uint64_t size() const { return size_; }

  class Cursor {
   public:
    explicit Cursor(const Stream& stream) : stream_(stream) {}
    // Up to `count` bytes from here on; fewer only at the end.
    Pieces take(std::uint64_t count) {
      Pieces taken;
      while (count > 0 && piece_ < stream_.pieces_.size()) {
        const auto rest = stream_.pieces_[piece_].subspan(within_);
        const std::size_t used = std::min<std::uint64_t>(count, rest.size());
        taken.push_back(rest.first(used));
        advance(used, rest.size());
        count -= used;
      }
      return taken;
    }
    void skip(std::uint64_t count) {
      while (count > 0 && piece_ < stream_.pieces_.size()) {
        const std::size_t rest = stream_.pieces_[piece_].size() - within_;
        const std::size_t used = std::min<std::uint64_t>(count, rest);
        advance(used, rest);
        count -= used;
      }
    }

   private:
    void advance(std::size_t used, std::size_t rest) {
      within_ = used == rest ? 0 : within_ + used;
      if (used == rest) ++piece_;
    }
    const Stream& stream_;
    std::size_t piece_ = 0;
    std::size_t within_ = 0;
  };

 private:
  Pieces pieces_;
  std::uint64_t size_ = 0;
};

const PagedObject* find_object(const Capsule* capsule, const std::string& name) {
  if (capsule == nullptr) return nullptr;
  const auto found = capsule->memory.find(name);
  return found == capsule->memory.end() ? nullptr : &found->second;
}

// The three streams of a capsule (docs/capsule-format.md).
class Streams {
 public:
  Streams(const Capsule& child, const Capsule* parent) : child_(child), parent_(parent) {}

  Status build() {
    put_images();
    put_memory();
    for (const FileTree& tree : child_.trees) put_tree(tree);
    if (index_bytes_->size() > kMaxIndexBytes || image_bytes_->size() > kMaxImageBytes ||
        index_bytes_->size() + image_bytes_->size() + pages_.size() > kMaxContentBytes) {
      return fail(
          ErrorCode::kInvalid,
          std::format("capsule {} of '{}': {} index, {} images, {} pages: at most {}, {}, "
                      "and {} in all",
                      to_string(child_.manifest.generation), child_.manifest.container,
                      format_bytes(Bytes{index_bytes_->size()}),
                      format_bytes(Bytes{image_bytes_->size()}), format_bytes(Bytes{pages_.size()}),
                      format_bytes(Bytes{kMaxIndexBytes}), format_bytes(Bytes{kMaxImageBytes}),
                      format_bytes(Bytes{kMaxContentBytes})));
    }
    index_.append(std::as_bytes(std::span(*index_bytes_)));
    images_.append(std::as_bytes(std::span(*image_bytes_)));
    return {};
  }

  const Stream& index() const { return index_; }
  const Stream& images() const { return images_; }
  const Stream& pages() const { return pages_; }
  std::vector<std::shared_ptr<const void>> owners() const {
    std::vector<std::shared_ptr<const void>> owners{index_bytes_, image_bytes_};
    owners.insert(owners.end(), slabs_.begin(), slabs_.end());
    return owners;
  }

 private:
  void put_images() {
    for (const Image& image : child_.images) {
      v1::IndexRecord record;
      record.mutable_image()->set_name(image.name);
      if (in_parent(image)) {
        record.mutable_image()->set_from_parent(true);
      } else {
        record.mutable_image()->set_size_bytes(image.bytes.size());
        image_bytes_->append(image.bytes);
      }
      append_record(record, *index_bytes_);
    }
  }

  bool in_parent(const Image& image) const {
    if (parent_ == nullptr) return false;
    const auto found = std::ranges::lower_bound(parent_->images, image.name, {}, &Image::name);
    return found != parent_->images.end() && found->name == image.name &&
           found->bytes == image.bytes;
  }

  void put_memory() {
    for (const auto& [name, object] : child_.memory) {
      v1::IndexRecord record;
      record.mutable_memory()->set_name(name);
      put_runs(object, find_object(parent_, name), *record.mutable_memory()->mutable_runs());
      append_record(record, *index_bytes_);
    }
  }

  void put_tree(const FileTree& tree) {
    v1::IndexRecord record;
    record.mutable_tree()->set_volume(tree.volume);
    append_record(record, *index_bytes_);
    const FileTree* parent = find_tree(parent_, tree.volume);
    std::size_t there = 0;      // first entry of the parent that is not before the child's
    std::size_t unchanged = 0;  // entries right before `there` that are to be taken over
    for (const FileEntry& entry : tree.entries) {
      const std::size_t before = there;
      const FileEntry* old = advance(parent, there, entry.path);
      if (unchanged > 0 && there != before) flush_unchanged(before, unchanged);
      if (old != nullptr && same_entry(entry, *old)) {
        ++unchanged;
        ++there;
        continue;
      }
      flush_unchanged(there, unchanged);
      put_entry(entry, old);
    }
    flush_unchanged(there, unchanged);
  }

  static const FileEntry* advance(const FileTree* parent, std::size_t& there,
                                  const std::string& path) {
    if (parent == nullptr) return nullptr;
    const auto& entries = parent->entries;
    while (there < entries.size() && entries[there].path < path) ++there;
    return there < entries.size() && entries[there].path == path ? &entries[there] : nullptr;
  }

  void flush_unchanged(std::size_t end, std::size_t& count) {
    if (count == 0) return;
    v1::IndexRecord record;
    record.mutable_unchanged()->set_first(end - count);
    record.mutable_unchanged()->set_count(count);
    append_record(record, *index_bytes_);
    count = 0;
  }

  void put_entry(const FileEntry& entry, const FileEntry* old) {
    v1::IndexRecord record;
    write_entry(entry, *record.mutable_entry());
    if (entry.content.page_count() > 0) {
      put_runs(entry.content, old == nullptr ? nullptr : &old->content,
               *record.mutable_entry()->mutable_runs());
    }
    append_record(record, *index_bytes_);
  }

  void put_runs(const PagedObject& object, const PagedObject* parent, v1::Runs& runs) {
    RunWriter writer(runs);
    object.compare_with(parent == nullptr ? nothing_ : *parent,
                        [&](const PageRun& here, const PageRun* same) {
                          writer.add(here.first_page, here.page_count,
                                     same == nullptr ? RunSource::kInline : RunSource::kParent);
                          if (same != nullptr) return;
                          pages_.append(here.bytes());
                          slabs_.insert(here.slab);
                        });
    writer.finish();
  }

  const Capsule& child_;
  const Capsule* parent_;
  std::shared_ptr<std::string> index_bytes_ = std::make_shared<std::string>();
  std::shared_ptr<std::string> image_bytes_ = std::make_shared<std::string>();
  Stream index_;
  Stream images_;
  Stream pages_;
  std::set<SlabRef> slabs_;
  const PagedObject nothing_;
};

Compression choose(const Streams& streams, const CodecOptions& options,
                   PartCompressor& compressor) {
  if (options.compression) return *options.compression;
  if (!(options.bytes_per_second > 0)) return Compression::kNone;
  const double best_case =
      transfer_cost(kHopefulRatio, options.lz4.value_or(kHopefulSpeed), options.bytes_per_second);
  if (best_case >= 1 / options.bytes_per_second) return Compression::kNone;  // no sample needed
  const Stream& content = streams.pages().size() > 0 ? streams.pages() : streams.images();
  std::vector<Pieces> samples;
  Stream::Cursor cursor(content);
  const std::uint64_t step = content.size() / kSamples / kPageSize * kPageSize;
  for (std::size_t i = 0; i < kSamples; ++i) {
    samples.push_back(cursor.take(kSampleBytes));
    if (samples.back().empty()) samples.pop_back();
    if (step > kSampleBytes) cursor.skip(step - kSampleBytes);
  }
  return choose_compression(compressor.offer(samples, Compression::kLz4, options.lz4),
                            compressor.offer(samples, Compression::kZstd, options.zstd),
                            options.bytes_per_second);
}

// Cuts streams into parts, compresses and digests them.
class PartWriter {
 public:
  PartWriter(PartCompressor& compressor, Compression compression, EncodedCapsule& encoded)
      : compressor_(compressor), compression_(compression), encoded_(encoded) {}

  void add(PartKind kind, const Stream& stream) {
    Stream::Cursor cursor(stream);
    for (std::uint64_t done = 0; done < stream.size(); done += kPartBytes) {
      add_part(kind, cursor.take(kPartBytes));
    }
  }

  // Header, padding and parts in their order.
  Status assemble() {
    PERDURE_ASSIGN(SealedHeader header, write_header(encoded_.manifest, parts_));
    const auto bytes = std::make_shared<std::string>(std::move(header.bytes));
    encoded_.digest = header.digest;
    encoded_.size_bytes = place_parts(bytes->size(), parts_);
    encoded_.owners.push_back(bytes);
    encoded_.pieces.push_back(std::as_bytes(std::span(*bytes)));
    std::uint64_t at = bytes->size();
    for (std::size_t i = 0; i < parts_.size(); ++i) {
      const std::size_t padding = parts_[i].offset - at;
      if (padding > 0) encoded_.pieces.push_back(std::span(kZeroPage).first(padding));
      encoded_.pieces.insert(encoded_.pieces.end(), stored_[i].begin(), stored_[i].end());
      at = parts_[i].offset + parts_[i].stored_bytes;
    }
    PERDURE_ASSERT(at == encoded_.size_bytes);
    return {};
  }

 private:
  void add_part(PartKind kind, Pieces content) {
    Part part;
    part.kind = kind;
    for (const auto piece : content) part.content_bytes += static_cast<std::uint32_t>(piece.size());
    part.stored_bytes = part.content_bytes;
    if (auto packed = compressor_.compress(content, compression_)) {
      part.codec = compression_;
      part.stored_bytes = static_cast<std::uint32_t>(packed->size());
      encoded_.stats.compressed_from.count += part.content_bytes;
      encoded_.stats.compressed_to.count += part.stored_bytes;
      const auto owner = std::make_shared<std::string>(std::move(*packed));
      content = {std::as_bytes(std::span(*owner))};
      encoded_.owners.push_back(owner);
    }
    part.digest = digest_of_pieces(content);
    encoded_.stats.content.count += part.content_bytes;
    parts_.push_back(part);
    stored_.push_back(std::move(content));
  }

  PartCompressor& compressor_;
  const Compression compression_;
  EncodedCapsule& encoded_;
  std::vector<Part> parts_;
  std::vector<Pieces> stored_;
};

}  // namespace

Result<EncodedCapsule> encode(const Capsule& child, const Capsule* parent,
                              const Digest* parent_digest, const CodecOptions& options) {
  PERDURE_ASSERT((parent == nullptr) == (parent_digest == nullptr));
  const Duration begun = thread_cpu_time();
  PERDURE_TRY(check_capsule(child));
  EncodedCapsule encoded;
  encoded.manifest = child.manifest;
  encoded.manifest.parent.reset();
  encoded.manifest.parent_digest.reset();
  Requirements& needs = encoded.manifest.requirements;
  needs.cpu_features_from_parent = false;
  if (parent != nullptr) {
    encoded.manifest.parent = parent->manifest.generation;
    encoded.manifest.parent_digest = *parent_digest;
    // A kilobyte that changes only when the owner does.
    needs.cpu_features_from_parent =
        !needs.cpu_features.empty() && needs.cpu_features == parent->manifest.requirements.cpu_features;
    if (needs.cpu_features_from_parent) needs.cpu_features.clear();
    if (parent->manifest.generation >= child.manifest.generation) {
      return fail(ErrorCode::kInvalid,
                  std::format("capsule {} of '{}': its parent {} is not older",
                              to_string(child.manifest.generation), child.manifest.container,
                              to_string(parent->manifest.generation)));
    }
  }
  Streams streams(child, parent);
  PERDURE_TRY(streams.build());
  encoded.owners = streams.owners();
  encoded.stats.pages = Bytes{streams.pages().size()};

  PartCompressor compressor;
  encoded.stats.compression = choose(streams, options, compressor);
  PartWriter parts(compressor, encoded.stats.compression, encoded);
  parts.add(PartKind::kIndex, streams.index());
  parts.add(PartKind::kImages, streams.images());
  parts.add(PartKind::kPages, streams.pages());
  PERDURE_TRY(parts.assemble());
  encoded.stats.cpu = thread_cpu_time() - begun;
  return encoded;
}

}  // namespace perdure::capsule
