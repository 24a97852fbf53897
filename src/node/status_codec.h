// What the daemon knows, as the messages of control.proto. Only reads; loop thread only.
#pragma once

#include <string_view>
#include <vector>

#include "base/clock.h"
#include "base/result.h"
#include "control.pb.h"
#include "node/container_service.h"
#include "node/node.h"

namespace perdure::node {

control::v1::ErrorCode to_proto(ErrorCode code);
// `remedy` where the message does not say already what to do.
control::v1::Error to_proto(const Error& error, std::string_view remedy = {});

// For a container whose recovery or start was given up: "container 'web' WHAT: why".
control::v1::Error given_up(const ContainerService& service, std::string_view what);

std::int64_t unix_ms(WallTime time);

control::v1::ContainerStatus status_of(const ContainerService& service, const Clock& clock);
control::v1::VersionReply daemon_version(const Node& node);
// Newest first.
std::vector<control::v1::GenerationRow> generation_rows(const ContainerService& service, const Clock& clock);
control::v1::Capture to_proto(const CaptureReport& report);
control::v1::RestoreRecord to_proto(const RestoreReport& report);

// The lines of a capture's error that CRIU wrote, at most control::kMaxCriuLines, oldest first.
std::vector<std::string> criu_lines(std::string_view error);

// A container in these phases has processes, or is about to have some.
bool is_active(policy::Phase phase);

}  // namespace perdure::node
