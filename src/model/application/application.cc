#include "model/application/application.h"

namespace perdure::model {

// The name is never used: a container's own follows from its application's.
ContainerSettings::ContainerSettings() : settings{.name = ContainerName::parse("unnamed").value()} {}

}  // namespace perdure::model
