#include "node/options.h"

#include <CLI/CLI.hpp>
#include <format>
#include <iostream>
#include <utility>

#include "base/units.h"
#include "node/usage.h"

namespace perdure::node {
namespace {

void take(const UsageOption& row, DaemonOptions& options, const std::string& value) {
  if (const Status taken = row.take(options, value); !taken) {
    throw CLI::ValidationError(std::string(row.name), taken.error().message());
  }
}

void add_option(CLI::App& app, const UsageOption& row, DaemonOptions& options) {
  const std::string names = std::format("{}{}{}", row.letter, row.letter.empty() ? "" : ",", row.name);
  switch (row.kind) {
    case UsageOption::Kind::kHelp:
      app.set_help_flag(names);
      return;
    case UsageOption::Kind::kVersion:
      app.set_version_flag(names, "perdured " PERDURE_VERSION);
      return;
    case UsageOption::Kind::kFlag:
      app.add_flag_callback(names, [row, &options] { take(row, options, ""); })->disable_flag_override();
      return;
    case UsageOption::Kind::kValue:
      app.add_option_function<std::string>(
             names, [row, &options](const std::string& value) { take(row, options, value); })
          ->type_name(std::string(row.value));  // for CLI11's messages
      return;
  }
}

// A duration, or one with a minus sign before it.
void take_offset(DaemonOptions& options, std::string_view value) {
  const bool behind = value.starts_with('-');
  const Result<Duration> offset = parse_duration(value.substr(behind ? 1 : 0));
  if (!offset) throw CLI::ValidationError("--wall-clock-offset", offset.error().message());
  options.wall_clock_offset = behind ? -*offset : *offset;
}

void add_options(CLI::App& app, DaemonOptions& options) {
  for (const UsageOption& row : option_table()) add_option(app, row, options);
  app.add_flag("--trial-process", options.trial_process);  // doctor's; see trial_checkpoint.h
  app.add_option_function<std::string>("--wall-clock-offset",  // of the tests; see options.h
                                       [&options](const std::string& value) { take_offset(options, value); });
  app.add_option_function<std::string>("--key-life", [&options](const std::string& value) {
    const Result<Duration> life = parse_duration(value);
    if (!life || *life <= Duration::zero()) throw CLI::ValidationError("--key-life", "a duration is needed, as 30d");
    options.key_life = *life;
  });
  app.formatter_fn([](const CLI::App*, const std::string&, CLI::AppFormatMode) { return help_text(); });
}

}  // namespace

ParsedOptions parse_options(int argc, char** argv) {
  ParsedOptions parsed;
  parsed.options = default_options();
  CLI::App app("", "perdured");
  try {
    add_options(app, parsed.options);
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    const int status = app.exit(error, std::cout, std::cerr);
    parsed.exit_status = std::to_underlying(status == 0 ? DaemonExit::kDone : DaemonExit::kUsage);
  }
  return parsed;
}

}  // namespace perdure::node
