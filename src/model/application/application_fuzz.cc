// Any bytes: read_application() ends, and what it accepts is what it reads again from its own text.
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <string_view>

#include "base/assert.h"
#include "model/application/application_yaml.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace perdure::model;
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  const auto application = read_application(text, "fuzz", "/base");
  if (!application) {
    PERDURE_ASSERT(application.error().message().starts_with("fuzz:"));
    return 0;
  }
  const auto again = read_application(to_yaml(*application), "canonical");
  if (!again) std::fprintf(stderr, "%s\n", again.error().message().c_str());
  PERDURE_ASSERT(again.has_value() && *again == *application);
  return 0;
}
