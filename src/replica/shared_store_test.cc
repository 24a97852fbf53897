// Proves that a directory which all nodes see survives two owners at once: one that has lost the
// ownership and does not know it yet, and its successor. Each step of what one of them does is
// interrupted by the whole of what the other does, with and without the death of the first at that
// step; and both run in seeded interleavings of single calls. What either was promised to have
// stored is there and loads, unless its successor has deleted it or its base; the successor's
// newest generation is the one restored.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <condition_variable>
#include <format>
#include <functional>
#include <mutex>
#include <random>
#include <thread>

#include "replica/directory_store.h"
#include "replica/memory_file_system.h"
#include "replica/store_operations.h"

namespace perdure::replica {
namespace {

using capsule::Capsule;
using capsule::EncodedCapsule;
using capsule::testing::encoded_delta;
using capsule::testing::encoded_full;
using capsule::testing::generation;
using capsule::testing::same_state;
using capsule::testing::small_capsule;
using testing::salt_of;

constexpr char kDirectory[] = "/shared";
constexpr std::uint64_t kOldIncarnation = 0x1f;
constexpr std::uint64_t kNewIncarnation = 0x2a;

Generation old_life(std::uint64_t number) {
  return generation(number, kOldIncarnation, 3);
}
Generation new_life(std::uint64_t number) {
  return generation(number, kNewIncarnation, 4);
}
Capsule capsule_of(const Generation& id) {
  Capsule capsule = small_capsule(id.number, salt_of(id.number + id.term.value));
  capsule.manifest.generation = id;
  return capsule;
}

// One node's sight of the file system: something happens before its changing calls; from one of
// them on it is dead.
class NodeFileSystem final : public FileSystem {
 public:
  explicit NodeFileSystem(FileSystem& below) : below_(below) {}
  std::function<void(std::size_t call)> before_call;
  std::optional<std::size_t> dies_at;
  std::size_t calls() const { return calls_; }
  bool dead() const { return dies_at && calls_ > *dies_at; }

  Status make_directories(const std::string& path) override {
    return below_.make_directories(path);
  }
  Result<std::unique_ptr<NewFile>> create(const std::string& path) override {
    PERDURE_TRY(step());
    PERDURE_ASSIGN(auto file, below_.create(path));
    return std::make_unique<File>(*this, std::move(file));
  }
  Status rename_new(const std::string& from, const std::string& to) override {
    PERDURE_TRY(step());
    return below_.rename_new(from, to);
  }
  Status remove(const std::string& path) override {
    PERDURE_TRY(step());
    return below_.remove(path);
  }
  Status sync_directory(const std::string& path) override {
    PERDURE_TRY(step());
    return below_.sync_directory(path);
  }
  Result<std::vector<std::string>> list(const std::string& path) override {
    PERDURE_TRY(step());
    return below_.list(path);
  }
  Result<std::uint64_t> size(const std::string& path) override {
    PERDURE_TRY(alive());
    return below_.size(path);
  }
  Result<std::string> read_prefix(const std::string& path, std::size_t size_bytes) override {
    PERDURE_TRY(alive());
    return below_.read_prefix(path, size_bytes);
  }
  Result<capsule::SlabRef> load(const std::string& path, std::uint64_t limit_bytes) override {
    PERDURE_TRY(alive());
    return below_.load(path, limit_bytes);
  }
  Result<std::unique_ptr<StoreLock>> lock(const std::string& path) override {
    return below_.lock(path);
  }

 private:
  class File final : public NewFile {
   public:
    File(NodeFileSystem& node, std::unique_ptr<NewFile> file)
        : node_(node), file_(std::move(file)) {}
    Status append(std::span<const std::span<const std::byte>> pieces) override {
      PERDURE_TRY(node_.step());
      return file_->append(pieces);
    }
    Status sync() override {
      PERDURE_TRY(node_.step());
      return file_->sync();
    }

   private:
    NodeFileSystem& node_;
    std::unique_ptr<NewFile> file_;
  };
  Status alive() const {
    return dead() ? Status(fail(ErrorCode::kIo, "this node is dead")) : Status();
  }
  Status step() {
    const std::size_t call = calls_++;
    if (before_call) before_call(call);
    return alive();
  }
  FileSystem& below_;
  std::size_t calls_ = 0;
};

std::unique_ptr<DirectoryStore> open_as(FileSystem& files, const Generation& life) {
  DirectoryStoreOptions options;
  options.directory = kDirectory;
  options.container = "web";
  options.access = DirectoryStoreOptions::Access::kShared;
  options.term = life.term;
  options.incarnation = life.incarnation;
  auto store = DirectoryStore::open(options, files);
  return store ? std::move(*store) : nullptr;
}

// What a node was promised.
struct Promised {
  std::set<Generation> stored;
  std::set<Generation> removed;
  bool fenced = false;
};

// Full, delta, delta, and then only the two newest are kept. The digests come from our own
// encodings: nobody else's is built on.
void write_some(DirectoryStore& store, const std::function<Generation(std::uint64_t)>& life,
                std::uint64_t first, Promised& promised) {
  std::optional<EncodedCapsule> last;
  for (std::uint64_t number = first; number < first + 3; ++number) {
    const Generation id = life(number);
    const EncodedCapsule encoded =
        last ? encoded_delta(capsule_of(id), capsule_of(last->manifest.generation), last->digest)
             : encoded_full(capsule_of(id));
    const auto put = store.put(encoded);
    if (!put) {
      promised.fenced = promised.fenced || put.error().code() == ErrorCode::kFenced;
      last.reset();
      continue;
    }
    promised.stored.insert(id);
    last = encoded;
  }
  const auto removed = store.retain_only({life(first + 1), life(first + 2)});
  if (removed) promised.removed.insert(removed->begin(), removed->end());
}

// It, or what it builds on.
bool has_removed(const Promised& promised, const Generation& id) {
  return std::ranges::any_of(promised.removed, [&](const Generation& gone) {
    return gone.term == id.term && gone.number >= 3 && gone.number <= id.number;
  });
}

void check_loads(DirectoryStore& store, const Generation& id) {
  const auto loaded = store.load(id);
  ASSERT_TRUE(loaded) << loaded.error().message();
  ASSERT_TRUE(same_state(**loaded, capsule_of(id)));
}

void check_newest(DirectoryStore& store, const Generation& id) {
  const auto found = store.newest_restorable({});
  ASSERT_TRUE(found) << found.error().message();
  ASSERT_EQ(to_string(found->generation), to_string(id));
  ASSERT_TRUE(same_state(*found->capsule, capsule_of(id)));
}

// Generations 1 (full) and 2 (delta) of the old life.
void fill(FileSystem& files) {
  const auto store = open_as(files, old_life(0));
  const EncodedCapsule first = encoded_full(capsule_of(old_life(1)));
  ASSERT_TRUE(store->put(first));
  ASSERT_TRUE(
      store->put(encoded_delta(capsule_of(old_life(2)), capsule_of(old_life(1)), first.digest)));
}

TEST(SharedStore, ASuccessorAtEveryStepOfItsPredecessor) {
  for (const bool dies : {false, true}) {
    bool over = false;
    for (std::size_t at = 0; !over; ++at) {
      SCOPED_TRACE(std::format("at call {}{}", at, dies ? ", where the old owner dies" : ""));
      MemoryFileSystem files;
      fill(files);
      NodeFileSystem old_node(files);
      const auto old_store = open_as(old_node, old_life(0));
      ASSERT_NE(old_store, nullptr);
      const std::size_t before = old_node.calls();
      Promised of_new;
      std::unique_ptr<DirectoryStore> new_store;
      old_node.before_call = [&](std::size_t call) {
        if (call != before + at) return;
        if (dies) old_node.dies_at = call;
        new_store = open_as(files, new_life(0));
        ASSERT_NE(new_store, nullptr);
        write_some(*new_store, new_life, 4, of_new);
      };
      Promised of_old;
      write_some(*old_store, old_life, 3, of_old);
      over = new_store == nullptr;
      if (over) {
        ASSERT_GE(at, 15u);
        break;
      }
      ASSERT_EQ(of_new.stored.size(), 3u);
      ASSERT_FALSE(of_new.fenced);
      for (const std::uint64_t number : {5u, 6u}) check_loads(*new_store, new_life(number));
      check_newest(*new_store, new_life(6));
      if (!dies) check_newest(*old_store, new_life(6));
      for (const Generation& id : of_old.removed) ASSERT_LE(id, old_life(9)) << to_string(id);
      // What it was promised is there, unless one of the two has removed it.
      for (const Generation& id : of_old.stored) {
        if (of_old.removed.contains(id) || has_removed(of_new, id)) continue;
        check_loads(*new_store, id);
      }
      // The successor goes on: a later life again removes all that is left of both.
      const auto last = open_as(files, generation(0, kNewIncarnation + 1, 4));
      ASSERT_TRUE(last->retain_only({new_life(6)}));
      check_newest(*last, new_life(6));
      for (const std::string& path : files.paths()) ASSERT_FALSE(path.ends_with(".tmp")) << path;
      if (::testing::Test::HasFailure()) return;
    }
  }
}

TEST(SharedStore, APredecessorAtEveryStepOfItsSuccessor) {
  bool over = false;
  for (std::size_t at = 0; !over; ++at) {
    SCOPED_TRACE(std::format("at call {}", at));
    MemoryFileSystem files;
    fill(files);
    const auto old_store = open_as(files, old_life(0));
    NodeFileSystem new_node(files);
    Promised of_old;
    Promised of_new;
    bool interrupted = false;
    new_node.before_call = [&](std::size_t call) {
      if (call != at) return;
      interrupted = true;
      write_some(*old_store, old_life, 3, of_old);
    };
    const auto new_store = open_as(new_node, new_life(0));
    ASSERT_NE(new_store, nullptr);
    write_some(*new_store, new_life, 4, of_new);
    over = !interrupted;
    ASSERT_EQ(of_new.stored.size(), 3u);
    check_newest(*new_store, new_life(6));
    check_loads(*new_store, new_life(5));
    if (::testing::Test::HasFailure()) return;
  }
}

// Two threads, of which one has the baton: it passes it on, or not, before each of its calls.
class Baton {
 public:
  explicit Baton(unsigned seed) : random_(seed) {}
  void wait(int me) {
    std::unique_lock lock(mutex_);
    if (!done_[1 - me] && random_() % 2 == 0) {
      turn_ = 1 - me;
      moved_.notify_all();
    }
    moved_.wait(lock, [&] { return turn_ == me; });
  }
  void begin(int me) {
    std::unique_lock lock(mutex_);
    moved_.wait(lock, [&] { return turn_ == me; });
  }
  void finish(int me) {
    const std::scoped_lock lock(mutex_);
    done_[me] = true;
    turn_ = 1 - me;
    moved_.notify_all();
  }

 private:
  std::mutex mutex_;
  std::condition_variable moved_;
  std::mt19937 random_;
  int turn_ = 0;
  bool done_[2] = {false, false};
};

TEST(SharedStore, BothAtOnceInSeededInterleavings) {
  std::size_t fenced = 0;
  for (unsigned seed = 1; seed <= 300; ++seed) {
    SCOPED_TRACE(std::format("seed {}", seed));
    MemoryFileSystem files;
    fill(files);
    Baton baton(seed);
    Promised promised[2];
    std::vector<std::thread> threads;
    for (const int me : {0, 1}) {
      threads.emplace_back([&, me] {
        baton.begin(me);
        NodeFileSystem node(files);
        node.before_call = [&](std::size_t) { baton.wait(me); };
        if (const auto store = open_as(node, me == 0 ? old_life(0) : new_life(0))) {
          write_some(*store, me == 0 ? old_life : new_life, 4u + static_cast<unsigned>(me),
                     promised[me]);
        }
        baton.finish(me);
      });
    }
    for (std::thread& thread : threads) thread.join();
    fenced += promised[0].fenced ? 1 : 0;
    ASSERT_EQ(promised[1].stored.size(), 3u);
    const auto reader = open_as(files, new_life(0));
    check_newest(*reader, new_life(7));
    check_loads(*reader, new_life(6));
    for (const Generation& id : promised[0].stored) {
      if (promised[0].removed.contains(id) || has_removed(promised[1], id)) continue;
      check_loads(*reader, id);
    }
    if (::testing::Test::HasFailure()) return;
  }
  EXPECT_GT(fenced, 30u);
}

TEST(SharedStore, WhoHasBeenSucceededIsTold) {
  MemoryFileSystem files;
  fill(files);
  const auto old_store = open_as(files, old_life(0));
  const auto new_store = open_as(files, new_life(0));
  ASSERT_TRUE(new_store->put(encoded_full(capsule_of(new_life(3)))));
  const auto put = old_store->put(encoded_full(capsule_of(old_life(3))));
  ASSERT_FALSE(put);
  EXPECT_EQ(put.error().code(), ErrorCode::kFenced);
  EXPECT_THAT(put.error().message(), ::testing::HasSubstr("4.2a.3"));
  EXPECT_EQ(old_store->remove(new_life(3)).error().code(), ErrorCode::kFenced);
  EXPECT_EQ(old_store->mark(new_life(3), "abandoned", "").error().code(), ErrorCode::kFenced);
  const auto retained = old_store->retain_only({});
  ASSERT_TRUE(retained);
  EXPECT_EQ(retained->size(), 2u);
  check_newest(*new_store, new_life(3));
}

TEST(SharedStore, ADeltaBuildsOnlyOnWhatItsOwnLifeHasStored) {
  MemoryFileSystem files;
  fill(files);
  const auto store = open_as(files, new_life(0));
  const auto base = store->list().value().back();
  EXPECT_TRUE(store->should_be_full(old_life(2)));
  const auto refused = store->put(
      encoded_delta(capsule_of(new_life(3)), capsule_of(old_life(2)), base.info->digest));
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code(), ErrorCode::kNotFound);
  const EncodedCapsule full = encoded_full(capsule_of(new_life(3)));
  ASSERT_TRUE(store->put(full));
  EXPECT_FALSE(store->should_be_full(new_life(3)));
  EXPECT_TRUE(
      store->put(encoded_delta(capsule_of(new_life(4)), capsule_of(new_life(3)), full.digest)));
  EXPECT_EQ(store->put(encoded_full(capsule_of(generation(9, 1, 9)))).error().code(),
            ErrorCode::kInvalid);
}

// A container begins, and comes back from a move that failed, under a higher term than its owner knew when it opened the store.
TEST(SharedStore, TheWritersTermRisesWithWhatItStores) {
  MemoryFileSystem files;
  const auto store = open_as(files, generation(0, kNewIncarnation, 1));
  const auto other = open_as(files, generation(0, kOldIncarnation, 5));
  ASSERT_TRUE(store->put(encoded_full(capsule_of(new_life(1)))));
  EXPECT_FALSE(store->should_be_full(new_life(1)));
  const Generation higher = generation(2, kNewIncarnation, 6);
  EXPECT_EQ(store->put(encoded_delta(capsule_of(higher), capsule_of(new_life(1)), {})).error().code(), ErrorCode::kNotFound);
  ASSERT_TRUE(store->put(encoded_full(capsule_of(higher))));
  EXPECT_EQ(other->put(encoded_full(capsule_of(generation(3, kOldIncarnation, 5)))).error().code(), ErrorCode::kFenced);
  EXPECT_TRUE(store->remove(new_life(1)));
}

TEST(SharedStore, LeftOverFilesAreRemovedByALaterLifeOnly) {
  MemoryFileSystem files;
  const std::string stem = std::string(kDirectory) + "/." + file_name_of(old_life(9));
  const auto left_by = [&](const Generation& life) {
    return std::format("{}.{:020}-{:016x}.7.tmp", stem, life.term.value, life.incarnation.value);
  };
  const Generation lives[] = {generation(0, 1, 3), old_life(0), new_life(0)};
  for (const Generation& life : lives) files.overwrite(left_by(life), "half");
  files.overwrite(stem + ".3.tmp", "of a store that was not shared");
  ASSERT_NE(open_as(files, old_life(0)), nullptr);
  EXPECT_THAT(files.paths(), ::testing::UnorderedElementsAre(left_by(lives[1]), left_by(lives[2])));
  ASSERT_NE(open_as(files, generation(0, 1, 5)), nullptr);
  EXPECT_TRUE(files.paths().empty());
}

TEST(SharedStore, NoLockOfADeadOwnerStandsInTheWay) {
  MemoryFileSystem files;
  const auto one = open_as(files, old_life(0));
  const auto two = open_as(files, new_life(0));
  ASSERT_NE(one, nullptr);
  ASSERT_NE(two, nullptr);
  for (const std::string& path : files.paths()) EXPECT_FALSE(path.ends_with(".lock"));
}

}  // namespace
}  // namespace perdure::replica
