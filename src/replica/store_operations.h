// What a store is asked to do when it is made to fail, crash or die, and what must hold afterwards. Test programs only.
#pragma once

#include <gtest/gtest.h>

#include <format>
#include <functional>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "capsule/format/test_capsules.h"
#include "replica/directory_store.h"

namespace perdure::replica::testing {

using capsule::Capsule;
using capsule::EncodedCapsule;
using capsule::testing::encoded_delta;
using capsule::testing::encoded_full;
using capsule::testing::generation;
using capsule::testing::same_state;
using capsule::testing::small_capsule;

inline char salt_of(std::uint64_t number) { return static_cast<char>('a' + number % 26); }
inline Capsule capsule_of(std::uint64_t number) { return small_capsule(number, salt_of(number)); }

inline std::unique_ptr<DirectoryStore> open_store(const std::string& directory, FileSystem& files) {
  DirectoryStoreOptions options;
  options.directory = directory;
  auto store = DirectoryStore::open(options, files);
  EXPECT_TRUE(store) << store.error().message();
  return store ? std::move(*store) : nullptr;
}

// Generations 1 (full), 2, 3 (deltas), 4 (full), 5 (delta), all stored and acknowledged; 2 is marked. Returns the
// digest of the newest.
// Long enough not to be found by chance among bytes that look random.
inline constexpr const char* kMark = "why it is suspect";

inline capsule::Digest fill(DirectoryStore& store) {
  std::optional<EncodedCapsule> last;
  for (std::uint64_t number = 1; number <= 5; ++number) {
    last = number == 1 || number == 4
               ? encoded_full(capsule_of(number))
               : encoded_delta(capsule_of(number), capsule_of(number - 1), last->digest);
    EXPECT_TRUE(store.put(*last));
  }
  EXPECT_TRUE(store.mark(generation(2), "suspect", kMark));
  return last->digest;
}

using Catalogue = std::map<std::uint64_t, StoredGeneration>;

struct Operation {
  const char* name;
  std::function<bool(DirectoryStore&)> run;       // whether it was acknowledged
  std::set<std::uint64_t> safe;                   // must be there and load whatever happens
  std::function<bool(const Catalogue&)> promise;  // holds if it was acknowledged
};

inline std::vector<Operation> operations(const capsule::Digest& newest_digest) {
  const auto delta =
      encoded_delta(capsule_of(6), capsule_of(5), newest_digest, capsule::Compression::kLz4);
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

inline void check_loads(DirectoryStore& store, std::uint64_t number) {
  const auto loaded = store.load(generation(number));
  ASSERT_TRUE(loaded) << loaded.error().message();
  ASSERT_TRUE(same_state(**loaded, capsule_of(number)));
}

inline void check(DirectoryStore& store, const Operation& operation, bool acknowledged) {
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
inline void check_goes_on(DirectoryStore& store) {
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

}  // namespace perdure::replica::testing
