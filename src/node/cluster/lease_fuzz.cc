// Fuzzes what a node reads of another's opened datagram. What is accepted is written again and read as the same.
#include <google/protobuf/stubs/logging.h>

#include <cstdint>
#include <string>
#include <type_traits>
#include <variant>

#include "base/assert.h"
#include "node/cluster/lease_codec.h"

namespace {

using namespace perdure;

const NodeName& peer() {
  static const NodeName name = NodeName::parse("peer").value();
  return name;
}

// Several datagrams are possible: what others have sent may use the bytes that a grant's header is given here.
void write_again(const auto& value) {
  auto sum = value;
  sum.rows.clear();
  for (const std::string& content : node::to_datagrams(value)) {
    PERDURE_ASSERT(content.size() <= node::kMaxLeaseContentBytes);
    const auto again = node::lease_message_from(std::as_bytes(std::span(content)), peer());
    PERDURE_ASSERT(again.has_value());
    auto part = std::get<std::remove_cvref_t<decltype(value)>>(*again);
    sum.rows.insert(sum.rows.end(), part.rows.begin(), part.rows.end());
  }
  PERDURE_ASSERT(sum == value);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  // It says on standard error what is no UTF-8.
  static const auto quiet = google::protobuf::SetLogHandler(nullptr);
  (void)quiet;
  const auto message = node::lease_message_from(std::as_bytes(std::span(data, size)), peer());
  if (message) std::visit([](const auto& value) { write_again(value); }, *message);
  return 0;
}
