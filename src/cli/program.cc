// Alone in a file: only this is compiled again when the version changes.
#include "cli/program.h"

namespace perdure::cli {
const std::string_view kProgramVersion = PERDURE_VERSION;
}
