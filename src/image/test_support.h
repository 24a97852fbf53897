// For tests of this room: directories that go away, files in one line, the smallest root file
// system.
#pragma once

#include <sys/mount.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>
#include <string_view>

#include "base/assert.h"

namespace perdure::image::test {

class TemporaryDirectory {
 public:
  TemporaryDirectory() {
    std::string name = (std::filesystem::temp_directory_path() / "perdure-test-XXXXXX").string();
    PERDURE_ASSERT(::mkdtemp(name.data()) != nullptr);
    path_ = name;
  }
  TemporaryDirectory(const TemporaryDirectory&) = delete;
  TemporaryDirectory& operator=(const TemporaryDirectory&) = delete;
  ~TemporaryDirectory() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

inline void write_text(const std::string& path, std::string_view text) {
  std::filesystem::create_directories(std::filesystem::path(path).parent_path());
  std::ofstream(path, std::ios::binary) << text;
}

inline std::string read_text(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
}

inline bool is_root() {
  return ::geteuid() == 0;
}

inline bool have_busybox() {
  return std::filesystem::exists("/bin/busybox");
}

// A root file system that can run a shell: the static busybox and a passwd.
inline void make_busybox_root(const std::string& root) {
  namespace fs = std::filesystem;
  fs::create_directories(root + "/bin");
  fs::copy_file("/bin/busybox", root + "/bin/busybox");
  for (const char* name :
       {"sh", "sleep", "cat", "ls", "mkdir", "id", "mount", "echo", "kill", "seq"}) {
    fs::create_symlink("busybox", root + "/bin/" + name);
  }
  write_text(root + "/etc/passwd",
             "root:x:0:0:root:/root:/bin/sh\nweb:x:33:33::/var/www:/bin/sh\n");
  write_text(root + "/etc/group", "root:x:0:\nweb:x:33:\nssl:x:99:web,root\n");
}

}  // namespace perdure::image::test
