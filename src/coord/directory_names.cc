#include "coord/directory_names.h"

#include <algorithm>
#include <filesystem>
#include <format>
#include <functional>

namespace perdure::coord {

Result<std::vector<std::string>> names_in(const std::string& directory, std::string_view prefix) {
  std::vector<std::string> names;
  std::error_code error;
  std::filesystem::directory_iterator at(directory, error);
  if (error == std::errc::no_such_file_or_directory) return names;
  for (; !error && at != std::filesystem::directory_iterator(); at.increment(error)) {
    std::string name = at->path().filename().string();
    if (name.starts_with(prefix)) names.push_back(std::move(name));
  }
  if (error) return fail(Error::from_errno(std::format("read directory '{}'", directory), error.value()));
  std::ranges::sort(names, std::greater());
  return names;
}

}  // namespace perdure::coord
