// What follows from an application's interfaces (paper III-A). Pure.
#pragma once

#include <cstddef>
#include <optional>
#include <cstdint>
#include <utility>
#include <vector>

#include "base/clock.h"
#include "model/application/application.h"

namespace perdure::model {

// Stateful if one of the interfaces it provides is.
StateKind state_of(const Component& component);

// The shortest of its stateful interfaces' sensitivities: what the interval of the checkpoints of its
// container follows from. nullopt: stateless, or none says.
std::optional<Duration> state_sensitivity_of(const Component& component);

// How far recovery reaches when the component fails: it alone, or the whole container, which goes
// back to a generation.
enum class RecoveryScope { kComponent, kContainer };
RecoveryScope recovery_scope_of(const Component& component);

// One component depends on another: by one or several of its required interfaces. The shortest
// tolerance of them holds.
struct Dependency {
  std::size_t dependent = 0;  // of application.components, here and below
  std::size_t sponsor = 0;
  std::optional<Duration> delay_tolerance{};
  std::optional<Duration> outage_tolerance{};
  Until until = Until::kReady;  // the farthest that one of them waits for
  OnRestart on_restart{};       // of the first of them that says one
  bool operator==(const Dependency&) const = default;
};

// In the order of components, of one by sponsors. Requirements without a sponsor are left out: no
// reader gives any.
std::vector<Dependency> dependencies_of(const Application& application);

// The component that a requirement is met by. kNone: nobody provides it; kSeveral: several do and
// `sponsor` names none of them.
struct Sponsor {
  enum class Found { kOne, kNone, kSeveral };
  Found found = Found::kNone;
  std::size_t component = 0;  // of kOne
};
Sponsor sponsor_of(const Application& application, const RequiredInterface& required);

// Two components of one container that listen at the same port.
struct PortClash {
  std::size_t first = 0;   // of application.components, here and below
  std::size_t second = 0;
  std::uint16_t port = 0;
};
std::vector<PortClash> port_clashes_of(const Application& application, const std::vector<std::size_t>& members);
// Each component of a container with another root file system than the first that brings one, behind that one.
std::vector<std::pair<std::size_t, std::size_t>> other_bases_of(const Application& application, const std::vector<std::size_t>& members);

// The shorter of both; nullopt is longer than any.
void take_shorter(std::optional<Duration>& value, const std::optional<Duration>& other);

// How long the container of a component may be silent at most: the shortest outage tolerance of those
// that depend on it. nullopt: nobody says.
std::optional<Duration> outage_tolerance_of(const Application& application, std::size_t component);

}  // namespace perdure::model
