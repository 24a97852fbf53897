#include <algorithm>
#include <cstdlib>

#include "cli/commands.h"
#include "cli/compose_host.h"
#include "cli/host_check.h"
#include "cli/installed_program.h"
#include "cli/lab_program.h"

int main(int argc, char** argv) {
  using namespace perdure;
  const std::vector<std::string> arguments(argv + std::min(argc, 1), argv + argc);
  const auto terminal = cli::make_process_terminal();
  const SystemClock clock;
  const cli::HostServices host{
      .check_host = cli::check_host,
      .become_lab = cli::become_lab,
      .build_image = [](const image::Recipe& recipe, image::BuildOptions options) {
        if (const char* cache = std::getenv("PERDURE_CACHE"); cache != nullptr && *cache != '\0') options.cache_dir = cache;
        options.agent_program = cli::installed_program("perdure-agent", "/src/agent/perdure-agent");
        return image::build_image(recipe, options);
      },
      .compose = cli::compose_options()};
  return static_cast<int>(
      cli::run_program(arguments, *terminal, clock, cli::make_socket_connector, host));
}
