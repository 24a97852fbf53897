#include "node/cluster/peer_protocol.h"

#include <algorithm>
#include <format>

namespace perdure::node {
namespace {

// Somebody else's words, on their way to a log.
constexpr std::size_t kMaxVersionText = 40;

std::string words(const ProtocolEnd& end) {
  const auto& [oldest, newest] = end.protocols;
  const std::string numbers = oldest == newest ? std::format("{}", oldest) : std::format("{} to {}", oldest, newest);
  return std::format("{} (perdure {})", numbers, end.version.empty() ? "?" : end.version.substr(0, kMaxVersionText));
}

}  // namespace

ProtocolRange protocols_of(const peer::v1::Hello& hello) {
  return {.oldest = hello.protocol(), .newest = std::max(hello.protocol(), hello.newest_protocol())};
}

Result<std::uint32_t> agree(const ProtocolEnd& here, const ProtocolEnd& there) {
  const std::uint32_t newest = std::min(here.protocols.newest, there.protocols.newest);
  if (newest >= std::max(here.protocols.oldest, there.protocols.oldest)) return newest;
  const bool is_older = here.protocols.newest < there.protocols.newest;
  return fail(ErrorCode::kUnsupported,
              std::format("it speaks versions {} of the protocol between nodes, this node {}: update perdure on {}, to a version whose "
                          "protocol both speak if that is more than one step",
                          words(there), words(here), is_older ? "this node" : "that node"));
}

}  // namespace perdure::node
