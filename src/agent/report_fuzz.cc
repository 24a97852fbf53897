// Reports come from inside a container.
#include <cstdint>
#include <cstdlib>

#include "agent/report.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace perdure::agent;
  const auto parsed = parse_report({reinterpret_cast<const char*>(data), size});
  if (!parsed.value) return parsed.error.empty() ? std::abort(), 0 : 0;
  const auto again = parse_report(to_text(*parsed.value));
  if (again.value != parsed.value) std::abort();
  return 0;
}
