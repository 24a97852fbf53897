#include "node/linux_backend.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <algorithm>
#include <condition_variable>
#include <filesystem>
#include <format>
#include <iterator>
#include <mutex>
#include <stop_token>
#include <thread>
#include <variant>

#include "base/log.h"
#include "base/process_status.h"
#include "capsule/format/codec.h"
#include "image/overlay.h"
#include "io/atomic_file.h"
#include "model/spec_yaml.h"
#include "network/announce.h"
#include "network/link.h"
#include "image/agent_configuration.h"
#include "node/agent_link.h"
#include "node/bridge_name.h"

namespace perdure::node {
namespace {

constexpr Duration kRuntimeTime = std::chrono::seconds(60);   // runc on a loaded host
constexpr Duration kKillTime = std::chrono::seconds(20);      // uninterruptible sleep may hold a process up
constexpr Duration kCgroupTime = std::chrono::seconds(10);
constexpr Duration kUnmountPatience = std::chrono::seconds(5);  // milliseconds, but on a loaded host

std::vector<model::IpPrefix> addresses_of(const model::NetworkSpec& spec) {
  std::vector<model::IpPrefix> addresses;
  if (spec.ipv4) addresses.push_back({spec.ipv4->address, spec.ipv4->length});
  if (spec.ipv6) addresses.push_back({spec.ipv6->address, spec.ipv6->length});
  return addresses;
}

bool is_refusal(const runtime::Finding& finding) { return finding.severity == runtime::Finding::Severity::kRefusal; }

}  // namespace

LinuxBackend::LinuxBackend(const HostServices& host, model::ContainerSpec spec, std::string image_digest)
    : host_(host),
      spec_(std::move(spec)),
      paths_(host.paths, spec_.name),
      image_digest_(std::move(image_digest)),
      engine_(spec_.name.str(),
              capsule::EngineOptions{
                  .criu = {host.facts.criu.path, host.paths.pagemap_filter(), host.paths.standby()},
                  .scratch_dir = host.paths.scratch(),
                  .tracking = host.tracking,
              }),
      spec_yaml_(model::to_yaml(spec_)),
      spec_digest_(capsule::to_string(capsule::digest_of(std::as_bytes(std::span(spec_yaml_))))) {}

LinuxBackend::~LinuxBackend() = default;

// ---- Making the container's surroundings ----

Result<Preparation> LinuxBackend::prepare(AddressProbe probe, const ProgressFunction& progress) {
  PERDURE_TRY(io::make_directories(paths_.home, 0700));
  PERDURE_ASSIGN(image_, prepare_image(progress));
  Preparation preparation{image_.digest, runtime::check_spec(spec_, image_, host_.facts)};
  if (std::ranges::any_of(preparation.findings, is_refusal)) return preparation;
  PERDURE_TRY(make_surroundings(probe, progress));
  return preparation;
}

Status LinuxBackend::make_surroundings(AddressProbe probe, const ProgressFunction& progress) {
  progress("network", "making the network");
  PERDURE_TRY(prepare_cgroup());
  PERDURE_TRY(prepare_network(probe));
  progress("files", "mounting the root file system");
  PERDURE_TRY(mount_root());
  PERDURE_TRY(write_bundle());
  return open_trackers();
}

Result<Preparation> LinuxBackend::prepare_standby(const std::string& image_digest) {
  image_digest_ = image_digest;
  gate_deadline_->set(Instant::min());
  std::vector<runtime::Finding> findings = runtime::check_standby(spec_, host_.facts);
  if (std::ranges::any_of(findings, is_refusal)) return Preparation{image_digest, std::move(findings)};
  const ProgressFunction quiet = [](std::string_view, std::string_view) {};
  PERDURE_ASSIGN(const image::PreparedImage image, prepare_image(quiet));
  if (image.digest != image_digest) {
    findings.push_back({runtime::Finding::Severity::kRefusal,
                        std::format("container '{}': the root file system at '{}' has the digest {}, its owner's {}",
                                    spec_.name.str(), image.lower_dir, image.digest, image_digest),
                        "make it the same as on the owner, or remove it, so that it is fetched"});
    return Preparation{image_digest, std::move(findings)};
  }
  PERDURE_ASSIGN(Preparation preparation, prepare(AddressProbe::kNo, quiet));
  std::ranges::move(findings, std::back_inserter(preparation.findings));
  return preparation;
}

Result<image::PreparedImage> LinuxBackend::prepare_image(const ProgressFunction& progress) {
  if (!image_digest_.empty()) {
    auto found = image::find_prepared(host_.paths.images(), image_digest_);
    // The tree of a directory proves itself; of anything else its digest is what another node said (image/archive.h).
    if (found && std::holds_alternative<model::DirectoryRoot>(spec_.root_filesystem) &&
        found->tree_digest != image_digest_) {
      return fail(ErrorCode::kCorrupt,
                  std::format("container '{}': '{}' is not the directory with the digest {}: remove it and let it be "
                              "fetched again",
                              spec_.name.str(), found->lower_dir, image_digest_));
    }
    if (found || found.error().code() != ErrorCode::kNotFound) return found;
  }
  image::PrepareOptions options;
  options.images_dir = host_.paths.images();
  options.progress = [&progress](std::string_view text) { progress("unpack", text); };
  return image::prepare_root(spec_.root_filesystem, options);
}

Status LinuxBackend::prepare_cgroup() {
  PERDURE_TRY(runtime::create_limited(host_.cgroups, paths_.cgroup, spec_.resources).transform([](auto&&) {}));
  PERDURE_ASSIGN(cgroup_, runtime::Cgroup::create(host_.cgroups, paths_.cgroup));
  cgroup_id_ = cgroup_->id();
  return {};
}

std::string LinuxBackend::bridge() const { return bridge_of(spec_.network); }

Status LinuxBackend::probe_addresses() const {
  for (const model::IpPrefix& prefix : addresses_of(spec_.network)) {
    network::HolderQuery query;
    query.bridge = bridge();
    query.address = prefix.address;
    PERDURE_ASSIGN(const auto holder, network::find_holder(query));
    if (holder) {
      return fail(ErrorCode::kConflict,
                  std::format("address {} of container '{}' is in use by {} on bridge '{}'; choose another "
                              "address or stop its holder",
                              to_string(prefix.address), spec_.name.str(), to_string(*holder), bridge()));
    }
  }
  return {};
}

Status LinuxBackend::attach_network() {
  network::AttachRequest request{.container = spec_.name,
                                 .netns = netns_->fd(),
                                 .bridge = bridge(),
                                 .mac = model::effective_mac(spec_),
                                 .addresses = addresses_of(spec_.network),
                                 .gateways = {},
                                 .mtu = spec_.network.mtu.value_or(0),
                                 .initial = {}};
  if (spec_.network.ipv4_gateway) request.gateways.push_back(*spec_.network.ipv4_gateway);
  if (spec_.network.ipv6_gateway) request.gateways.push_back(*spec_.network.ipv6_gateway);
  request.initial.flags = network::GateFlags::kLocked | network::GateFlags::kHoldOnDeath;
  request.initial.deadline = gate_deadline_->next();
  auto attached = network::attach(request);
  if (!attached) return fail(std::move(attached).error());
  return take_attachment(*std::move(attached), LinuxGateDeadline::Present::kIsWritten);
}

Status LinuxBackend::take_attachment(network::Attachment attachment, LinuxGateDeadline::Present present) {
  PERDURE_ASSIGN(auto writer, attachment.gate.deadline_writer());
  gate_deadline_->use(std::move(writer), present);
  const std::lock_guard lock(gate_mutex_);
  attachment_.emplace(std::move(attachment));
  return {};
}

Status LinuxBackend::prepare_network(AddressProbe probe) {
  if (netns_) return {};
  auto made = network::NetworkNamespace::create(paths_.network_namespace);
  if (!made && made.error().code() == ErrorCode::kExists) {
    made = network::NetworkNamespace::open(paths_.network_namespace);
  }
  if (!made) return fail(std::move(made).error());
  made->release();
  if (spec_.network.attached()) {
    if (probe == AddressProbe::kYes) {
      if (Status free = probe_addresses(); !free) {
        made->adopt();
        return free;
      }
    }
    netns_.emplace(*std::move(made));
    if (Status attached = attach_network(); !attached) {
      netns_->adopt();
      netns_.reset();
      return attached;
    }
  } else {
    netns_.emplace(*std::move(made));
  }
  return protect_deaths();
}

Status LinuxBackend::protect_deaths() {
  const std::lock_guard lock(gate_mutex_);
  if (host_.exit_hook == nullptr || !attachment_ || !cgroup_) return {};
  return host_.exit_hook->protect(cgroup_->id(), attachment_->gate);
}

Status LinuxBackend::mount_root() const {
  return image::mount_overlay({image_.lower_dir, paths_.rw(), paths_.merged()});
}

std::string LinuxBackend::volume_directory(const model::VolumeSpec& volume) const {
  return volume.host_path ? *volume.host_path : paths_.volume(volume.name);
}

Result<UniqueFd> LinuxBackend::open_agent_socket() {
  if (spec_.components.empty() || !netns_) return UniqueFd{};
  return node::open_agent_socket(netns_->fd());
}

std::vector<image::BindMount> LinuxBackend::bind_mounts() const {
  std::vector<image::BindMount> mounts;
  for (const model::VolumeSpec& volume : spec_.volumes) {
    mounts.push_back({volume_directory(volume), volume.mount_path, volume.access});
  }
  return mounts;
}

std::vector<capsule::ExternalMount> LinuxBackend::external_mounts() const {
  std::vector<capsule::ExternalMount> mounts;
  for (const image::BindMount& mount : bind_mounts()) {
    mounts.push_back({mount.destination, mount.criu_key(), mount.source});
  }
  return mounts;
}

capsule::Surroundings LinuxBackend::surroundings() const {
  capsule::Surroundings surroundings;
  surroundings.root = paths_.merged();
  surroundings.mounts = external_mounts();
  surroundings.network_namespace_fd = netns_->fd();
  surroundings.v1_cgroups = runtime::cgroup_dirs_at(host_.cgroups, paths_.cgroup);
  std::erase(surroundings.v1_cgroups, cgroup_->directory());
  return surroundings;
}

// Nobody waits for it. The container runs without, only slower to checkpoint and to restore. Who needs the engine before
// `later` has passed gets it warm at once.
void LinuxBackend::warm_up_engine(Duration later) {
  warming_up_ = std::jthread([this, later, surroundings = surroundings()](std::stop_token wanted) {
    std::mutex mutex;
    std::unique_lock lock(mutex);
    std::condition_variable_any().wait_for(lock, wanted, later, [] { return false; });
    if (Status warmed = engine_.warm_up(surroundings); !warmed) {
      log::warning("{}: {}", spec_.name.str(), warmed.error().message());
    }
    capsule::Slab::prepare(next_pages_bytes_);
  });
}

capsule::Engine& LinuxBackend::engine() {
  warming_up_ = {};
  return engine_;
}

Status LinuxBackend::write_bundle() const {
  for (const model::VolumeSpec& volume : spec_.volumes) {
    if (!volume.host_path) PERDURE_TRY(io::make_directories(paths_.volume(volume.name), 0755));
  }
  PERDURE_TRY(io::make_directories(paths_.bundle(), 0700));
  image::BundleOptions options;
  options.bundle_dir = paths_.bundle();
  options.root_dir = paths_.merged();
  options.network_namespace = paths_.network_namespace;
  options.cgroups_path = "/" + paths_.cgroup;
  options.volumes = bind_mounts();
  if (!spec_.components.empty()) {
    PERDURE_ASSIGN(const agent::Configuration agent, image::make_agent_configuration(spec_, image_, paths_.merged()));
    options.agent = image::AgentFiles{host_.paths.agent(), agent::to_text(agent)};
  }
  return image::write_bundle(spec_, image_, options);
}

Status LinuxBackend::open_trackers() {
  if (!trees_.empty()) return {};
  PERDURE_TRY(io::make_directories(paths_.staging(), 0700));
  const auto open_tree = [this](const std::string& volume, const std::string& directory,
                                const std::string& staging) -> Status {
    PERDURE_TRY(io::make_directories(staging, 0700));
    PERDURE_ASSIGN(UniqueFd root, open_file(directory, O_RDONLY | O_DIRECTORY));
    PERDURE_ASSIGN(UniqueFd staging_fd, open_file(staging, O_RDONLY | O_DIRECTORY));
    UniqueFd merged;
    if (volume.empty()) {
      PERDURE_ASSIGN(merged, open_file(paths_.merged(), O_RDONLY | O_DIRECTORY));
    }
    capsule::FileTrackerOptions options;
    options.volume = volume;
    options.name = volume.empty() ? std::format("writable layer of '{}'", spec_.name.str())
                                  : std::format("volume '{}' of '{}'", volume, spec_.name.str());
    PERDURE_ASSIGN(auto tracker, capsule::FileTracker::create(std::move(root), std::move(staging_fd),
                                                              std::move(merged), options));
    trees_.push_back({volume, directory, std::move(tracker)});
    return {};
  };
  PERDURE_TRY(open_tree("", paths_.upper(), paths_.staging()));
  for (const model::VolumeSpec& volume : spec_.volumes) {
    if (volume.kind != model::VolumeKind::kCaptured || volume.access == model::Access::kReadOnly) continue;
    // Staging lies beside a volume that the operator gave, on the same file system.
    const std::string directory = volume_directory(volume);
    const std::string staging = volume.host_path
                                    ? std::filesystem::path(directory).parent_path().string() +
                                          "/.perdure-staging-" + spec_.name.str() + "-" + volume.name
                                    : paths_.staging();
    PERDURE_TRY(open_tree(volume.name, directory, staging));
  }
  std::ranges::sort(trees_, {}, &Tree::volume);
  return {};
}

// ---- Life ----

Result<runtime::LoggerPipes> LinuxBackend::start_logger() const {
  runtime::LoggerOptions options;
  options.program = host_.paths.logger();
  options.log_dir = paths_.logs();
  options.file_limit_bytes = spec_.log.max_size.count;
  options.files = static_cast<int>(spec_.log.files);
  return runtime::start_logger(options);
}

Result<Life> LinuxBackend::start() {
  PERDURE_TRY(kill_all());
  PERDURE_TRY(mount_root());
  PERDURE_TRY(host_.runtime->discard(spec_.name, kRuntimeTime));
  PERDURE_TRY(network::clear_connections(netns_->fd()));
  PERDURE_ASSIGN(runtime::LoggerPipes pipes, start_logger());
  runtime::CreateOptions options;
  options.bundle_dir = paths_.bundle();
  options.cgroup_path = paths_.cgroup;
  options.stdout_fd = pipes.stdout_write.get();
  options.stderr_fd = pipes.stderr_write.get();
  options.deadline = kRuntimeTime;
  engine().forget_processes();
  engine().cool_down();  // runc wants to find the cgroups empty
  hold_for(std::nullopt);
  PERDURE_ASSIGN(const runtime::ProcessId init, host_.runtime->create(spec_.name, options));
  Life life = watched({init, pipes.stdout_key, pipes.stderr_key});
  open_gate();
  if (Status started = host_.runtime->start(spec_.name, kRuntimeTime); !started) {
    hold_gate();
    if (Status killed = kill_all(); !killed) log::warning("{}", killed.error().message());
    return fail(std::move(started).error());
  }
  warm_up_engine();
  return life;
}

Status LinuxBackend::terminate(int signal) {
  if (!cgroup_) return fail(ErrorCode::kNotFound, std::format("container '{}' is not running", spec_.name.str()));
  PERDURE_ASSIGN(const std::vector<pid_t> pids, cgroup_->processes());
  for (const pid_t pid : pids) {
    if (process_status_word(pid, "NSpid") != "1") continue;
    if (::kill(pid, signal) != 0) return fail_errno(std::format("send signal {} to process {}", signal, pid));
    return {};
  }
  return fail(ErrorCode::kNotFound, std::format("container '{}' has no first process", spec_.name.str()));
}

Status LinuxBackend::kill_all() {
  if (!cgroup_) return {};
  return cgroup_->kill_all(kKillTime);
}

Status LinuxBackend::release(Capsules capsules) {
  tidying_ = {};
  engine().cool_down();
  PERDURE_TRY(kill_all());
  PERDURE_TRY(host_.runtime->discard(spec_.name, kRuntimeTime));
  engine().forget_processes();
  if (cgroup_ && host_.exit_hook != nullptr) {
    if (Status ended = host_.exit_hook->unprotect(cgroup_->id()); !ended) {
      log::warning("{}: {}", spec_.name.str(), ended.error().message());
    }
  }
  {
    const std::lock_guard lock(gate_mutex_);
    attachment_.reset();
    gate_deadline_->leave();
  }
  // A restored IPv6 connection that the container had opened and that nobody has closed would keep its device, and this
  // call with it, for ever (seen with Linux 6.18).
  if (netns_) PERDURE_TRY(network::clear_connections(netns_->fd()));
  PERDURE_TRY(network::detach(spec_.name));
  netns_.reset();
  PERDURE_TRY(network::delete_netns(paths_.network_namespace));
  cgroup_.reset();
  cgroup_id_ = 0;
  PERDURE_TRY(runtime::remove_everywhere(host_.cgroups, paths_.cgroup, kCgroupTime));
  for (const Tree& tree : trees_) {
    if (tree.volume.empty()) continue;
    const std::string staging = std::filesystem::path(tree.directory).parent_path().string() +
                                "/.perdure-staging-" + spec_.name.str() + "-" + tree.volume;
    if (Status removed = io::remove_tree(staging); !removed && removed.error().code() != ErrorCode::kNotFound) {
      log::warning("{}: {}", spec_.name.str(), removed.error().message());
    }
  }
  trees_.clear();
  PERDURE_TRY(image::unmount_overlay(paths_.merged(), kUnmountPatience));
  const auto remove = [](const std::string& path) -> Status {
    Status removed = io::remove_tree(path);
    if (!removed && removed.error().code() == ErrorCode::kNotFound) return {};
    return removed;
  };
  PERDURE_TRY(remove(paths_.home));
  return capsules == Capsules::kDelete ? remove(paths_.capsules) : Status{};
}

Result<Found> LinuxBackend::recover(const std::optional<RuntimeFacts>& facts, Frozen frozen) {
  // What a live container needs comes first: whatever fails after it, its deaths are seen and it can be ended.
  PERDURE_TRY(host_.runtime->discard(spec_.name, kRuntimeTime));
  PERDURE_TRY(prepare_cgroup());
  auto existing = network::NetworkNamespace::open(paths_.network_namespace);
  if (existing) netns_.emplace(*std::move(existing));
  if (netns_ && spec_.network.attached() && !attachment_) {
    auto attached = network::recover_attachment(spec_.name);
    if (attached) {
      PERDURE_TRY(take_attachment(*std::move(attached), LinuxGateDeadline::Present::kIsKept));
    } else {
      PERDURE_TRY(attach_network());
    }
  }
  if (netns_) PERDURE_TRY(protect_deaths());
  hold_for(std::nullopt);
  PERDURE_ASSIGN(image_, prepare_image([](std::string_view, std::string_view) {}));
  PERDURE_ASSIGN(const bool populated, cgroup_->populated());
  Found found;
  if (!netns_ || !populated) {
    if (populated) PERDURE_TRY(kill_all());
    PERDURE_TRY(prepare(AddressProbe::kNo, [](std::string_view, std::string_view) {})
                    .transform([](Preparation&&) {}));
    return found;
  }
  PERDURE_TRY(mount_root());
  PERDURE_TRY(open_trackers());
  if (frozen == Frozen::kThaw) PERDURE_TRY(cgroup_->thaw(kCgroupTime));
  const bool init_lives = facts && runtime::ProcessWatch::open(facts->init).has_value();
  found.state = init_lives ? Found::State::kAlive : Found::State::kHalfRestored;
  if (init_lives) warm_up_engine();
  return found;
}

Status LinuxBackend::resume() {
  if (!cgroup_) return {};
  PERDURE_TRY(cgroup_->thaw(kCgroupTime));
  engine().resumed();
  return {};
}

// As long as another host's copy spoke, the bridge here has learnt that the container is behind its uplink. What comes in there
// would not be passed on before the container has sent something itself; and the announcements' port teaches nothing.
Status LinuxBackend::point_bridge_here() {
  std::string port;
  {
    const std::lock_guard lock(gate_mutex_);
    if (!attachment_) return {};
    port = attachment_->host_interface;
  }
  PERDURE_ASSIGN(auto links, network::LinkControl::open());
  return links.learn_mac(port, model::effective_mac(spec_));
}

Status LinuxBackend::announce() {
  if (!spec_.network.attached()) return {};
  std::vector<network::IpAddress> addresses;
  for (const model::IpPrefix& prefix : addresses_of(spec_.network)) addresses.push_back(prefix.address);
  PERDURE_TRY(point_bridge_here());
  PERDURE_ASSIGN(auto injector, network::Injector::open(bridge()));
  PERDURE_TRY(network::announce(injector, model::effective_mac(spec_), addresses));
  return send_interrupted();
}

// ---- The gate ----

std::shared_ptr<GateDeadline> LinuxBackend::gate_deadline() { return gate_deadline_; }

void LinuxBackend::hold_gate() {
  const std::lock_guard lock(gate_mutex_);
  if (attachment_) attachment_->gate.lock();
}

void LinuxBackend::open_gate() {
  const std::lock_guard lock(gate_mutex_);
  if (!attachment_) return;
  attachment_->gate.release_holds(attachment_->gate.holds());
  attachment_->gate.open();
}

bool LinuxBackend::gate_held_by_death() const {
  const std::lock_guard lock(gate_mutex_);
  return attachment_ && attachment_->gate.held();
}

void LinuxBackend::hold_for(const std::optional<StatefulProcesses>& processes) {
  const std::lock_guard lock(gate_mutex_);
  if (!attachment_) return;
  if (processes && host_.exit_hook != nullptr && cgroup_id_ != 0) {
    Status listed = host_.exit_hook->list(cgroup_id_, processes->init, processes->pids);
    if (listed) return attachment_->gate.add_flags(network::GateFlags::kListedDeathsOnly);
    log::warning("{}: {}; every death in it closes its gate", spec_.name.str(), listed.error().message());
  }
  attachment_->gate.clear_flags(network::GateFlags::kListedDeathsOnly);
}

std::uint64_t LinuxBackend::frames_passed() const {
  const std::lock_guard lock(gate_mutex_);
  return attachment_ ? attachment_->gate.counters().passed : 0;
}

std::optional<network::GateCounters> LinuxBackend::gate_traffic() const {
  const std::lock_guard lock(gate_mutex_);
  if (!attachment_) return std::nullopt;
  return attachment_->gate.counters();
}
std::vector<network::TcpTuple> LinuxBackend::take_begun() {
  const std::lock_guard lock(gate_mutex_);
  if (!attachment_) return {};
  auto begun = attachment_->gate.take_begun();
  if (!begun) log::debug("{}: {}", spec_.name.str(), begun.error().message());
  return begun ? *std::move(begun) : std::vector<network::TcpTuple>();
}

bool LinuxBackend::frozen() const { return cgroup_ && cgroup_->frozen().value_or(false); }

std::uint64_t LinuxBackend::cgroup_id() const { return cgroup_id_; }

std::string LinuxBackend::cgroup_directory() const { return cgroup_ ? cgroup_->directory() : std::string(); }

std::vector<pid_t> LinuxBackend::processes() const {
  if (!cgroup_) return {};
  return cgroup_->processes().value_or(std::vector<pid_t>{});
}

}  // namespace perdure::node
