// Makes the tree that an archive describes, beneath one directory and nowhere else: names are single components of
// the directory entered last, which is opened through no link and no mount, and nothing that exists is opened or
// replaced.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/fd.h"
#include "base/result.h"
#include "image/archive_format.h"

namespace perdure::image {

class TreeWriter : public ArchiveSink {
 public:
  // ROOT_FD is open on ROOT_PATH, an empty directory in which nobody else writes.
  TreeWriter(UniqueFd root_fd, std::string root_path) : root_(std::move(root_fd)), root_path_(std::move(root_path)) {}

  const std::string& description() const { return description_; }  // the header's image.json

  Status header(std::string_view description) override;
  Status enter_directory(const std::string& name, const EntryMeta& meta) override;
  Status leave_directory() override;
  Status begin_file(const std::string& name, const EntryMeta& meta, std::uint64_t size_bytes) override;
  Status data(std::uint64_t offset, std::span<const std::byte> bytes) override;
  Status end_file() override;
  Status symlink(const std::string& name, const EntryMeta& meta, const std::string& target) override;
  Status node(const std::string& name, const EntryMeta& meta, std::uint64_t device) override;
  Result<std::uint64_t> link(const std::string& name, const std::string& target) override;

 private:
  struct Level {
    std::size_t path_bytes = 0;  // of path_, up to and with this directory
    std::int64_t modified_s = 0;
    std::uint32_t modified_ns = 0;
  };
  std::string shown(const std::string& name) const;
  std::unexpected<Error> refused(std::string_view what, const std::string& name) const;
  Status set_times(const std::string& name, std::int64_t seconds, std::uint32_t nanoseconds) const;
  Status set_metadata(const std::string& name, const EntryMeta& meta) const;

  UniqueFd root_;
  std::string root_path_;
  std::string description_;
  UniqueFd directory_;  // entered last
  std::string path_;    // of directory_, from the root: "a/b"
  std::vector<Level> levels_;
  UniqueFd file_;
  std::string file_name_;
  EntryMeta file_meta_;
};

}  // namespace perdure::image
