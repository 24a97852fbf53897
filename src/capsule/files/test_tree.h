// What the tests of this room share: a tree in a directory of its own, a description of everything
// in it that can be compared, and random changes to it.
#pragma once

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <format>
#include <fstream>
#include <map>
#include <random>
#include <sstream>
#include <string>
#include <vector>

#include "capsule/files/file_restore.h"
#include "capsule/files/file_tracker.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace perdure::capsule::test {

namespace fs = std::filesystem;

// Not /tmp: it may be a tmpfs, where ctime proves nothing and every file is read at every capture.
inline std::string make_scratch_directory(const std::string& below = "/var/tmp") {
  std::string path = below + "/perdure-files.XXXXXX";
  EXPECT_NE(::mkdtemp(path.data()), nullptr) << path;
  return path;
}

inline void write_file(const std::string& path, std::string_view content) {
  std::ofstream(path, std::ios::trunc | std::ios::binary) << content;
}

inline void write_at(const std::string& path, std::uint64_t offset, std::string_view content) {
  const UniqueFd fd(::open(path.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0644));
  EXPECT_EQ(::pwrite(fd.get(), content.data(), content.size(), static_cast<off_t>(offset)),
            static_cast<ssize_t>(content.size()))
      << path;
}

inline std::string read_text(const std::string& path) {
  std::ostringstream text;
  text << std::ifstream(path, std::ios::binary).rdbuf();
  return std::move(text).str();
}

inline UniqueFd open_directory(const std::string& path) {
  return UniqueFd(::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
}

inline std::map<std::string, std::string> xattrs_of(const std::string& path) {
  std::map<std::string, std::string> result;
  char names[8192];
  const ssize_t size = ::llistxattr(path.c_str(), names, sizeof names);
  for (ssize_t at = 0; at < size; at += static_cast<ssize_t>(std::strlen(names + at)) + 1) {
    char value[8192];
    const ssize_t length = ::lgetxattr(path.c_str(), names + at, value, sizeof value);
    if (length >= 0) result[names + at] = std::string(value, static_cast<std::size_t>(length));
  }
  return result;
}

// Everything of a directory that a capsule holds, by path. Link groups are named by their first
// path.
inline std::map<std::string, std::string> describe(const std::string& root) {
  std::vector<std::string> paths{""};
  for (const auto& entry : fs::recursive_directory_iterator(root)) {
    paths.push_back(entry.path().lexically_relative(root));
  }
  std::ranges::sort(paths);
  std::map<std::string, std::string> result;
  std::map<ino_t, std::string> links;
  for (const auto& path : paths) {
    const std::string full = path.empty() ? root : root + "/" + path;
    struct stat stat{};
    EXPECT_EQ(::lstat(full.c_str(), &stat), 0) << full;
    const bool special = S_ISCHR(stat.st_mode) || S_ISBLK(stat.st_mode);
    std::string text = std::format("mode {:o} owner {}:{} device {} mtime {}.{:09}", stat.st_mode,
                                   stat.st_uid, stat.st_gid, special ? stat.st_rdev : 0,
                                   stat.st_mtim.tv_sec, stat.st_mtim.tv_nsec);
    for (const auto& [name, value] : xattrs_of(full)) text += std::format(" {}={}", name, value);
    if (S_ISLNK(stat.st_mode)) text += " -> " + fs::read_symlink(full).string();
    if (S_ISREG(stat.st_mode)) {
      const std::string content = read_text(full);
      text += std::format(" size {} content {:x}", stat.st_size, std::hash<std::string>{}(content));
    }
    if (!S_ISDIR(stat.st_mode) && stat.st_nlink > 1) {
      text += " linked to " + links.emplace(stat.st_ino, path).first->second;
    }
    result[path] = text;
  }
  return result;
}

// A tree in a scratch directory, with a tracker whose sizes make the interesting paths short.
struct TestTree {
  explicit TestTree(const std::string& below = "/var/tmp")
      : scratch(make_scratch_directory(below)),
        root(scratch + "/tree"),
        staging(scratch + "/staging") {
    fs::create_directory(root);
    fs::create_directory(staging);
    options.name = "the test tree";
    options.arena = Bytes{65536};
  }
  ~TestTree() {
    tracker.reset();
    std::error_code ignored;
    fs::remove_all(scratch, ignored);
  }
  TestTree(const TestTree&) = delete;
  TestTree& operator=(const TestTree&) = delete;

  std::string operator/(const std::string& path) const { return root + "/" + path; }
  UniqueFd root_fd() const { return open_directory(root); }

  std::unique_ptr<FileTracker> make_tracker(const std::string& merged = "") const {
    auto made = FileTracker::create(open_directory(root), open_directory(staging),
                                    merged.empty() ? UniqueFd() : open_directory(merged), options);
    EXPECT_TRUE(made) << made.error().message();
    return std::move(*made);
  }
  void track() { tracker = make_tracker(); }

  Result<FileTree> capture(const FrozenHints& hints = {}) {
    if (!tracker) track();
    PERDURE_ASSIGN(FileSnapshot snapshot, tracker->snapshot(hints));
    last = snapshot.stats();
    return tracker->finish(std::move(snapshot));
  }
  FileTree must_capture(const FrozenHints& hints = {}) {
    auto tree = capture(hints);
    EXPECT_TRUE(tree) << tree.error().message();
    return std::move(tree).value_or(FileTree{});
  }
  // What somebody who sees the tree for the first time finds in it.
  FileTree capture_anew() const {
    auto fresh = make_tracker();
    auto snapshot = fresh->snapshot({});
    EXPECT_TRUE(snapshot) << snapshot.error().message();
    return fresh->finish(std::move(*snapshot)).value();
  }
  // Until what was changed last is out of the margin in which ctime is not trusted: the clock
  // itself is the event.
  void settle() const {
    timespec start{};
    ::clock_gettime(CLOCK_REALTIME_COARSE, &start);
    const auto margin = options.racy_margin.count() + 12'000'000;
    for (;;) {
      timespec now{};
      ::clock_gettime(CLOCK_REALTIME_COARSE, &now);
      if ((now.tv_sec - start.tv_sec) * 1'000'000'000 + now.tv_nsec - start.tv_nsec > margin)
        return;
      ::sched_yield();
    }
  }
  RestoreReport must_roll_back(const FileTree& wanted, const FileTracker* known) const {
    auto report = roll_back(root_fd(), wanted, known);
    EXPECT_TRUE(report) << report.error().message();
    return report.value_or(RestoreReport{});
  }

  std::string scratch;
  std::string root;
  std::string staging;
  FileTrackerOptions options;
  std::unique_ptr<FileTracker> tracker;
  FileStats last;  // of the last snapshot
};

// What differs, one line per entry: two whole descriptions are too long to read.
inline std::string difference(const std::map<std::string, std::string>& actual,
                              const std::map<std::string, std::string>& wanted) {
  std::string text;
  for (const auto& [path, is] : actual) {
    const auto found = wanted.find(path);
    if (found == wanted.end()) {
      text += std::format("'{}' is too much: {}\n", path, is);
    } else if (found->second != is) {
      text += std::format("'{}' is {}\n  instead of {}\n", path, is, found->second);
    }
  }
  for (const auto& [path, is] : wanted) {
    if (!actual.contains(path)) text += std::format("'{}' is missing: {}\n", path, is);
  }
  return text;
}

inline const FileEntry* find_entry(const FileTree& tree, const std::string& path) {
  const auto found = std::ranges::find(tree.entries, path, &FileEntry::path);
  return found == tree.entries.end() ? nullptr : &*found;
}

inline std::string content_of(const FileEntry& entry) {
  std::string content((entry.size_bytes + kPageSize - 1) / kPageSize * kPageSize, '\0');
  for (const PageRun& run : entry.content.runs()) {
    const auto bytes = run.bytes();
    std::copy_n(reinterpret_cast<const char*>(bytes.data()), bytes.size(),
                content.begin() + static_cast<std::ptrdiff_t>(run.first_page * kPageSize));
  }
  content.resize(entry.size_bytes);
  return content;
}

// A roll-back leaves a hole where zeros are wanted.
enum class Zeros { kAreData, kMayBeHoles };

inline void expect_same(const FileTree& actual, const FileTree& expected,
                        Zeros zeros = Zeros::kAreData) {
  const auto text = [](const FileEntry& entry) {
    std::string all = std::format(
        "{} type {} mode {:o} owner {}:{} device {} mtime {} size {} -> {} link {}", entry.path,
        static_cast<int>(entry.type), entry.mode, entry.uid, entry.gid, entry.device,
        entry.modified_ns, entry.size_bytes, entry.target, entry.hard_link_to);
    for (const auto& [name, value] : entry.xattrs) all += std::format(" {}={}", name, value);
    return all;
  };
  ASSERT_EQ(actual.entries.size(), expected.entries.size());
  for (std::size_t i = 0; i < actual.entries.size(); ++i) {
    EXPECT_EQ(text(actual.entries[i]), text(expected.entries[i]));
    const bool same = zeros == Zeros::kAreData
                          ? actual.entries[i].content.same_as(expected.entries[i].content)
                          : content_of(actual.entries[i]) == content_of(expected.entries[i]);
    EXPECT_TRUE(same) << actual.entries[i].path;
  }
}

// Random changes, the same for the same seed on the same tree. Device nodes and trusted xattrs only
// as root.
class Mutator {
 public:
  Mutator(std::string root, unsigned seed) : root_(std::move(root)), random_(seed) {}

  void mutate(int count) {
    for (int i = 0; i < count; ++i) step();
  }

 private:
  int pick(int below) { return static_cast<int>(random_() % static_cast<unsigned>(below)); }

  std::vector<std::string> paths(bool directories) {
    std::vector<std::string> found;
    for (const auto& entry : fs::recursive_directory_iterator(root_)) {
      const auto type = entry.symlink_status().type();
      if (type == fs::file_type::character)
        continue;  // nobody can change a whiteout, only make something else of it
      if ((type == fs::file_type::directory) == directories) found.push_back(entry.path());
    }
    std::ranges::sort(found);
    if (directories) found.push_back(root_);
    return found;
  }
  std::string fresh_name() { return std::format("{}/n{}", any(paths(true)), pick(40)); }
  std::string any(const std::vector<std::string>& list) {
    return list.empty() ? "" : list[static_cast<std::size_t>(pick(static_cast<int>(list.size())))];
  }
  std::string any_regular() {
    std::vector<std::string> regular;
    for (auto& path : paths(false)) {
      if (fs::symlink_status(path).type() == fs::file_type::regular) regular.push_back(path);
    }
    return any(regular);
  }
  std::string random_bytes(int size) {
    std::string bytes(static_cast<std::size_t>(size), '\0');
    for (auto& byte : bytes) byte = static_cast<char>(random_());
    return bytes;
  }

  void step() {
    const std::string name = fresh_name();
    std::error_code ignored;
    const bool is_free = !fs::exists(fs::symlink_status(name, ignored));
    const std::string file = any_regular();
    const std::string other = any(paths(false));
    switch (pick(20)) {
      case 0:
      case 1:
        if (is_free) write_file(name, random_bytes(pick(60000)));
        break;
      case 2:
        if (is_free) fs::create_directory(name, ignored);
        break;
      case 3:
        if (is_free) fs::create_symlink(std::format("target{}", pick(5)), name, ignored);
        break;
      case 4:
        if (is_free) ::mkfifo(name.c_str(), 0640);
        break;
      case 5:
        if (is_free && !file.empty()) ::link(file.c_str(), name.c_str());
        break;
      case 6:
        if (is_free && !other.empty()) fs::rename(other, name, ignored);
        break;
      case 7:
        if (!other.empty()) fs::remove(other, ignored);
        break;
      case 8:
        if (const auto directory = any(paths(true)); directory != root_)
          fs::remove_all(directory, ignored);
        break;
      case 9:
      case 10:
      case 11:
        if (!file.empty())
          write_at(file, static_cast<unsigned>(pick(80000)), random_bytes(pick(9000)));
        break;
      case 12:
        if (!file.empty()) ::truncate(file.c_str(), pick(70000));
        break;
      case 13:
        if (!file.empty()) ::chmod(file.c_str(), static_cast<mode_t>(pick(010000)));
        break;
      case 14:
        if (!other.empty() && ::geteuid() == 0)
          ::lchown(other.c_str(), static_cast<uid_t>(pick(3)), static_cast<gid_t>(pick(3)));
        break;
      case 15:
        if (!file.empty())
          ::setxattr(file.c_str(), std::format("user.a{}", pick(3)).c_str(), "value",
                     static_cast<std::size_t>(pick(6)), 0);
        break;
      case 16:
        if (!file.empty()) ::removexattr(file.c_str(), "user.a1");
        break;
      case 17: {
        const UniqueFd fd(::open(file.c_str(), O_RDWR | O_CLOEXEC));
        if (fd)
          ::fallocate(fd.get(), FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, pick(8) * 4096,
                      4096 * (1 + pick(3)));
        break;
      }
      case 18: {
        const timespec times[2] = {{0, UTIME_OMIT}, {pick(1'000'000'000), pick(1'000'000'000)}};
        if (!other.empty()) ::utimensat(AT_FDCWD, other.c_str(), times, AT_SYMLINK_NOFOLLOW);
        break;
      }
      case 19:
        if (is_free && ::geteuid() == 0) {
          ::mknod(name.c_str(), S_IFCHR | 0600,
                  makedev(pick(2) == 0 ? 0 : 1, pick(2) == 0 ? 0 : 3));
          ::setxattr(any(paths(true)).c_str(), "trusted.overlay.opaque", "y", 1, 0);
        }
        break;
    }
  }

  std::string root_;
  std::mt19937 random_;
};

}  // namespace perdure::capsule::test
