// Fuzzes what a node reads of another's opened datagram. What is accepted is written again and read as the same.
#include <google/protobuf/stubs/logging.h>

#include <algorithm>
#include <cstdint>
#include <string>
#include <string_view>

#include "base/assert.h"
#include "node/cluster/lease_codec.h"

namespace {

using namespace perdure;
namespace lease = policy::lease;

const NodeName& peer() {
  static const NodeName name = NodeName::parse("peer").value();
  return name;
}

bool same(const std::vector<lease::Row>& a, const std::vector<lease::Row>& b) {
  return std::ranges::equal(
      a, b, [](const auto& x, const auto& y) { return x.container == y.container && x.term == y.term; });
}

bool same(const lease::Heartbeat& a, const lease::Heartbeat& b) {
  return a.from == b.from && a.sequence == b.sequence && a.grant == b.grant && same(a.rows, b.rows);
}

bool same(const lease::Grant& a, const lease::Grant& b) {
  return a.from == b.from && a.to == b.to && a.sequence == b.sequence && a.grant == b.grant && same(a.rows, b.rows);
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
  PERDURE_ASSERT(same(sum, value));
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
