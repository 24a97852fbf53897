// Takes a snapshot of etcd every so often, keeps the newest few, removes what a crash left half written.
//
// Loop thread; files are read, written and removed on the pool. Names: "etcd-20260102T030405Z.snapshot", so that they sort by age.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/clock.h"
#include "base/result.h"
#include "coord/etcd_admin.h"
#include "io/loop.h"
#include "io/pool.h"

namespace perdure::coord {

struct SnapshotKeeperOptions {
  std::string directory;                          // made with mode 0700: a snapshot holds all that etcd holds
  Duration interval = std::chrono::minutes(10);
  std::size_t keep = 3;                           // at least 1
  Duration limit = std::chrono::minutes(2);       // of one snapshot
};

// The seam, so that the keeper is tested without etcd: EtcdAdmin::snapshot.
using TakeSnapshot = std::function<void(std::string path, Instant deadline, Answer<SnapshotFile> answer)>;

class SnapshotKeeper {
 public:
  SnapshotKeeper(io::Loop& loop, io::Pool& pool, const Clock& clock, SnapshotKeeperOptions options, TakeSnapshot take);
  ~SnapshotKeeper();
  SnapshotKeeper(const SnapshotKeeper&) = delete;
  SnapshotKeeper& operator=(const SnapshotKeeper&) = delete;

  // Cleans up, takes one when the newest is older than the interval, and goes on. A failure is logged and told, and tried again after a
  // tenth of the interval.
  void start(std::function<void(const Result<SnapshotFile>&)> on_taken = {});
  // One now (before a change of members); `answer` once. kTransient: one is being taken.
  void take_now(Answer<SnapshotFile> answer);

 private:
  struct State;
  std::shared_ptr<State> state_;
};

struct KeptSnapshot {
  std::string path;
  WallTime taken{};
  std::uint64_t bytes = 0;
};
// Newest first. Blocking. A directory that is missing holds none.
Result<std::vector<KeptSnapshot>> list_snapshots(const std::string& directory);
std::string snapshot_name(WallTime taken);
std::optional<WallTime> time_of_snapshot(std::string_view name);

}  // namespace perdure::coord
