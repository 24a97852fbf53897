#include "network/gate.h"

#include <arpa/inet.h>
#include <bpf/bpf.h>
#include <bpf/libbpf.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <format>
#include <memory>

#include "gate.skel.h"
#include "network/bpf_support.h"

namespace perdure::network {
namespace {

// The gate's place in clsact: first of all filters. Others may add theirs behind it.
constexpr std::uint32_t kFilterHandle = 1;
constexpr std::uint32_t kFilterPriority = 1;
constexpr std::string_view kEntryMap = "pd_gate";
constexpr std::string_view kRefusalsMap = "pd_refusals";
constexpr std::string_view kBegunMap = "pd_begun";

struct SkeletonCloser {
  void operator()(gate_bpf* skeleton) const { gate_bpf__destroy(skeleton); }
};
using Skeleton = std::unique_ptr<gate_bpf, SkeletonCloser>;

bpf_tc_hook make_hook(unsigned link_index, int attach_point) {
  bpf_tc_hook hook{};
  hook.sz = sizeof hook;
  hook.ifindex = static_cast<int>(link_index);
  hook.attach_point = static_cast<bpf_tc_attach_point>(attach_point);
  return hook;
}

bpf_tc_opts make_options() {
  bpf_tc_opts options{};
  options.sz = sizeof options;
  options.handle = kFilterHandle;
  options.priority = kFilterPriority;
  return options;
}

std::uint64_t to_entry(Instant deadline, const KernelClock& clock) {
  if (deadline == kNoDeadline) return PD_GATE_NO_DEADLINE;
  return deadline <= Instant{} ? 0 : clock.to_kernel(deadline);
}

Instant from_entry(std::uint64_t deadline_ns, const KernelClock& clock) {
  return deadline_ns == PD_GATE_NO_DEADLINE ? kNoDeadline : clock.from_kernel(deadline_ns);
}

template <typename Word, typename Value>
void store(Word& word, Value value) {
  __atomic_store_n(&word, static_cast<Word>(value), __ATOMIC_RELEASE);
}
template <typename Word>
Word load(const Word& word) {
  return __atomic_load_n(&word, __ATOMIC_ACQUIRE);
}

Status put_filter(unsigned link_index, int attach_point, const bpf_program* program,
                  const BpfLog& log) {
  bpf_tc_hook hook = make_hook(link_index, attach_point);
  bpf_tc_opts options = make_options();
  options.prog_fd = bpf_program__fd(program);
  options.flags = BPF_TC_F_REPLACE;
  if (const int error = bpf_tc_attach(&hook, &options); error != 0) {
    return fail(log.error(std::format("put the gate in front of link {}", link_index), -error));
  }
  return {};
}

// -1: no such program of ours.
Result<UniqueFd> filter_program(unsigned link_index) {
  const BpfLog log;
  bpf_tc_hook hook = make_hook(link_index, BPF_TC_INGRESS);
  bpf_tc_opts options = make_options();
  const int error = bpf_tc_query(&hook, &options);
  if (error == -ENOENT || error == -EINVAL || error == -ENODEV) {
    return fail(ErrorCode::kNotFound, std::format("link {} has no gate", link_index));
  }
  if (error != 0)
    return fail(log.error(std::format("look up the gate of link {}", link_index), -error));
  UniqueFd program(bpf_prog_get_fd_by_id(options.prog_id));
  if (!program) return fail_errno(std::format("open the gate of link {}", link_index));
  return program;
}

Result<UniqueFd> map_of_program(int program, unsigned link_index, std::string_view name, std::size_t value_size) {
  std::uint32_t ids[8] = {};
  bpf_prog_info info{};
  info.nr_map_ids = 8;
  info.map_ids = reinterpret_cast<std::uintptr_t>(ids);
  std::uint32_t size = sizeof info;
  if (bpf_obj_get_info_by_fd(program, &info, &size) != 0) {
    return fail_errno(std::format("read the gate of link {}", link_index));
  }
  for (std::uint32_t i = 0; i < info.nr_map_ids && i < 8; ++i) {
    UniqueFd map(bpf_map_get_fd_by_id(ids[i]));
    bpf_map_info map_info{};
    size = sizeof map_info;
    if (!map || bpf_obj_get_info_by_fd(map.get(), &map_info, &size) != 0) continue;
    if (name != map_info.name) continue;
    if (map_info.value_size == value_size) return map;
  }
  return fail(
      ErrorCode::kUnsupported,
      std::format("the filter of link {} is no gate of this version of perdure", link_index));
}

Endpoint endpoint_of(const pd_connection& connection, const __u8 (&address)[16], __be16 port) {
  Endpoint endpoint;
  endpoint.address.family = connection.family == 4 ? IpFamily::kV4 : IpFamily::kV6;
  std::copy_n(address, connection.family == 4 ? 4 : 16, endpoint.address.bytes.begin());
  endpoint.port = ntohs(port);
  return endpoint;
}

}  // namespace

Result<Gate> Gate::attach(unsigned link_index, const GateState& initial) {
  PERDURE_ASSIGN(const KernelClock clock, KernelClock::of_this_process());
  const BpfLog log;
  const Skeleton skeleton(gate_bpf__open_and_load());
  if (!skeleton) return fail(log.error("load the gate's BPF program", errno));
  Maps maps;
  PERDURE_ASSIGN(maps.entry, duplicate(bpf_map__fd(skeleton->maps.pd_gate)));
  PERDURE_ASSIGN(maps.refusals, duplicate(bpf_map__fd(skeleton->maps.pd_refusals)));
  PERDURE_ASSIGN(maps.begun, duplicate(bpf_map__fd(skeleton->maps.pd_begun)));
  PERDURE_ASSIGN(pd_gate_entry* const entry, map_gate_entry(maps.entry.get()));
  Gate gate(link_index, clock, std::move(maps), entry);
  entry->version = PD_GATE_VERSION;
  gate.set_flags(initial.flags);
  gate.set_deadline(initial.deadline);

  bpf_tc_hook hook = make_hook(link_index, BPF_TC_INGRESS | BPF_TC_EGRESS);
  if (const int error = bpf_tc_hook_create(&hook); error != 0 && error != -EEXIST) {
    return fail(log.error(std::format("make clsact of link {}", link_index), -error));
  }
  PERDURE_TRY(put_filter(link_index, BPF_TC_EGRESS, skeleton->progs.pd_gate_in, log));
  PERDURE_TRY(put_filter(link_index, BPF_TC_INGRESS, skeleton->progs.pd_gate_out, log));
  return gate;
}

Result<Gate> Gate::recover(unsigned link_index) {
  PERDURE_ASSIGN(const KernelClock clock, KernelClock::of_this_process());
  PERDURE_ASSIGN(const UniqueFd program, filter_program(link_index));
  Maps maps;
  PERDURE_ASSIGN(maps.entry, map_of_program(program.get(), link_index, kEntryMap, sizeof(pd_gate_entry)));
  PERDURE_ASSIGN(maps.refusals, map_of_program(program.get(), link_index, kRefusalsMap, sizeof(pd_connection)));
  if (auto begun = map_of_program(program.get(), link_index, kBegunMap, sizeof(pd_connection))) maps.begun = *std::move(begun);
  PERDURE_ASSIGN(pd_gate_entry* const entry, map_gate_entry(maps.entry.get()));
  Gate gate(link_index, clock, std::move(maps), entry);
  if (load(entry->version) != PD_GATE_VERSION) {
    return fail(
        ErrorCode::kUnsupported,
        std::format("the gate of link {} was made by an incompatible version (layout {:#x})",
                    link_index, load(entry->version)));
  }
  return gate;
}

Status Gate::remove(unsigned link_index) {
  const BpfLog log;
  for (const int attach_point : {int{BPF_TC_INGRESS}, int{BPF_TC_EGRESS}}) {
    bpf_tc_hook hook = make_hook(link_index, attach_point);
    const bpf_tc_opts options = make_options();
    const int error = bpf_tc_detach(&hook, &options);
    if (error != 0 && error != -ENOENT && error != -EINVAL && error != -ENODEV) {
      return fail(log.error(std::format("remove the gate of link {}", link_index), -error));
    }
  }
  return {};
}

Gate::Gate(Gate&& other) noexcept
    : link_index_(other.link_index_),
      clock_(other.clock_),
      maps_(std::move(other.maps_)),
      entry_(std::exchange(other.entry_, nullptr)) {}

Gate& Gate::operator=(Gate&& other) noexcept {
  if (this != &other) {
    unmap_gate_entry(entry_);
    link_index_ = other.link_index_;
    clock_ = other.clock_;
    maps_ = std::move(other.maps_);
    entry_ = std::exchange(other.entry_, nullptr);
  }
  return *this;
}

Gate::~Gate() {
  unmap_gate_entry(entry_);
}

void Gate::set_deadline(Instant deadline) {
  store(entry_->deadline_ns, to_entry(deadline, clock_));
}

void Gate::set_flags(GateFlags flags) {
  store(entry_->flags, static_cast<std::uint32_t>(flags));
}

void Gate::open() {
  set_flags(state().flags & (GateFlags::kHoldOnDeath | GateFlags::kHoldOnInitDeath |
                             GateFlags::kListedDeathsOnly));
}

// ---- The deadline, for another thread ----

Result<Gate::DeadlineWriter> Gate::deadline_writer() const {
  PERDURE_ASSIGN(pd_gate_entry* const entry, map_gate_entry(maps_.entry.get()));
  return DeadlineWriter(clock_, entry);
}

Gate::DeadlineWriter::DeadlineWriter(DeadlineWriter&& other) noexcept
    : clock_(other.clock_), entry_(std::exchange(other.entry_, nullptr)) {}

Gate::DeadlineWriter& Gate::DeadlineWriter::operator=(DeadlineWriter&& other) noexcept {
  if (this != &other) {
    unmap_gate_entry(entry_);
    clock_ = other.clock_;
    entry_ = std::exchange(other.entry_, nullptr);
  }
  return *this;
}

Gate::DeadlineWriter::~DeadlineWriter() {
  unmap_gate_entry(entry_);
}

void Gate::DeadlineWriter::set(Instant deadline) {
  store(entry_->deadline_ns, to_entry(deadline, clock_));
}

Instant Gate::DeadlineWriter::get() const {
  return from_entry(load(entry_->deadline_ns), clock_);
}

GateState Gate::state() const {
  return GateState{from_entry(load(entry_->deadline_ns), clock_), GateFlags(load(entry_->flags))};
}

GateCounters Gate::counters() const {
  GateCounters counters;
  counters.passed = load(entry_->passed);
  counters.dropped_deadline = load(entry_->dropped_deadline);
  counters.dropped_locked = load(entry_->dropped_locked);
  counters.dropped_held = load(entry_->dropped_held);
  counters.dropped_guard = load(entry_->dropped_guard);
  counters.dropped_arp_only = load(entry_->dropped_arp_only);
  counters.input_passed = load(entry_->input_passed);
  counters.input_dropped = load(entry_->input_dropped);
  return counters;
}

std::uint64_t Gate::holds() const {
  return load(entry_->holds);
}
bool Gate::held() const {
  return holds() != load(entry_->holds_released);
}
void Gate::release_holds(std::uint64_t up_to) {
  store(entry_->holds_released, up_to);
}
std::uint64_t Gate::deaths() const {
  return load(entry_->deaths);
}

Result<std::vector<TcpTuple>> Gate::take_refused() {
  return take_all(maps_.refusals, "refused");
}

Result<std::vector<TcpTuple>> Gate::take_begun() {
  if (!maps_.begun) return std::vector<TcpTuple>();
  return take_all(maps_.begun, "let begin");
}

Result<std::vector<TcpTuple>> Gate::take_all(const UniqueFd& queue, std::string_view what) {
  static_assert(PD_GATE_REFUSALS == PD_GATE_BEGUN);
  std::vector<TcpTuple> all;
  pd_connection connection{};
  for (int i = 0; i < PD_GATE_REFUSALS; ++i) {
    if (bpf_map_lookup_and_delete_elem(queue.get(), nullptr, &connection) != 0) {
      if (errno == ENOENT) break;
      return fail_errno(std::format("read what the gate of link {} {}", link_index_, what));
    }
    all.push_back({endpoint_of(connection, connection.source, connection.source_port),
                   endpoint_of(connection, connection.destination, connection.destination_port)});
  }
  std::ranges::sort(all);
  const auto repeated = std::ranges::unique(all);
  all.erase(repeated.begin(), repeated.end());
  return all;
}

}  // namespace perdure::network
