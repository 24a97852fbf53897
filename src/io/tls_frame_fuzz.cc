// Fuzzes the reader of frames: the first byte says how the rest is cut. What is read is written again, and has to be
// what was read.
#include <algorithm>
#include <cstdint>
#include <cstring>
#include <memory>
#include <span>
#include <string>

#include "base/assert.h"
#include "io/tls_frame.h"

namespace {

using namespace perdure;
using namespace perdure::io;

constexpr std::size_t kMaxInputBytes = std::size_t{1} << 20;
constexpr std::size_t kMaxMessageBytes = 4096;
constexpr std::uint64_t kMaxBodyBytes = 65536;

// False: a receiver would close the connection here.
bool proceed(TlsFrameReader& reader, Result<TlsFrameReader::Step> step, TlsFrameWriter& again) {
  if (step && *step == TlsFrameReader::Step::kBody) {
    if (reader.body_bytes() > kMaxBodyBytes) return false;
    auto memory = std::make_shared<std::string>(static_cast<std::size_t>(reader.body_bytes()), '\0');
    step = reader.accept({std::as_writable_bytes(std::span(*memory)), memory});
    PERDURE_ASSERT(step.has_value());
  }
  if (!step) return false;
  PERDURE_ASSERT(*step != TlsFrameReader::Step::kBody);
  if (*step == TlsFrameReader::Step::kFrame) {
    TlsFrameReader::Frame frame = reader.take();
    PERDURE_ASSERT(frame.message.size() <= kMaxMessageBytes && !reader.within_frame());
    again.push(std::move(frame.message), {{frame.body.target}, {frame.body.owner}});
  }
  return true;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0 || size > kMaxInputBytes) return 0;
  const std::size_t cut = std::size_t{data[0]} + 1;
  const std::span<const std::byte> input = std::as_bytes(std::span(data, size)).subspan(1);
  TlsFrameReader reader(kMaxMessageBytes);
  TlsFrameWriter again;
  std::size_t at = 0;
  bool open = true;
  while (open && at < input.size()) {
    const std::span<std::byte> space = reader.space();
    PERDURE_ASSERT(!space.empty() && space.size() <= kMaxBodyBytes);
    const std::size_t bytes = std::min({cut, space.size(), input.size() - at});
    std::memcpy(space.data(), input.data() + at, bytes);
    at += bytes;
    open = proceed(reader, reader.filled(bytes), again);
  }
  PERDURE_ASSERT(reader.total_bytes() == at);
  std::size_t compared = 0;
  while (!again.empty()) {
    const std::span<const std::byte> next = again.next();
    PERDURE_ASSERT(!next.empty() && next.size() <= kTlsRecordBytes && compared + next.size() <= at);
    PERDURE_ASSERT(std::memcmp(next.data(), input.data() + compared, next.size()) == 0);
    compared += next.size();
    again.sent();
  }
  if (open) PERDURE_ASSERT(compared + reader.frame_bytes_done() == at);
  return 0;
}
