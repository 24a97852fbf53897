#include "cli/output_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <format>
#include <span>
#include <utility>

#include "base/fd.h"

namespace perdure::cli {
namespace {

// Removes what has not got its name.
class Partial {
 public:
  explicit Partial(std::string path) : path_(std::move(path)) {}
  Partial(const Partial&) = delete;
  Partial& operator=(const Partial&) = delete;
  ~Partial() { ::unlink(path_.c_str()); }
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

}  // namespace

Status write_output_file(const std::string& path, std::string_view text, Existing existing) {
  const std::string name = std::format("{}.partial-{}", path, ::getpid());
  PERDURE_ASSIGN(const UniqueFd fd, open_file(name, O_WRONLY | O_CREAT | O_EXCL, 0666));
  const Partial partial(name);
  PERDURE_TRY(write_all(fd.get(), std::as_bytes(std::span(text)), std::format("'{}'", path)));
  if (::fsync(fd.get()) != 0) return fail_errno(std::format("sync '{}'", path));
  if (existing == Existing::kReplace) {
    if (::rename(partial.path().c_str(), path.c_str()) != 0) return fail_errno(std::format("name '{}'", path));
    return {};
  }
  // link() refuses to replace a file, as rename() would not.
  if (::link(partial.path().c_str(), path.c_str()) == 0) return {};
  if (errno != EEXIST) return fail_errno(std::format("name '{}'", path));
  return fail(ErrorCode::kExists, std::format("'{}' exists already; name another file, or replace it with --force", path));
}

}  // namespace perdure::cli
