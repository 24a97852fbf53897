// Any bytes as a Compose file and those beside it: read_application_compose() ends, what it accepts is an application that its own YAML
// says again, and every complaint has its place. A line "=== NAME" begins the file of that name.
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <map>
#include <string>
#include <string_view>

#include "base/assert.h"
#include "model/application/application_compose.h"
#include "model/application/application_yaml.h"

namespace {

std::map<std::string, std::string> files_in(std::string_view text) {
  std::map<std::string, std::string> files;
  std::string name = "/p/compose.yaml";
  while (!text.empty()) {
    const std::string_view line = text.substr(0, text.find('\n'));
    text.remove_prefix(line.size() < text.size() ? line.size() + 1 : line.size());
    if (line.starts_with("=== ")) {
      name = "/p/" + std::string(line.substr(4));
    } else {
      files[name] += std::string(line) + "\n";
    }
  }
  return files;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace perdure;
  const auto files = files_in({reinterpret_cast<const char*>(data), size});
  model::ComposeOptions options{.environment = {{"SET", "value"}}};
  options.read_text = [&](const std::string& path, std::size_t max_bytes) -> Result<std::string> {
    const auto found = files.find(path);
    if (found == files.end()) return fail(ErrorCode::kNotFound, "there is no such file");
    if (found->second.size() > max_bytes) return fail(ErrorCode::kInvalid, "is too long");
    return found->second;
  };
  options.find_image = [](const model::OciRoot&) -> Result<model::ComposeImage> { return model::ComposeImage{.command = {"run"}}; };
  const auto found = files.find("/p/compose.yaml");
  const auto read = model::read_application_compose(found == files.end() ? "" : found->second, "fuzz", "/p", options);
  if (!read) {
    PERDURE_ASSERT(read.error().message().starts_with("fuzz:") || read.error().message().starts_with("/"));
    return 0;
  }
  const auto again = model::read_application(model::to_yaml(read->application), "canonical");
  if (!again) std::fprintf(stderr, "%s\n", again.error().message().c_str());
  PERDURE_ASSERT(again.has_value() && *again == read->application);
  return 0;
}
