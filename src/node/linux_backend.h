// The production backend: overlay, runc, cgroup v2, veth with gate, CRIU, file trackers.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <span>
#include <stop_token>
#include <string>
#include <thread>
#include <vector>

#include "capsule/criu/engine.h"
#include "capsule/files/file_tracker.h"
#include "image/bundle.h"
#include "network/attach.h"
#include "network/exit_hook.h"
#include "network/netns.h"
#include "network/reach.h"
#include "network/tcp_probe.h"
#include "node/container_backend.h"
#include "node/linux_gate_deadline.h"
#include "node/paths.h"
#include "node/rolled_back_connections.h"
#include "runtime/cgroup.h"
#include "runtime/host_facts.h"
#include "runtime/logger.h"
#include "runtime/runtime.h"

namespace perdure::node {

// What all containers of a node share. Outlives every backend.
struct HostServices {
  Paths paths;
  runtime::HostFacts facts;
  runtime::CgroupLayout cgroups;
  runtime::Runtime* runtime = nullptr;
  network::ExitHook* exit_hook = nullptr;  // null: the kernel has none
  capsule::MemoryTracking tracking = capsule::MemoryTracking::kOn;
  // Blocks; on threads of a pool.
  std::function<Result<std::set<model::IpAddress>>(const network::ReachQuery&)> find_reachable = network::find_reachable;
};

class LinuxBackend final : public ContainerBackend {
 public:
  // `image_digest`: of the image that the container was made from, if that is known; it is used when it is here,
  // for the specification's source may be on another node. Empty: not known.
  LinuxBackend(const HostServices& host, model::ContainerSpec spec, std::string image_digest = {});
  ~LinuxBackend() override;

  Result<Preparation> prepare(AddressProbe probe, const ProgressFunction& progress) override;
  Result<Life> start() override;
  Result<Captured> capture(const Generation& generation, const RuntimeFacts& facts, const CancelFlag& cancel,
                           AfterCapture after) override;
  Status resume() override;
  Result<RestoreResult> restore(const capsule::Capsule& capsule, RestoreKind kind,
                                const std::vector<network::TcpTuple>& begun) override;
  Result<Preparation> prepare_standby(const std::string& image_digest) override;
  Status stage(const capsule::Capsule& capsule) override;
  Status announce() override;
  Status terminate(int signal) override;
  Status kill_all() override;
  Status release(Capsules capsules) override;
  Result<Found> recover(const std::optional<RuntimeFacts>& facts, Frozen frozen) override;
  std::shared_ptr<GateDeadline> gate_deadline() override;
  void hold_gate() override;
  void open_gate() override;
  bool gate_held_by_death() const override;
  void hold_for(const std::optional<StatefulProcesses>& processes) override;
  std::uint64_t frames_passed() const override;
  std::optional<network::GateCounters> gate_traffic() const override;
  std::vector<network::TcpTuple> take_begun() override;
  std::uint64_t out_of_memory_kills() const override { return runtime::out_of_memory_kills(host_.cgroups, paths_.cgroup); }
  Result<UniqueFd> open_agent_socket() override;
  bool frozen() const override;
  std::uint64_t cgroup_id() const override;
  std::string cgroup_directory() const override;
  std::vector<pid_t> processes() const override;

  const model::ContainerSpec& spec() const { return spec_; }

 private:
  // A tree whose changes belong to the capsule: the writable layer or a captured volume.
  struct Tree {
    std::string volume;  // empty: the writable layer
    std::string directory;
    std::unique_ptr<capsule::FileTracker> tracker;
    bool warm = false;  // has read the tree since the container started
  };
  struct Snapshots;

  Result<image::PreparedImage> prepare_image(const ProgressFunction& progress);
  Status prepare_cgroup();
  Status prepare_network(AddressProbe probe);
  Status probe_addresses() const;
  Status attach_network();
  Status point_bridge_here();
  Status mount_root() const;
  Status write_bundle() const;
  Status open_trackers();
  Status protect_deaths();
  std::string bridge() const;
  std::vector<image::BindMount> bind_mounts() const;
  std::vector<capsule::ExternalMount> external_mounts() const;
  capsule::Surroundings surroundings() const;
  void warm_up_engine(Duration later = {});
  capsule::Engine& engine();  // not being warmed up any more
  std::string volume_directory(const model::VolumeSpec& volume) const;
  Result<runtime::LoggerPipes> start_logger() const;
  capsule::Manifest manifest(const Generation& generation, const RuntimeFacts& facts) const;
  Result<Snapshots> snapshot_trees() const;
  Result<UniqueFd> roll_back_files(const capsule::Capsule& capsule);
  Result<UniqueFd> replace_root(const std::function<Status()>& change);
  // `connections`: null if their peers have nothing to be asked.
  Result<capsule::RestoredProcesses> restore_processes(const capsule::Capsule& capsule, runtime::LoggerPipes& pipes,
                                                       RolledBackConnections* connections);
  // What outlives a restore for a while.
  struct Restored {
    UniqueFd old_root;
    std::unique_ptr<RolledBackConnections> connections;  // none: the container has no network, or nobody has moved on
  };
  Result<Restored> restore_behind_gate(const capsule::Capsule& capsule, RestoreKind kind,
                                       const std::vector<network::TcpSocketInfo>& left_behind,
                                       RestoreResult& result);
  std::uint64_t gate_holds() const;
  void release_gate(std::uint64_t holds);  // up to so many; later deaths keep it closed
  struct Interrupted;
  static Result<std::vector<Interrupted>> interrupted_connections(const capsule::Capsule& capsule);
  Status send_interrupted();
  // Of the life that has ended; `begun`: on another host.
  Result<std::vector<network::TcpSocketInfo>> connections_left_behind(const std::vector<network::TcpTuple>& begun);
  network::ProbePath probe_path() const;  // of an attached container
  Status take_attachment(network::Attachment attachment, LinuxGateDeadline::Present present);
  void tidy(Restored restored);
  void warm_up_trees();
  Status prepare_for_restore(RestoreKind kind);
  Status make_surroundings(AddressProbe probe, const ProgressFunction& progress);
  Status point_tracker_at_root(bool mounted);

  const HostServices& host_;
  const model::ContainerSpec spec_;
  const ContainerPaths paths_;

  std::string image_digest_;  // of the image to use; empty: the specification's source tells
  image::PreparedImage image_;
  std::optional<runtime::Cgroup> cgroup_;
  std::atomic<std::uint64_t> cgroup_id_ = 0;  // 0: there is none. Read by the loop's thread at any time
  std::optional<network::NetworkNamespace> netns_;
  capsule::Engine engine_;  // used through engine()
  std::vector<Tree> trees_;
  std::string spec_yaml_;
  std::string spec_digest_;

  // Waits for peers that are slow to answer, then closes the root of the life before: the end of its mount syncs the
  // file system below, which nobody should wait for. Then it looks after spliced connections. Ended before the next
  // restore and before the namespace goes.
  std::jthread tidying_;
  std::atomic<std::uint64_t> next_pages_bytes_ = 0;  // of memory, probably, at the next checkpoint
  std::jthread warming_up_;

  // Of a container that was moved here and has not spoken yet: connections with bytes under way.
  struct Interrupted {
    network::RestoredSocket socket;
    std::string queue;  // its beginning
  };
  std::vector<Interrupted> interrupted_;

  mutable std::mutex gate_mutex_;  // attach (pool) against hold and open (loop)
  std::optional<network::Attachment> attachment_;
  const std::shared_ptr<LinuxGateDeadline> gate_deadline_ = std::make_shared<LinuxGateDeadline>();
};

}  // namespace perdure::node
