// Proves on a real file system that a store survives the end of its process at every single file operation: a child
// is killed at each call that changes something, half-way through an append too. The next owner finds every generation
// stored before, the interrupted one completely or not at all, no temporary file, and can go on.
#include <gtest/gtest.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>

#include "base/assert.h"
#include "replica/store_operations.h"

namespace perdure::replica {
namespace {

namespace fs = std::filesystem;

// Counts the calls that change something from 0, and kills this process at one of them.
class Countdown {
 public:
  explicit Countdown(std::size_t call) : left_(call) {}
  // Whether the coming call is the one.
  bool over() { return left_-- == 0; }
  void tick() {
    if (over()) die();
  }
  [[noreturn]] static void die() {
    ::kill(::getpid(), SIGKILL);
    ::abort();
  }

 private:
  std::size_t left_;
};

class DyingNewFile final : public NewFile {
 public:
  DyingNewFile(std::unique_ptr<NewFile> file, Countdown& countdown) : file_(std::move(file)), countdown_(countdown) {}

  Status append(std::span<const std::span<const std::byte>> pieces) override {
    if (!countdown_.over()) return file_->append(pieces);
    auto half = pieces.front().first(pieces.front().size() / 2);
    (void)file_->append(std::span(&half, 1));
    Countdown::die();
  }
  Status sync() override {
    countdown_.tick();
    return file_->sync();
  }

 private:
  std::unique_ptr<NewFile> file_;
  Countdown& countdown_;
};

class DyingFileSystem final : public FileSystem {
 public:
  void die_at(std::size_t call) { countdown_ = Countdown(call); }

  Result<std::unique_ptr<NewFile>> create(const std::string& path) override {
    countdown_.tick();
    PERDURE_ASSIGN(auto file, files_.create(path));
    return std::make_unique<DyingNewFile>(std::move(file), countdown_);
  }
  Status rename_new(const std::string& from, const std::string& to) override {
    countdown_.tick();
    return files_.rename_new(from, to);
  }
  Status remove(const std::string& path) override {
    countdown_.tick();
    return files_.remove(path);
  }
  Status sync_directory(const std::string& path) override {
    countdown_.tick();
    return files_.sync_directory(path);
  }
  Status make_directories(const std::string& path) override { return files_.make_directories(path); }
  Result<std::vector<std::string>> list(const std::string& path) override { return files_.list(path); }
  Result<std::uint64_t> size(const std::string& path) override { return files_.size(path); }
  Result<std::string> read_prefix(const std::string& path, std::size_t size_bytes) override {
    return files_.read_prefix(path, size_bytes);
  }
  Result<capsule::SlabRef> load(const std::string& path, std::uint64_t limit_bytes) override {
    return files_.load(path, limit_bytes);
  }
  Result<std::unique_ptr<StoreLock>> lock(const std::string& path) override { return files_.lock(path); }

 private:
  PosixFileSystem files_;
  Countdown countdown_{SIZE_MAX};
};

class KillTest : public ::testing::Test {
 protected:
  KillTest() {
    char path[] = "/tmp/perdure-kill.XXXXXX";
    PERDURE_ASSERT(::mkdtemp(path) != nullptr);
    top_ = path;
  }
  ~KillTest() override { fs::remove_all(top_); }

  // Runs the operation in a child on a copy of the past. Whether it was done before the call to die at came.
  bool run(const testing::Operation& operation, const std::string& directory, std::size_t call) {
    fs::remove_all(directory);
    fs::copy(top_ / "past", directory, fs::copy_options::recursive);
    const pid_t child = ::fork();
    if (child == 0) {
      DyingFileSystem files;
      const auto store = testing::open_store(directory, files);
      files.die_at(call);
      ::_exit(operation.run(*store) ? 0 : 1);
    }
    int status = 0;
    PERDURE_ASSERT(::waitpid(child, &status, 0) == child);
    if (WIFEXITED(status)) {
      EXPECT_EQ(WEXITSTATUS(status), 0) << operation.name;
      return true;
    }
    EXPECT_EQ(WTERMSIG(status), SIGKILL);
    return false;
  }

  fs::path top_;
};

TEST_F(KillTest, AtEveryFileOperation) {
  PosixFileSystem files;
  const capsule::Digest newest = testing::fill(*testing::open_store(top_ / "past", files));
  const std::string directory = top_ / "store";
  for (const testing::Operation& operation : testing::operations(newest)) {
    std::size_t call = 0;
    for (bool done = false; !done; ++call) {
      SCOPED_TRACE(std::format("{}, killed at call {}", operation.name, call));
      done = run(operation, directory, call);
      const auto store = testing::open_store(directory, files);
      ASSERT_NE(store, nullptr);
      testing::check(*store, operation, done);
      for (const auto& entry : fs::directory_iterator(directory)) {
        ASSERT_NE(entry.path().extension(), ".tmp") << entry.path();
      }
      testing::check_goes_on(*store);
      if (HasFatalFailure()) return;
    }
    EXPECT_GE(call, 3u) << operation.name << ": killed twice at least";
  }
}

}  // namespace
}  // namespace perdure::replica
