// Phrases that several renderers share.
#pragma once

#include <string>

#include "cli/text.h"
#include "control.pb.h"

namespace perdure::cli {

// "18.2 ms frozen, 24.1 ms in all, ...".
std::string capture_text(const control::v1::Capture& capture);
// "2026-01-31 12:00:00Z, init exited with status 1: back to 1.2f.41; noticed after 1.2 ms, ...".
std::string restore_text(const control::v1::RestoreRecord& record);
// "; noticed after 1.2 ms, running after 44 ms, ..."; empty if nothing was measured.
std::string restore_durations(const control::v1::RestoreRecord& record);

// "web is running", "web has failed".
std::string phase_phrase(const control::v1::ContainerStatus& status);

// The protection of a container that has just begun to run, as a sentence or as a warning with its
// remedy.
std::string protection_phrase(const control::v1::ContainerStatus& status, const Style& style);

}  // namespace perdure::cli
