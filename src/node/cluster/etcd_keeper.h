// The embedded etcd of a manager: the child, who its members are, and its snapshots.
//
// The manager whose member leads decides about members, one step at a time (coord/member_decision.h); the others only run theirs. Loop
// thread only.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/ids.h"
#include "base/result.h"
#include "coord/etcd_admin.h"
#include "coord/etcd_client.h"
#include "coord/etcd_server.h"
#include "coord/member_decision.h"
#include "coord/snapshot_keeper.h"
#include "io/loop.h"
#include "io/pool.h"

namespace perdure::node {

struct EtcdKeeperOptions {
  io::Loop& loop;
  io::Pool& pool;
  const Clock& clock;
  coord::EtcdServerOptions server;
  std::string snapshot_directory;
  Duration look_interval = std::chrono::seconds(2);  // at the members
  Duration call_time = std::chrono::seconds(5);
};

// What a node has to know to start a member that was added.
struct MemberToStart {
  std::uint64_t id = 0;
  std::string initial_cluster;
};

struct EtcdKeeperHandlers {
  // Of the cluster, as the view has them.
  std::function<std::vector<coord::ManagerNode>()> managers;
  // Tells a node to start its member; answered with whether it has begun to.
  std::function<void(const NodeName&, const MemberToStart&, std::function<void(Status)>)> start_member;
  // It has become a member, or has found that it is none any more.
  std::function<void()> own_changed;
  // A step was taken or could not be: for people.
  std::function<void(const std::string& text, const std::string& reason)> report;
};

class EtcdKeeper {
 public:
  // The client outlives it.
  EtcdKeeper(EtcdKeeperOptions options, coord::EtcdClient& client, EtcdKeeperHandlers handlers);
  ~EtcdKeeper();

  Status start(const coord::EtcdStartRequest& request);
  // Starts the member that the leader has added; nothing if it serves or is starting already. What lies here of a member that
  // was removed is set aside. `token`: of the cluster.
  void join(const MemberToStart& added, const std::string& token, std::function<void(Status)> done);
  bool running() const { return server_.running(); }
  // A member's data lies here, and as far as is known it is one still.
  bool is_member() const { return server_.has_data() && !removed_; }
  coord::EtcdServer& server() { return server_; }
  // This perdured ends; etcd runs on for the next one.
  void leave_running() { server_.release(); }
  // The quorum is lost for good: its data is copied aside (`done` says where), and it is started again as the only member.
  void go_on_alone(std::function<void(Result<std::string>)> done);
  // Begins anew as the only member, with what the snapshot holds; what lay here is set aside. On failure nothing is changed, and a
  // member that was running runs on.
  void begin_from_snapshot(const std::string& file, std::function<void(Status)> done);
  // From the time when the client answers on.
  void watch_members();
  // kConflict: it holds the only one.
  void check_removal(const NodeName& node, std::function<void(Status)> done);
  // For a node that leaves: its member is removed by whoever leads, then `done`.
  void remove_member(const NodeName& node, std::function<void(Status)> done);
  const std::vector<coord::EtcdMember>& members() const { return members_; }
  std::optional<WallTime> newest_snapshot() const { return newest_snapshot_; }

 private:
  void look();
  void look_again() { look_again(options_.look_interval); }
  void look_again(Duration after);
  void judge(std::vector<coord::EtcdMember> members);
  void decide(std::vector<coord::MemberView> views);
  void take(const coord::MemberStep& step);
  void died();
  void begin_anew(const MemberToStart& added, const std::string& token, std::function<void(Status)> done);
  coord::EtcdServerOptions watched(coord::EtcdServerOptions server);
  std::string id_file() const { return options_.server.data_directory + ".id"; }
  void finished(const std::string& what, const Status& status);
  Instant deadline() const { return options_.clock.now() + options_.call_time; }

  const EtcdKeeperOptions options_;
  const EtcdKeeperHandlers handlers_;
  coord::EtcdServer server_;
  coord::EtcdAdmin admin_;
  coord::SnapshotKeeper snapshots_;
  std::vector<coord::EtcdMember> members_;
  std::optional<WallTime> newest_snapshot_;
  bool busy_ = false;
  bool joining_ = false;
  bool asking_ = false;   // whether this node's member still is one
  bool removed_ = false;  // it is not
  std::string refused_;  // the step that was refused last, and how often in a row
  int refusals_ = 0;
  std::string told_;
  io::Timer look_timer_;
  io::Lifetime lifetime_;
};

}  // namespace perdure::node
