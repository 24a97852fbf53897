// Inside of this room: TCP sockets as TLS connections want them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

#include "base/clock.h"
#include "base/fd.h"
#include "base/result.h"
#include "io/endpoint.h"

namespace perdure::io {

// kConflict: in use. kInvalid: no interface has the address.
Result<UniqueFd> listen_on(const Endpoint& endpoint);
Result<Endpoint> local_endpoint(int socket);
// Without waiting: the socket is writable when it is connected or has failed. kTransient, kIo.
Result<UniqueFd> begin_connecting(const Endpoint& endpoint);
// Once it is writable. kTransient: nobody answers there; kTimeout; kIo.
Status finish_connecting(int socket, const std::string& address);

// No delay, buffers for bulk data, and a peer that is silent for `stall_time` though the kernel asks is given up.
void tune_connection(int socket, Duration stall_time);
// Handed to the kernel and not acknowledged by the peer's.
std::uint64_t unacknowledged_bytes(int socket);
// Reads and throws away, at most about `bytes`. False: the peer's end, or an error.
bool discard_input(int socket, std::size_t bytes);

}  // namespace perdure::io
