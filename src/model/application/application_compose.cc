#include "model/application/application_compose.h"

#include <algorithm>
#include <format>
#include <utility>

#include "model/application/application_table.h"
#include "model/compose/compose_project.h"
#include "model/compose/compose_tree.h"
#include "model/reading.h"

namespace perdure::model {
namespace {

bool has_key_line(std::string_view text, std::string_view key) {
  for (std::size_t at = 0; at < text.size();) {
    const std::string_view line = text.substr(at, text.find('\n', at) - at);
    if (line.starts_with(key)) return true;
    at += line.size() + 1;
  }
  return false;
}

std::vector<std::string> sorted_notes(const Reading& reading, std::vector<compose::Note> notes, std::string_view file_name) {
  sort_by_place(notes);
  std::vector<std::string> lines;
  for (const compose::Note& note : notes) {
    std::string line = std::format("{}: {}", reading.where(note.position, file_name), note.message);
    if (std::ranges::find(lines, line) == lines.end()) lines.push_back(std::move(line));
  }
  return lines;
}

}  // namespace

bool is_compose_file(std::string_view text, std::string_view file_name) {
  const std::string_view name = file_name.substr(file_name.rfind('/') + 1);
  for (const char* stem : {"compose", "docker-compose"}) {
    for (const char* suffix : {".yaml", ".yml"}) {
      if (name == std::string(stem) + suffix) return true;
    }
  }
  return (has_key_line(text, "services:") || has_key_line(text, "include:")) && !has_key_line(text, "application:");
}

Result<ComposeResult> read_application_compose(std::string_view text, std::string_view file_name, std::string_view base_directory,
                                               const ComposeOptions& options) {
  Reading reading(base_directory);
  std::vector<compose::Note> notes;
  compose::Files files(reading, notes, options);
  const std::string name(file_name.substr(file_name.rfind('/') + 1));
  const auto project = files.load(std::string(base_directory) + "/" + name, text);
  if (!project) return fail(reading.error(file_name));
  const compose::Lowered lowered = compose::lower_project(reading, notes, files, options, *project);
  if (lowered.component_paths.empty()) return fail(reading.error(file_name));
  Application application = read_application_map(reading, lowered.root);
  if (!reading.good()) {
    reading.rename_paths([&](std::string message) { return compose::in_compose_words(lowered, std::move(message)); });
    return fail(reading.error(file_name));
  }
  return ComposeResult{std::move(application), sorted_notes(reading, std::move(notes), file_name)};
}

}  // namespace perdure::model
