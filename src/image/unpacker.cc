// Unpacker: a directory of its own beside the images, locked while it is written to, verified, then renamed.
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <format>
#include <optional>
#include <utility>

#include "base/log.h"
#include "image/archive.h"
#include "image/image_directory.h"
#include "image/oci_layout.h"
#include "image/sha256.h"
#include "image/tree_writer.h"
#include "io/atomic_file.h"

namespace perdure::image {
namespace {

Result<UniqueFd> open_new_directory(const std::string& path) {
  PERDURE_TRY(io::make_directories(path, 0755));
  return open_file(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW);
}

}  // namespace

class Unpacker::Staging {
 public:
  Staging(std::string images_dir, std::string digest, LockedDirectory directory, TreeWriter writer)
      : images_dir_(std::move(images_dir)),
        digest_(std::move(digest)),
        directory_(std::move(directory)),
        writer_(std::move(writer)) {}
  Staging(const Staging&) = delete;
  Staging& operator=(const Staging&) = delete;
  ~Staging() {
    if (const Status removed = discard(); !removed) log::warning("{}", removed.error().message());
  }

  Status feed(std::span<const std::byte> bytes) {
    if (error_) return fail(*error_);
    Status taken = reader_.feed(bytes);
    if (taken && !description_ && !writer_.description().empty()) taken = read_description();
    if (!taken) error_ = taken.error().context(std::format("image {}", digest_));
    return error_ ? Status(fail(*error_)) : Status{};
  }

  Result<PreparedImage> finish() {
    if (error_) return fail(*error_);
    Status published = publish();
    error_ = Error(ErrorCode::kInvalid, std::format("image {}: its archive has been finished already", digest_));
    if (!published) return fail(std::move(published).error().context(std::format("image {}", digest_)));
    return find_prepared(images_dir_, digest_);
  }

 private:
  std::string rootfs() const { return rootfs_in(directory_.path()); }

  // As soon as it is there: an archive of another image is not unpacked to its end.
  Status read_description() {
    PERDURE_ASSIGN(description_, description_from_json(writer_.description(), "header of its archive"));
    if (description_->digest == digest_) return {};
    return fail(ErrorCode::kCorrupt,
                std::format("its archive is that of image '{}'", description_->digest.substr(0, 80)));
  }

  Status publish() {
    if (!reader_.complete() || !description_) return fail(ErrorCode::kCorrupt, "its archive is not complete");
    PERDURE_ASSIGN(const std::string tree, digest_tree(rootfs(), ""));
    if (tree != description_->tree) {
      return fail(ErrorCode::kCorrupt,
                  std::format("what arrived has the tree digest {} instead of {}: the sender's copy "
                              "has been changed since it was prepared, or cannot be kept on this "
                              "file system",
                              tree, description_->tree));
    }
    PERDURE_TRY(io::write_file_atomically(description_in(directory_.path()), to_json(*description_), 0600));
    PERDURE_TRY(sync_file_system(directory_.path()));
    PERDURE_ASSIGN(const bool ours, directory_.become(directory_in(images_dir_, digest_)));
    if (!ours) return discard();
    return io::sync_directory(images_dir_);
  }

  Status discard() { return directory_.remove(); }

  const std::string images_dir_;
  const std::string digest_;
  LockedDirectory directory_;
  TreeWriter writer_;
  ArchiveReader reader_{writer_};
  std::optional<ImageDescription> description_;
  std::optional<Error> error_;
};

Unpacker::Unpacker(std::unique_ptr<Staging> staging) : staging_(std::move(staging)) {}
Unpacker::~Unpacker() = default;

Result<std::unique_ptr<Unpacker>> Unpacker::begin(const std::string& images_dir, const std::string& digest) {
  if (digest_hex(digest).empty()) {
    return fail(ErrorCode::kInvalid, std::format("'{}' is no digest of an image", digest.substr(0, 80)));
  }
  PERDURE_TRY(io::make_directories(images_dir, 0700));
  PERDURE_ASSIGN(std::string resolved, canonical_path(images_dir));
  PERDURE_TRY(remove_abandoned(resolved));
  PERDURE_ASSIGN(LockedDirectory directory, LockedDirectory::make(resolved, kIncomingPrefix, digest));
  const std::string rootfs = rootfs_in(directory.path());
  Result<UniqueFd> root = open_new_directory(rootfs);
  if (!root) {
    if (const Status removed = directory.remove(); !removed) log::warning("{}", removed.error().message());
    return fail(std::move(root).error());
  }
  return std::unique_ptr<Unpacker>(new Unpacker(std::make_unique<Staging>(
      std::move(resolved), digest, std::move(directory), TreeWriter(*std::move(root), rootfs))));
}

Status Unpacker::feed(std::span<const std::byte> bytes) {
  return staging_->feed(bytes);
}
Result<PreparedImage> Unpacker::finish() {
  return staging_->finish();
}

}  // namespace perdure::image
