// What the commands do, over the seams: terminal, connector, clock, host check.
#pragma once

#include <functional>

#include "base/clock.h"
#include "cli/exit_code.h"
#include "cli/invocation.h"
#include "cli/terminal.h"
#include "cli/transport.h"

namespace perdure::cli {

struct Services {
  Terminal& terminal;
  Connector& connector;
  const Clock& clock;
  // What `doctor` can find out when perdured does not run.
  std::function<control::v1::DoctorReport()> check_host;
  // Becomes the program of the lab, with these arguments; returns only why it cannot.
  std::function<Failure(const std::vector<std::string>& arguments)> become_lab;
};

// Runs the command to its end; says on the terminal what came of it, also when it failed.
ExitCode run_command(const Invocation& invocation, Services& services);

// The whole program behind main(): parses, then help, usage errors or run_command.
// `connector_for` gets the socket's path from --socket, or PERDURE_SOCKET, or the default.
ExitCode run_program(const std::vector<std::string>& arguments, Terminal& terminal,
                     const Clock& clock,
                     const std::function<std::unique_ptr<Connector>(std::string)>& connector_for,
                     const std::function<control::v1::DoctorReport()>& check_host,
                     const std::function<Failure(const std::vector<std::string>&)>& become_lab);

}  // namespace perdure::cli
