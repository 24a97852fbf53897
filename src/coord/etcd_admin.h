// What an operator of etcd does: its members, their state, snapshots, defragmentation, alarms.
//
// Loop thread only. Member changes are tried at one endpoint after the other like a commit: an error says nothing about
// what has happened; list the members.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/clock.h"
#include "base/result.h"
#include "coord/coordination.h"
#include "coord/etcd_client.h"
#include "io/pool.h"

namespace perdure::coord {

struct EtcdMember {
  std::uint64_t id = 0;
  std::string name;  // empty: added and not started yet
  std::vector<std::string> peer_urls;
  std::vector<std::string> client_urls;
  bool learner = false;
  bool operator==(const EtcdMember&) const = default;
};

struct AddedMember {
  EtcdMember member;
  std::vector<EtcdMember> members;  // with the new one
};
// What --initial-cluster of the new member has to say: "a=https://192.0.2.1:7402,b=…"; `name` is the new one's.
std::string initial_cluster(const AddedMember& added, std::string_view name);

struct EtcdMemberStatus {
  std::uint64_t member = 0;
  std::string version;
  std::uint64_t cluster_id = 0;
  std::uint64_t leader = 0;  // 0: none
  std::uint64_t database_bytes = 0;
  std::uint64_t used_bytes = 0;  // of these; the rest goes with a defragmentation
  std::uint64_t raft_index = 0;
  std::uint64_t raft_term = 0;
  Revision revision = 0;
  bool learner = false;
  std::vector<std::string> errors;
};

struct EtcdAlarm {
  std::uint64_t member = 0;
  enum class Kind { kNoSpace, kCorrupt, kOther } kind = Kind::kOther;
};

struct SnapshotFile {
  std::string path;
  std::uint64_t bytes = 0;
};
inline constexpr std::uint64_t kMaxSnapshotBytes = std::uint64_t{8} << 30;  // etcd's own largest sensible quota

class EtcdAdmin {
 public:
  // Both outlive it; so does the pool, on whose threads snapshots are written.
  EtcdAdmin(io::Loop& loop, EtcdClient& client, io::Pool& pool);
  ~EtcdAdmin();
  EtcdAdmin(const EtcdAdmin&) = delete;
  EtcdAdmin& operator=(const EtcdAdmin&) = delete;

  void members(Instant deadline, Answer<std::vector<EtcdMember>> answer);
  // kTransient: not now (the cluster is not healthy, or has a learner already). kExists: the URL is a member's.
  void add_learner(std::string peer_url, Instant deadline, Answer<AddedMember> answer);
  // kTransient: it has not caught up yet.
  void promote(std::uint64_t member, Instant deadline, Answer<std::vector<EtcdMember>> answer);
  void remove(std::uint64_t member, Instant deadline, Answer<std::vector<EtcdMember>> answer);
  void update_peer_urls(std::uint64_t member, std::vector<std::string> urls, Instant deadline,
                        Answer<std::vector<EtcdMember>> answer);

  // Of the member at this endpoint, one of the client's or not.
  void member_status(std::string endpoint, Instant deadline, Answer<EtcdMemberStatus> answer);
  // Blocks that member for a while: not all at once.
  void defragment(std::string endpoint, Instant deadline, Answer<bool> answer);
  void alarms(Instant deadline, Answer<std::vector<EtcdAlarm>> answer);
  void disarm(EtcdAlarm alarm, Instant deadline, Answer<bool> answer);

  // Streams a snapshot into `path` (".tmp" beside it, verified by its SHA-256, fsync, rename). On an error no file is left.
  // kExists: there is such a file. kCorrupt: it does not verify.
  void snapshot(std::string path, Instant deadline, Answer<SnapshotFile> answer);

 private:
  struct State;
  std::shared_ptr<State> state_;
};

}  // namespace perdure::coord
