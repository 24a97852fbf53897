// Options of a socket that only make it faster. Private to this room.
#pragma once

#include <sys/socket.h>

namespace perdure::io {

// What the kernel does not take it keeps as it was: slower, not wrong.
inline void set_option(int socket, int level, int name, int value) {
  ::setsockopt(socket, level, name, &value, sizeof value);
}

}  // namespace perdure::io
