// Fuzzes the readers of what the store holds. The first byte chooses one. What a reader accepts, the writer writes, and it is read
// again as the same.
#include <google/protobuf/stubs/logging.h>

#include <cstdint>
#include <string>
#include <string_view>

#include "base/assert.h"
#include "coord/cluster_codec.h"

namespace {

using namespace perdure::coord;

template <typename Decode, typename Encode>
void try_reading(std::string_view bytes, Decode decode, Encode encode) {
  const auto value = decode(bytes);
  if (!value) return;
  const std::string once = encode(*value, bytes);
  const auto again = decode(once);
  PERDURE_ASSERT(again.has_value());
  PERDURE_ASSERT(encode(*again, once) == once);
  PERDURE_ASSERT(decode(encode(*value, {})).has_value());
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  // It says on standard error what is no UTF-8.
  static const auto quiet = google::protobuf::SetLogHandler(nullptr);
  (void)quiet;
  if (size == 0) return 0;
  const std::string_view bytes(reinterpret_cast<const char*>(data) + 1, size - 1);
  switch (data[0] % 7) {
    case 0: try_reading(bytes, decode_record, encode_record); break;
    case 1: try_reading(bytes, decode_node, encode_node); break;
    case 2: try_reading(bytes, decode_cluster, encode_cluster); break;
    case 3: try_reading(bytes, decode_token, encode_token); break;
    case 4: try_reading(bytes, decode_revocation, encode_revocation); break;
    case 5: try_reading(bytes, decode_claim, encode_claim); break;
    default: try_reading(bytes, decode_spec, [](const std::string& value, std::string_view before) { return encode_spec(value, before); });
  }
  return 0;
}
