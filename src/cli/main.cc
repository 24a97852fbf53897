#include <algorithm>

#include "cli/commands.h"
#include "cli/host_check.h"
#include "cli/lab_program.h"

int main(int argc, char** argv) {
  using namespace perdure;
  const std::vector<std::string> arguments(argv + std::min(argc, 1), argv + argc);
  const auto terminal = cli::make_process_terminal();
  const SystemClock clock;
  return static_cast<int>(
      cli::run_program(arguments, *terminal, clock, cli::make_socket_connector, cli::check_host, cli::become_lab));
}
