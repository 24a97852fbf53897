// Who provides and requires what in a UML model, however it is drawn. Private to this room.
#pragma once

#include <cstddef>
#include <vector>

#include "model/application/uml_model.h"
#include "model/reading.h"

namespace perdure::model {

struct UmlProvided {
  const UmlElement* interface = nullptr;
  // What a stereotype may say something of it at: the interface, then what draws it, in the order of the file.
  std::vector<const UmlElement*> said_at{};
};

struct UmlRequired {
  const UmlElement* interface = nullptr;
  std::vector<const UmlElement*> said_at{};
  const UmlElement* sponsor = nullptr;  // where a connector or the usage leads to; nullptr: to the interface
  bool by_name = false;                 // the interface is drawn for this component alone, and means all of its name
  const UmlElement& drawn() const { return said_at.size() > 1 ? *said_at[1] : *said_at[0]; }
};

// In the order of the file.
struct UmlComponent {
  const UmlElement* element = nullptr;
  std::vector<UmlProvided> provides{};
  std::vector<UmlRequired> required{};
};

// The components within `scope`. One that has no stereotype and holds others, itself or as parts, is the frame around them
// and none itself.
std::vector<UmlComponent> read_wiring(const UmlModel& model, const UmlElement& scope, Reading& reading);

}  // namespace perdure::model
