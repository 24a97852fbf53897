// One `criu swrk`: a CRIU that takes a single request over a socket, is spawned ahead (warm) and ends with
// it (criu/cr-service.c). Image streaming cannot be asked for here: CRIU 4.2 aborts (open_image_dir with
// mode -1), so dumps go into files on a private tmpfs.
#pragma once

#include <sys/types.h>

#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "base/clock.h"
#include "base/fd.h"
#include "base/result.h"
#include "io/process.h"

namespace perdure::capsule {

struct CriuProgram {
  std::string path = "criu";
  // Shared object with the page-map filter; empty: CRIU dumps all memory itself.
  std::string pagemap_filter;
  // Shared object that makes a CRIU wait for its restore (criu_standby.h); empty: it is started when needed.
  std::string standby;
};
// What every CRIU gets as its environment.
std::vector<std::string> criu_environment();
// The first CRIU after a boot tries out what the kernel can do (60 to 100 ms) and notes it on /run (criu/kerndat.c); later ones read
// that. Called before there is any hurry. What the kernel lacks is not an error here.
Status learn_kernel_features(const std::string& criu, Instant deadline);

// A CRIU in the network namespace that has one end of a SOCK_SEQPACKET pair as descriptor kCriuSocket.
inline constexpr int kCriuSocket = 3;
struct ConnectedCriu {
  io::ChildProcess process;
  UniqueFd socket;
};
Result<ConnectedCriu> spawn_connected_criu(const std::vector<std::string>& arguments,
                                           std::vector<std::string> environment, int network_namespace_fd);

struct DumpRequest {
  pid_t init_pid = -1;
  int images_dir_fd = -1;     // a directory on a tmpfs
  std::string root;           // the container's root as this mount namespace sees it
  std::vector<std::string> externals;  // "mnt[/path]:key", "pipe:[N]" needs none
  // Where CRIU looks for the names of watched inodes (inotify), in this order; as the container sees them.
  std::vector<std::string> watched_paths;
  int log_level = 2;
  std::uint32_t ghost_limit_bytes = 64u << 20;  // deleted files that are still open
};

// What CRIU calls while the processes are stopped. A failure makes CRIU give up and set them going.
struct DumpHooks {
  std::function<Status()> frozen;  // all processes are stopped, nothing has been read yet
  std::function<Status()> dumped;  // CRIU has read everything and cured the processes; still stopped
};

class CriuWorker {
 public:
  // Inside the network namespace (so that CRIU takes it for its own and leaves it alone).
  static Result<CriuWorker> spawn(const CriuProgram& program, int network_namespace_fd);

  // Blocking; uses the worker up. Whatever happens the processes run afterwards, unless CRIU itself was
  // killed at a bad moment. kTimeout: CRIU was killed at the deadline. kTransient: init was on its end, and CRIU, which
  // would have waited for it for ever, was killed. A hook's error comes back as it is.
  Status dump(const DumpRequest& request, const DumpHooks& hooks, Instant deadline);

  // After dump(): waits until CRIU has ended and reaps it. Killed at the deadline.
  Status finish(Instant deadline);

  bool alive() const { return process_.running(); }
  pid_t pid() const { return process_.pid(); }

 private:
  explicit CriuWorker(ConnectedCriu criu) : process_(std::move(criu.process)), socket_(std::move(criu.socket)) {}
  Status send(const std::string& message);
  Result<std::string> receive(pid_t init_pid, Instant deadline);

  io::ChildProcess process_;
  UniqueFd socket_;
};

// The last error lines of a CRIU log, for people: "Error (criu/sk-unix.c:500): …", at most `lines`.
std::string criu_log_errors(const std::string& log_path, std::size_t lines = 4);

struct CriuVersion {
  int major = 0;
  int minor = 0;
  int sublevel = 0;
};
Result<CriuVersion> query_criu_version(const CriuProgram& program);
std::string to_string(const CriuVersion& version);

}  // namespace perdure::capsule
