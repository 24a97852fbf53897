// perdure-agent CONFIGURATION
//
// The Local HA-agent of the paper (III-B): PID 1 of a container with components (docs/components.md).
#include <fcntl.h>
#include <unistd.h>

#include <string>

#include "agent/agent.h"
#include "agent/configuration.h"
#include "agent/descriptor.h"
#include "agent/report.h"

namespace {

int refuse(const std::string& why) {
  const std::string text = "perdure-agent: " + why + "\n";
  (void)!::write(STDERR_FILENO, text.data(), text.size());
  return perdure::agent::kExitConfiguration;
}

bool read_whole(const char* path, std::string& text) {
  const perdure::agent::Descriptor file(::open(path, O_RDONLY | O_CLOEXEC));
  if (!file) return false;
  char buffer[16384];
  for (;;) {
    const ssize_t got = ::read(file.get(), buffer, sizeof buffer);
    if (got <= 0) return got == 0;
    text.append(buffer, static_cast<std::size_t>(got));
    if (text.size() > perdure::agent::kMaxConfigurationBytes) return false;
  }
}

}  // namespace

int main(int count, char** arguments) {
  if (count != 2) return refuse("usage: perdure-agent CONFIGURATION; perdured starts it in a container");
  std::string text;
  if (!read_whole(arguments[1], text)) return refuse(std::string("cannot read '") + arguments[1] + "'");
  const auto configuration = perdure::agent::parse_configuration(text);
  if (!configuration.value) return refuse(std::string("'") + arguments[1] + "': " + configuration.error);
  text.clear();
  text.shrink_to_fit();
  return perdure::agent::run(*configuration.value);
}
