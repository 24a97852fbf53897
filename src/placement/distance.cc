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

Duration Latencies::of(Closeness closeness) const {
  switch (closeness) {
    case Closeness::kContainer:
      return container;
    case Closeness::kHost:
      return host;
    case Closeness::kRack:
      return rack;
    case Closeness::kDataCentre:
      return data_centre;
    case Closeness::kAnywhere:
      return anywhere;
  }
  return anywhere;
}

std::optional<Closeness> closeness_within(const std::optional<Duration>& tolerance, const Latencies& latencies) {
  if (!tolerance) return Closeness::kAnywhere;
  for (const Closeness closeness : kFromTheWidest) {
    if (latencies.of(closeness) <= *tolerance) return closeness;
  }
  return std::nullopt;
}

}  // namespace perdure::placement
