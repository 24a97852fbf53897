// An Application as a component diagram in the language of PlantUML, for people.
#pragma once

#include <string>

#include "model/application/application.h"

namespace perdure::model {

// Components with the interfaces they provide as balls, what they require as sockets with the tolerances at them, those of one
// container within it. Everything that is not drawn is left out: it is no form that an application is read from. For an
// application that satisfies the rules.
std::string to_plantuml(const Application& application);

}  // namespace perdure::model
