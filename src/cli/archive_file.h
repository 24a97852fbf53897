// The file that `export` makes: it has no name until it is complete and on disk.
#pragma once

#include <cstdint>
#include <string>

#include "base/fd.h"
#include "base/result.h"

namespace perdure::cli {

class ArchiveFile {
 public:
  // kExists: something is at `path` already. Readable by its owner only: an archive holds a
  // container's memory.
  static Result<ArchiveFile> create(const std::string& path);

  // Removes what was written, unless publish() succeeded.
  ~ArchiveFile();
  ArchiveFile(ArchiveFile&& other) noexcept;
  ArchiveFile& operator=(ArchiveFile&&) = delete;

  int fd() const { return fd_.get(); }

  // Syncs, and gives the file its name. kIo: its size is not `expected_bytes`. kExists: something
  // took the name meanwhile; it is left as it is.
  Status publish(std::uint64_t expected_bytes);

 private:
  ArchiveFile(std::string path, UniqueFd fd, std::string temporary)
      : path_(std::move(path)), fd_(std::move(fd)), temporary_(std::move(temporary)) {}

  std::string path_;
  UniqueFd fd_;
  std::string temporary_;  // empty: the file has no name (O_TMPFILE)
};

}  // namespace perdure::cli
