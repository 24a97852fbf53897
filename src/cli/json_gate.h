// The fields of a container's gate. A part of json_output.cc, which alone includes it.
#pragma once

#include "cli/json_parts.h"

namespace perdure::cli {
namespace {

using Frames = v1::GateTraffic;
template <>
std::span<const Field<Frames>> fields<Frames>() {
  static constexpr Field<Frames> kFields[]{
      {"passed", "integer", "frames out of the container",
       [](const Frames& m) -> Json { return m.passed(); }},
      {"dropped_deadline", "integer", "dropped because the gate had not been renewed",
       [](const Frames& m) -> Json { return m.dropped_deadline(); }},
      {"dropped_locked", "integer", "because perdured had closed it",
       [](const Frames& m) -> Json { return m.dropped_locked(); }},
      {"dropped_held", "integer", "because the kernel had closed it after a death",
       [](const Frames& m) -> Json { return m.dropped_held(); }},
      {"dropped_guard", "integer", "RST and unreachable of a container that is being restored",
       [](const Frames& m) -> Json { return m.dropped_guard(); }},
      {"dropped_arp_only", "integer", "while a capture kept it silent",
       [](const Frames& m) -> Json { return m.dropped_arp_only(); }},
      {"input_passed", "integer", "frames into the container",
       [](const Frames& m) -> Json { return m.input_passed(); }},
      {"input_dropped", "integer", "the same, dropped",
       [](const Frames& m) -> Json { return m.input_dropped(); }},
  };
  return kFields;
}

using Gate = v1::GateStatus;
template <>
std::span<const Field<Gate>> fields<Gate>() {
  static constexpr Field<Gate> kFields[]{
      {"open", "boolean", "as perdured has ordered it",
       [](const Gate& m) -> Json { return m.open(); }},
      {"closures_by_perdured", "integer", "since perdured started; captures are not counted",
       [](const Gate& m) -> Json { return m.closures_by_perdured(); }},
      {"closures_by_death", "integer", "the same, by the kernel when a process was killed",
       [](const Gate& m) -> Json { return m.closures_by_death(); }},
      {"traffic", "gate traffic or null", "frames since the gate was made; null: there is none",
       [](const Gate& m) { return object_or_null(m.has_traffic(), m.traffic()); }},
  };
  return kFields;
}

}  // namespace
}  // namespace perdure::cli
