#include "node/policy_terms.h"

namespace perdure::node {

policy::FailureClass class_of(const Error& error) {
  switch (error.code()) {
    case ErrorCode::kUnsupported:
    case ErrorCode::kInvalid:
    case ErrorCode::kConflict:
    case ErrorCode::kPermission:
    case ErrorCode::kNotFound: return policy::FailureClass::kPermanent;
    default: return policy::FailureClass::kTransient;
  }
}

std::string remedy_of(const Error& error) {
  switch (error.code()) {
    case ErrorCode::kUnsupported:
      return "see what CRIU says above; 'perdure doctor' tells what this host can do";
    case ErrorCode::kNoSpace: return "free space below the state directory, or keep fewer generations";
    case ErrorCode::kTimeout: return "raise checkpoint.dump-deadline, or look for processes in uninterruptible sleep";
    default: return {};
  }
}

policy::RestoreFailure failure_of(const Error& error) {
  switch (error.code()) {
    case ErrorCode::kCorrupt: return policy::RestoreFailure::kCorrupt;
    case ErrorCode::kNotFound: return policy::RestoreFailure::kMissingFiles;
    case ErrorCode::kNoSpace:
    case ErrorCode::kTransient:
    case ErrorCode::kTimeout: return policy::RestoreFailure::kHost;
    default: return policy::RestoreFailure::kCriu;
  }
}

policy::RestoreFailure loading_failure(const Error& error) {
  switch (error.code()) {
    case ErrorCode::kCorrupt: return policy::RestoreFailure::kCorrupt;
    case ErrorCode::kNotFound: return policy::RestoreFailure::kMissingFiles;
    default: return policy::RestoreFailure::kHost;
  }
}

policy::ExitStatus to_policy(const runtime::ProcessEnd& end) {
  if (!end.status) return {};
  return end.status->signal_number != 0 ? policy::ExitStatus::signalled(end.status->signal_number)
                                        : policy::ExitStatus::exited(end.status->code);
}

std::optional<int> shell_status(const runtime::ProcessEnd& end) {
  if (!end.status) return std::nullopt;
  constexpr int kSignalBase = 128;
  return end.status->signal_number != 0 ? kSignalBase + end.status->signal_number : end.status->code;
}

control::v1::Severity to_proto(policy::Severity severity) {
  switch (severity) {
    case policy::Severity::kInfo: return control::v1::SEVERITY_INFO;
    case policy::Severity::kWarning: return control::v1::SEVERITY_WARNING;
    case policy::Severity::kError: return control::v1::SEVERITY_ERROR;
  }
  return control::v1::SEVERITY_UNSPECIFIED;
}

control::v1::Event event_of(const ContainerName& container, const policy::Emit& told) {
  control::v1::Event event;
  event.set_severity(to_proto(told.severity));
  event.set_container(container.str());
  event.set_kind(told.kind);
  event.set_text(told.text);
  event.set_reason(told.reason);
  return event;
}

}  // namespace perdure::node
