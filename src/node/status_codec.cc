#include "node/status_codec.h"

#include <limits.h>
#include <unistd.h>

#include <algorithm>
#include <format>
#include <map>
#include <optional>
#include <utility>
#include <variant>

#include "capsule/format/codec.h"
#include "control_limits.h"
#include "model/spec_yaml.h"
#include "node/bridge_name.h"
#include "policy/options.h"

namespace perdure::node {
namespace {

namespace v1 = control::v1;
using policy::Phase;

// The newest generation of a container whose captures fail is called stale when it is older than this many
// intervals: one late beat is no news.
constexpr int kStaleIntervals = 3;

// It goes to a standby because it did not hold here, or has ended while it was moved.
bool runs_nowhere(const policy::ContainerStatus& status) { return status.pid < 0; }

v1::Phase phase_of(const ContainerService& service, const policy::ContainerStatus& status) {
  const policy::PersistentState& state = service.record().state;
  switch (status.phase) {
    case Phase::kNew:
    case Phase::kPreparing: return v1::PHASE_CREATING;
    case Phase::kStarting: return v1::PHASE_STARTING;
    case Phase::kTrial:
    case Phase::kProtected:
    case Phase::kUnprotected: return v1::PHASE_RUNNING;
    case Phase::kMoving: return runs_nowhere(status) ? v1::PHASE_RECOVERING : v1::PHASE_RUNNING;
    case Phase::kRecovering:
    case Phase::kWaiting: return v1::PHASE_RECOVERING;
    case Phase::kStopping:
      return state.desired == policy::DesiredState::kRemoved ? v1::PHASE_REMOVING : v1::PHASE_STOPPING;
    case Phase::kStopped: return state.finished ? v1::PHASE_EXITED : v1::PHASE_STOPPED;
    case Phase::kLeaving:
    case Phase::kGone:
    case Phase::kRemoved: return v1::PHASE_REMOVING;
    case Phase::kFailed: return v1::PHASE_FAILED;
  }
  return v1::PHASE_UNSPECIFIED;
}

bool is_stateless(const ContainerService& service) {
  return policy::options_from(service.spec()).statefulness == policy::Statefulness::kStateless;
}

bool is_stale(const policy::ContainerStatus& status, Instant now) {
  return status.capture_failures_in_row > 0 && status.fresh_since &&
         now - *status.fresh_since > kStaleIntervals * status.pace.interval;
}

// What keeps a container that should run from being protected; empty where nothing does.
std::string_view cause_of(const policy::ContainerStatus& status, v1::ProtectionState state) {
  switch (status.phase) {
    case Phase::kRecovering: return "recovering";
    case Phase::kWaiting: return "waiting";
    case Phase::kMoving: return runs_nowhere(status) ? "recovering" : "moving";
    case Phase::kFailed: return "failed";
    default: break;
  }
  switch (state) {
    case v1::PROTECTION_PENDING: return "starting";
    case v1::PROTECTION_STALE: return "stale";
    case v1::PROTECTION_UNPROTECTED: return "captures_fail";
    default: return "";
  }
}

void set_protection(v1::Protection& protection, const ContainerService& service,
                    const policy::ContainerStatus& status, Instant now) {
  switch (status.phase) {
    case Phase::kNew:
    case Phase::kPreparing:
    case Phase::kStarting:
    case Phase::kTrial: protection.set_state(v1::PROTECTION_PENDING); break;
    case Phase::kProtected: protection.set_state(v1::PROTECTION_PROTECTED); break;
    case Phase::kUnprotected: protection.set_state(v1::PROTECTION_UNPROTECTED); break;
    // Nothing runs: nothing can be lost, and nothing is being kept up to date.
    case Phase::kRecovering:
    case Phase::kStopping:
    case Phase::kStopped:
    case Phase::kRemoved:
    case Phase::kMoving:
    case Phase::kLeaving:
    case Phase::kGone:
    case Phase::kWaiting: return;
    case Phase::kFailed: return protection.set_remedy(status.remedy);
  }
  if (is_stateless(service)) protection.set_state(v1::PROTECTION_STATELESS);
  if (protection.state() == v1::PROTECTION_UNPROTECTED && status.newest_good && status.fresh_since &&
      status.newest_good->captured_at >= *status.fresh_since) {
    // Restorable still: what is lost is the time since, not the memory.
    protection.set_state(v1::PROTECTION_STALE);
  }
  if (protection.state() == v1::PROTECTION_PROTECTED && is_stale(status, now)) {
    protection.set_state(v1::PROTECTION_STALE);
    protection.set_reason(service.last_capture_error());
    protection.set_remedy("it is tried again and again; 'perdure events' shows each attempt");
  }
  if (status.phase == Phase::kTrial || status.phase == Phase::kUnprotected) {
    protection.set_reason(status.reason);
    protection.set_remedy(status.remedy);
  }
  for (std::string& line : criu_lines(service.last_capture_error())) protection.add_criu_lines(std::move(line));
}

// After a restart of the daemon the policy knows nothing yet; what runs goes on running meanwhile.
void set_not_taken_over(v1::ContainerStatus& status, const ContainerService& service, const Clock& clock) {
  status.set_phase(v1::PHASE_RECOVERING);
  status.set_phase_reason("since perdured was started: " + service.takeover_error());
  const auto since = std::chrono::duration_cast<WallTime::duration>(clock.now() - service.takeover_since());
  status.set_phase_since_unix_ms(unix_ms(clock.wall() - since));
  v1::Protection& protection = *status.mutable_protection();
  protection.set_state(v1::PROTECTION_UNPROTECTED);
  protection.set_cause("not_taken_over");
  protection.set_reason("perdured does not look after it yet");
  protection.set_remedy("it is tried again and again; mend what is said");
}

std::string_view why_of(const policy::Pace& pace) {
  return pace.reason == policy::PaceReason::kAsked ? std::string_view() : std::string_view(pace.text);
}

void set_interval(v1::IntervalStatus& interval, const ContainerService& service,
                  const policy::ContainerStatus& status) {
  if (is_stateless(service)) return;
  interval.set_asked_ns(service.spec().checkpoint.interval.count());
  if (status.pace.reason == policy::PaceReason::kOff) return;
  interval.set_in_force_ns(status.pace.interval.count());
  interval.set_why(std::string(why_of(status.pace)));
}

// Of generations older than this life of the daemon only the wall clock of the manifest tells the age.
void set_point(v1::GenerationPoint& point, const policy::GenerationInfo& info, const ContainerService& service,
               const Clock& clock) {
  const Duration age = std::max(Duration::zero(), Duration(clock.now() - info.captured_at));
  point.set_generation(to_string(info.id));
  point.set_age_ns(age.count());
  WallTime created = clock.wall() - std::chrono::duration_cast<WallTime::duration>(age);
  if (const auto record = service.table().find(info.id)) created = record->manifest.created;
  point.set_created_unix_ms(unix_ms(created));
}

void set_network(v1::ContainerStatus& status, const model::ContainerSpec& spec) {
  const model::NetworkSpec& network = spec.network;
  if (network.ipv4) status.add_addresses(model::to_string(*network.ipv4));
  if (network.ipv6) status.add_addresses(model::to_string(*network.ipv6));
  if (network.attached()) status.set_mac_address(model::to_string(model::effective_mac(spec)));
  status.set_bridge(bridge_of(network));
}

void set_volumes(v1::ContainerStatus& status, const ContainerService& service) {
  for (const model::VolumeSpec& spec : service.spec().volumes) {
    v1::Volume& volume = *status.add_volumes();
    volume.set_name(spec.name);
    volume.set_host_path(spec.host_path.value_or(service.paths().volume(spec.name)));
    volume.set_container_path(spec.mount_path);
    volume.set_kind(spec.kind == model::VolumeKind::kCaptured ? v1::VOLUME_CAPTURED : v1::VOLUME_SHARED);
    volume.set_read_only(spec.access == model::Access::kReadOnly);
  }
}

void set_gate(v1::GateStatus& gate, const ContainerService& service, const policy::ContainerStatus& status) {
  gate.set_open(status.gate == policy::GateState::kOpen);
  gate.set_closures_by_perdured(service.gate_closures().by_perdured);
  gate.set_closures_by_death(service.gate_closures().by_death);
  const std::optional<network::GateCounters> traffic = service.backend().gate_traffic();
  if (!traffic) return;
  v1::GateTraffic& frames = *gate.mutable_traffic();
  frames.set_passed(traffic->passed);
  frames.set_dropped_deadline(traffic->dropped_deadline);
  frames.set_dropped_locked(traffic->dropped_locked);
  frames.set_dropped_held(traffic->dropped_held);
  frames.set_dropped_guard(traffic->dropped_guard);
  frames.set_dropped_arp_only(traffic->dropped_arp_only);
  frames.set_input_passed(traffic->input_passed);
  frames.set_input_dropped(traffic->input_dropped);
}

std::string host_name() {
  char name[HOST_NAME_MAX + 1] = {};
  return ::gethostname(name, sizeof name - 1) == 0 ? name : "";
}

std::string version_of(const runtime::Program& program) {
  return program.version ? runtime::to_string(*program.version) : std::string();
}

std::string image_name(const model::ContainerSpec& spec) {
  struct Namer {
    std::string operator()(const model::DirectoryRoot& root) const { return root.path; }
    std::string operator()(const model::TarRoot& root) const { return root.path; }
    std::string operator()(const model::OciRoot& root) const { return std::format("{}:{}", root.path, root.tag); }
    std::string operator()(const model::ImageRoot& root) const { return root.digest; }
  };
  return std::visit(Namer{}, spec.root_filesystem);
}

void set_reserved(v1::ContainerStatus& status, const model::ContainerSpec& spec) {
  const model::ApplicationMembership& said = spec.application;
  status.set_reserved_memory_bytes(said.memory.value_or(spec.resources.memory.value_or(Bytes{})).count);
  status.set_reserved_millicores(said.cpu.value_or(spec.resources.cpu.value_or(model::MilliCores{})).count);
  status.set_reserved_disk_bytes(said.disk.value_or(Bytes{}).count);
}

std::uint64_t disk_bytes(const ContainerService& service) {
  std::uint64_t sum = 0;
  for (const replica::GenerationRecord& record : service.table().all()) sum += record.stored_size.count;
  return sum;
}

}  // namespace

v1::ErrorCode to_proto(ErrorCode code) {
  if (code == ErrorCode::kFenced) return v1::ERROR_FENCED;
  return static_cast<v1::ErrorCode>(static_cast<int>(code) + 1);
}
static_assert(static_cast<int>(ErrorCode::kInvalid) + 1 == v1::ERROR_INVALID);
static_assert(static_cast<int>(ErrorCode::kIo) + 1 == v1::ERROR_IO);

v1::Error to_proto(const Error& error, std::string_view remedy) {
  v1::Error message;
  message.set_code(to_proto(error.code()));
  message.set_message(error.message());
  message.set_remedy(std::string(remedy));
  return message;
}

v1::Error given_up(const ContainerService& service, std::string_view what) {
  const policy::ContainerStatus status = service.status();
  v1::Error error;
  // The protocol's codes are those of base/result.h in their order, plus 1.
  error.set_code(service.start_error() ? to_proto(*service.start_error())
                                       : v1::ERROR_IO);
  error.set_message(std::format("container '{}' {}: {}", service.spec().name.str(), what, status.reason));
  error.set_remedy(status.remedy);
  return error;
}

std::int64_t unix_ms(WallTime time) {
  return std::chrono::duration_cast<std::chrono::milliseconds>(time.time_since_epoch()).count();
}

bool is_active(Phase phase) {
  switch (phase) {
    case Phase::kPreparing:
    case Phase::kStarting:
    case Phase::kTrial:
    case Phase::kProtected:
    case Phase::kUnprotected:
    case Phase::kRecovering:
    case Phase::kStopping:
    case Phase::kMoving:
    case Phase::kLeaving:
    case Phase::kWaiting: return true;
    case Phase::kNew:
    case Phase::kStopped:
    case Phase::kRemoved:
    case Phase::kFailed:
    case Phase::kGone: return false;
  }
  return false;
}

std::vector<std::string> criu_lines(std::string_view error) {
  std::vector<std::string> lines;
  while (!error.empty()) {
    const std::size_t end = error.find('\n');
    const std::string_view line = error.substr(0, end);
    // The first may stand behind what we say ourselves.
    if (const std::size_t at = line.find("Error ("); at != std::string_view::npos) lines.emplace_back(line.substr(at));
    error = end == std::string_view::npos ? std::string_view() : error.substr(end + 1);
  }
  if (lines.size() > control::kMaxCriuLines) {
    lines.erase(lines.begin(), lines.end() - static_cast<std::ptrdiff_t>(control::kMaxCriuLines));
  }
  return lines;
}

v1::Capture to_proto(const CaptureReport& report) {
  constexpr std::uint64_t kPageBytes = 4096;
  v1::Capture capture;
  capture.set_frozen_ns(report.stats.frozen.count());
  capture.set_wall_ns(report.stats.wall.count());
  capture.set_cpu_ns(report.stats.cpu.count());
  capture.set_full_bytes(report.full.count);
  capture.set_kept_bytes(report.kept.count);
  capture.set_dirty_pages(report.stats.memory_changed.count / kPageBytes);
  capture.set_total_pages(report.stats.memory.count / kPageBytes);
  capture.set_time_unix_ms(unix_ms(report.at));
  return capture;
}

v1::RestoreRecord to_proto(const RestoreReport& report) {
  v1::RestoreRecord record;
  record.set_time_unix_ms(unix_ms(report.at));
  record.set_reason(report.reason);
  if (report.generation) record.set_generation(to_string(*report.generation));
  if (report.noticed) record.set_noticed_ns(report.noticed->count());
  if (report.restored) record.set_restored_ns(report.restored->count());
  if (report.first_packet) record.set_first_packet_ns(report.first_packet->count());
  if (report.lost) record.set_lost_ns(report.lost->count());
  if (report.taken_from) record.set_taken_from(report.taken_from->str());
  if (report.swapped) record.set_swapped_ns(report.swapped->count());
  return record;
}

namespace {

v1::ComponentState to_proto(agent::ComponentState state) {
  switch (state) {
    case agent::ComponentState::kWaiting:
      return v1::COMPONENT_WAITING;
    case agent::ComponentState::kStarting:
      return v1::COMPONENT_STARTING;
    case agent::ComponentState::kRunning:
      return v1::COMPONENT_RUNNING;
    case agent::ComponentState::kFailing:
      return v1::COMPONENT_FAILING;
    case agent::ComponentState::kBackOff:
      return v1::COMPONENT_BACK_OFF;
    case agent::ComponentState::kStopping:
      return v1::COMPONENT_STOPPING;
    case agent::ComponentState::kFinished:
      return v1::COMPONENT_FINISHED;
    case agent::ComponentState::kStopped:
      return v1::COMPONENT_STOPPED;
    case agent::ComponentState::kFailed:
      return v1::COMPONENT_FAILED;
  }
  return v1::COMPONENT_UNSPECIFIED;
}

void set_components(v1::ContainerStatus& status, const ContainerService& service, Instant now) {
  const ComponentTable& table = service.components();
  for (const model::ComponentSpec& component : service.spec().components) {
    v1::ComponentStatus& row = *status.add_components();
    row.set_name(component.name);
    row.set_stateful(component.state == model::StateKind::kStateful);
    row.set_probed(component.probe.has_value());
    const auto it = std::ranges::find(table.components(), component.name, &agent::ComponentReport::name);
    if (it == table.components().end()) continue;
    if (table.current() || it->state == agent::ComponentState::kFailed) row.set_state(to_proto(it->state));
    row.set_restarts(it->restarts);
    row.set_failures(it->failures);
    row.set_trouble(it->trouble);
    if (const auto passed = table.passed(component.name)) {
      row.set_passed_age_ns(std::max(Duration::zero(), Duration(now - *passed)).count());
    }
  }
  if (table.since()) status.set_components_age_ns(Duration(now - *table.since()).count());
}

}  // namespace

v1::ContainerStatus status_of(const ContainerService& service, const Clock& clock) {
  const policy::ContainerStatus policy = service.status();
  const ContainerRecord& record = service.record();
  const Instant now = clock.now();
  v1::ContainerStatus status;
  status.set_name(service.spec().name.str());
  status.set_phase(phase_of(service, policy));
  const auto since = std::chrono::duration_cast<WallTime::duration>(now - policy.phase_since);
  status.set_phase_since_unix_ms(unix_ms(clock.wall() - since));
  const bool runs = status.phase() == v1::PHASE_RUNNING;
  if (!runs) status.set_phase_reason(policy.reason);
  set_protection(*status.mutable_protection(), service, policy, now);
  status.mutable_protection()->set_cause(std::string(cause_of(policy, status.protection().state())));
  if (!service.takeover_error().empty()) set_not_taken_over(status, service, clock);
  if (policy.pid > 0) status.set_init_pid(policy.pid);
  set_network(status, service.spec());
  set_interval(*status.mutable_interval(), service, policy);
  if (policy.newest_good) set_point(*status.mutable_newest_committed(), *policy.newest_good, service, clock);
  if (policy.newest_durable) {
    const auto* info = policy::find(service.generations(), *policy.newest_durable);
    if (info != nullptr) set_point(*status.mutable_newest_durable(), *info, service, clock);
  }
  if (service.last_capture()) *status.mutable_last_capture() = to_proto(*service.last_capture());
  status.set_captures(service.captures());
  status.set_frozen_total_ns(service.capture_totals().frozen.count());
  status.set_capture_cpu_total_ns(service.capture_totals().cpu.count());
  set_gate(*status.mutable_gate(), service, policy);
  status.set_capture_failures(service.capture_failures());
  status.set_failures(record.failures);
  status.set_restores(record.restores);
  if (service.last_restore()) *status.mutable_last_restore() = to_proto(*service.last_restore());
  status.set_image_digest(record.image_digest);
  status.set_application(service.spec().application.name.value_or(""));
  for (const std::string& sponsor : service.spec().application.sponsors) status.add_sponsors(sponsor);
  set_reserved(status, service.spec());
  const std::string yaml = model::to_yaml(service.spec());
  status.set_spec_digest(capsule::to_string(capsule::digest_of(std::as_bytes(std::span(yaml)))));
  set_volumes(status, service);
  status.set_capsule_memory_bytes(service.table().memory().count);
  status.set_capsule_disk_bytes(disk_bytes(service));
  status.set_cgroup_path(service.paths().cgroup);
  status.set_image_name(image_name(service.spec()));
  status.set_created_unix_ms(unix_ms(record.created));
  if (record.exit_status) status.set_exit_status(*record.exit_status);
  set_components(status, service, now);
  if (const std::string awaited = service.health_awaited(); !awaited.empty() && status.protection().state() == v1::PROTECTION_PENDING) {
    status.mutable_protection()->set_reason(std::format("its first checkpoint counts when {}", awaited));
  }
  if (service.cluster() != nullptr) service.cluster()->fill(status, service.spec().name);
  return status;
}

v1::VersionReply daemon_version(const Node& node) {
  const HostServices& host = node.host();
  v1::VersionReply version;
  version.set_version(PERDURE_VERSION);
  version.set_node(host_name());
  version.set_incarnation(std::format("{:x}", node.identity().incarnation.value));
  version.set_pid(::getpid());
  version.set_started_unix_ms(unix_ms(node.identity().started));
  version.set_kernel(host.facts.kernel_release);
  version.set_criu(version_of(host.facts.criu));
  version.set_runtime("runc " + version_of(host.facts.runc));
  version.set_metrics_address(node.metrics_state().address);
  version.set_metrics_error(node.metrics_state().trouble);
  return version;
}

std::vector<v1::GenerationRow> generation_rows(const ContainerService& service, const Clock& clock) {
  std::map<Generation, replica::GenerationRecord> records;
  for (replica::GenerationRecord& record : service.table().all()) {
    const Generation id = record.generation;
    records.emplace(id, std::move(record));
  }
  std::vector<v1::GenerationRow> rows;
  for (const policy::GenerationInfo& info : service.generations()) {
    v1::GenerationRow row;
    v1::GenerationPoint point;
    set_point(point, info, service, clock);
    row.set_generation(point.generation());
    row.set_age_ns(point.age_ns());
    row.set_created_unix_ms(point.created_unix_ms());
    row.set_committed(info.state == policy::CommitState::kCommitted);
    row.set_durable(info.durable);
    if (info.parent) row.set_parent(to_string(*info.parent));
    row.set_kind(info.parent ? v1::GENERATION_KIND_DELTA : v1::GENERATION_KIND_FULL);
    if (info.mark != policy::Mark::kNone) {
      const std::string reason = service.mark_reason(info.id);
      const std::string_view word = policy::to_string(info.mark);
      row.set_bad(reason.empty() ? std::string(word) : std::format("{}: {}", word, reason));
    }
    if (const auto found = records.find(info.id); found != records.end()) {
      const replica::GenerationRecord& record = found->second;
      if (row.bad().empty()) row.set_bad(record.bad);
      row.set_kept_bytes(record.stored_size.count);
      row.set_frozen_ns(record.manifest.stats.frozen.count());
      row.set_in_memory(record.capsule != nullptr);
      if (record.capsule != nullptr) row.set_full_bytes(capsule::full_size(*record.capsule).count);
    }
    rows.push_back(std::move(row));
  }
  std::ranges::reverse(rows);
  return rows;
}

}  // namespace perdure::node
