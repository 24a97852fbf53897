// What people see: messages of the protocol as text. Pure; golden files in testdata/ show every
// form.
//
// All text that came from outside is cleaned (text.h). Every function returns whole lines.
#pragma once

#include <string>

#include "cli/exit_code.h"
#include "cli/text.h"
#include "control.pb.h"

namespace perdure::cli {

std::string render_list(const control::v1::ListReply& reply, const Style& style);
std::string render_inspect(const control::v1::InspectReply& reply, const Style& style);
std::string render_explain(const control::v1::ExplainReply& reply, const Style& style);
std::string render_generations(const control::v1::GenerationsReply& reply, const Style& style);
std::string render_event(const control::v1::Event& event, const Style& style);
std::string render_doctor(const control::v1::DoctorReport& report, const Style& style);
std::string render_version(std::string_view own_version, const control::v1::VersionReply* daemon,
                           const Style& style);

// Results of commands that change something.
std::string render_run(const control::v1::RunReply& reply, const Style& style);
std::string render_start(const control::v1::StartReply& reply, const Style& style);
std::string render_checkpoint(const control::v1::CheckpointReply& reply, const Style& style);
std::string render_restore(const control::v1::RestoreReply& reply, const Style& style);
std::string render_export(const control::v1::ExportReply& reply, std::string_view file,
                          const Style& style);
std::string render_import(const control::v1::ImportReply& reply, const Style& style);
std::string render_stop(const control::v1::StopReply& reply, const Style& style);
std::string render_remove(const control::v1::RemoveReply& reply, const Style& style);

// What is about to happen, for the question before it.
std::string describe_remove(const control::v1::ContainerStatus& status, bool keep_capsules,
                            const Style& style);
std::string describe_restore(const control::v1::ContainerStatus& status,
                             const control::v1::GenerationRow& target, const Style& style);

std::string render_failure(const Failure& failure, const Style& style);

}  // namespace perdure::cli
