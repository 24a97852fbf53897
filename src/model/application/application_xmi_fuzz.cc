// Any bytes: read_application_xmi() ends, and what it accepts is what it reads again from its own text, in XMI and in YAML.
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <string_view>

#include "base/assert.h"
#include "model/application/application_xmi.h"
#include "model/application/application_yaml.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace perdure::model;
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  const auto application = read_application_xmi(text, "fuzz", "/base");
  if (!application) {
    PERDURE_ASSERT(application.error().message().starts_with("fuzz:"));
    return 0;
  }
  const auto again = read_application_xmi(to_xmi(*application), "canonical");
  if (!again) std::fprintf(stderr, "%s\n", again.error().message().c_str());
  PERDURE_ASSERT(again.has_value() && *again == *application);
  const std::string yaml = to_yaml(*application);
  if (yaml.size() > kMaxApplicationBytes) return 0;
  const auto written = read_application(yaml, "canonical");
  if (!written) std::fprintf(stderr, "%s\n", written.error().message().c_str());
  PERDURE_ASSERT(written.has_value() && *written == *application);
  return 0;
}
