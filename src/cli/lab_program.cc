#include "cli/lab_program.h"

#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <format>
#include <system_error>

namespace perdure::cli {
namespace {

constexpr std::string_view kProgram = "perdure-lab";
constexpr std::string_view kPlaceInBuild = "/src/cli/perdure";  // in TREE/build/PRESET

std::string own_path() {
  std::error_code error;
  return std::filesystem::read_symlink("/proc/self/exe", error).string();
}

std::string program_path(const std::string& own) {
  if (const char* directory = std::getenv("PERDURE_LIBEXEC"); directory != nullptr && *directory != '\0') {
    return std::format("{}/{}", directory, kProgram);
  }
  if (own.ends_with(kPlaceInBuild)) {
    const std::filesystem::path build = own.substr(0, own.size() - kPlaceInBuild.size());
    const std::string in_tree = build.parent_path().parent_path() / "lab" / kProgram;
    if (::access(in_tree.c_str(), X_OK) == 0) return in_tree;
  }
  return std::format("{}/{}", PERDURE_LIBEXEC_DIR, kProgram);
}

}  // namespace

Failure become_lab(const std::vector<std::string>& arguments) {
  const std::string own = own_path();
  const std::string program = program_path(own);
  std::vector<std::string> all{program};
  if (!own.empty()) all.insert(all.end(), {"--perdure", own});
  all.insert(all.end(), arguments.begin(), arguments.end());
  std::vector<char*> pointers;
  for (std::string& argument : all) pointers.push_back(argument.data());
  pointers.push_back(nullptr);
  ::execv(program.c_str(), pointers.data());
  return Failure{.message = std::format("start '{}': {}", program, std::strerror(errno)),
                 .remedy = "install perdure with its lab, and python3; PERDURE_LIBEXEC names another directory"};
}

}  // namespace perdure::cli
