// What errors and ends of processes are in the words of the policy.
#pragma once

#include <optional>
#include <string>

#include "base/ids.h"
#include "base/result.h"
#include "control.pb.h"
#include "policy/container_events.h"
#include "runtime/process_watch.h"

namespace perdure::node {

policy::FailureClass class_of(const Error& error);
policy::RestoreFailure failure_of(const Error& error);
// What the operator can do about a capture that failed; may be empty.
std::string remedy_of(const Error& error);

// Of a store: only what it says of the capsule itself speaks of the generation.
policy::RestoreFailure loading_failure(const Error& error);
policy::ExitStatus to_policy(const runtime::ProcessEnd& end);
// As shells count: the code, or 128 + signal. Empty: nobody could tell.
std::optional<int> shell_status(const runtime::ProcessEnd& end);

control::v1::Severity to_proto(policy::Severity severity);
control::v1::Event event_of(const ContainerName& container, const policy::Emit& told);

}  // namespace perdure::node
