// Capsules for tests, small and deterministic; comparison by content; encoded pieces joined to a
// file. Test programs only.
#pragma once

#include <algorithm>
#include <cstring>
#include <random>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "base/assert.h"
#include "capsule/format/capsule.h"
#include "capsule/format/codec.h"
#include "capsule/format/index.h"

namespace perdure::capsule::testing {

inline SlabRef slab_of(std::string_view bytes) {
  auto slab = Slab::allocate(bytes.size(), Slab::Prefault::kNo);
  PERDURE_ASSERT(slab.has_value());
  if (!bytes.empty()) std::memcpy((*slab)->writable().data(), bytes.data(), bytes.size());
  return *slab;
}

inline std::string page_of(char fill) {
  return std::string(kPageSize, fill);
}
// Does not compress; another one for every seed.
inline std::string noise_page(std::uint32_t seed) {
  std::mt19937 random(seed);
  std::string page;
  while (page.size() < kPageSize) {
    const auto word = static_cast<std::uint32_t>(random());
    page.append(reinterpret_cast<const char*>(&word), sizeof word);
  }
  return page;
}

// Pages by number, all in one slab of their own.
inline PagedObject object_of(const std::vector<std::pair<std::uint64_t, std::string>>& pages) {
  std::string bytes;
  for (const auto& [number, page] : pages) bytes += page;
  const SlabRef slab = slab_of(bytes);
  PagedObject object;
  std::uint64_t offset = 0;
  for (const auto& [number, page] : pages) {
    const Status appended = object.append({number, 1, slab, offset});
    PERDURE_ASSERT(appended.has_value());
    offset += kPageSize;
  }
  return object;
}

inline PagedObject file_content(std::string bytes) {
  bytes.resize((bytes.size() + kPageSize - 1) / kPageSize * kPageSize);
  PagedObject object;
  const Status appended = object.append({0, bytes.size() / kPageSize, slab_of(bytes), 0});
  PERDURE_ASSERT(appended.has_value());
  return object;
}

inline FileEntry regular(std::string path, std::string bytes) {
  FileEntry entry;
  entry.path = std::move(path);
  entry.mode = 0644;
  entry.modified_ns = 1'700'000'000'123'456'789;
  entry.size_bytes = bytes.size();
  if (!bytes.empty()) entry.content = file_content(std::move(bytes));
  return entry;
}

inline FileEntry directory(std::string path) {
  FileEntry entry;
  entry.path = std::move(path);
  entry.type = FileType::kDirectory;
  entry.mode = 0755;
  return entry;
}

inline FileEntry special(std::string path, FileType type, std::uint64_t device = 0) {
  FileEntry entry;
  entry.path = std::move(path);
  entry.type = type;
  entry.device = device;
  return entry;
}

inline FileEntry symlink(std::string path, std::string target) {
  FileEntry entry = special(std::move(path), FileType::kSymlink);
  entry.target = std::move(target);
  return entry;
}

inline Generation generation(std::uint64_t number, std::uint64_t incarnation = 0x1f,
                             std::uint64_t term = 3) {
  return Generation{Term{term}, Incarnation{incarnation}, number};
}

// Something of everything; `salt` changes a page, a file and an image.
inline Capsule small_capsule(std::uint64_t number, char salt = 'a') {
  Capsule capsule;
  Manifest& manifest = capsule.manifest;
  manifest.container = "web";
  manifest.generation = generation(number);
  manifest.image_digest = "sha256:00";
  manifest.spec_digest = "sha256:01";
  manifest.spec_yaml = "name: web\n";
  manifest.addresses = {"192.0.2.7/24", "02:00:00:00:00:07"};
  manifest.created = WallTime(std::chrono::seconds(1'700'000'000 + number));
  manifest.requirements = {"4.2.1", "6.12.1", "x86_64", {"avx", "sse2"}};
  manifest.stats.frozen = std::chrono::milliseconds(15);
  manifest.stats.memory = Bytes{8 * kPageSize};
  manifest.restore_hints = {{"pipe", "17"}, {"stdio", std::string("a\0b", 3)}};
  capsule.images = {{"core-1.img", "core"}, {"files.img", std::string("files") + salt}};
  capsule.memory["mm-1"] = object_of({{16, page_of('x')}, {17, page_of(salt)}, {40, page_of('z')}});
  capsule.memory["mm-7"] = object_of({{0x7ffff, page_of('s')}});
  FileTree layer;
  layer.entries = {directory(""), directory("etc"), regular("etc/motd", "hello")};
  layer.entries.push_back(regular("etc/state", std::string(5000, salt)));
  layer.entries.push_back(symlink("link", "/etc/motd"));
  layer.entries.push_back(regular("name", ""));
  layer.entries.push_back(special("null", FileType::kCharacterDevice, 0x103));
  layer.entries.push_back(special("pipe", FileType::kFifo));
  layer.entries[1].xattrs["trusted.overlay.opaque"] = "y";
  layer.entries[5].hard_link_to = "etc/motd";
  FileTree volume;
  volume.volume = "data";
  volume.entries = {regular("log", std::string(9000, 'l'))};
  capsule.trees = {layer, volume};
  return capsule;
}

// small_capsule() after objects and files have changed, appeared and gone.
inline Capsule changed_capsule(std::uint64_t number) {
  Capsule capsule = small_capsule(number, 'q');
  capsule.memory.erase("mm-7");
  capsule.memory["mm-9"] = object_of({{1, noise_page(9)}});
  auto& entries = capsule.trees[0].entries;
  entries.erase(entries.begin() + 6);  // null
  entries.insert(entries.begin() + 2, regular("etc/aaa", "new"));
  entries.push_back(regular("zz", "new"));
  return capsule;
}

inline bool same_manifest(const Manifest& a, const Manifest& b) {
  const auto stats = [](const CaptureStats& s) {
    return std::tuple(s.frozen, s.wall, s.cpu, s.memory, s.memory_changed, s.files_changed);
  };
  const auto needs = [](const Requirements& r) {
    return std::tuple(r.criu_version, r.kernel_release, r.architecture, r.cpu_features);
  };
  return a.container == b.container && a.generation == b.generation &&
         a.image_digest == b.image_digest && a.spec_digest == b.spec_digest &&
         a.spec_yaml == b.spec_yaml && a.addresses == b.addresses && a.created == b.created &&
         needs(a.requirements) == needs(b.requirements) && stats(a.stats) == stats(b.stats) &&
         a.restore_hints == b.restore_hints;
}

// Everything but the place in a chain of deltas.
inline bool same_state(const Capsule& a, const Capsule& b) {
  const auto same_image = [](const Image& x, const Image& y) {
    return x.name == y.name && x.bytes == y.bytes;
  };
  const auto same_object = [](const auto& x, const auto& y) {
    return x.first == y.first && x.second.same_as(y.second);
  };
  const auto same_tree = [](const FileTree& x, const FileTree& y) {
    return x.volume == y.volume && std::ranges::equal(x.entries, y.entries, same_entry);
  };
  return same_manifest(a.manifest, b.manifest) &&
         std::ranges::equal(a.images, b.images, same_image) &&
         std::ranges::equal(a.memory, b.memory, same_object) &&
         std::ranges::equal(a.trees, b.trees, same_tree);
}

inline std::string joined(const EncodedCapsule& encoded) {
  std::string bytes;
  for (const auto piece : encoded.pieces) {
    bytes.append(reinterpret_cast<const char*>(piece.data()), piece.size());
  }
  return bytes;
}

inline EncodedCapsule encoded_full(const Capsule& capsule,
                                   Compression compression = Compression::kNone) {
  CodecOptions options;
  options.compression = compression;
  auto encoded = encode(capsule, nullptr, nullptr, options);
  PERDURE_ASSERT(encoded.has_value());
  return *encoded;
}

inline EncodedCapsule encoded_delta(const Capsule& capsule, const Capsule& parent,
                                    const Digest& digest,
                                    Compression compression = Compression::kNone) {
  CodecOptions options;
  options.compression = compression;
  auto encoded = encode(capsule, &parent, &digest, options);
  PERDURE_ASSERT(encoded.has_value());
  return *encoded;
}

}  // namespace perdure::capsule::testing
