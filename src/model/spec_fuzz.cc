// Any bytes: read_spec() ends, and what it accepts is what it reads again from its own canonical
// text.
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <string_view>

#include "base/assert.h"
#include "model/spec_yaml.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace perdure::model;
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  const auto spec = read_spec(text, "fuzz", "/base");
  if (!spec) {
    PERDURE_ASSERT(spec.error().message().starts_with("fuzz:"));
    return 0;
  }
  const auto again = read_spec(to_yaml(*spec), "canonical");
  if (!again) std::fprintf(stderr, "%s\n", again.error().message().c_str());
  PERDURE_ASSERT(again.has_value() && *again == *spec);
  return 0;
}
