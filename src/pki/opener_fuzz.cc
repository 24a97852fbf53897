// Fuzzes the three ways of opening over hostile bytes. They must agree: all open it to the same content, or none does.
// Each input is tried as it is, with a header that fits, and as a content that is sealed, spoilt at a place it names,
// and refused.
#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>

#include "base/assert.h"
#include "pki/crypto.h"
#include "pki/sealing.h"

namespace {

using namespace perdure;
using namespace perdure::pki;

constexpr std::size_t kMaxInputBytes = std::size_t{64} << 10;

const KeyRing& ring() {
  static const KeyRing keys = [] {
    SealingKey key;
    key.id = 1;
    key.key.fill(std::byte{7});
    return KeyRing({key});
  }();
  return keys;
}

std::span<std::byte> writable(std::string& text) {
  return std::as_writable_bytes(std::span(text));
}

std::optional<std::string> from_memory(std::string_view sealed) {
  const auto size = content_size(sealed.size());
  if (!size) return std::nullopt;
  std::string content(*size, '\0');
  if (!open_sealed(ring(), bytes_of(sealed), writable(content))) return std::nullopt;
  return content;
}

std::optional<std::string> from_file(std::string_view sealed) {
  auto opener = Opener::begin(ring(), sealed.size(), [rest = sealed](std::span<std::byte> into) mutable -> Status {
    PERDURE_ASSERT(into.size() <= rest.size());
    std::ranges::copy(bytes_of(rest.substr(0, into.size())), into.begin());
    rest.remove_prefix(into.size());
    return {};
  });
  if (!opener) return std::nullopt;
  std::string content(opener->content_bytes(), '\0');
  const std::size_t half = content.size() / 2;
  if (!opener->read(writable(content).first(half)) || !opener->read(writable(content).subspan(half)))
    return std::nullopt;
  return content;
}

std::optional<std::string> from_stream(std::string_view sealed) {
  if (sealed.size() < kSealedHeaderBytes) return std::nullopt;
  auto opener = StreamOpener::begin(
      ring(), bytes_of(sealed).first<kSealedHeaderBytes>(),
      [rest = sealed.substr(kSealedHeaderBytes)](std::span<std::byte> into) mutable -> Result<std::size_t> {
        const std::string_view some = rest.substr(0, into.size());
        std::ranges::copy(bytes_of(some), into.begin());
        rest.remove_prefix(some.size());
        return some.size();
      });
  if (!opener) return std::nullopt;
  std::string content(sealed.size(), '\0');
  const auto got = opener->read(writable(content));
  if (!got) return std::nullopt;
  return content.substr(0, *got);
}

std::optional<std::string> open(std::string_view sealed) {
  const auto content = from_memory(sealed);
  PERDURE_ASSERT(from_file(sealed) == content);
  PERDURE_ASSERT(from_stream(sealed) == content);
  return content;
}

std::string seal(std::string_view content) {
  std::string sealed;
  auto sealer = Sealer::begin(ring().newest(), [&](std::span<const std::byte> bytes) -> Status {
    sealed.append(reinterpret_cast<const char*>(bytes.data()), bytes.size());
    return {};
  });
  PERDURE_ASSERT(sealer.has_value());
  const bool done = sealer->append(bytes_of(content)).has_value() && sealer->finish().has_value();
  PERDURE_ASSERT(done);
  return sealed;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size > kMaxInputBytes) return 0;
  const std::string_view bytes(reinterpret_cast<const char*>(data), size);
  (void)open(bytes);
  std::string sealed = seal(bytes);
  PERDURE_ASSERT(open(sealed) == bytes);
  PERDURE_ASSERT(!open(sealed.substr(0, kSealedHeaderBytes) + std::string(bytes)).has_value());
  if (size >= 3) {
    const std::size_t at = (data[0] + 256u * data[1]) % sealed.size();
    sealed[at] = static_cast<char>(sealed[at] ^ (data[2] | 1));
    PERDURE_ASSERT(!open(sealed).has_value());
  }
  return 0;
}
