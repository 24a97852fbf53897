// What the commands do, over the seams: terminal, connector, clock, host check.
#pragma once

#include <functional>

#include "base/clock.h"
#include "cli/exit_code.h"
#include "cli/invocation.h"
#include "cli/terminal.h"
#include "cli/transport.h"
#include "image/build_image.h"
#include "model/application/application_compose.h"

namespace perdure::cli {

// What is done on this host without perdured.
struct HostServices {
  // What `doctor` can find out when perdured does not run.
  std::function<control::v1::DoctorReport()> check_host;
  // Becomes the program of the lab, with these arguments; returns only why it cannot.
  std::function<Failure(const std::vector<std::string>& arguments)> become_lab;
  // image::build_image() with this installation's agent.
  std::function<Result<image::BuiltImage>(const image::Recipe& recipe, image::BuildOptions options)> build_image;
  // What Compose files take from this host: variables, other files, what images run.
  model::ComposeOptions compose{};
};

struct Services {
  Terminal& terminal;
  Connector& connector;
  const Clock& clock;
  const HostServices& host;
};

// Runs the command to its end; says on the terminal what came of it, also when it failed.
ExitCode run_command(const Invocation& invocation, Services& services);

// The whole program behind main(): parses, then help, usage errors or run_command.
// `connector_for` gets the socket's path from --socket, or PERDURE_SOCKET, or the default.
ExitCode run_program(const std::vector<std::string>& arguments, Terminal& terminal,
                     const Clock& clock,
                     const std::function<std::unique_ptr<Connector>(std::string)>& connector_for,
                     const HostServices& host);

}  // namespace perdure::cli
