// Proves that a store survives failures and crashes at every single step: each operation is run
// once for every call to the file system that it makes, with that call failing, or with the host
// dying at it and coming up again with none, all, or the wrong half of what had not been synced.
// Whatever happens, each generation stored before is there and loads, the new one is there
// completely or not at all, what had been acknowledged is there, and the store works on.
#include <gtest/gtest.h>

#include <format>
#include <functional>
#include <map>
#include <optional>
#include <set>

#include "capsule/format/test_capsules.h"
#include "replica/directory_store.h"
#include "replica/memory_file_system.h"

namespace perdure::replica {
namespace {

using capsule::Capsule;
using capsule::EncodedCapsule;
using capsule::testing::encoded_delta;
using capsule::testing::encoded_full;
using capsule::testing::generation;
using capsule::testing::same_state;
using capsule::testing::small_capsule;

constexpr char kDirectory[] = "/store";

Capsule capsule_of(std::uint64_t number) {
  return small_capsule(number, static_cast<char>('a' + number));
}

std::unique_ptr<DirectoryStore> open_store(FileSystem& files) {
  DirectoryStoreOptions options;
  options.directory = kDirectory;
  auto store = DirectoryStore::open(options, files);
  EXPECT_TRUE(store) << store.error().message();
  return store ? std::move(*store) : nullptr;
}

// Generations 1 (full), 2, 3 (deltas), 4 (full), 5 (delta), all stored and acknowledged; 2 is
// marked.
struct Past {
  Past() {
    const auto store = open_store(files);
    std::optional<EncodedCapsule> last;
    for (std::uint64_t number = 1; number <= 5; ++number) {
      last = number == 1 || number == 4
                 ? encoded_full(capsule_of(number))
                 : encoded_delta(capsule_of(number), capsule_of(number - 1), last->digest);
      EXPECT_TRUE(store->put(*last));
    }
    EXPECT_TRUE(store->mark(generation(2), "suspect", "why"));
    newest_digest = last->digest;
  }
  MemoryFileSystem files;
  capsule::Digest newest_digest;
};

using Catalogue = std::map<std::uint64_t, StoredGeneration>;

struct Operation {
  const char* name;
  std::function<bool(DirectoryStore&)> run;       // whether it was acknowledged
  std::set<std::uint64_t> safe;                   // must be there and load whatever happens
  std::function<bool(const Catalogue&)> promise;  // holds if it was acknowledged
};

std::vector<Operation> operations(const Past& past) {
  const auto delta =
      encoded_delta(capsule_of(6), capsule_of(5), past.newest_digest, capsule::Compression::kLz4);
  const auto full = encoded_full(capsule_of(6));
  const auto all_six = [](const Catalogue& c) { return c.size() == 6; };
  return {
      {"put a delta", [=](auto& s) { return s.put(delta).has_value(); }, {1, 2, 3, 4, 5}, all_six},
      {"put a full one",
       [=](auto& s) { return s.put(full).has_value(); },
       {1, 2, 3, 4, 5},
       all_six},
      {"mark",
       [](auto& s) { return s.mark(generation(5), "suspect", "why").has_value(); },
       {1, 2, 3, 4, 5},
       [](auto& c) { return c.at(5).marks.at("suspect") == "why"; }},
      {"unmark",
       [](auto& s) { return s.unmark(generation(2), "suspect").has_value(); },
       {1, 2, 3, 4, 5},
       [](auto& c) { return c.at(2).marks.empty(); }},
      {"remove",
       [](auto& s) { return s.remove(generation(3)).has_value(); },
       {1, 2, 4, 5},
       [](auto& c) { return !c.contains(3); }},
      {"retain",
       [](auto& s) { return s.retain_only({generation(5)}).has_value(); },
       {4, 5},
       [](auto& c) { return c.size() == 2; }},
      {"put and retain",
       [=](auto& s) {
         return s.put(delta).has_value() && s.retain_only({generation(6)}).has_value();
       },
       {4, 5},
       [](auto& c) { return c.size() == 3 && c.contains(6); }},
  };
}

void check_loads(DirectoryStore& store, std::uint64_t number) {
  const auto loaded = store.load(generation(number));
  ASSERT_TRUE(loaded) << loaded.error().message();
  ASSERT_TRUE(same_state(**loaded, capsule_of(number)));
}

void check(DirectoryStore& store, const Operation& operation, bool acknowledged) {
  const auto all = store.list();
  ASSERT_TRUE(all);
  Catalogue catalogue;
  for (const StoredGeneration& stored : *all) catalogue.emplace(stored.generation.number, stored);
  for (const std::uint64_t number : operation.safe) {
    ASSERT_TRUE(catalogue.contains(number)) << "generation " << number << " is lost";
    check_loads(store, number);
  }
  if (catalogue.contains(6)) check_loads(store, 6);
  ASSERT_TRUE(!acknowledged || operation.promise(catalogue));
}

// The next generations can be stored and the rest removed.
void check_goes_on(DirectoryStore& store) {
  const EncodedCapsule next = encoded_full(capsule_of(8));
  const auto put = store.put(next);
  ASSERT_TRUE(put) << put.error().message();
  ASSERT_TRUE(store.put(encoded_delta(capsule_of(9), capsule_of(8), next.digest)));
  const auto retained = store.retain_only({generation(9)});
  ASSERT_TRUE(retained) << retained.error().message();
  const auto found = store.newest_restorable({});
  ASSERT_TRUE(found) << found.error().message();
  ASSERT_TRUE(same_state(*found->capsule, capsule_of(9)));
}

void check_no_left_over(const MemoryFileSystem& files) {
  for (const std::string& path : files.paths()) {
    ASSERT_FALSE(path.ends_with(".tmp")) << path;
  }
}

TEST(Crash, AtEveryStepWithEveryAftermath) {
  const Past past;
  for (const Operation& operation : operations(past)) {
    std::size_t steps = 0;
    for (bool over = false; !over; ++steps) {
      for (const auto aftermath : MemoryFileSystem::kAllVariants) {
        SCOPED_TRACE(std::format("{}, crash at call {}, aftermath {}", operation.name, steps,
                                 static_cast<int>(aftermath)));
        const auto files = past.files.clone();
        auto store = open_store(*files);
        files->restart_counting();
        files->crash_at(steps);
        const bool acknowledged = operation.run(*store);
        over = !files->crashed();
        ASSERT_EQ(acknowledged, over);
        store.reset();
        files->restart_after_crash(aftermath);

        store = open_store(*files);
        check(*store, operation, acknowledged);
        check_no_left_over(*files);
        check_goes_on(*store);
        if (HasFatalFailure()) return;
      }
    }
    EXPECT_GE(steps, 2u) << operation.name;
  }
}

TEST(Crash, WhileCleaningUpAfterACrash) {
  const Past past;
  const Operation operation = operations(past)[0];
  for (std::size_t first = 0; first < 5; ++first) {
    for (std::size_t second = 0; second < 3; ++second) {
      const auto files = past.files.clone();
      auto store = open_store(*files);
      files->restart_counting();
      files->crash_at(first);
      const bool acknowledged = operation.run(*store);
      store.reset();
      files->restart_after_crash(MemoryFileSystem::Unsynced::kKept);
      files->crash_at(second);
      DirectoryStoreOptions options;
      options.directory = kDirectory;
      (void)DirectoryStore::open(options, *files);
      files->restart_after_crash(MemoryFileSystem::Unsynced::kLost);
      store = open_store(*files);
      check(*store, operation, acknowledged);
      check_goes_on(*store);
      if (HasFatalFailure()) return;
    }
  }
}

TEST(Failure, OfEveryCallWithEveryCode) {
  const Past past;
  for (const Operation& operation : operations(past)) {
    for (const ErrorCode code : {ErrorCode::kIo, ErrorCode::kNoSpace}) {
      bool over = false;
      for (std::size_t step = 0; !over; ++step) {
        SCOPED_TRACE(std::format("{}, failure of call {}", operation.name, step));
        const auto files = past.files.clone();
        auto store = open_store(*files);
        files->restart_counting();
        files->fail_at(step, code);
        const bool acknowledged = operation.run(*store);
        over = files->calls() <= step;
        ASSERT_TRUE(acknowledged || !over);
        files->clear_failure();
        check(*store, operation, acknowledged);
        if (HasFatalFailure()) return;

        // And the host dies right afterwards: what was not acknowledged may go, nothing else.
        const auto crashed = files->clone();
        crashed->restart_after_crash(MemoryFileSystem::Unsynced::kLost);
        check(*open_store(*crashed), operation, acknowledged);
        check_goes_on(*store);
        check_no_left_over(*files);
        if (HasFatalFailure()) return;
      }
    }
  }
}

}  // namespace
}  // namespace perdure::replica
