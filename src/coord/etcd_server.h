// etcd as a supervised child: started with what docs/cluster.md asks for, watched, started again when it dies, stopped.
//
// It outlives a perdured that dies or is replaced: the next one finds it by the file DATA-DIRECTORY.pid and takes it over, so that a
// restart of perdured costs no member.
//
// Loop thread only, but for the functions that say otherwise. TLS 1.3 only, clients and peers verified against the cluster's
// authority: etcd reads its certificate files anew for each connection, so a renewed certificate needs no restart; a
// new revocation list does not either.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/result.h"
#include "io/loop.h"
#include "io/pool.h"
#include "io/process.h"

namespace perdure::coord {

struct EtcdTlsFiles {
  std::string authority;        // PEM, of clients and peers
  std::string certificate;
  std::string key;
  std::string revocation_list;  // empty: none. PEM; etcd refuses to serve while it is unreadable
};

struct EtcdServerOptions {
  std::string name;            // the node's
  std::string data_directory;  // made with mode 0700
  std::string log_file;        // turned over at a start when it has kMaxEtcdLogBytes (one older is kept); begun anew while it runs
  std::string client_url;      // "https://192.0.2.1:7401": advertised
  std::string peer_url;        // "https://192.0.2.1:7402"
  std::vector<std::string> more_client_urls;  // listened on as well ("https://127.0.0.1:7401")
  std::optional<EtcdTlsFiles> tls;            // absent: http, for tests
  std::string program = "etcd";
  std::string restore_program;                // empty: etcdutl if there is one, else etcdctl
  std::chrono::milliseconds heartbeat{10};
  std::chrono::milliseconds election{100};
  std::uint64_t quota_bytes = std::uint64_t{2} << 30;    // etcd's own default; records are small
  std::chrono::minutes compaction_retention{10};         // a watch that was away longer lists again
  Duration restart_first = std::chrono::milliseconds(100);  // after a death; doubles
  Duration restart_last = std::chrono::seconds(10);
  Duration stop_time = std::chrono::seconds(5);             // from SIGTERM to SIGKILL
  std::vector<int> namespaces = {};                         // entered by the child; for tests
  // The child has died and is started again after `pause`.
  std::function<void(const std::string& how, Duration pause)> on_death;
};
inline constexpr std::uint64_t kMaxEtcdLogBytes = std::uint64_t{16} << 20;

enum class EtcdStart {
  kNew,              // a member of a new cluster: `initial_cluster`
  kJoin,             // added as a learner to an existing one: `initial_cluster` as its leader gave it
  kRestart,          // with the data that is there
  kForceNewCluster,  // with the data that is there, as the only member; once: a death after it is a kRestart
};

struct EtcdStartRequest {
  EtcdStart how = EtcdStart::kRestart;
  std::string initial_cluster;  // kNew; empty: this member alone. kJoin: required
  std::string token;            // of the new cluster; kNew and kJoin. Distinct per cluster
};

class EtcdServer {
 public:
  EtcdServer(io::Loop& loop, EtcdServerOptions options);
  // Stops it and waits: SIGTERM, after stop_time SIGKILL. Prefer stop().
  ~EtcdServer();
  EtcdServer(const EtcdServer&) = delete;
  EtcdServer& operator=(const EtcdServer&) = delete;

  // A member that an earlier perdured left running is taken over; with another command line it is stopped first.
  // kExists: it was started here. kConflict: kNew, kJoin and there is data already; kNotFound: kRestart, kForceNewCluster and there is none.
  // kNotFound: no such program. A success means that the program runs, not that it serves: ask status().
  Status start(const EtcdStartRequest& request);
  // `done` when it has ended; also when it does not run.
  void stop(std::function<void()> done);
  // Lets it run on, for the next perdured to take over. Nothing is supervised any more.
  void release();

  bool running() const;          // the program; false between a death and the next start
  bool has_data() const;         // a member's data lies in the data directory
  pid_t pid() const;             // -1: not running
  bool taken_over() const;       // it was found running
  std::uint32_t deaths() const;  // since start()
  const EtcdServerOptions& options() const;

  // The command line as it would be; pure.
  static std::vector<std::string> command_line(const EtcdServerOptions& options, const EtcdStartRequest& request);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

// Blocking, pool threads. Makes the data directory of a new one-member cluster from a snapshot file; the cluster's id differs from
// every earlier one (`token` must be new). kConflict: there is data. kCorrupt: the snapshot does not verify.
Status restore_snapshot(const EtcdServerOptions& options, const std::string& snapshot, const std::string& token,
                        Instant deadline);
// Blocking. Sets a member's data aside ("DIRECTORY.old-TIME"), keeping the newest two such directories. Nothing there is a success.
Status set_data_aside(const EtcdServerOptions& options, WallTime now);

}  // namespace perdure::coord
