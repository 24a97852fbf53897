// The fields of a container's gate and of its last takeover. A part of json_output.cc, which alone
// includes it.
#pragma once

#include "cli/json_parts.h"

namespace perdure::cli {
namespace {

using Taken = v1::TakeoverRecord;
template <>
std::span<const Field<Taken>> fields<Taken>() {
  static constexpr Field<Taken> kFields[]{
      {"time", "time", "when it was begun",
       [](const Taken& m) -> Json { return rfc3339(m.time_unix_ms()); }},
      {"from", "text or null", "the former owner, which was silent",
       [](const Taken& m) { return text_or_null(m.from_node()); }},
      {"noticed_ns", "integer or null", "from its last sign of life until that was noticed",
       [](const Taken& m) { return number_or_null(m.has_noticed_ns(), m.noticed_ns()); }},
      {"swapped_ns", "integer or null", "the same, until the record named this node",
       [](const Taken& m) { return number_or_null(m.has_swapped_ns(), m.swapped_ns()); }},
      {"restored_ns", "integer or null", "the same, until its processes ran",
       [](const Taken& m) { return number_or_null(m.has_restored_ns(), m.restored_ns()); }},
      {"first_packet_ns", "integer or null", "the same, until the first packet from its address",
       [](const Taken& m) {
         return number_or_null(m.has_first_packet_ns(), m.first_packet_ns());
       }},
  };
  return kFields;
}

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
