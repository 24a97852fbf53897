// Paths inside a container's root, as the container sees them: a symbolic link of the image never
// leads out of the root (openat2(2), RESOLVE_IN_ROOT).
#pragma once

#include <sys/types.h>

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>

#include "base/fd.h"
#include "base/result.h"

namespace perdure::image {

class RootDirectory {
 public:
  static Result<RootDirectory> open(const std::string& path);

  // Makes PATH and what is missing above it (mode 0755); PATH gets MODE if it was made here. A
  // directory that is there stays as it is. kConflict: something else is in the way, or a link that
  // leads nowhere.
  Status make_directory(const std::string& path, mode_t mode) const;

  // PATH becomes a regular file of MODE with this text; what is there with the same text and mode
  // stays untouched, a link is replaced. Its directory must exist.
  Status write_file(const std::string& path, std::string_view text, mode_t mode = 0644) const;

  // The whole file; nullopt if nothing is there (also: dangling link).
  Result<std::optional<std::string>> read_file(const std::string& path,
                                               std::size_t limit_bytes) const;

  // Open (O_PATH) on what PATH resolves to; kNotFound.
  Result<UniqueFd> resolve(const std::string& path) const;
  // Open for reading.
  Result<UniqueFd> open_for_reading(const std::string& path) const;

 private:
  RootDirectory(std::string path, UniqueFd fd) : path_(std::move(path)), fd_(std::move(fd)) {}
  Result<UniqueFd> open_inside(const std::string& path, int flags) const;
  std::string host_name(const std::string& path) const;  // for messages

  std::string path_;
  UniqueFd fd_;
};

}  // namespace perdure::image
