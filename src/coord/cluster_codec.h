// The messages of proto/cluster.proto as values, and back. Pure.
//
// Readers check every bound and refuse what they do not understand where it matters (an unknown desired state or phase); kInvalid, the
// message names the field. Writers take what was stored before, so that fields of a newer version survive; empty: there was nothing.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

#include "base/result.h"
#include "coord/cluster_values.h"
#include "model/cluster.h"

namespace perdure::coord {

inline constexpr std::size_t kMaxStandbys = 8;
inline constexpr std::size_t kMaxNodeAddresses = 16;
inline constexpr std::size_t kMaxLabels = 16;
inline constexpr std::size_t kMaxCpuFeatures = 1024;
inline constexpr std::size_t kMaxShortText = 256;  // versions, digests, URLs, names of features
inline constexpr std::size_t kMaxPemBytes = std::size_t{64} << 10;
inline constexpr std::size_t kMaxPathText = 4096;
inline constexpr std::size_t kMaxSpecBytes = std::size_t{512} << 10;
inline constexpr std::size_t kMaxSerials = 64;
inline constexpr std::size_t kMaxReasonBytes = 1024;

Result<model::OwnershipRecord> decode_record(std::string_view bytes);
std::string encode_record(const model::OwnershipRecord& record, std::string_view before = {});

Result<model::NodeDescription> decode_node(std::string_view bytes);
std::string encode_node(const model::NodeDescription& node, std::string_view before = {});

Result<ClusterSettings> decode_cluster(std::string_view bytes);
std::string encode_cluster(const ClusterSettings& cluster, std::string_view before = {});

Result<std::string> decode_spec(std::string_view bytes);  // the YAML
std::string encode_spec(std::string_view yaml, std::string_view before = {});

Result<AddressClaim> decode_claim(std::string_view bytes);
std::string encode_claim(const AddressClaim& claim, std::string_view before = {});

Result<StoredToken> decode_token(std::string_view bytes);
std::string encode_token(const StoredToken& token, std::string_view before = {});

Result<Revocation> decode_revocation(std::string_view bytes);
std::string encode_revocation(const Revocation& revocation, std::string_view before = {});

}  // namespace perdure::coord
