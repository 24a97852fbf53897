#include "node/kept_capsules.h"

#include <filesystem>
#include <format>
#include <system_error>

#include "base/log.h"
#include "io/atomic_file.h"
#include "replica/directory_store.h"

namespace perdure::node {

Status set_aside(const std::string& directory, WallTime now) {
  std::error_code error;
  if (!std::filesystem::exists(directory, error)) return {};
  const std::string stem = std::format("{}.before-{:%Y%m%dT%H%M%SZ}", directory, std::chrono::floor<std::chrono::seconds>(now));
  std::string aside = stem;
  for (int n = 2; std::filesystem::exists(aside, error); ++n) aside = std::format("{}-{}", stem, n);
  std::filesystem::rename(directory, aside, error);
  if (error) return fail(ErrorCode::kIo, std::format("put '{}' aside as '{}': {}", directory, aside, error.message()));
  log::info("generations that were kept in '{}' are in '{}' now: there is a new container of that name", directory, aside);
  return io::sync_directory(std::filesystem::path(directory).parent_path());
}

Status set_aside_before(const std::string& directory, Term first, WallTime now) {
  std::error_code error;
  bool any = false;
  std::filesystem::directory_iterator entries(directory, error);
  if (error == std::errc::no_such_file_or_directory) return {};
  for (; !error && entries != std::filesystem::directory_iterator(); entries.increment(error)) {
    const auto generation = replica::generation_of_file(entries->path().filename().string());
    if (!generation) continue;
    if (generation->term >= first) return {};
    any = true;
  }
  if (error) return fail(ErrorCode::kIo, std::format("read '{}': {}", directory, error.message()));
  return any ? set_aside(directory, now) : Status{};
}

}  // namespace perdure::node
