#include "placement/distance.h"

#include <array>

namespace perdure::placement {
namespace {

constexpr std::array kFromTheWidest{Closeness::kAnywhere, Closeness::kDataCentre, Closeness::kRack, Closeness::kHost,
                                    Closeness::kContainer};

}  // namespace

std::string_view to_string(Closeness closeness) {
  switch (closeness) {
    case Closeness::kContainer:
      return "container";
    case Closeness::kHost:
      return "host";
    case Closeness::kRack:
      return "rack";
    case Closeness::kDataCentre:
      return "data-centre";
    case Closeness::kAnywhere:
      return "anywhere";
  }
  return "anywhere";
}

Duration round_trip(const model::Latencies& latencies, Closeness closeness) {
  switch (closeness) {
    case Closeness::kContainer:
      return latencies.container;
    case Closeness::kHost:
      return latencies.host;
    case Closeness::kRack:
      return latencies.rack;
    case Closeness::kDataCentre:
      return latencies.data_centre;
    case Closeness::kAnywhere:
      return latencies.anywhere;
  }
  return latencies.anywhere;
}

std::optional<Closeness> closeness_within(const std::optional<Duration>& tolerance, const model::Latencies& latencies) {
  if (!tolerance) return Closeness::kAnywhere;
  for (const Closeness closeness : kFromTheWidest) {
    if (round_trip(latencies, closeness) <= *tolerance) return closeness;
  }
  return std::nullopt;
}

}  // namespace perdure::placement
