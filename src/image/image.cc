#include "image/image.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <cerrno>
#include <climits>
#include <cstdlib>
#include <format>
#include <memory>
#include <thread>
#include <variant>

#include "base/fd.h"
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

Result<std::string> canonical(const std::string& path) {
  struct Free {
    void operator()(char* text) const { std::free(text); }
  };
  const std::unique_ptr<char, Free> resolved(::realpath(path.c_str(), nullptr));
  if (resolved == nullptr) return fail_errno(std::format("root file system '{}'", path));
  return std::string(resolved.get());
}

std::string machine() {
  utsname names{};
  return ::uname(&names) == 0 ? names.machine : "";
}

// Files and directories of one image under IMAGES_DIR.
struct ImagePaths {
  ImagePaths(const std::string& images_dir, const std::string& digest)
      : directory(images_dir + "/" + std::string(digest_hex(digest))),
        staging(images_dir + "/.staging-" + std::string(digest_hex(digest))),
        lock(images_dir + "/.lock-" + std::string(digest_hex(digest))) {}

  std::string directory;
  std::string staging;
  std::string lock;
};

std::string rootfs_in(const std::string& directory) {
  return directory + "/rootfs";
}
std::string description_in(const std::string& directory) {
  return directory + "/image.json";
}

Result<PreparedImage> open_prepared(const std::string& digest, const ImagePaths& paths) {
  const std::string path = description_in(paths.directory);
  PERDURE_ASSIGN(const std::string text, read_file(path, kMaxImageFileBytes));
  PERDURE_ASSIGN(ImageDefaults defaults, defaults_from_json(text, path));
  return PreparedImage{digest, rootfs_in(paths.directory), std::move(defaults)};
}

// What the kernel still holds in memory reaches the disk before the rename makes it visible.
Status sync_file_system(const std::string& directory) {
  PERDURE_ASSIGN(const UniqueFd fd, open_file(directory, O_RDONLY | O_DIRECTORY));
  if (::syncfs(fd.get()) != 0) return fail_errno(std::format("sync '{}'", directory));
  return {};
}

class Preparation {
 public:
  Preparation(const PrepareOptions& options)
      : options_(options), deadline_(BootClock::now() + options.deadline) {}

  Result<PreparedImage> operator()(const model::DirectoryRoot& root) {
    PERDURE_ASSIGN(std::string path, canonical(root.path));
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
    return PreparedImage{std::move(digest), std::move(path), {}};
  }

  Result<PreparedImage> operator()(const model::TarRoot& root) {
    PERDURE_ASSIGN(const std::string path, canonical(root.path));
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
    PERDURE_ASSIGN(const std::string path, canonical(root.path));
    const std::string architecture = oci_architecture(machine());
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

 private:
  std::string digests_dir() const { return options_.images_dir + "/digests"; }

  void progress(const std::string& text) const {
    if (options_.progress) options_.progress(text);
  }

  Result<io::FileLock> lock(const ImagePaths& paths) const {
    bool waited = false;
    for (;;) {
      auto acquired = io::FileLock::acquire(paths.lock);
      if (acquired || acquired.error().code() != ErrorCode::kConflict) return acquired;
      if (BootClock::now() >= deadline_) {
        return fail(ErrorCode::kTimeout,
                    std::format("image '{}' is being unpacked by somebody else", paths.directory));
      }
      if (!waited) progress("waiting for the same image being unpacked");
      waited = true;
      std::this_thread::sleep_for(kLockPoll);
    }
  }

  template <typename Unpack>
  Result<PreparedImage> unpack_once(const std::string& digest, const std::string& source,
                                    const ImageDefaults& defaults, const Unpack& unpack) {
    const ImagePaths paths(options_.images_dir, digest);
    auto prepared = open_prepared(digest, paths);
    if (prepared || prepared.error().code() != ErrorCode::kNotFound) return prepared;
    PERDURE_ASSIGN(const io::FileLock held, lock(paths));
    prepared = open_prepared(digest, paths);
    if (prepared || prepared.error().code() != ErrorCode::kNotFound) return prepared;
    progress(std::format("unpacking '{}'", source));
    auto unpacked = stage(paths, defaults_to_json(defaults, digest, source), unpack);
    if (!unpacked) {
      if (const auto removed = io::remove_tree(paths.staging); !removed) {
        return fail(std::move(unpacked).error().context(removed.error().message()));
      }
      return fail(std::move(unpacked).error());
    }
    return open_prepared(digest, paths);
  }

  template <typename Unpack>
  Status stage(const ImagePaths& paths, const std::string& description, const Unpack& unpack) {
    PERDURE_TRY(io::remove_tree(paths.staging));  // what an interrupted call left
    PERDURE_TRY(io::make_directories(paths.staging, 0700));
    PERDURE_TRY(unpack(paths.staging));
    PERDURE_TRY(io::write_file_atomically(description_in(paths.staging), description, 0600));
    PERDURE_TRY(sync_file_system(paths.staging));
    if (::rename(paths.staging.c_str(), paths.directory.c_str()) != 0) {
      return fail_errno(std::format("rename '{}' to '{}'", paths.staging, paths.directory));
    }
    return io::sync_directory(options_.images_dir);
  }

  const PrepareOptions& options_;
  Instant deadline_;
};

}  // namespace

Result<PreparedImage> prepare_root(const model::RootFilesystem& root,
                                   const PrepareOptions& options) {
  PERDURE_TRY(io::make_directories(options.images_dir, 0700));
  PERDURE_ASSIGN(const std::string images_dir, canonical(options.images_dir));
  PrepareOptions resolved = options;
  resolved.images_dir = images_dir;
  return std::visit(Preparation(resolved), root);
}

Result<PreparedImage> find_prepared(const std::string& images_dir, const std::string& digest) {
  if (digest_hex(digest).empty()) return fail(ErrorCode::kInvalid, std::format("'{}' is no digest of an image", digest.substr(0, 80)));
  PERDURE_ASSIGN(const std::string resolved, canonical(images_dir));
  return open_prepared(digest, ImagePaths(resolved, digest));
}

}  // namespace perdure::image
