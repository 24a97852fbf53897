#include "replica/directory_store.h"

#include <algorithm>
#include <charconv>
#include <format>
#include <tuple>
#include <utility>

#include "base/log.h"

namespace perdure::replica {
namespace {

constexpr std::string_view kSuffix = ".capsule";
constexpr std::string_view kTemporarySuffix = ".tmp";
constexpr std::string_view kLockName = ".lock";
constexpr std::size_t kTermDigits = 20;  // of 2^64 - 1
constexpr std::size_t kIncarnationDigits = 16;
constexpr std::size_t kNumberDigits = 20;
constexpr std::size_t kStemBytes = kTermDigits + 1 + kIncarnationDigits + 1 + kNumberDigits;
constexpr std::size_t kWriterBytes = kTermDigits + 1 + kIncarnationDigits;
constexpr std::size_t kMaxMarkWord = 16;

bool parse_digits(std::string_view text, int radix, std::uint64_t& value) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value, radix);
  return error == std::errc{} && end == text.data() + text.size();
}

bool is_mark(std::string_view word) {
  return !word.empty() && word.size() <= kMaxMarkWord &&
         std::ranges::all_of(word, [](char c) { return c >= 'a' && c <= 'z'; });
}

std::string describe(const Generation& generation) {
  return "capsule " + to_string(generation);
}

}  // namespace

std::string file_name_of(const Generation& generation) {
  return std::format("{:020}-{:016x}-{:020}{}", generation.term.value, generation.incarnation.value,
                     generation.number, kSuffix);
}

std::optional<Generation> generation_of_file(std::string_view name) {
  if (name.size() != kStemBytes + kSuffix.size() || !name.ends_with(kSuffix)) return std::nullopt;
  Generation generation;
  if (!parse_digits(name.substr(0, kTermDigits), 10, generation.term.value) ||
      !parse_digits(name.substr(kTermDigits + 1, kIncarnationDigits), 16,
                    generation.incarnation.value) ||
      !parse_digits(name.substr(kStemBytes - kNumberDigits, kNumberDigits), 10,
                    generation.number)) {
    return std::nullopt;
  }
  // One name per generation: separators, case and digits are what we would write.
  if (file_name_of(generation) != name) return std::nullopt;
  return generation;
}

std::string DirectoryStore::path_of(const Generation& generation) const {
  return path_of(file_name_of(generation));
}

std::string DirectoryStore::path_of(const Generation& generation, std::string_view mark) const {
  return path_of(generation) + "." + std::string(mark);
}

Status DirectoryStore::require_owner(std::string_view what) const {
  if (options_.access != DirectoryStoreOptions::Access::kReader) return {};
  return fail(ErrorCode::kPermission, std::format("{} in '{}': the store is open for reading only",
                                                  what, options_.directory));
}

Result<std::unique_ptr<DirectoryStore>> DirectoryStore::open(DirectoryStoreOptions options,
                                                             FileSystem& file_system) {
  return open(std::move(options), outliving(file_system));
}

Result<std::unique_ptr<DirectoryStore>> DirectoryStore::open(DirectoryStoreOptions options,
                                                             std::shared_ptr<FileSystem> files) {
  FileSystem& file_system = *files;
  if (options.max_chain < 1 || options.max_chain > kMaxChain) {
    return fail(ErrorCode::kInvalid, std::format("store '{}': chain bound {} is not in 1 to {}",
                                                 options.directory, options.max_chain, kMaxChain));
  }
  std::unique_ptr<DirectoryStore> store(new DirectoryStore(std::move(options), std::move(files)));
  if (store->options_.access == DirectoryStoreOptions::Access::kOwner) {
    PERDURE_TRY(file_system.make_directories(store->options_.directory));
    auto lock = file_system.lock(store->path_of(std::string(kLockName)));
    if (!lock) {
      return fail(std::move(lock).error().context(
          std::format("open capsule store '{}'", store->options_.directory)));
    }
    store->lock_ = std::move(*lock);
    PERDURE_TRY(store->remove_left_over());
  } else if (store->shared()) {
    PERDURE_TRY(file_system.make_directories(store->options_.directory));
    // Two stores of one life, one after the other, must not choose the same temporary names.
    store->temporary_number_ =
        static_cast<std::uint64_t>(BootClock::now().time_since_epoch().count());
    PERDURE_TRY(store->remove_left_over());
  }
  PERDURE_TRY(store->list());
  return store;
}

Result<DirectoryStore::Names> DirectoryStore::names() {
  PERDURE_ASSIGN(const std::vector<std::string> all, file_system_.list(options_.directory));
  Names names;
  std::vector<std::pair<Generation, std::string>> marks;
  for (const std::string& name : all) {
    if (const auto generation = generation_of_file(name)) {
      names.marks[*generation];
    } else if (name.starts_with('.') && name.ends_with(kTemporarySuffix)) {
      names.left_over.push_back(name);
    } else if (const auto dot = name.rfind('.'); dot != std::string::npos) {
      const auto marked = generation_of_file(std::string_view(name).substr(0, dot));
      const std::string word = name.substr(dot + 1);
      if (marked && is_mark(word)) marks.emplace_back(*marked, word);
    }
  }
  for (auto& [generation, word] : marks) {
    const auto found = names.marks.find(generation);
    if (found == names.marks.end()) {
      names.left_over.push_back(file_name_of(generation) + "." + word);
    } else {
      found->second.push_back(std::move(word));
    }
  }
  return names;
}

Status DirectoryStore::remove_left_over() {
  PERDURE_ASSIGN(const Names found, names());
  for (const std::string& name : found.left_over) {
    if (!may_remove(name)) continue;
    PERDURE_TRY(remove_file(path_of(name)));
    log::info("removed '{}', left over by a crash", path_of(name));
  }
  return {};
}

// Several lives in one directory

bool DirectoryStore::of_later_life(const Generation& generation) const {
  const Term term{term_};
  return std::tie(generation.term, generation.incarnation) > std::tie(term, options_.incarnation);
}

bool DirectoryStore::of_this_life(const Generation& generation) const {
  return generation.term.value == term_ && generation.incarnation == options_.incarnation;
}

std::string DirectoryStore::temporary_name(const std::string& name) {
  const std::uint64_t number = temporary_number_++;
  if (!shared()) return std::format(".{}.{}{}", name, number, kTemporarySuffix);
  return std::format(".{}.{:020}-{:016x}.{}{}", name, term_.load(),
                     options_.incarnation.value, number, kTemporarySuffix);
}

// ".NAME.TERM-INCARNATION.NUMBER.tmp": of an earlier life only. Marks of nothing, and the temporary
// files of a store that was not shared, are nobody's.
bool DirectoryStore::may_remove(std::string_view left_over) const {
  if (!shared() || !left_over.ends_with(kTemporarySuffix)) return true;
  left_over.remove_suffix(kTemporarySuffix.size());
  const auto number = left_over.rfind('.');
  if (number == std::string_view::npos || number < kWriterBytes + 1) return true;
  const std::string_view writer = left_over.substr(number - kWriterBytes, kWriterBytes);
  Generation life;
  if (left_over[number - kWriterBytes - 1] != '.' ||
      !parse_digits(writer.substr(0, kTermDigits), 10, life.term.value) ||
      !parse_digits(writer.substr(kTermDigits + 1), 16, life.incarnation.value)) {
    return true;
  }
  return !of_later_life(life) && !of_this_life(life);
}

// Not a fence: a later life may store something right after it. It ends the writing of who has
// missed its end.
Status DirectoryStore::check_writer(const Generation& generation) {
  if (!shared()) return {};
  if (generation.incarnation == options_.incarnation && generation.term.value > term_) term_ = generation.term.value;
  if (of_later_life(generation)) {
    return fail(ErrorCode::kInvalid, std::format("it is of a later life than the writer's, {:x}", options_.incarnation.value));
  }
  PERDURE_ASSIGN(const Names found, names());
  if (found.marks.empty() || !of_later_life(found.marks.rbegin()->first)) return {};
  return fail(ErrorCode::kFenced, std::format("{} is there, stored by a later owner",
                                              to_string(found.marks.rbegin()->first)));
}

// In a shared directory somebody else may have been faster, or a server repeats a call that it has
// carried out.
Status DirectoryStore::remove_file(const std::string& path) {
  Status removed = file_system_.remove(path);
  if (!removed && shared() && removed.error().code() == ErrorCode::kNotFound) return {};
  return removed;
}

// Writing

Status DirectoryStore::write_new(const std::string& name,
                                 std::span<const std::span<const std::byte>> pieces) {
  const std::string path = path_of(name);
  const std::string temporary = path_of(temporary_name(name));
  const auto written = [&]() -> Status {
    log::debug("{}: store: writing '{}'", options_.container, name);
    PERDURE_ASSIGN(const std::unique_ptr<NewFile> file, file_system_.create(temporary));
    PERDURE_TRY(file->append(pieces));
    log::debug("{}: store: syncing '{}'", options_.container, name);
    PERDURE_TRY(file->sync());
    log::debug("{}: store: naming '{}'", options_.container, name);
    Status named = file_system_.rename_new(temporary, path);
    if (!named && shared() && named.error().code() == ErrorCode::kNotFound) {
      return fail(ErrorCode::kFenced,
                  "a later owner has removed what was being written: " + named.error().message());
    }
    return named;
  };
  if (Status status = written(); !status) {
    (void)file_system_.remove(temporary);  // at the latest when the store is opened again
    return status;
  }
  log::debug("{}: store: syncing the name '{}'", options_.container, name);
  if (Status status = file_system_.sync_directory(options_.directory); !status) {
    // Whether the name would survive a crash is not known; what is not promised is not shown
    // either.
    (void)file_system_.remove(path);
    return status;
  }
  return {};
}

Status DirectoryStore::check_parent(const capsule::EncodedCapsule& encoded) {
  if (!encoded.manifest.parent) return {};
  const Generation& parent = *encoded.manifest.parent;
  if (shared() && !of_this_life(parent)) {
    return fail(ErrorCode::kNotFound,
                std::format("its parent {} is of another life, which may remove it: "
                            "write a full capsule",
                            to_string(parent)));
  }
  const std::scoped_lock guard(known_mutex_);
  const auto found = known_.find(parent);
  if (found != known_.end() && found->second.digest == encoded.manifest.parent_digest) return {};
  return fail(ErrorCode::kNotFound,
              std::format("its parent {} is not stored{}: write a full capsule", to_string(parent),
                          found == known_.end() ? "" : " with that digest"));
}

Result<StoreReceipt> DirectoryStore::put(const capsule::EncodedCapsule& encoded) {
  const Generation& generation = encoded.manifest.generation;
  PERDURE_TRY(require_owner("store " + describe(generation)));
  const std::string context =
      std::format("store {} in '{}' ({} needed)", describe(generation), options_.directory,
                  format_bytes(Bytes{encoded.size_bytes}));
  const std::shared_lock guard(files_);
  const auto stored = [&]() -> Status {
    if (!options_.container.empty() && encoded.manifest.container != options_.container) {
      return fail(ErrorCode::kInvalid, std::format("it is of container '{}', not of '{}'",
                                                   encoded.manifest.container, options_.container));
    }
    PERDURE_TRY(check_writer(generation));
    PERDURE_TRY(check_parent(encoded));
    if (file_system_.size(path_of(generation))) {
      return fail(ErrorCode::kExists, "it is there already");
    }
    return write_new(file_name_of(generation), encoded.pieces);
  };
  const Instant begun = BootClock::now();
  if (Status status = stored(); !status) return fail(std::move(status).error().context(context));
  remember(generation, {encoded.manifest.parent, encoded.digest, encoded.size_bytes});
  return StoreReceipt{Bytes{encoded.size_bytes}, BootClock::now() - begun};
}

Status DirectoryStore::mark(const Generation& generation, std::string_view word,
                            std::string_view why) {
  PERDURE_TRY(require_owner("mark " + describe(generation)));
  if (shared() && of_later_life(generation)) {
    return fail(ErrorCode::kFenced, std::format("mark {} in '{}': a later owner has stored it",
                                                describe(generation), options_.directory));
  }
  if (!is_mark(word)) {
    return fail(ErrorCode::kInvalid, std::format("mark {} as '{}': a mark is 1 to {} letters a-z",
                                                 describe(generation), word, kMaxMarkWord));
  }
  const std::string context =
      std::format("mark {} in '{}' as {}", describe(generation), options_.directory, word);
  const std::shared_lock guard(files_);
  if (auto there = file_system_.size(path_of(generation)); !there) {
    return fail(std::move(there).error().context(context));
  }
  if (file_system_.size(path_of(generation, word))) return {};
  const auto reason = std::as_bytes(std::span(why.substr(0, kMaxMarkBytes)));
  Status marked =
      write_new(file_name_of(generation) + "." + std::string(word), std::span(&reason, 1));
  if (!marked && marked.error().code() != ErrorCode::kExists) {
    return fail(std::move(marked).error().context(context));
  }
  return {};
}

Status DirectoryStore::unmark(const Generation& generation, std::string_view word) {
  PERDURE_TRY(require_owner("unmark " + describe(generation)));
  if (!is_mark(word)) return {};
  const std::shared_lock guard(files_);
  Status removed = file_system_.remove(path_of(generation, word));
  if (!removed && removed.error().code() == ErrorCode::kNotFound) return {};
  PERDURE_TRY(std::move(removed));
  return file_system_.sync_directory(options_.directory);
}

// Removing

Status DirectoryStore::remove_files(const StoredGeneration& stored) {
  log::debug("{}: store: removing '{}'", options_.container, file_name_of(stored.generation));
  PERDURE_TRY(remove_file(stored.location));
  forget(stored.generation);
  for (const auto& [word, why] : stored.marks) {
    PERDURE_TRY(remove_file(path_of(stored.generation, word)));
  }
  return {};
}

Status DirectoryStore::remove(const Generation& generation) {
  PERDURE_TRY(require_owner("remove " + describe(generation)));
  if (shared() && of_later_life(generation)) {
    return fail(ErrorCode::kFenced, std::format("remove {} from '{}': a later owner has stored it",
                                                describe(generation), options_.directory));
  }
  const std::unique_lock guard(files_);
  PERDURE_ASSIGN(const std::vector<StoredGeneration> all, list_locked());
  const auto found = std::ranges::find(all, generation, &StoredGeneration::generation);
  if (found == all.end()) {
    return fail(ErrorCode::kNotFound, std::format("remove {}: not stored in '{}'",
                                                  describe(generation), options_.directory));
  }
  for (const StoredGeneration& other : all) {
    if (other.generation != generation && other.corrupt &&
        other.corrupt->code() != ErrorCode::kCorrupt) {
      // It cannot be read now, but perhaps later: it may build on this one.
      return fail(other.corrupt->context(
          std::format("remove {} from '{}'", describe(generation), options_.directory)));
    }
    if (other.info && other.info->manifest.parent == generation) {
      return fail(
          ErrorCode::kConflict,
          std::format("remove {} from '{}': {} builds on it; remove that first",
                      describe(generation), options_.directory, to_string(other.generation)));
    }
  }
  PERDURE_TRY(remove_files(*found));
  return file_system_.sync_directory(options_.directory);
}

Result<std::vector<Generation>> DirectoryStore::retain_only(const std::set<Generation>& keep) {
  PERDURE_TRY(require_owner("remove old capsules"));
  const std::unique_lock guard(files_);
  PERDURE_ASSIGN(const std::vector<StoredGeneration> all, list_locked());
  std::set<Generation> needed = keep;
  for (const StoredGeneration& stored : all) {
    if (shared() && of_later_life(stored.generation)) needed.insert(stored.generation);
  }
  for (auto stored = all.rbegin(); stored != all.rend(); ++stored) {  // children before parents
    if (stored->corrupt && stored->corrupt->code() != ErrorCode::kCorrupt &&
        needed.contains(stored->generation)) {
      // It cannot be read now, but perhaps later: what it builds on is not known.
      return fail(stored->corrupt->context(
          std::format("remove old capsules from '{}'", options_.directory)));
    }
    if (stored->info && stored->info->manifest.parent && needed.contains(stored->generation)) {
      needed.insert(*stored->info->manifest.parent);
    }
  }
  std::vector<Generation> removed;
  for (auto stored = all.rbegin(); stored != all.rend(); ++stored) {
    if (needed.contains(stored->generation)) continue;
    PERDURE_TRY(remove_files(*stored));
    removed.push_back(stored->generation);
  }
  if (!removed.empty()) PERDURE_TRY(file_system_.sync_directory(options_.directory));
  return removed;
}

// Chains

void DirectoryStore::remember(const Generation& generation, const Known& known) {
  const std::scoped_lock guard(known_mutex_);
  known_.insert_or_assign(generation, known);
}

void DirectoryStore::forget(const Generation& generation) {
  const std::scoped_lock guard(known_mutex_);
  known_.erase(generation);
}

bool DirectoryStore::should_be_full(const Generation& parent) {
  if (shared() && !of_this_life(parent)) return true;
  const std::scoped_lock guard(known_mutex_);
  std::uint64_t delta_bytes = 0;
  std::optional<Generation> at = parent;
  for (std::size_t length = 1; length < options_.max_chain; ++length) {
    const auto found = known_.find(*at);
    if (found == known_.end()) return true;
    if (!found->second.parent) return delta_bytes > found->second.size_bytes;
    delta_bytes += found->second.size_bytes;
    at = found->second.parent;
  }
  return true;
}

}  // namespace perdure::replica
