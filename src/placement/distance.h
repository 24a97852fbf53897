// How far apart two components may be: from the round trip that a dependency can bear (delay tolerance, paper III-A and
// III-B) to a failure domain that both have to be in. Pure.
#pragma once

#include <optional>
#include <string_view>

#include "base/clock.h"

namespace perdure::placement {

// From the narrowest to the widest.
enum class Closeness { kContainer, kHost, kRack, kDataCentre, kAnywhere };
std::string_view to_string(Closeness closeness);  // "container", "host", "rack", "data-centre", "anywhere"

// Round trips between two programs that are no farther apart. The defaults are what is usual: loopback; a bridge; one
// switch; a few; a continent.
struct Latencies {
  Duration container = std::chrono::microseconds(50);
  Duration host = std::chrono::microseconds(150);
  Duration rack = std::chrono::microseconds(500);
  Duration data_centre = std::chrono::milliseconds(2);
  Duration anywhere = std::chrono::milliseconds(100);
  Duration of(Closeness closeness) const;
  bool operator==(const Latencies&) const = default;
};

// The widest whose round trip is not above the tolerance. No tolerance: anywhere. nullopt: not even one container keeps
// it.
std::optional<Closeness> closeness_within(const std::optional<Duration>& tolerance, const Latencies& latencies);

}  // namespace perdure::placement
