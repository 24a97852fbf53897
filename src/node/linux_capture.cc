// LinuxBackend: capture and restore.
#include <fcntl.h>
#include <sys/mount.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <algorithm>
#include <format>
#include <future>
#include <set>
#include <thread>
#include <utility>

#include "base/log.h"
#include "capsule/files/file_restore.h"
#include "image/overlay.h"
#include "network/tcp_probe.h"
#include "node/linux_backend.h"
#include "node/restorable.h"

namespace perdure::node {
namespace {

constexpr Duration kRestoreTime = std::chrono::seconds(60);  // 1 GB/s per process
// What the next checkpoint needs is made ready when this one has had time to get to its standbys.
constexpr Duration kRestAfterCapture = std::chrono::milliseconds(100);
constexpr Duration kFreezeTime = std::chrono::seconds(5);  // of processes that CRIU has stopped already
constexpr const char* kStdoutHint = "stdout";
constexpr const char* kStderrHint = "stderr";
constexpr const char* kRollBackMarker = "roll-back";

}  // namespace

struct LinuxBackend::Snapshots {
  std::vector<capsule::FileSnapshot> of_trees;  // in the order of trees_
};

Result<LinuxBackend::Snapshots> LinuxBackend::snapshot_trees() const {
  log::debug("{}: checkpoint: copying files", spec_.name.str());
  PERDURE_ASSIGN(const std::vector<pid_t> pids, cgroup_->processes());
  PERDURE_ASSIGN(const capsule::FrozenHints hints, capsule::collect_shared_writable_mappings(pids));
  Snapshots snapshots;
  for (const Tree& tree : trees_) {
    PERDURE_ASSIGN(auto snapshot, tree.tracker->snapshot(hints));
    snapshots.of_trees.push_back(std::move(snapshot));
  }
  return snapshots;
}

// Reads what the next freeze would have to read, while the container runs.
void LinuxBackend::warm_up_trees() {
  for (Tree& tree : trees_) {
    if (std::exchange(tree.warm, true)) continue;
    const auto hints = capsule::collect_shared_writable_mappings(processes());
    const Status warmed = hints ? tree.tracker->warm_up(*hints) : Status(fail(hints.error()));
    if (!warmed) log::debug("{}: reading ahead: {}", spec_.name.str(), warmed.error().message());
  }
}

capsule::Manifest LinuxBackend::manifest(const Generation& generation, const RuntimeFacts& facts) const {
  capsule::Manifest manifest;
  manifest.container = spec_.name.str();
  manifest.generation = generation;
  manifest.image_digest = image_.digest;
  manifest.spec_digest = spec_digest_;
  manifest.spec_yaml = spec_yaml_;
  if (spec_.network.ipv4) manifest.addresses.push_back(model::to_string(*spec_.network.ipv4));
  if (spec_.network.ipv6) manifest.addresses.push_back(model::to_string(*spec_.network.ipv6));
  if (spec_.network.attached()) manifest.addresses.push_back(model::to_string(model::effective_mac(spec_)));
  manifest.created = std::chrono::system_clock::now();
  if (host_.facts.criu.version) manifest.requirements.criu_version = to_string(*host_.facts.criu.version);
  manifest.requirements.kernel_release = host_.facts.kernel_release;
  manifest.requirements.architecture = host_.facts.machine;
  manifest.requirements.cpu_features = host_.facts.cpu_features;
  manifest.restore_hints[kStdoutHint] = facts.stdout_key;
  manifest.restore_hints[kStderrHint] = facts.stderr_key;
  return manifest;
}

Result<Captured> LinuxBackend::capture(const Generation& generation, const RuntimeFacts& facts,
                                       const CancelFlag& cancel, AfterCapture after) {
  const auto cancelled = [&]() -> Status {
    if (!cancel.load()) return {};
    return fail(ErrorCode::kCancelled, std::format("checkpoint of '{}' was called off", spec_.name.str()));
  };
  PERDURE_TRY(cancelled());
  log::debug("{}: checkpoint: beginning generation {}", spec_.name.str(), to_string(generation));
  PERDURE_ASSIGN(const std::vector<pid_t> pids, cgroup_->processes());

  warm_up_trees();
  // The files are taken on a thread of their own while CRIU dumps the processes: both are frozen, and this
  // machine has more than one core to be frozen for as short as possible.
  std::future<Result<Snapshots>> snapshots_to_come;
  std::optional<Snapshots> snapshots;
  // Nothing that acknowledges what the generation does not know may leave. Who asks for its addresses is answered: a
  // client that finds no neighbour waits a second. Who is handed over must not be found here any more.
  const network::GateFlags silence =
      after == AfterCapture::kRunOn ? network::GateFlags::kArpOnly : network::GateFlags::kLocked;
  const auto unlock = [this, silence] {
    const std::lock_guard lock(gate_mutex_);
    if (attachment_) attachment_->gate.clear_flags(silence);
  };
  capsule::CaptureHooks hooks;
  hooks.frozen = [&]() -> Status {
    log::debug("{}: checkpoint: frozen", spec_.name.str());
    {
      const std::lock_guard lock(gate_mutex_);
      if (attachment_) attachment_->gate.add_flags(silence);
    }
    snapshots_to_come = std::async(std::launch::async, [this] { return snapshot_trees(); });
    return {};
  };
  const Instant deadline = BootClock::now() + spec_.checkpoint.dump_deadline;
  hooks.before_thaw = [&]() -> Status {
    if (snapshots_to_come.wait_for(std::max(Duration::zero(), Duration(deadline - BootClock::now()))) !=
        std::future_status::ready) {
      unlock();
      return fail(ErrorCode::kTimeout, std::format("the changed files of '{}' were not copied within {}; raise "
                                                   "checkpoint.dump-deadline, or use a file system with reflinks",
                                                   spec_.name.str(), format_duration(spec_.checkpoint.dump_deadline)));
    }
    auto taken = snapshots_to_come.get();
    if (after == AfterCapture::kRunOn || !taken || cancel.load()) unlock();
    if (!taken) return fail(std::move(taken).error());
    snapshots.emplace(*std::move(taken));
    PERDURE_TRY(cancelled());
    // CRIU has them stopped; the cgroup takes over, so that they do not run an instruction more when it lets go.
    if (after == AfterCapture::kStayFrozen) PERDURE_TRY(cgroup_->freeze(kFreezeTime));
    log::debug("{}: checkpoint: thawing", spec_.name.str());
    return {};
  };
  capsule::CaptureTarget target;
  target.stays_frozen = after == AfterCapture::kStayFrozen;
  target.init_pid = facts.init.pid;
  target.pids = pids;
  target.root = paths_.merged();
  target.mounts = external_mounts();
  auto captured = engine().capture(target, hooks, deadline);
  if (!captured) {
    if (snapshots_to_come.valid()) snapshots_to_come.wait();
    if (after == AfterCapture::kStayFrozen) PERDURE_TRY(resume());
    unlock();
    PERDURE_TRY(cancelled());
    return fail(std::move(captured).error());
  }

  capsule::Capsule capsule;
  capsule.manifest = manifest(generation, facts);
  capsule.images = std::move(captured->images);
  capsule.memory = std::move(captured->memory);
  for (std::size_t i = 0; i < trees_.size(); ++i) {
    PERDURE_ASSIGN(auto tree, trees_[i].tracker->finish(std::move(snapshots->of_trees[i])));
    capsule.manifest.stats.files_changed.count += trees_[i].tracker->last_stats().changed.count;
    capsule.trees.push_back(std::move(tree));
  }
  for (const auto& [name, pages] : capsule.memory) {
    capsule.manifest.stats.memory.count += pages.page_count() * capsule::kPageSize;
  }
  capsule.manifest.stats.memory_changed.count = captured->pages_read * capsule::kPageSize;
  capsule.manifest.stats.frozen = captured->frozen;
  capsule.manifest.stats.wall = captured->wall;
  capsule.manifest.stats.cpu = captured->criu_cpu;
  for (const auto& [pid, why] : captured->untracked) {
    log::debug("{}: memory of process {} is not tracked: {}", spec_.name.str(), pid, why);
  }
  next_pages_bytes_ = captured->pages_read * capsule::kPageSize;
  warm_up_engine(std::min<Duration>(kRestAfterCapture, spec_.checkpoint.interval / 4));
  return Captured{std::move(capsule), captured->thawed};
}

// The overlay must not be mounted while its upper directory is changed from below. Returns the root of the old
// mount, which lives until that is closed.
Result<UniqueFd> LinuxBackend::replace_root(const std::function<Status()>& change) {
  UniqueFd old_root;
  PERDURE_ASSIGN(const bool mounted, image::overlay_mounted({image_.lower_dir, paths_.rw(), paths_.merged()}));
  if (mounted) {
    PERDURE_TRY(point_tracker_at_root(false));
    PERDURE_ASSIGN(old_root, open_file(paths_.merged(), O_RDONLY | O_DIRECTORY));
    if (::umount2(paths_.merged().c_str(), MNT_DETACH) != 0) {
      return fail_errno(std::format("detach '{}'", paths_.merged()));
    }
  }
  PERDURE_TRY(change());
  PERDURE_TRY(mount_root());
  PERDURE_TRY(point_tracker_at_root(true));
  return old_root;
}

// The tracker of the writable layer knows mapped files by their numbers in the overlay mount.
Status LinuxBackend::point_tracker_at_root(bool mounted) {
  const auto layer = std::ranges::find(trees_, std::string(), &Tree::volume);
  if (layer == trees_.end()) return {};
  UniqueFd root;
  if (mounted) {
    PERDURE_ASSIGN(root, open_file(paths_.merged(), O_RDONLY | O_DIRECTORY));
  }
  layer->tracker->set_merged(std::move(root));
  return {};
}

// All of it takes its time.
void LinuxBackend::tidy(Restored restored) {
  tidying_ = std::jthread([restored = std::move(restored)](std::stop_token stop) mutable {
    if (restored.connections) restored.connections->hear_late_answers(stop);
    restored.old_root.reset();
    if (restored.connections) restored.connections->watch_spliced(stop);
  });
}

Result<UniqueFd> LinuxBackend::roll_back_files(const capsule::Capsule& capsule) {
  PERDURE_ASSIGN(const UniqueFd home, open_file(paths_.home, O_RDONLY | O_DIRECTORY));
  return replace_root([&]() -> Status {
    for (const Tree& tree : trees_) {
      const auto wanted = std::ranges::find(capsule.trees, tree.volume, &capsule::FileTree::volume);
      if (wanted == capsule.trees.end()) {
        return fail(ErrorCode::kCorrupt, std::format("capsule of '{}' lacks volume '{}'", spec_.name.str(),
                                                     tree.volume));
      }
      PERDURE_ASSIGN(const UniqueFd root, open_file(tree.directory, O_RDONLY | O_DIRECTORY));
      capsule::RestoreOptions options;
      options.marker_directory = home.get();
      options.marker_name = std::string(kRollBackMarker) + (tree.volume.empty() ? "" : "-" + tree.volume);
      PERDURE_ASSIGN(const bool pending,
                     capsule::roll_back_pending(options.marker_directory, options.marker_name));
      PERDURE_TRY(capsule::roll_back(root, *wanted, pending ? nullptr : tree.tracker.get(), options)
                      .transform([](auto&&) {}));
    }
    return {};
  });
}

Result<capsule::RestoredProcesses> LinuxBackend::restore_processes(const capsule::Capsule& capsule,
                                                                   runtime::LoggerPipes& pipes,
                                                                   RolledBackConnections* connections) {
  capsule::RestoreTarget target;
  target.surroundings = surroundings();
  PERDURE_ASSIGN(target.v2_cgroup, cgroup_->make_leaf());
  const auto& hints = capsule.manifest.restore_hints;
  const auto inherit = [&](const char* hint, int fd) {
    const auto found = hints.find(hint);
    if (found != hints.end() && !found->second.empty()) target.inherited.emplace_back(found->second, fd);
  };
  inherit(kStdoutHint, pipes.stdout_write.get());
  inherit(kStderrHint, pipes.stderr_write.get());
  if (connections != nullptr) {
    target.changed = connections->changed();
    target.late = connections->late();
  }
  return engine().restore(capsule, target, BootClock::now() + kRestoreTime);
}

Status LinuxBackend::stage(const capsule::Capsule& capsule) {
  tidying_ = {};
  PERDURE_TRY(roll_back_files(capsule).transform([](auto&&) {}));
  for (Tree& tree : trees_) {
    const auto wanted = std::ranges::find(capsule.trees, tree.volume, &capsule::FileTree::volume);
    if (wanted != capsule.trees.end()) tree.tracker->adopt(*wanted);
    tree.warm = false;
  }
  warm_up_engine();
  return {};
}

// An imported container has never run here: its surroundings are made first.
Status LinuxBackend::prepare_for_restore(RestoreKind kind) {
  const auto probe = kind == RestoreKind::kMovedHere ? AddressProbe::kNo : AddressProbe::kYes;
  PERDURE_ASSIGN(const Preparation preparation, prepare(probe, [](std::string_view, std::string_view) {}));
  for (const runtime::Finding& finding : preparation.findings) {
    if (finding.severity != runtime::Finding::Severity::kRefusal) continue;
    return fail(ErrorCode::kUnsupported, std::format("{}; {}", finding.what, finding.remedy));
  }
  return {};
}

Result<RestoreResult> LinuxBackend::restore(const capsule::Capsule& capsule, RestoreKind kind,
                                            const std::vector<network::TcpTuple>& begun) {
  PERDURE_TRY(check_restorable(capsule.manifest, runtime::cluster_facts(host_.facts)));
  if (!netns_) PERDURE_TRY(prepare_for_restore(kind));
  const Instant begin = BootClock::now();
  RestoreResult result;
  tidying_ = {};
  PERDURE_TRY(kill_all());
  result.killed = BootClock::now() - begin;
  engine().forget_processes();
  PERDURE_ASSIGN(const auto left_behind, connections_left_behind(begun));
  PERDURE_TRY(network::clear_connections(netns_->fd()));
  auto restored = restore_behind_gate(capsule, kind, left_behind, result);
  if (!restored) {
    hold_gate();
    if (Status killed = kill_all(); !killed) log::error("{}", killed.error().message());
    return fail(std::move(restored).error());
  }
  result.total = BootClock::now() - begin;
  tidy(*std::move(restored));
  warm_up_engine();
  return result;
}

Result<LinuxBackend::Restored> LinuxBackend::restore_behind_gate(const capsule::Capsule& capsule, RestoreKind kind,
                                                                 const std::vector<network::TcpSocketInfo>& left_behind,
                                                                 RestoreResult& result) {
  Restored restored;
  std::string host_interface;
  {
    // From here on nothing of the old life can speak. What the new one says may go out as soon as its sockets
    // are there; only the kernel's RST for sockets that are not there yet is kept back. After a move it says nothing
    // before the record names this node.
    const std::lock_guard lock(gate_mutex_);
    if (attachment_) {
      host_interface = attachment_->host_interface;
      network::Gate& gate = attachment_->gate;
      gate.release_holds(gate.holds());
      const auto wanted = kind == RestoreKind::kMovedHere ? network::GateFlags::kLocked : network::GateFlags::kRstGuard;
      // Not kListedDeathsOnly: nobody has said yet who will be what in the new life.
      gate.set_flags(wanted | (gate.state().flags & network::GateFlags::kHoldOnDeath));
    }
  }
  Instant step = BootClock::now();
  if (kind == RestoreKind::kMovedHere) {
    PERDURE_ASSIGN(interrupted_, interrupted_connections(capsule));
  } else if (!host_interface.empty()) {
    PERDURE_ASSIGN(restored.connections, RolledBackConnections::of({.container = spec_.name.str(),
                                                                    .path = probe_path(),
                                                                    .network = spec_.network},
                                                                   capsule, left_behind));
    PERDURE_TRY(restored.connections->ask());
  }
  PERDURE_ASSIGN(restored.old_root, roll_back_files(capsule));
  result.files = BootClock::now() - step;

  PERDURE_ASSIGN(runtime::LoggerPipes pipes, start_logger());
  step = BootClock::now();
  result.frames_before = frames_passed();
  auto processes = restore_processes(capsule, pipes, restored.connections.get());
  if (!processes) return fail(std::move(processes).error());
  result.processes = BootClock::now() - step;
  // One that has ended already ends like one that ends a moment later: without a watch.
  const std::uint64_t holds = gate_holds();
  const auto init = runtime::ProcessId::of(processes->init_pid);
  result.life = watched({init.value_or(runtime::ProcessId{processes->init_pid, 0}), pipes.stdout_key,
                         pipes.stderr_key});
  if (result.life.process) release_gate(holds);
  if (restored.connections) {
    const auto settled = restored.connections->settle();
    result.connections = settled.all;
    result.connections_reset = settled.reset;
    result.connections_spliced = settled.spliced;
  }
  for (Tree& tree : trees_) {
    const auto wanted = std::ranges::find(capsule.trees, tree.volume, &capsule::FileTree::volume);
    if (wanted != capsule.trees.end()) tree.tracker->adopt(*wanted);
    tree.warm = false;
  }
  return restored;
}

// CRIU kills helpers of its own among the processes that it restores, and the exit hook closes the gate for them. A peer
// that is told of a reset connects again at once: an answer that is lost here would cost it a second.
std::uint64_t LinuxBackend::gate_holds() const {
  const std::lock_guard lock(gate_mutex_);
  return attachment_ ? attachment_->gate.holds() : 0;
}

void LinuxBackend::release_gate(std::uint64_t holds) {
  const std::lock_guard lock(gate_mutex_);
  if (attachment_) attachment_->gate.release_holds(holds);
}

Result<std::vector<LinuxBackend::Interrupted>> LinuxBackend::interrupted_connections(const capsule::Capsule& capsule) {
  std::vector<Interrupted> interrupted;
  PERDURE_ASSIGN(const auto connections, capsule::captured_connections(capsule.images));
  for (const capsule::CapturedConnection& connection : connections) {
    const network::RestoredSocket socket = to_network(connection);
    if (connection.unacknowledged.empty() || is_loopback(socket.remote.address)) continue;
    interrupted.push_back({socket, connection.unacknowledged});
  }
  return interrupted;
}

// What was under way when the source fell silent, and what was sent here before the gate opened, is lost. The kernel's
// own timer would need up to a second, for the restored socket knows no round trip yet. It must take for sent all that
// may have been: an acknowledgement of what it has not sent is ignored, and a peer that has it says nothing else.
Status LinuxBackend::send_interrupted() {
  const std::vector<Interrupted> interrupted = std::exchange(interrupted_, {});
  if (interrupted.empty() || !attachment_) return {};
  std::vector<network::RestoredSocket> sockets;
  for (const Interrupted& each : interrupted) sockets.push_back(each.socket);
  PERDURE_ASSIGN(auto prober, network::PeerProber::open(probe_path()));
  PERDURE_ASSIGN(const auto answers, prober.probe(sockets));
  for (std::size_t i = 0; i < sockets.size(); ++i) {
    if (answers[i]) PERDURE_TRY(prober.send_again(sockets[i], *answers[i], interrupted[i].queue));
  }
  return {};
}

// Those that the kernel still closes in the name of the dead, those that it has closed at once because they held data
// which nobody had read, and those that another host has told of.
Result<std::vector<network::TcpSocketInfo>> LinuxBackend::connections_left_behind(
    const std::vector<network::TcpTuple>& begun) {
  PERDURE_ASSIGN(std::vector<network::TcpSocketInfo> left, network::list_established(netns_->fd()));
  std::vector<network::TcpTuple> others;
  {
    const std::lock_guard lock(gate_mutex_);
    if (attachment_) {
      PERDURE_ASSIGN(others, attachment_->gate.take_refused());
    }
  }
  if (!begun.empty()) log::debug("{}: {} connections may be younger than the generation", spec_.name.str(), begun.size());
  others.insert(others.end(), begun.begin(), begun.end());
  std::set<network::TcpTuple> known;
  for (const network::TcpSocketInfo& info : left) known.insert(info.tuple);
  for (const network::TcpTuple& tuple : others) {
    if (known.insert(tuple).second) left.emplace_back().tuple = tuple;
  }
  return left;
}

network::ProbePath LinuxBackend::probe_path() const {
  return {.netns = netns_->fd(),
          .bridge = bridge(),
          .host_interface = attachment_->host_interface,
          .mac = model::effective_mac(spec_)};
}

}  // namespace perdure::node
