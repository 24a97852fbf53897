#include "network/exit_hook.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <format>
#include <map>
#include <mutex>
#include <system_error>

#include "base/process_status.h"
#include "exit_hook.skel.h"
#include "network/bpf_support.h"
#include "network/kernel_clock.h"

namespace perdure::network {
namespace {

// A hook of another layout is another hook: the names carry the layout's version.
constexpr std::string_view kPinPrefix = "exit_hook_";
// A program that reports in another way uses the same maps: its link's name carries how.
constexpr std::string_view kLinkPin = "link_2";

struct PinPaths {
  std::string link;
  std::string protected_cgroups;
  std::string deaths;
  std::string listed;
};

PinPaths pin_paths(const std::string& directory) {
  const std::string prefix = std::format("{}/{}{:08x}_", directory, kPinPrefix, PD_GATE_VERSION);
  return PinPaths{prefix + std::string(kLinkPin), prefix + "protected", prefix + "deaths", prefix + "listed"};
}

void remove_pins(const std::string& directory, const std::optional<PinPaths>& but = std::nullopt) {
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator(directory, error)) {
    const std::string& path = entry.path().native();
    if (!entry.path().filename().string().starts_with(kPinPrefix)) continue;
    if (but && (path == but->link || path == but->protected_cgroups || path == but->deaths ||
                path == but->listed)) {
      continue;
    }
    ::unlink(path.c_str());
  }
}

bool contains(const std::vector<pd_listed_key>& keys, const pd_listed_key& key) {
  return std::ranges::any_of(keys, [&](const pd_listed_key& it) {
    return it.cgroup_id == key.cgroup_id && it.pid_namespace == key.pid_namespace &&
           it.process_id == key.process_id;
  });
}

bool is_bpffs(const std::string& directory) {
  struct statfs info{};
  return ::statfs(directory.c_str(), &info) == 0 && info.f_type == static_cast<long>(BPF_FS_MAGIC);
}

Status ensure_bpffs(const std::string& directory) {
  std::error_code error;
  std::filesystem::create_directories(directory, error);
  if (error)
    return fail(Error::from_errno(std::format("create directory '{}'", directory), error.value()));
  if (is_bpffs(directory)) return {};
  if (::mount("bpf", directory.c_str(), "bpf", MS_NOSUID | MS_NODEV | MS_NOEXEC, "mode=0700") !=
      0) {
    return fail_errno(std::format("mount a bpf file system at '{}'", directory));
  }
  return {};
}

struct HookCloser {
  void operator()(exit_hook_bpf* skeleton) const { exit_hook_bpf__destroy(skeleton); }
};
using HookSkeleton = std::unique_ptr<exit_hook_bpf, HookCloser>;

struct RingCloser {
  void operator()(ring_buffer* ring) const { ring_buffer__free(ring); }
};

}  // namespace

struct ExitHook::Impl {
  UniqueFd link;
  UniqueFd protected_cgroups;
  UniqueFd deaths;
  UniqueFd listed;
  std::mutex listing;  // of several containers, by their threads
  std::map<std::uint64_t, std::vector<pd_listed_key>> listed_of;  // what the map has, by cgroup
  std::unique_ptr<ring_buffer, RingCloser> ring;
  std::optional<Death> read;  // handed from the ring's callback to next_death()
  std::string unpinned_reason;
  KernelClock clock;

  static int on_event(void* self, void* data, std::size_t size);
  Status open_ring();
  static std::unique_ptr<Impl> from_pins(const PinPaths& pins);
  bool complete() const { return link && protected_cgroups && deaths && listed; }
  static Result<std::unique_ptr<Impl>> load(const Impl& pinned);
  Status pin(const PinPaths& pins, const Impl& pinned) const;
  Status read_listed();
  Status replace_listed(std::uint64_t cgroup, std::vector<pd_listed_key> keys);
};

int ExitHook::Impl::on_event(void* self, void* data, std::size_t size) {
  // An older release's is still to be read, and is shorter.
  if (size < offsetof(pd_death, pid_namespace)) return 0;
  pd_death event{};
  std::memcpy(&event, data, std::min(size, sizeof event));
  Death death;
  death.cgroup_id = event.cgroup_id;
  death.at = static_cast<Impl*>(self)->clock.from_kernel(event.boottime_ns);
  death.process_id = static_cast<int>(event.process_id);
  death.signal = static_cast<int>(event.signal);
  death.is_init = event.is_init != 0;
  death.pid_namespace = event.pid_namespace;
  death.held = event.held != 0;
  death.command.assign(event.command, ::strnlen(event.command, sizeof event.command));
  std::ranges::replace_if(death.command, [](char c) { return c < ' ' || c > '~'; }, '?');
  static_cast<Impl*>(self)->read = std::move(death);
  return -ECANCELED;  // one event a call; libbpf has moved past it
}

Status ExitHook::Impl::open_ring() {
  ring.reset(ring_buffer__new(deaths.get(), &Impl::on_event, this, nullptr));
  if (!ring) return fail_errno("open the exit hook's event buffer");
  return {};
}

// What there is: maybe nothing, or less than all.
std::unique_ptr<ExitHook::Impl> ExitHook::Impl::from_pins(const PinPaths& pins) {
  auto impl = std::make_unique<Impl>();
  impl->link.reset(bpf_obj_get(pins.link.c_str()));
  impl->protected_cgroups.reset(bpf_obj_get(pins.protected_cgroups.c_str()));
  impl->deaths.reset(bpf_obj_get(pins.deaths.c_str()));
  impl->listed.reset(bpf_obj_get(pins.listed.c_str()));
  return impl;
}

// With the maps of the pinned one, as far as it has them: what is protected stays so.
Result<std::unique_ptr<ExitHook::Impl>> ExitHook::Impl::load(const Impl& pinned) {
  const BpfLog log;
  const HookSkeleton skeleton(exit_hook_bpf__open());
  if (!skeleton) return fail(log.error("open the exit hook's BPF program", errno));
  const auto reuse = [](bpf_map* map, const UniqueFd& fd) {
    return !fd || bpf_map__reuse_fd(map, fd.get()) == 0;
  };
  if (!reuse(skeleton->maps.pd_protected, pinned.protected_cgroups) ||
      !reuse(skeleton->maps.pd_deaths, pinned.deaths) ||
      !reuse(skeleton->maps.pd_listed, pinned.listed) || exit_hook_bpf__load(skeleton.get()) != 0) {
    return fail(log.error("load the exit hook's BPF program", errno));
  }
  bpf_link* attached = bpf_program__attach(skeleton->progs.pd_on_exit);
  if (attached == nullptr)
    return fail(log.error("attach the exit hook to sched_process_exit", errno));
  auto impl = std::make_unique<Impl>();
  auto link = duplicate(bpf_link__fd(attached));
  bpf_link__destroy(attached);  // the duplicate keeps it
  if (!link) return fail(std::move(link).error());
  impl->link = *std::move(link);
  PERDURE_ASSIGN(impl->protected_cgroups, duplicate(bpf_map__fd(skeleton->maps.pd_protected)));
  PERDURE_ASSIGN(impl->deaths, duplicate(bpf_map__fd(skeleton->maps.pd_deaths)));
  PERDURE_ASSIGN(impl->listed, duplicate(bpf_map__fd(skeleton->maps.pd_listed)));
  return impl;
}

Status ExitHook::Impl::pin(const PinPaths& pins, const Impl& pinned) const {
  const auto put = [](int fd, const std::string& path) -> Status {
    if (bpf_obj_pin(fd, path.c_str()) != 0)
      return fail_errno(std::format("pin the exit hook at '{}'", path));
    return {};
  };
  if (!pinned.protected_cgroups) PERDURE_TRY(put(protected_cgroups.get(), pins.protected_cgroups));
  if (!pinned.deaths) PERDURE_TRY(put(deaths.get(), pins.deaths));
  if (!pinned.listed) PERDURE_TRY(put(listed.get(), pins.listed));
  // Last, with it the four are complete. Takes the place of one that has lost a map in one step: at no time is none pinned.
  const std::string next = pins.link + "_next";
  ::unlink(next.c_str());
  PERDURE_TRY(put(link.get(), next));
  if (::rename(next.c_str(), pins.link.c_str()) != 0)
    return fail_errno(std::format("pin the exit hook at '{}'", pins.link));
  return {};
}

Status ExitHook::Impl::read_listed() {
  pd_listed_key key{};
  const void* previous = nullptr;
  while (bpf_map_get_next_key(listed.get(), previous, &key) == 0) {
    listed_of[key.cgroup_id].push_back(key);
    previous = &key;
  }
  if (errno != ENOENT) return fail_errno("list the processes that the exit hook knows");
  return {};
}

Status ExitHook::Impl::replace_listed(std::uint64_t cgroup, std::vector<pd_listed_key> keys) {
  const std::scoped_lock lock(listing);
  std::vector<pd_listed_key>& present = listed_of[cgroup];
  for (const pd_listed_key& key : keys) {
    const std::uint32_t value = key.process_id == 1 ? PD_LISTED_INIT : PD_LISTED_HOLDS;
    if (bpf_map_update_elem(listed.get(), &key, &value, BPF_ANY) == 0) {
      if (!contains(present, key)) present.push_back(key);
      continue;
    }
    if (errno == E2BIG || errno == ENOMEM) {
      return fail(ErrorCode::kNoSpace,
                  std::format("list process {} of cgroup {}: {} are listed already", key.process_id,
                              cgroup, kMaxListedProcesses));
    }
    return fail_errno(std::format("list process {} of cgroup {}", key.process_id, cgroup));
  }
  for (const pd_listed_key& key : present) {
    if (contains(keys, key)) continue;
    if (bpf_map_delete_elem(listed.get(), &key) != 0 && errno != ENOENT)
      return fail_errno(std::format("forget process {} of cgroup {}", key.process_id, cgroup));
  }
  present = std::move(keys);
  if (present.empty()) listed_of.erase(cgroup);
  return {};
}

Result<std::uint64_t> cgroup_id(const std::string& cgroup_path) {
  struct statfs file_system{};
  if (::statfs(cgroup_path.c_str(), &file_system) != 0) {
    return fail_errno(std::format("look up cgroup '{}'", cgroup_path));
  }
  if (file_system.f_type != CGROUP2_SUPER_MAGIC) {
    return fail(ErrorCode::kInvalid,
                std::format("'{}' is not in a cgroup v2 hierarchy", cgroup_path));
  }
  struct stat info{};
  if (::stat(cgroup_path.c_str(), &info) != 0)
    return fail_errno(std::format("look up cgroup '{}'", cgroup_path));
  return static_cast<std::uint64_t>(
      info.st_ino);  // kernfs: the inode number is the id, 64 bits wide
}

ExitHook::ExitHook(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
ExitHook::ExitHook(ExitHook&&) noexcept = default;
ExitHook& ExitHook::operator=(ExitHook&&) noexcept = default;
ExitHook::~ExitHook() = default;

Result<ExitHook> ExitHook::install(const ExitHookOptions& options) {
  const Status bpffs = ensure_bpffs(options.pin_directory);
  const PinPaths pins = pin_paths(options.pin_directory);
  auto impl = bpffs ? Impl::from_pins(pins) : std::make_unique<Impl>();
  if (!impl->complete()) {
    const auto found = std::move(impl);
    PERDURE_ASSIGN(impl, Impl::load(*found));
    Status pinned = bpffs;
    if (pinned) {
      pinned = impl->pin(pins, *found);
      if (!pinned) remove_pins(options.pin_directory);
    }
    if (!pinned) impl->unpinned_reason = pinned.error().message();
  }
  if (impl->unpinned_reason.empty()) remove_pins(options.pin_directory, pins);  // of other versions, which acted until now
  PERDURE_TRY(impl->read_listed());
  PERDURE_ASSIGN(impl->clock, KernelClock::of_this_process());
  PERDURE_TRY(impl->open_ring());
  return ExitHook(std::move(impl));
}

Status ExitHook::uninstall(const ExitHookOptions& options) {
  if (is_bpffs(options.pin_directory)) remove_pins(options.pin_directory);
  return {};
}

Status ExitHook::protect(std::uint64_t cgroup, const Gate& gate) {
  const int map = gate.map_fd();
  if (bpf_map_update_elem(impl_->protected_cgroups.get(), &cgroup, &map, BPF_ANY) == 0) return {};
  if (errno == E2BIG || errno == ENOMEM) {
    return fail(ErrorCode::kNoSpace, std::format("protect cgroup {}: {} are protected already",
                                                 cgroup, kMaxProtectedCgroups));
  }
  return fail_errno(
      std::format("protect cgroup {} with the gate of link {}", cgroup, gate.link_index()));
}

Status ExitHook::unprotect(std::uint64_t cgroup) {
  if (bpf_map_delete_elem(impl_->protected_cgroups.get(), &cgroup) != 0 && errno != ENOENT)
    return fail_errno(std::format("end protection of cgroup {}", cgroup));
  return impl_->replace_listed(cgroup, {});
}

Status ExitHook::list(std::uint64_t cgroup, pid_t init, std::span<const pid_t> processes) {
  PERDURE_ASSIGN(const std::uint32_t pid_namespace, pid_namespace_of(init));
  std::vector<pd_listed_key> keys;
  for (const pid_t process : processes) {
    if (process > 1) keys.push_back({cgroup, pid_namespace, static_cast<std::uint32_t>(process)});
  }
  // Last: until the hook knows init, whoever it does not know holds.
  keys.push_back({cgroup, pid_namespace, 1});
  return impl_->replace_listed(cgroup, std::move(keys));
}

Result<std::vector<std::uint64_t>> ExitHook::protected_cgroups() const {
  std::vector<std::uint64_t> all;
  std::uint64_t key = 0;
  const void* previous = nullptr;
  while (bpf_map_get_next_key(impl_->protected_cgroups.get(), previous, &key) == 0) {
    all.push_back(key);
    previous = &key;
  }
  if (errno != ENOENT) return fail_errno("list protected cgroups");
  std::ranges::sort(all);
  return all;
}

int ExitHook::event_fd() const {
  return ring_buffer__epoll_fd(impl_->ring.get());
}

std::optional<Death> ExitHook::next_death() {
  (void)ring_buffer__consume(impl_->ring.get());
  return std::exchange(impl_->read, std::nullopt);
}

bool ExitHook::pinned() const {
  return impl_->unpinned_reason.empty();
}
const std::string& ExitHook::unpinned_reason() const {
  return impl_->unpinned_reason;
}

}  // namespace perdure::network
