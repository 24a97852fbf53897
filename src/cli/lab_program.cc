#include "cli/lab_program.h"

#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <format>

#include "cli/installed_program.h"

namespace perdure::cli {

Failure become_lab(const std::vector<std::string>& arguments) {
  const std::string own = own_path();
  const std::string program = lab_program();
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
