#include "capsule/format/seal.h"

#include <xxhash.h>

#include <algorithm>
#include <format>
#include <span>
#include <string_view>
#include <utility>

#include "base/assert.h"
#include "capsule/format/index.h"

namespace perdure::capsule {
namespace {

std::unexpected<Error> damaged(std::string what) {
  return fail(ErrorCode::kCorrupt, std::move(what) + " is not what it was when it was received");
}

// Values one after the other, each text behind its length, so that none can stand for another.
class Words {
 public:
  Words& add(std::uint64_t number) {
    text_.append(reinterpret_cast<const char*>(&number), sizeof number);
    return *this;
  }
  Words& add(std::string_view text) {
    add(text.size());
    text_.append(text);
    return *this;
  }
  Words& add(const std::map<std::string, std::string>& map) {
    add(map.size());
    for (const auto& [key, value] : map) add(key).add(value);
    return *this;
  }
  Words& add(const std::vector<std::string>& list) {
    add(list.size());
    for (const std::string& text : list) add(text);
    return *this;
  }
  std::uint64_t digest() const { return XXH3_64bits(text_.data(), text_.size()); }

 private:
  std::string text_;
};

std::uint64_t digest_of_manifest(const Manifest& manifest) {
  Words words;
  words.add(manifest.container).add(to_string(manifest.generation)).add(manifest.image_digest).add(manifest.spec_digest);
  words.add(manifest.spec_yaml).add(manifest.addresses).add(static_cast<std::uint64_t>(manifest.created.time_since_epoch().count()));
  const Requirements& needs = manifest.requirements;
  words.add(needs.criu_version).add(needs.kernel_release).add(needs.architecture).add(needs.cpu_features);
  return words.add(manifest.restore_hints).digest();
}

std::uint64_t digest_of_image(const Image& image) { return Words().add(image.name).add(XXH3_64bits(image.bytes.data(), image.bytes.size())).digest(); }

std::uint64_t digest_of_entry(const FileEntry& entry) {
  Words words;
  words.add(entry.path).add(static_cast<std::uint64_t>(entry.type)).add(entry.mode).add(entry.uid).add(entry.gid).add(entry.device);
  words.add(static_cast<std::uint64_t>(entry.modified_ns)).add(entry.size_bytes).add(entry.target).add(entry.hard_link_to);
  return words.add(entry.xattrs).digest();
}

std::uint64_t digest_of_page(std::span<const std::byte> page, std::uint64_t number) {
  return XXH3_64bits_withSeed(page.data(), page.size(), number);
}

// Of `count` pages of a run.
void add_digests(const PageRun& run, std::uint64_t from, std::uint64_t count, Seal::Pages& digests) {
  for (std::uint64_t i = from; i < from + count; ++i) {
    digests.push_back(digest_of_page(run.bytes().subspan(i * kPageSize, kPageSize), run.first_page + i));
  }
}

// Pages that lie where the parent's lie were not looked at since the parent was sealed.
Seal::Pages digests_of(const PagedObject& object, const PagedObject* parent, const Seal::Pages* parent_digests) {
  Seal::Pages digests;
  digests.reserve(object.page_count());
  static const std::vector<PageRun> kNone;
  const std::vector<PageRun>& theirs = parent == nullptr ? kNone : parent->runs();
  auto there = theirs.begin();
  std::uint64_t before = 0;  // pages of the parent's object before `there`
  for (const PageRun& run : object.runs()) {
    for (std::uint64_t page = run.first_page; page < run.end_page();) {
      while (there != theirs.end() && there->end_page() <= page) before += (there++)->page_count;
      const std::uint64_t from = page - run.first_page;
      if (there == theirs.end() || there->first_page > page) {
        const std::uint64_t end = there == theirs.end() ? run.end_page() : std::min(run.end_page(), there->first_page);
        add_digests(run, from, end - page, digests);
        page = end;
        continue;
      }
      const std::uint64_t count = std::min(run.end_page(), there->end_page()) - page;
      const std::uint64_t in_theirs = page - there->first_page;
      if (there->slab == run.slab && there->slab_offset + in_theirs * kPageSize == run.slab_offset + from * kPageSize) {
        const auto begin = parent_digests->begin() + static_cast<std::ptrdiff_t>(before + in_theirs);
        digests.insert(digests.end(), begin, begin + static_cast<std::ptrdiff_t>(count));
      } else {
        add_digests(run, from, count, digests);
      }
      page += count;
    }
  }
  return digests;
}

Status check_pages(const PagedObject& object, const Seal::Pages& sealed, std::string_view name) {
  if (object.page_count() != sealed.size()) return damaged(std::format("{}: its list of pages", name));
  std::size_t at = 0;
  for (const PageRun& run : object.runs()) {
    for (std::uint64_t i = 0; i < run.page_count; ++i, ++at) {
      if (digest_of_page(run.bytes().subspan(i * kPageSize, kPageSize), run.first_page + i) == sealed[at]) continue;
      return damaged(std::format("{}: page {}", name, run.first_page + i));
    }
  }
  return {};
}

std::string name_of(const FileTree& tree) {
  return tree.volume.empty() ? "the writable layer" : std::format("volume '{}'", tree.volume);
}

// The parent's digest if what it is of is still the same in both, else the digest of what is new.
std::uint64_t inherited(std::uint64_t ours, std::uint64_t parents_now, std::uint64_t parents_seal) {
  return ours == parents_now ? parents_seal : ours;
}

void seal_images(const Capsule& capsule, const Capsule* parent, const Seal* parent_seal, Seal& seal) {
  for (const Image& image : capsule.images) {
    std::uint64_t digest = digest_of_image(image);
    if (parent != nullptr) {
      const auto old = std::ranges::lower_bound(parent->images, image.name, {}, &Image::name);
      if (old != parent->images.end() && old->name == image.name) {
        digest = inherited(digest, digest_of_image(*old), parent_seal->images[static_cast<std::size_t>(old - parent->images.begin())]);
      }
    }
    seal.images.push_back(digest);
  }
}

struct SealedTree {
  const FileTree* tree = nullptr;
  const std::vector<Seal::Entry>* entries = nullptr;
};

SealedTree find_sealed(const Capsule* parent, const Seal* parent_seal, const std::string& volume) {
  const FileTree* tree = find_tree(parent, volume);
  if (tree == nullptr) return {};
  return {tree, &parent_seal->trees[static_cast<std::size_t>(tree - parent->trees.data())]};
}

std::vector<Seal::Entry> sealed_entries(const FileTree& tree, const SealedTree& parent) {
  std::vector<Seal::Entry> entries;
  entries.reserve(tree.entries.size());
  for (const FileEntry& entry : tree.entries) {
    const FileEntry* old = parent.tree == nullptr ? nullptr : find_entry(*parent.tree, entry.path);
    const Seal::Entry* sealed = old == nullptr ? nullptr : &(*parent.entries)[static_cast<std::size_t>(old - parent.tree->entries.data())];
    std::uint64_t words = digest_of_entry(entry);
    if (old != nullptr) words = inherited(words, digest_of_entry(*old), sealed->words);
    entries.push_back({words, digests_of(entry.content, old == nullptr ? nullptr : &old->content, old == nullptr ? nullptr : &sealed->content)});
  }
  return entries;
}

Status check_tree(const FileTree& tree, const std::vector<Seal::Entry>& sealed) {
  if (tree.entries.size() != sealed.size()) return damaged(std::format("the list of files of {}", name_of(tree)));
  for (std::size_t i = 0; i < sealed.size(); ++i) {
    const FileEntry& entry = tree.entries[i];
    if (digest_of_entry(entry) != sealed[i].words) return damaged(std::format("an entry of {}", name_of(tree)));
    PERDURE_TRY(check_pages(entry.content, sealed[i].content, std::format("file '{}' of {}", entry.path, name_of(tree))));
  }
  return {};
}

}  // namespace

Seal seal_of(const Capsule& capsule, const Capsule* parent, const Seal* parent_seal) {
  PERDURE_ASSERT((parent == nullptr) == (parent_seal == nullptr));
  Seal seal;
  seal.manifest = digest_of_manifest(capsule.manifest);
  seal_images(capsule, parent, parent_seal, seal);
  for (const auto& [name, object] : capsule.memory) {
    const PagedObject* old = nullptr;
    const Seal::Pages* sealed = nullptr;
    if (parent != nullptr) {
      const auto found = parent->memory.find(name);
      if (found != parent->memory.end()) {
        old = &found->second;
        sealed = &parent_seal->memory.at(name);
      }
    }
    seal.memory.emplace(name, digests_of(object, old, sealed));
  }
  for (const FileTree& tree : capsule.trees) {
    seal.trees.push_back(sealed_entries(tree, parent == nullptr ? SealedTree{} : find_sealed(parent, parent_seal, tree.volume)));
  }
  return seal;
}

Status check_seal(const Capsule& capsule, const Seal& seal) {
  if (digest_of_manifest(capsule.manifest) != seal.manifest) return damaged("its manifest");
  if (capsule.images.size() != seal.images.size()) return damaged("its list of images");
  for (std::size_t i = 0; i < seal.images.size(); ++i) {
    if (digest_of_image(capsule.images[i]) != seal.images[i]) return damaged(std::format("image '{}'", capsule.images[i].name));
  }
  if (capsule.memory.size() != seal.memory.size()) return damaged("its list of memory objects");
  for (const auto& [name, object] : capsule.memory) {
    const auto sealed = seal.memory.find(name);
    if (sealed == seal.memory.end()) return damaged("its list of memory objects");
    PERDURE_TRY(check_pages(object, sealed->second, std::format("memory '{}'", name)));
  }
  if (capsule.trees.size() != seal.trees.size()) return damaged("its list of volumes");
  for (std::size_t i = 0; i < seal.trees.size(); ++i) PERDURE_TRY(check_tree(capsule.trees[i], seal.trees[i]));
  return {};
}

}  // namespace perdure::capsule
