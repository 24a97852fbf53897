// Where a container's output goes: perdure-logger, one small process per container.
//
// The container's stdout and stderr are pipes. Their read ends must outlive the daemon (a writer to
// a pipe without reader gets SIGPIPE), so they belong to a process of their own: another session,
// the daemon's cgroup, about 1 MB. It writes LOG_DIR/container.log and renames it to
// container.log.1, .2 … at the size limit. Each line reads "2025-06-01T12:00:00.123Z o text" (e for
// stderr; a long line is cut into pieces that end with " \"). It ends when the last writer has
// closed both pipes. A full disk never stops the container: lines are dropped and counted, and a
// notice follows.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <string>

#include "base/fd.h"
#include "base/result.h"

namespace perdure::runtime {

struct LoggerOptions {
  std::string program;  // path of perdure-logger
  std::string log_dir;  // made when missing
  // 10 MB x 3 keep some hours of a talkative program without ever filling a disk.
  std::uint64_t file_limit_bytes = 10'000'000;
  int files = 3;  // container.log included; 1 to 100
};

struct LoggerPipes {
  UniqueFd stdout_write;  // for the container (close-on-exec here); close them once it has them
  UniqueFd stderr_write;
  std::string stdout_key;  // "pipe:[INODE]": what CRIU calls it in --inherit-fd and in its images
  std::string stderr_key;
  pid_t logger_pid = -1;  // our child: reap it, or let reap_orphans() do it
};

// Several loggers may write to one directory (the one of a dying container and the one of its
// restored successor): lines and rotations do not mix. kNotFound: no such program.
Result<LoggerPipes> start_logger(const LoggerOptions& options);

}  // namespace perdure::runtime
