#include "image/image.h"

#include <sys/stat.h>

#include <format>
#include <thread>
#include <variant>

#include "base/fd.h"
#include "image/image_directory.h"
#include "image/oci_layout.h"
#include "image/sha256.h"
#include "image/tree_digest.h"
#include "image/unpack.h"
#include "io/atomic_file.h"

namespace perdure::image {
namespace {

// Somebody else unpacks the same image: look again this often.
constexpr Duration kLockPoll = std::chrono::milliseconds(50);
constexpr std::size_t kMaxImageFileBytes = std::size_t{1} << 20;

Result<PreparedImage> open_prepared(const std::string& images_dir, const std::string& digest) {
  const std::string directory = directory_in(images_dir, digest);
  const std::string path = description_in(directory);
  PERDURE_ASSIGN(const std::string text, read_file(path, kMaxImageFileBytes));
  PERDURE_ASSIGN(ImageDescription description, description_from_json(text, path));
  return PreparedImage{.digest = digest,
                       .lower_dir = rootfs_in(directory),
                       .defaults = std::move(description.defaults),
                       .tree_digest = std::move(description.tree)};
}

class Preparation {
 public:
  Preparation(const PrepareOptions& options)
      : options_(options), deadline_(BootClock::now() + options.deadline) {}

  Result<PreparedImage> operator()(const model::DirectoryRoot& root) {
    PERDURE_ASSIGN(std::string path, canonical_path(root.path));
    struct stat info{};
    if (::stat(path.c_str(), &info) != 0) return fail_errno(std::format("stat '{}'", path));
    if (!S_ISDIR(info.st_mode)) {
      return fail(ErrorCode::kInvalid,
                  std::format("root file system '{}' is not a directory: archives are named with "
                              "'tar', image layouts with 'oci'",
                              root.path));
    }
    progress(std::format("reading '{}'", path));
    PERDURE_ASSIGN(std::string digest, digest_tree(path, digests_dir()));
    return PreparedImage{
        .digest = digest, .lower_dir = std::move(path), .defaults = {}, .tree_digest = std::move(digest)};
  }

  Result<PreparedImage> operator()(const model::TarRoot& root) {
    PERDURE_ASSIGN(const std::string path, canonical_path(root.path));
    progress(std::format("reading '{}'", path));
    PERDURE_ASSIGN(const std::string digest, digest_file(path, digests_dir()));
    return unpack_once(digest, path, {}, [&](const std::string& staging) -> Status {
      const std::string into = rootfs_in(staging);
      PERDURE_TRY(io::make_directories(into, 0755));
      PERDURE_TRY(unpack_tar(path, into, deadline_));
      // The archive was read twice: a change between would put foreign content under this digest.
      PERDURE_ASSIGN(const std::string again, digest_file(path, digests_dir()));
      return again == digest ? Status{}
                             : fail(ErrorCode::kTransient,
                                    std::format("'{}' changed while it was unpacked", path));
    });
  }

  Result<PreparedImage> operator()(const model::OciRoot& root) {
    PERDURE_ASSIGN(const std::string path, canonical_path(root.path));
    const std::string architecture = oci_architecture(host_machine());
    PERDURE_ASSIGN(const OciImage image, read_oci_image(path, root.tag, architecture));
    const std::string source = path + ":" + root.tag;
    return unpack_once(
        image.manifest_digest, source, image.defaults, [&](const std::string& staging) -> Status {
          PERDURE_TRY(
              unpack_oci(path, root.tag, staging + "/bundle", rootfs_in(staging), deadline_));
          PERDURE_ASSIGN(const OciImage again, read_oci_image(path, root.tag, architecture));
          return again.manifest_digest == image.manifest_digest
                     ? Status{}
                     : fail(ErrorCode::kTransient,
                            std::format("tag '{}' changed while it was unpacked", source));
        });
  }

  Result<PreparedImage> operator()(const model::ImageRoot& root) {
    auto prepared = open_prepared(options_.images_dir, root.digest);
    if (prepared || prepared.error().code() != ErrorCode::kNotFound) return prepared;
    return fail(ErrorCode::kNotFound,
                std::format("image {} is not here, and no node that has it was reached: add it with 'perdure image add'", root.digest));
  }

 private:
  std::string digests_dir() const { return options_.images_dir + "/digests"; }

  void progress(const std::string& text) const {
    if (options_.progress) options_.progress(text);
  }

  Result<io::FileLock> lock(const std::string& digest) const {
    bool waited = false;
    for (;;) {
      auto acquired = io::FileLock::acquire(lock_in(options_.images_dir, digest));
      if (acquired || acquired.error().code() != ErrorCode::kConflict) return acquired;
      if (BootClock::now() >= deadline_) {
        return fail(ErrorCode::kTimeout, std::format("image '{}' is being unpacked by somebody else", digest));
      }
      if (!waited) progress("waiting for the same image being unpacked");
      waited = true;
      std::this_thread::sleep_for(kLockPoll);
    }
  }

  template <typename Unpack>
  Result<PreparedImage> unpack_once(const std::string& digest, const std::string& source,
                                    const ImageDefaults& defaults, const Unpack& unpack) {
    const std::string& images_dir = options_.images_dir;
    auto prepared = open_prepared(images_dir, digest);
    if (prepared || prepared.error().code() != ErrorCode::kNotFound) return prepared;
    PERDURE_ASSIGN(const io::FileLock held, lock(digest));
    prepared = open_prepared(images_dir, digest);
    if (prepared || prepared.error().code() != ErrorCode::kNotFound) return prepared;
    progress(std::format("unpacking '{}'", source));
    auto unpacked = stage({digest, "", source, defaults}, unpack);
    const Status removed = io::remove_tree(staging_in(images_dir, digest));
    if (!unpacked && !removed) return fail(std::move(unpacked).error().context(removed.error().message()));
    PERDURE_TRY(unpacked);
    PERDURE_TRY(removed);
    return open_prepared(images_dir, digest);
  }

  template <typename Unpack>
  Status stage(ImageDescription description, const Unpack& unpack) {
    const std::string staging = staging_in(options_.images_dir, description.digest);
    PERDURE_TRY(io::remove_tree(staging));  // what an interrupted call left
    PERDURE_TRY(io::make_directories(staging, 0700));
    PERDURE_TRY(unpack(staging));
    PERDURE_ASSIGN(description.tree, digest_tree(rootfs_in(staging), ""));
    PERDURE_TRY(io::write_file_atomically(description_in(staging), to_json(description), 0600));
    PERDURE_TRY(sync_file_system(staging));
    // An Unpacker may have put the same image there meanwhile.
    PERDURE_TRY(move_into_place(staging, directory_in(options_.images_dir, description.digest)));
    return io::sync_directory(options_.images_dir);
  }

  const PrepareOptions& options_;
  Instant deadline_;
};

}  // namespace

Result<PreparedImage> prepare_root(const model::RootFilesystem& root,
                                   const PrepareOptions& options) {
  PERDURE_TRY(io::make_directories(options.images_dir, 0700));
  PERDURE_ASSIGN(const std::string images_dir, canonical_path(options.images_dir));
  PrepareOptions resolved = options;
  resolved.images_dir = images_dir;
  return std::visit(Preparation(resolved), root);
}

Result<PreparedImage> find_prepared(const std::string& images_dir, const std::string& digest) {
  if (digest_hex(digest).empty()) {
    return fail(ErrorCode::kInvalid, std::format("'{}' is no digest of an image", digest.substr(0, 80)));
  }
  PERDURE_ASSIGN(const std::string resolved, canonical_path(images_dir));
  return open_prepared(resolved, digest);
}

}  // namespace perdure::image
