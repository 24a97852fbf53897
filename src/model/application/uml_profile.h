// The UML profile of an application: stereotypes whose attributes are the keys of docs/application.md. Private to this room.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "model/spec_keys.h"

namespace perdure::model {

// Namespace of the profile; a later one that means something else has another number.
inline constexpr std::string_view kProfileSpace = "https://perdure.dev/uml/1";
inline constexpr std::string_view kProfileSpaces = "https://perdure.dev/uml/";
inline constexpr std::string_view kProfileFile = "perdure.profile.uml";  // a model is beside it
inline constexpr std::string_view kProfileId = "_perdure";               // of the profile in that file
inline constexpr std::string_view kDefinitionId = "_definition";         // of its EPackage

struct UmlAttribute {
  std::string name;  // "probeMaxAge"
  SpecKey key;       // its path within what the stereotype describes: "probe.max-age"
  bool is_many() const { return key.structure != KeyStructure::kValue; }
};

struct UmlStereotype {
  std::string name;
  std::string description;
  std::vector<std::string> metaclasses;  // that it extends
  std::vector<std::string> accepted;     // types of elements that it may be found at, in files of whatever tool
  std::vector<UmlAttribute> attributes;  // in the order of the table
  // The components of a container: references to elements.
  bool has_components = false;
};

// Which one, in the order of uml_profile().
enum class StereotypeKind { kApplication, kComponent, kProvidedInterface, kRequiredInterface, kContainer };

std::span<const UmlStereotype> uml_profile();
inline const UmlStereotype& stereotype_of(StereotypeKind kind) { return uml_profile()[static_cast<std::size_t>(kind)]; }

}  // namespace perdure::model
