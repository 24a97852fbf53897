// Fuzzes the reader of key rings. The digest would stop nearly every input at the door, so each is tried twice: as it
// is, and with a digest line that fits. What is taken comes back the same.
#include <cstddef>
#include <cstdint>
#include <string>

#include "base/assert.h"
#include "pki/crypto.h"
#include "pki/key_ring.h"

namespace {

void try_reading(const std::string& text) {
  const auto ring = perdure::pki::KeyRing::from_text(text);
  if (ring) PERDURE_ASSERT(ring->to_text() == text);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string text(reinterpret_cast<const char*>(data), size);
  try_reading(text);
  const std::size_t last = text.rfind("sha256 ");
  const std::string covered = text.substr(0, last);
  try_reading(covered + "sha256 " + perdure::pki::to_hex(perdure::pki::sha256(perdure::pki::bytes_of(covered))) + "\n");
  return 0;
}
