#include "base/assert.h"

#include <cstdlib>

#include "base/log.h"

namespace perdure {

void assertion_failed(const char* expression, const char* file, int line) {
  log::error("assertion failed: {} at {}:{}; this is a bug in perdure", expression, file, line);
  std::abort();
}

}  // namespace perdure
