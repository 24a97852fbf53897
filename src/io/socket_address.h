// Inside of this room: paths of local sockets.
#pragma once

#include <sys/un.h>

#include <string>

#include "base/result.h"

namespace perdure::io {

// kInvalid: empty, or longer than sun_path takes.
Result<sockaddr_un> socket_address(const std::string& path);

}  // namespace perdure::io
