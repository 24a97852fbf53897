// The keys of docs/cluster.md, and back.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "base/ids.h"
#include "base/result.h"
#include "model/address.h"

namespace perdure::coord {

inline constexpr std::string_view kRootPrefix = "/perdure/1/";
inline constexpr std::string_view kClusterKey = "/perdure/1/cluster";
inline constexpr std::string_view kNodesPrefix = "/perdure/1/nodes/";
inline constexpr std::string_view kContainersPrefix = "/perdure/1/containers/";
inline constexpr std::string_view kSpecsPrefix = "/perdure/1/specs/";
inline constexpr std::string_view kAddressesPrefix = "/perdure/1/addresses/";
inline constexpr std::string_view kTokensPrefix = "/perdure/1/tokens/";
inline constexpr std::string_view kRevokedPrefix = "/perdure/1/revoked/";

inline std::string node_key(const NodeName& node) { return std::string(kNodesPrefix) + node.str(); }
inline std::string record_key(const ContainerName& name) { return std::string(kContainersPrefix) + name.str(); }
inline std::string spec_key(const ContainerName& name) { return std::string(kSpecsPrefix) + name.str(); }
std::string address_key(const model::IpAddress& address);
inline std::string revocation_key(const NodeName& node) { return std::string(kRevokedPrefix) + node.str(); }
// kInvalid: not the id of a token (1 to 64 of a-z, 0-9).
Result<std::string> token_key(std::string_view id);

enum class KeyKind { kCluster, kNode, kRecord, kSpec, kAddress, kToken, kRevocation, kOther };
struct ParsedKey {
  KeyKind kind = KeyKind::kOther;  // of a newer version, or not ours
  std::string_view rest;           // NAME, ADDRESS, ID; a view into the key
};
ParsedKey parse_key(std::string_view key);

}  // namespace perdure::coord
