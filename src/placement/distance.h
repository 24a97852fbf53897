// How far apart two components may be: from the round trip that a dependency can bear (delay tolerance, paper III-A and
// III-B) to a failure domain that both have to be in. Pure.
#pragma once

#include <optional>
#include <string_view>

#include "base/clock.h"
#include "model/application/application.h"

namespace perdure::placement {

// From the narrowest to the widest.
enum class Closeness { kContainer, kHost, kRack, kDataCentre, kAnywhere };
std::string_view to_string(Closeness closeness);  // "container", "host", "rack", "data-centre", "anywhere"

// The round trip of two programs that are that close.
Duration round_trip(const model::Latencies& latencies, Closeness closeness);

// The widest whose round trip is not above the tolerance. No tolerance: anywhere. nullopt: not even one container keeps
// it.
std::optional<Closeness> closeness_within(const std::optional<Duration>& tolerance, const model::Latencies& latencies);

}  // namespace perdure::placement
