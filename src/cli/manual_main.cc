// perdure_manual DIRECTORY FILE...: writes the named files of the manual. Used by the build only.
#include <cstdio>
#include <fstream>
#include <string>

#include "cli/completion.h"
#include "cli/manual.h"

namespace {

std::string content_of(const std::string& file) {
  using namespace perdure::cli;
  if (file == "perdure.1") return command_manual_roff();
  if (file == "perdure-spec.5") return spec_manual_roff();
  if (file == "perdure-application.5") return application_manual_roff();
  if (file == "perdured.8") return daemon_manual_roff();
  if (file == "cli.md") return command_manual_markdown();
  if (file == "perdure.bash") return completion_script("bash");
  if (file == "_perdure") return completion_script("zsh");
  if (file == "perdure.fish") return completion_script("fish");
  return "";
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 3) return std::fprintf(stderr, "usage: perdure_manual DIRECTORY FILE...\n"), 2;
  for (int i = 2; i < argc; ++i) {
    const std::string content = content_of(argv[i]);
    std::ofstream out(std::string(argv[1]) + "/" + argv[i], std::ios::binary);
    out << content;
    out.close();
    if (content.empty() || !out)
      return std::fprintf(stderr, "perdure_manual: cannot write %s/%s\n", argv[1], argv[i]), 1;
  }
  return 0;
}
