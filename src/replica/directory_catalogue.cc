// The reading half of DirectoryStore: catalogue, headers, chains.
#include <algorithm>
#include <format>
#include <utility>

#include "replica/directory_store.h"

namespace perdure::replica {
namespace {

// A header is some kilobytes; this is read first, the rest where there is more.
constexpr std::size_t kHeaderGuessBytes = 65536;

// Of a reader in a directory that changes all the time: one generation per search is much more than
// is usual.
constexpr int kSearches = 5;

// Of a file with that much content: nothing in it grows but by header and padding.
std::uint64_t file_limit(Bytes content) {
  return content.count + content.count / 128 + capsule::kMaxHeaderBytes + capsule::kPartBytes;
}

}  // namespace

Status DirectoryStore::check_identity(const Generation& generation,
                                      const capsule::Manifest& manifest) const {
  if (manifest.generation != generation) {
    return fail(ErrorCode::kCorrupt,
                std::format("it holds generation {}", to_string(manifest.generation)));
  }
  if (!options_.container.empty() && manifest.container != options_.container) {
    return fail(ErrorCode::kCorrupt, std::format("it is of container '{}', not of '{}'",
                                                 manifest.container, options_.container));
  }
  return {};
}

Result<capsule::CapsuleInfo> DirectoryStore::read_header(const Generation& generation,
                                                         std::uint64_t size_bytes) {
  const std::string path = path_of(generation);
  PERDURE_ASSIGN(std::string beginning, file_system_.read_prefix(path, kHeaderGuessBytes));
  PERDURE_ASSIGN(const std::size_t needed, capsule::info_size(std::as_bytes(std::span(beginning))));
  if (needed > beginning.size()) {
    PERDURE_ASSIGN(beginning, file_system_.read_prefix(path, needed));
  }
  PERDURE_ASSIGN(capsule::CapsuleInfo info,
                 capsule::read_info(std::as_bytes(std::span(beginning))));
  PERDURE_TRY(check_identity(generation, info.manifest));
  if (info.size_bytes != size_bytes) {
    return fail(ErrorCode::kCorrupt,
                std::format("the file has {} bytes, {} were written", size_bytes, info.size_bytes));
  }
  return info;
}

StoredGeneration DirectoryStore::examine(const Generation& generation,
                                         const std::vector<std::string>& marks) {
  StoredGeneration stored;
  stored.generation = generation;
  stored.location = path_of(generation);
  for (const std::string& word : marks) {
    auto why = file_system_.read_prefix(path_of(generation, word), kMaxMarkBytes);
    stored.marks[word] = why ? *why : why.error().message();
  }
  auto size = file_system_.size(stored.location);
  if (!size) {
    stored.corrupt = std::move(size).error();
    return stored;
  }
  stored.size = Bytes{*size};
  auto info = read_header(generation, *size);
  if (info) {
    stored.info = std::move(*info);
  } else {
    stored.corrupt = std::move(info).error().context(std::format("'{}'", stored.location));
  }
  return stored;
}

Result<std::vector<StoredGeneration>> DirectoryStore::list() {
  const std::shared_lock guard(files_);
  return list_locked();
}

Result<std::vector<StoredGeneration>> DirectoryStore::list_locked() {
  PERDURE_ASSIGN(const Names found, names());
  std::vector<StoredGeneration> all;
  for (const auto& [generation, marks] : found.marks) {
    StoredGeneration stored = examine(generation, marks);
    if (stored.corrupt && stored.corrupt->code() == ErrorCode::kNotFound) {
      forget(generation);  // removed by the owner while we, a reader, were looking
      continue;
    }
    if (stored.info) {
      remember(generation, {stored.info->manifest.parent, stored.info->digest, stored.size.count});
    } else {
      forget(generation);
    }
    all.push_back(std::move(stored));
  }
  return all;
}

Result<DirectoryStore::Loaded> DirectoryStore::load_one(const Generation& generation,
                                                        LoadedTable& table, std::size_t depth) {
  PERDURE_ASSIGN(const capsule::SlabRef file,
                 file_system_.load(path_of(generation), file_limit(options_.content_limit)));
  PERDURE_ASSIGN(const capsule::CapsuleInfo info, capsule::read_info(file->bytes()));
  PERDURE_TRY(check_identity(generation, info.manifest));
  std::optional<Loaded> parent;
  if (info.manifest.parent) {
    if (depth == kMaxChain) {
      return fail(ErrorCode::kCorrupt, std::format("a chain of more than {} deltas", kMaxChain));
    }
    auto loaded = load_chain(*info.manifest.parent, table, depth + 1);
    if (!loaded) {
      const Error& reason = loaded.error();
      return fail(reason.code() == ErrorCode::kNotFound ? ErrorCode::kCorrupt : reason.code(),
                  std::format("its parent: {}", reason.message()));
    }
    parent = std::move(*loaded);
  }
  capsule::DecodeOptions options;
  options.content_limit_bytes = options_.content_limit.count;
  PERDURE_ASSIGN(capsule::Capsule decoded,
                 capsule::decode(file, parent ? parent->capsule.get() : nullptr,
                                 parent ? &parent->digest : nullptr, options));
  return Loaded{std::make_shared<const capsule::Capsule>(std::move(decoded)), info.digest};
}

Result<DirectoryStore::Loaded> DirectoryStore::load_chain(const Generation& generation,
                                                          LoadedTable& table, std::size_t depth) {
  if (const auto found = table.find(generation); found != table.end()) return found->second;
  auto loaded = load_one(generation, table, depth);
  if (!loaded) {
    loaded = fail(std::move(loaded).error().context(
        std::format("load capsule {} from '{}'", to_string(generation), path_of(generation))));
  }
  table.emplace(generation, loaded);
  return loaded;
}

Result<capsule::CapsuleRef> DirectoryStore::load(const Generation& generation) {
  const std::shared_lock guard(files_);
  LoadedTable table;
  PERDURE_ASSIGN(const Loaded loaded, load_chain(generation, table, 1));
  return loaded.capsule;
}

Result<RestorableGeneration> DirectoryStore::search(const Names& found,
                                                    const std::set<Generation>& skip) {
  LoadedTable table;
  std::vector<SkippedGeneration> skipped;
  for (auto at = found.marks.rbegin(); at != found.marks.rend(); ++at) {
    const Generation& generation = at->first;
    if (skip.contains(generation)) {
      skipped.push_back({generation, Error(ErrorCode::kInvalid, "passed over on request")});
      continue;
    }
    auto loaded = load_chain(generation, table, 1);
    if (loaded) {
      return RestorableGeneration{generation, loaded->digest, loaded->capsule, std::move(skipped)};
    }
    if (ends_search(loaded.error().code())) return fail(std::move(loaded).error());
    skipped.push_back({generation, std::move(loaded).error()});
  }
  std::string message = std::format("no generation in '{}' can be restored", options_.directory);
  for (const SkippedGeneration& one : skipped) {
    message += std::format("; {}: {}", to_string(one.generation), one.reason.message());
  }
  return fail(ErrorCode::kNotFound, std::move(message));
}

Result<RestorableGeneration> DirectoryStore::newest_restorable(const std::set<Generation>& skip) {
  const std::shared_lock guard(files_);
  PERDURE_ASSIGN(Names found, names());
  for (int attempt = 1;; ++attempt) {
    auto result = search(found, skip);
    if (options_.access == DirectoryStoreOptions::Access::kOwner || attempt == kSearches) {
      return result;
    }
    // A reader is not alone, nor is an owner of a shared directory: the other may have removed
    // files below the search, after it had put newer ones.
    PERDURE_ASSIGN(Names now, names());
    if (now.marks == found.marks) return result;
    found = std::move(now);
  }
}

}  // namespace perdure::replica
