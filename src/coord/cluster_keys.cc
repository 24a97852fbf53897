#include "coord/cluster_keys.h"

#include <algorithm>
#include <array>
#include <format>
#include <utility>

namespace perdure::coord {
namespace {

constexpr std::size_t kMaxTokenId = 64;
constexpr std::array<std::pair<std::string_view, KeyKind>, 6> kPrefixes{{{kNodesPrefix, KeyKind::kNode},
                                                                         {kContainersPrefix, KeyKind::kRecord},
                                                                         {kSpecsPrefix, KeyKind::kSpec},
                                                                         {kAddressesPrefix, KeyKind::kAddress},
                                                                         {kTokensPrefix, KeyKind::kToken},
                                                                         {kRevokedPrefix, KeyKind::kRevocation}}};

}  // namespace

std::string address_key(const model::IpAddress& address) {
  return std::string(kAddressesPrefix) + model::to_string(address);
}

Result<std::string> token_key(std::string_view id) {
  const bool good = !id.empty() && id.size() <= kMaxTokenId && std::ranges::all_of(id, [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');
  });
  if (good) return std::string(kTokensPrefix) + std::string(id);
  return fail(ErrorCode::kInvalid,
              std::format("id of a token: 1 to {} characters of a-z and 0-9 are expected", kMaxTokenId));
}

ParsedKey parse_key(std::string_view key) {
  if (key == kClusterKey) return {KeyKind::kCluster, {}};
  for (const auto& [prefix, kind] : kPrefixes) {
    if (key.starts_with(prefix)) return {kind, key.substr(prefix.size())};
  }
  return {KeyKind::kOther, key};
}

}  // namespace perdure::coord
