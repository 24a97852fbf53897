// The seam between commands and perdured: tests put a daemon of their own behind it.
#pragma once

#include <memory>
#include <string>

#include "base/clock.h"
#include "base/result.h"
#include "control.pb.h"

namespace perdure::cli {

// One connection, used by one thread. Errors of both calls: kTimeout; kInvalid: what came is no
// Response or is too large; kIo and kNotFound: the daemon closed the connection. After an error
// other than receive()'s kTimeout the connection is of no use any more.
class Connection {
 public:
  virtual ~Connection() = default;
  // `fd` (or -1) is copied to the daemon; the caller keeps its own.
  virtual Status send(const control::v1::Request& request, int fd, Duration timeout) = 0;
  // kTimeout: nothing came in this time; call again.
  virtual Result<control::v1::Response> receive(Duration timeout) = 0;
};

class Connector {
 public:
  virtual ~Connector() = default;
  // kNotFound: no socket there; kTransient: nobody listens; kPermission; kTimeout.
  virtual Result<std::unique_ptr<Connection>> connect(Duration timeout) = 0;
  virtual std::string where() const = 0;  // for messages: the socket's path
};

std::unique_ptr<Connector> make_socket_connector(std::string path);

}  // namespace perdure::cli
