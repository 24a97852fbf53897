#include "image/unpack.h"

#include <cstdio>
#include <format>
#include <string_view>
#include <vector>

#include "io/atomic_file.h"
#include "io/process.h"

namespace perdure::image {
namespace {

// The last lines are what a person needs.
constexpr std::size_t kMaxMessageBytes = 600;

std::string tail(std::string_view text) {
  while (text.ends_with('\n')) text.remove_suffix(1);
  if (text.size() > kMaxMessageBytes) text.remove_prefix(text.size() - kMaxMessageBytes);
  std::string line(text);
  for (char& c : line) {
    if (c == '\n') c = ';';
  }
  return line;
}

ErrorCode code_of(std::string_view message) {
  return message.contains("No space left") || message.contains("Disk quota") ? ErrorCode::kNoSpace
                                                                             : ErrorCode::kInvalid;
}

Status run(const std::vector<std::string>& argv, const std::string& what, Instant deadline) {
  io::CommandOptions options;
  options.deadline = deadline;
  options.process.environment = tool_environment();
  auto result = io::run_command(argv, options);
  if (!result) return fail(std::move(result).error().context(what));
  if (result->status.success()) return {};
  const std::string message = tail(result->standard_error);
  return fail(code_of(message), std::format("{}: {} ended with {}: {}", what, argv.front(),
                                            io::to_string(result->status), message));
}

Result<std::vector<std::string>> decompression_of(const std::string& archive) {
  if (archive.ends_with(".tar")) return std::vector<std::string>{};
  if (archive.ends_with(".tar.gz") || archive.ends_with(".tgz")) {
    return std::vector<std::string>{"--gzip"};
  }
  if (archive.ends_with(".tar.zst")) return std::vector<std::string>{"--zstd"};
  return fail(ErrorCode::kInvalid,
              std::format("'{}': expected a name that ends in .tar, .tar.gz or .tar.zst", archive));
}

}  // namespace

// Messages are compared above, so they must not be translated.
std::vector<std::string> tool_environment() {
  return {"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C", "HOME=/root"};
}

Status unpack_tar(const std::string& archive, const std::string& into, Instant deadline) {
  PERDURE_ASSIGN(const std::vector<std::string> decompression, decompression_of(archive));
  // Attributes of overlayfs (trusted.overlay.*) in an archive would redirect directories: only what
  // belongs to an image is taken. --force-local: a ':' in the name is no host.
  std::vector<std::string> argv = {"tar",
                                   "--extract",
                                   "--force-local",
                                   "--numeric-owner",
                                   "--same-owner",
                                   "--preserve-permissions",
                                   "--xattrs",
                                   "--xattrs-include=security.capability",
                                   "--xattrs-include=user.*",
                                   "--no-selinux",
                                   "--no-acls",
                                   "--delay-directory-restore",
                                   "--warning=no-timestamp",
                                   "--directory=" + into,
                                   "--file=" + archive};
  argv.insert(argv.end(), decompression.begin(), decompression.end());
  return run(argv, std::format("unpack '{}'", archive), deadline);
}

Status unpack_oci(const std::string& layout_dir, const std::string& tag, const std::string& scratch,
                  const std::string& into, Instant deadline) {
  if (layout_dir.contains(':')) {
    return fail(
        ErrorCode::kInvalid,
        std::format("image layout '{}': umoci cannot name a path with ':'; move it", layout_dir));
  }
  const std::string what = std::format("unpack '{}:{}'", layout_dir, tag);
  PERDURE_TRY(run({"umoci", "--log=warn", "unpack", "--image", layout_dir + ":" + tag, scratch},
                  what, deadline));
  const std::string unpacked = scratch + "/rootfs";
  if (::rename(unpacked.c_str(), into.c_str()) != 0) {
    return fail_errno(std::format("rename '{}' to '{}'", unpacked, into));
  }
  return io::remove_tree(scratch);
}

}  // namespace perdure::image
