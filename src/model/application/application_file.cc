#include "model/application/application_file.h"

#include <algorithm>
#include <array>
#include <utility>

#include "base/fd.h"
#include "model/application/application_xmi.h"
#include "model/application/application_yaml.h"
#include "model/value_codec.h"

namespace perdure::model {
namespace {

// One line for each form. The first that recognises a text is its form; the last recognises every one.
struct Form {
  ApplicationForm form;
  std::string_view word;
  bool (*recognises)(std::string_view text, std::string_view file_name);
  Result<ReadApplication> (*read)(std::string_view text, std::string_view file_name, std::string_view base_directory,
                                  const ComposeOptions& options);
  std::size_t max_bytes;
};

template <Result<Application> (*kRead)(std::string_view, std::string_view, std::string_view)>
Result<ReadApplication> read_plain(std::string_view text, std::string_view file_name, std::string_view base_directory, const ComposeOptions&) {
  PERDURE_ASSIGN(Application application, kRead(text, file_name, base_directory));
  return ReadApplication{.application = std::move(application)};
}

Result<ReadApplication> read_compose(std::string_view text, std::string_view file_name, std::string_view base_directory,
                                     const ComposeOptions& options) {
  PERDURE_ASSIGN(ComposeResult read, read_application_compose(text, file_name, base_directory, options));
  return ReadApplication{std::move(read.application), std::move(read.notes)};
}

// No map of keys begins with '<'.
bool is_uml(std::string_view text, std::string_view file_name) {
  if (file_name.ends_with(".uml") || file_name.ends_with(".xmi")) return true;
  if (text.starts_with("\xef\xbb\xbf")) text.remove_prefix(3);
  const auto begin = text.find_first_not_of(" \t\r\n");
  return begin != std::string_view::npos && text[begin] == '<' && !text.substr(begin).starts_with("<<");
}

constexpr std::array<Form, 3> kForms = {{
    {ApplicationForm::kXmi, "xmi", is_uml, read_plain<read_application_xmi>, kMaxXmiBytes},
    {ApplicationForm::kCompose, "compose", is_compose_file, read_compose, kMaxApplicationBytes},
    {ApplicationForm::kYaml, "yaml", [](std::string_view, std::string_view) { return true; }, read_plain<read_application>,
     kMaxApplicationBytes},
}};

}  // namespace

std::optional<ApplicationForm> find_application_form(std::string_view word) {
  const auto found = std::ranges::find(kForms, word, &Form::word);
  return found == kForms.end() ? std::nullopt : std::optional(found->form);
}

ApplicationForm form_of_application(std::string_view text, std::string_view file_name) {
  return std::ranges::find_if(kForms, [&](const Form& form) { return form.recognises(text, file_name); })->form;
}

Result<ReadApplication> read_application_form(ApplicationForm form, std::string_view text, std::string_view file_name,
                                              std::string_view base_directory, const ComposeOptions& options) {
  return std::ranges::find(kForms, form, &Form::form)->read(text, file_name, base_directory, options);
}

Result<ReadApplication> read_any_application_file(const std::string& path, std::optional<ApplicationForm> form, const ComposeOptions& options) {
  PERDURE_ASSIGN(const std::string text, read_file(path, std::ranges::max(kForms, {}, &Form::max_bytes).max_bytes));
  PERDURE_ASSIGN(const std::string directory, directory_of(path));
  return read_application_form(form.value_or(form_of_application(text, path)), text, path, directory, options);
}

}  // namespace perdure::model
