// Configurations lie in the container's files, where the container itself can change them.
#include <cstdint>
#include <cstdlib>

#include "agent/configuration.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace perdure::agent;
  const auto parsed = parse_configuration({reinterpret_cast<const char*>(data), size});
  if (!parsed.value) return parsed.error.empty() ? std::abort(), 0 : 0;
  const auto again = parse_configuration(to_text(*parsed.value));
  if (again.value != parsed.value) std::abort();
  return 0;
}
