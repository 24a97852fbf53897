// perdure-logger LOG_DIR LIMIT_BYTES FILES STDOUT_FD STDERR_FD
//
// Reads a container's stdout and stderr from two pipes and writes them as stamped lines to rotated
// files until both pipes have ended (runtime/logger.h). Started by perdured, outlives it.
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <string>
#include <string_view>

#include "runtime/log_file.h"

namespace {

using perdure::runtime::LineSplitter;
using perdure::runtime::LogFile;

struct Stream {
  int fd;
  LineSplitter lines;
};

// Appends what is readable; false at the end of the stream.
bool read_some(Stream& stream, LogFile& log) {
  static char buffer[16384];
  const ssize_t got = ::read(stream.fd, buffer, sizeof buffer);
  if (got < 0 && (errno == EINTR || errno == EAGAIN)) return true;
  const std::string time_stamp = perdure::runtime::log_time_stamp();
  std::string output;
  if (got > 0) {
    stream.lines.split(std::string_view(buffer, static_cast<std::size_t>(got)), time_stamp, output);
  } else {
    stream.lines.finish(time_stamp, output);
  }
  log.append(output);
  return got > 0;
}

void run(Stream (&streams)[2], LogFile& log) {
  for (;;) {
    // A negative descriptor is passed over by poll.
    pollfd entries[2] = {{streams[0].fd, POLLIN, 0}, {streams[1].fd, POLLIN, 0}};
    if (entries[0].fd < 0 && entries[1].fd < 0) return;
    if (::poll(entries, 2, -1) < 0) {
      if (errno == EINTR) continue;
      return;
    }
    for (int i = 0; i < 2; ++i) {
      if (entries[i].revents == 0 || read_some(streams[i], log)) continue;
      ::close(streams[i].fd);
      streams[i].fd = -1;
    }
  }
}

bool parse_number(const char* text, unsigned long long& value) {
  char* end = nullptr;
  errno = 0;
  value = ::strtoull(text, &end, 10);
  return errno == 0 && end != text && *end == '\0';
}

}  // namespace

int main(int argc, char** argv) {
  unsigned long long limit = 0;
  unsigned long long files = 0;
  unsigned long long fds[2] = {};
  if (argc != 6 || !parse_number(argv[2], limit) || !parse_number(argv[3], files) ||
      !parse_number(argv[4], fds[0]) || !parse_number(argv[5], fds[1]) || files == 0) {
    ::fprintf(stderr, "usage: perdure-logger LOG_DIR LIMIT_BYTES FILES STDOUT_FD STDERR_FD\n");
    return 2;
  }
  // Its end would break the container's pipes: only their end may end it.
  for (const int number : {SIGHUP, SIGINT, SIGTERM, SIGPIPE}) ::signal(number, SIG_IGN);
  LogFile log({argv[1], limit, static_cast<int>(files)});
  Stream streams[2] = {{static_cast<int>(fds[0]), LineSplitter('o')},
                       {static_cast<int>(fds[1]), LineSplitter('e')}};
  run(streams, log);
  return 0;
}
