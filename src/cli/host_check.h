// What `perdure doctor` can find out by itself when perdured does not run.
#pragma once

#include "control.pb.h"

namespace perdure::cli {

// Reads facts of this host (two processes are spawned: runc and criu, for their versions).
control::v1::DoctorReport check_host();

}  // namespace perdure::cli
