#include "image/build_image.h"

#include <fcntl.h>
#include <sys/stat.h>

#include <algorithm>
#include <chrono>
#include <filesystem>
#include <format>
#include <limits>
#include <optional>
#include <utility>

#include "base/fd.h"
#include "image/bundle.h"
#include "image/debian_base.h"
#include "image/image_directory.h"
#include "image/oci_layout.h"
#include "image/root_directory.h"
#include "image/sha256.h"
#include "image/tree_digest.h"
#include "image/unpack.h"
#include "io/atomic_file.h"
#include "io/process.h"

namespace perdure::image {
namespace {

namespace fs = std::filesystem;

// Raised when the same inputs give other bytes than before.
constexpr std::uint64_t kForm = 1;
constexpr std::string_view kBuildingPrefix = ".building-";
constexpr std::string_view kTag = "latest";
constexpr Duration kToolTime = std::chrono::minutes(30);

// Names below PARENT: HEX, whole.
std::string place_of(const std::string& parent, const std::string& digest) {
  return std::format("{}/{}", parent, digest_hex(digest));
}

// The newest time in a tree that is before `limit`.
Result<std::int64_t> newest_before(const std::string& root, std::int64_t limit) {
  std::int64_t newest = 0;
  std::error_code error;
  for (fs::recursive_directory_iterator it(root, fs::directory_options::none, error), end; it != end && !error; it.increment(error)) {
    struct stat info{};
    if (::lstat(it->path().c_str(), &info) != 0) return fail_errno(std::format("stat '{}'", it->path().string()));
    if (info.st_mtime < limit) newest = std::max<std::int64_t>(newest, info.st_mtime);
  }
  if (error) return fail(ErrorCode::kIo, std::format("walk '{}': {}", root, error.message()));
  return newest;
}

class Build {
 public:
  Build(const Recipe& recipe, const BuildOptions& options) : recipe_(recipe), options_(options) {}

  Result<BuiltImage> run() {
    PERDURE_TRY(prepare_cache());
    PERDURE_ASSIGN(const std::string key, digest_of_inputs());
    const std::string place = place_of(layouts_, key);
    if (!options_.fresh) {
      if (auto there = finished(place, true)) return there;
    }
    PERDURE_ASSIGN(LockedDirectory staging, LockedDirectory::make(layouts_, kBuildingPrefix, key));
    const auto began = std::chrono::duration_cast<std::chrono::seconds>(std::chrono::system_clock::now().time_since_epoch()).count();
    auto made = make(staging.path(), began);
    if (!made) {
      (void)staging.remove();
      return std::unexpected(made.error());
    }
    progress("storing the image");
    PERDURE_TRY(sync_file_system(staging.path()));
    return put(staging, place);
  }

 private:
  void progress(std::string_view text) const {
    if (options_.progress) options_.progress(text);
  }

  Status prepare_cache() {
    PERDURE_TRY(io::make_directories(options_.cache_dir, 0700));
    PERDURE_ASSIGN(const std::string cache, canonical_path(options_.cache_dir));
    bases_ = cache + "/bases";
    layouts_ = cache + "/layouts";
    digests_ = cache + "/digests";
    for (const std::string& directory : {bases_, layouts_}) {
      PERDURE_TRY(io::make_directories(directory, 0700));
      PERDURE_TRY(remove_abandoned(directory, {kBuildingPrefix}));
    }
    return {};
  }

  Result<std::string> digest_of_inputs() const {
    Sha256 hash;
    hash.update_number(kForm);
    hash.update(host_machine());
    PERDURE_ASSIGN(const std::string base, digest_of_base());
    hash.update(base);
    hash.update_number(recipe_.files.size());
    for (const model::CopiedFile& file : recipe_.files) {
      PERDURE_ASSIGN(const std::string content, digest_of_source(file.from));
      hash.update_number(file.to.size());
      hash.update(file.to);
      hash.update(content);
    }
    PERDURE_ASSIGN(const std::string agent, digest_file(options_.agent_program, ""));
    hash.update(agent);
    hash.update(options_.configuration_source);
    return hash.finish();
  }

  std::string digest_of_packages() const {
    Sha256 hash;
    hash.update_number(kForm);
    for (const std::string& word : {host_machine(), recipe_.suite}) {
      hash.update_number(word.size());
      hash.update(word);
    }
    for (const std::string& package : recipe_.packages) {
      hash.update_number(package.size());
      hash.update(package);
    }
    return hash.finish();
  }

  Result<std::string> digest_of_base() const {
    if (recipe_.directory) return digest_tree(*recipe_.directory, digests_);
    if (recipe_.oci) {
      PERDURE_ASSIGN(const OciImage image, read_oci_image(recipe_.oci->path, recipe_.oci->tag, oci_architecture(host_machine())));
      return image.manifest_digest;
    }
    return recipe_.packages.empty() ? std::string("empty") : digest_of_packages();
  }

  // Of a file or a directory with its name's rights: what it becomes in the image.
  Result<std::string> digest_of_source(const std::string& path) const {
    struct stat info{};
    if (::stat(path.c_str(), &info) != 0) return fail_errno(std::format("file '{}' of the model", path));
    if (S_ISDIR(info.st_mode)) return digest_tree(path, digests_);
    if (!S_ISREG(info.st_mode)) {
      return fail(ErrorCode::kInvalid, std::format("'{}' of the model is neither a file nor a directory", path));
    }
    PERDURE_ASSIGN(const std::string content, digest_file(path, ""));
    return std::format("{}:{:o}:{}:{}", content, info.st_mode & 07777, info.st_uid, info.st_gid);
  }

  Status make(const std::string& staging, std::int64_t began) {
    const std::string root = staging + "/rootfs";
    ImageDefaults defaults;
    PERDURE_TRY(make_base(root, staging, defaults));
    // Of the base's own files, not of those that have been made meanwhile.
    PERDURE_ASSIGN(const std::int64_t time,
                   recipe_.directory ? newest_before(*recipe_.directory, std::numeric_limits<std::int64_t>::max()) : newest_before(root, began));
    for (const model::CopiedFile& file : recipe_.files) PERDURE_TRY(copy_in(file, root, time));
    PERDURE_TRY(add_agent(root));
    progress("packing the image");
    PERDURE_TRY(pack(root, staging + "/layer.tar", time));
    PERDURE_TRY(make_layout(staging, defaults, time));
    PERDURE_TRY(io::remove_tree(root));
    return io::remove_tree(staging + "/layer.tar");
  }

  Status make_base(const std::string& root, const std::string& staging, ImageDefaults& defaults) {
    if (recipe_.directory) return copy_tree(*recipe_.directory, root);
    if (recipe_.oci) {
      PERDURE_ASSIGN(const OciImage image, read_oci_image(recipe_.oci->path, recipe_.oci->tag, oci_architecture(host_machine())));
      defaults = image.defaults;
      progress(std::format("unpacking '{}:{}'", recipe_.oci->path, recipe_.oci->tag));
      return unpack_oci(recipe_.oci->path, recipe_.oci->tag, staging + "/unpacked", root, deadline());
    }
    if (recipe_.packages.empty()) return io::make_directories(root, 0755);
    PERDURE_ASSIGN(const std::string base, debian_base());
    return copy_tree(base, root);
  }

  Result<std::string> debian_base() {
    const std::string key = digest_of_packages();
    const std::string place = place_of(bases_, key);
    if (!options_.fresh && ::access(place.c_str(), F_OK) == 0) return place + "/rootfs";
    PERDURE_ASSIGN(LockedDirectory staging, LockedDirectory::make(bases_, kBuildingPrefix, key));
    auto made = make_debian_base(recipe_.suite, recipe_.packages, staging.path() + "/rootfs", options_.deadline,
                                 [this](std::string_view text) { progress(std::format("packages: {}", text)); });
    if (!made) {
      (void)staging.remove();
      return std::unexpected(made.error());
    }
    PERDURE_TRY(sync_file_system(staging.path()));
    if (options_.fresh) PERDURE_TRY(io::remove_tree(place));
    PERDURE_TRY(staging.become(place));
    return place + "/rootfs";
  }

  static Instant deadline() { return BootClock::now() + kToolTime; }

  static Status tool(const std::vector<std::string>& argv, const std::string& what) {
    io::CommandOptions options;
    options.deadline = deadline();
    options.process.environment = tool_environment();
    auto output = io::command_output(argv, options);
    if (!output) return fail(std::move(output).error().context(what));
    return {};
  }

  // Owners, rights, times, links and attributes stay.
  static Status copy_tree(const std::string& from, const std::string& to) {
    return tool({"cp", "--archive", "--no-target-directory", "--reflink=auto", "--", from, to}, std::format("copy '{}'", from));
  }

  Status copy_in(const model::CopiedFile& file, const std::string& root, std::int64_t time) const {
    progress(std::format("copying '{}'", file.from));
    PERDURE_ASSIGN(const RootDirectory directory, RootDirectory::open(root));
    const std::string above = fs::path(file.to).parent_path().string();
    PERDURE_TRY(directory.make_directory(above, 0755));
    // A link of the image leads nowhere but into the image.
    PERDURE_ASSIGN(const UniqueFd inside, directory.resolve(above));
    const std::string target = std::format("/proc/self/fd/3/{}", fs::path(file.to).filename().string());
    io::CommandOptions options;
    options.deadline = deadline();
    options.process.inherited = {{.fd = inside.get(), .target = 3}};
    auto copied = io::command_output({"cp", "--archive", "--no-target-directory", "--remove-destination", "--", file.from, target}, options);
    if (!copied) return fail(std::move(copied).error().context(std::format("copy '{}' to '{}' of the image", file.from, file.to)));
    options.deadline = deadline();
    auto touched = io::command_output({"find", target, "-exec", "touch", "--no-dereference", std::format("--date=@{}", time), "--", "{}", "+"},
                                      options);
    return touched.transform([](auto&&) {});
  }

  Status add_agent(const std::string& root) const {
    PERDURE_ASSIGN(const std::string program, read_file(options_.agent_program, kMaxAgentBytes));
    PERDURE_ASSIGN(const std::string configuration, options_.configuration(root));
    PERDURE_ASSIGN(const RootDirectory directory, RootDirectory::open(root));
    PERDURE_TRY(directory.make_directory(std::string(kAgentDirectory), 0700));
    PERDURE_TRY(directory.write_file(std::string(kAgentProgram), program, 0700));
    return directory.write_file(std::string(kAgentConfiguration), configuration, 0600);
  }

  // /dev is the runtime's; what was written during the build has one time.
  static Status pack(const std::string& root, const std::string& layer, std::int64_t time) {
    return tool({"tar", "--create", "--sort=name", "--numeric-owner", "--format=pax",
                 "--pax-option=exthdr.name=%d/PaxHeaders/%f,delete=atime,delete=ctime", "--xattrs", "--xattrs-include=security.capability",
                 "--xattrs-include=user.*", "--no-selinux", "--no-acls", "--clamp-mtime", std::format("--mtime=@{}", time),
                 "--exclude=./dev/*", "--directory=" + root, "--file=" + layer, "."},
                "pack the root file system");
  }

  static Status make_layout(const std::string& staging, const ImageDefaults& defaults, std::int64_t time) {
    const std::string layout = staging + "/oci";
    const std::string image = std::format("{}:{}", layout, kTag);
    const std::string created = std::format("{:%FT%TZ}", std::chrono::sys_seconds(std::chrono::seconds(time)));
    PERDURE_TRY(tool({"umoci", "init", "--layout", layout}, "make the image"));
    PERDURE_TRY(tool({"umoci", "new", "--image", image}, "make the image"));
    PERDURE_TRY(tool({"umoci", "raw", "add-layer", "--no-history", "--image", image, staging + "/layer.tar"}, "make the image"));
    std::vector<std::string> config{"umoci", "config", "--no-history", "--image", image, "--created", created, "--os", "linux",
                                    "--architecture", oci_architecture(host_machine()), "--config.entrypoint", std::string(kAgentProgram),
                                    "--config.entrypoint", std::string(kAgentConfiguration)};
    for (const std::string& variable : defaults.environment) config.insert(config.end(), {"--config.env", variable});
    PERDURE_TRY(tool(config, "make the image"));
    return tool({"umoci", "gc", "--layout", layout}, "make the image");
  }

  Result<BuiltImage> put(LockedDirectory& staging, const std::string& place) {
    if (options_.fresh) PERDURE_TRY(io::remove_tree(place));
    PERDURE_TRY(staging.become(place));  // or somebody else has made the same
    PERDURE_TRY(io::sync_directory(layouts_));
    return finished(place, false);
  }

  Result<BuiltImage> finished(const std::string& place, bool cached) const {
    PERDURE_ASSIGN(const OciImage image, read_oci_image(place + "/oci", std::string(kTag), oci_architecture(host_machine())));
    return BuiltImage{place + "/oci", image.manifest_digest, cached};
  }

  const Recipe& recipe_;
  const BuildOptions& options_;
  std::string bases_;
  std::string layouts_;
  std::string digests_;
};

}  // namespace

Result<BuiltImage> build_image(const Recipe& recipe, const BuildOptions& options) { return Build(recipe, options).run(); }

}  // namespace perdure::image
