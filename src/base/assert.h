// PERDURE_ASSERT: stays on in release builds; for our own bugs only, never for input, network or disk.
#pragma once

namespace perdure {
[[noreturn]] void assertion_failed(const char* expression, const char* file, int line);
}

#define PERDURE_ASSERT(expression) \
  (static_cast<bool>(expression) ? void(0) : ::perdure::assertion_failed(#expression, __FILE__, __LINE__))
