#include "cli/host_check.h"

#include <unistd.h>

#include <format>

#include "runtime/host_facts.h"
#include "runtime/preflight.h"

namespace perdure::cli {
namespace {

namespace v1 = control::v1;

v1::DoctorLine& add(v1::DoctorReport& report, std::string_view check, v1::CheckState state,
                    std::string found) {
  v1::DoctorLine& line = *report.add_lines();
  line.set_check(std::string(check));
  line.set_state(state);
  line.set_found(std::move(found));
  return line;
}

void add_program(v1::DoctorReport& report, std::string_view name, const runtime::Program& program) {
  if (program.path.empty()) {
    add(report, name, v1::CHECK_MISSING, "not installed")
        .set_remedy(std::format("install the package {}", name));
    return;
  }
  const std::string version =
      program.version ? runtime::to_string(*program.version) : "unknown version";
  add(report, name, v1::CHECK_OK, std::format("{} at {}", version, program.path));
}

}  // namespace

v1::DoctorReport check_host() {
  v1::DoctorReport report;
  if (::geteuid() != 0) {
    auto& line = add(report, "user", v1::CHECK_LIMITED, std::format("uid {}", ::geteuid()));
    line.set_follows("what only root may see was not checked");
    line.set_remedy("run 'perdure doctor' as root");
  }
  const auto facts = runtime::read_host_facts({});
  if (!facts) {
    add(report, "host", v1::CHECK_MISSING, facts.error().message());
    return report;
  }
  add(report, "kernel", v1::CHECK_OK,
      std::format("{} ({})", facts->kernel_release, facts->machine));
  add_program(report, "criu", facts->criu);
  add_program(report, "runc", facts->runc);
  for (const runtime::Finding& finding : runtime::check_host(*facts)) {
    const bool refusal = finding.severity == runtime::Finding::Severity::kRefusal;
    add(report, "host", refusal ? v1::CHECK_MISSING : v1::CHECK_LIMITED, finding.what)
        .set_remedy(finding.remedy);
  }
  return report;
}

}  // namespace perdure::cli
