#include "cli/installed_program.h"

#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <format>
#include <optional>
#include <system_error>

namespace perdure::cli {
namespace {

constexpr std::string_view kOwnPlace = "/src/cli/perdure";  // in TREE/build/PRESET

std::optional<std::string> from_environment(std::string_view name) {
  const char* directory = std::getenv("PERDURE_LIBEXEC");
  if (directory == nullptr || *directory == '\0') return std::nullopt;
  return std::format("{}/{}", directory, name);
}

// TREE/build/PRESET; empty: this program is installed.
std::string own_build() {
  const std::string own = own_path();
  return own.ends_with(kOwnPlace) ? own.substr(0, own.size() - kOwnPlace.size()) : std::string();
}

std::string installed(std::string_view name) { return std::format("{}/{}", PERDURE_LIBEXEC_DIR, name); }

bool is_program(const std::string& path) { return ::access(path.c_str(), X_OK) == 0; }

}  // namespace

std::string own_path() {
  std::error_code error;
  return std::filesystem::read_symlink("/proc/self/exe", error).string();
}

std::string installed_program(std::string_view name, std::string_view place_in_build) {
  if (auto named = from_environment(name)) return *std::move(named);
  const std::string in_build = own_build() + std::string(place_in_build);
  return !own_build().empty() && is_program(in_build) ? in_build : installed(name);
}

std::string lab_program() {
  constexpr std::string_view kName = "perdure-lab";
  if (auto named = from_environment(kName)) return *std::move(named);
  const std::filesystem::path build = own_build();
  const std::string in_tree = build.parent_path().parent_path() / "lab" / kName;
  return !build.empty() && is_program(in_tree) ? in_tree : installed(kName);
}

}  // namespace perdure::cli
