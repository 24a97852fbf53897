// Limits of the control protocol, enforced on both sides. A peer that exceeds one gets Error
// INVALID if it can be told, and its connection is closed.
#pragma once

#include <cstddef>

namespace perdure::control {

// A specification is text that people write: the largest in practice are some tens of kB. The same
// as the reader's limit (model/spec_yaml.h), so that a file that is refused for its size is refused
// before it is sent.
inline constexpr std::size_t kMaxSpecBytes = std::size_t{256} << 10;
// A request is a specification plus names.
inline constexpr std::size_t kMaxRequestBytes = kMaxSpecBytes + 16 * 1024;
// The largest response is a list of 1000 containers with some kB each.
inline constexpr std::size_t kMaxResponseBytes = std::size_t{16} << 20;
// Raw output per LogChunk: large enough to amortize a frame, small enough to interleave with other
// answers.
inline constexpr std::size_t kMaxLogChunkBytes = std::size_t{64} << 10;
inline constexpr std::size_t kMaxDetailLines = 100;
inline constexpr std::size_t kMaxCriuLines = 20;
inline constexpr std::size_t kMaxRecentEvents = 50;

}  // namespace perdure::control
