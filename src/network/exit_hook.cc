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
#include <system_error>

#include "exit_hook.skel.h"
#include "network/bpf_support.h"
#include "network/kernel_clock.h"

namespace perdure::network {
namespace {

// A hook of another layout is another hook: the names carry the layout's version.
constexpr std::string_view kPinPrefix = "exit_hook_";

struct PinPaths {
  std::string link;
  std::string protected_cgroups;
  std::string deaths;
};

PinPaths pin_paths(const std::string& directory) {
  const std::string prefix = std::format("{}/{}{:08x}_", directory, kPinPrefix, PD_GATE_VERSION);
  return PinPaths{prefix + "link", prefix + "protected", prefix + "deaths"};
}

void remove_pins(const std::string& directory) {
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator(directory, error)) {
    if (entry.path().filename().string().starts_with(kPinPrefix)) ::unlink(entry.path().c_str());
  }
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

struct SkeletonCloser {
  void operator()(exit_hook_bpf* skeleton) const { exit_hook_bpf__destroy(skeleton); }
};
using Skeleton = std::unique_ptr<exit_hook_bpf, SkeletonCloser>;

struct RingCloser {
  void operator()(ring_buffer* ring) const { ring_buffer__free(ring); }
};

}  // namespace

struct ExitHook::Impl {
  UniqueFd link;
  UniqueFd protected_cgroups;
  UniqueFd deaths;
  std::unique_ptr<ring_buffer, RingCloser> ring;
  std::optional<Death> read;  // handed from the ring's callback to next_death()
  std::string unpinned_reason;
  KernelClock clock;

  static int on_event(void* self, void* data, std::size_t size);
  Status open_ring();
  static Result<std::unique_ptr<Impl>> from_pins(const PinPaths& pins);
  static Result<std::unique_ptr<Impl>> load();
  Status pin(const std::string& directory) const;
};

int ExitHook::Impl::on_event(void* self, void* data, std::size_t size) {
  if (size < sizeof(pd_death)) return 0;
  const auto& event = *static_cast<const pd_death*>(data);
  Death death;
  death.cgroup_id = event.cgroup_id;
  death.at = static_cast<Impl*>(self)->clock.from_kernel(event.boottime_ns);
  death.process_id = static_cast<int>(event.process_id);
  death.signal = static_cast<int>(event.signal);
  death.is_init = event.is_init != 0;
  death.held = event.held != 0;
  death.command.assign(event.command, ::strnlen(event.command, sizeof event.command));
  static_cast<Impl*>(self)->read = std::move(death);
  return -ECANCELED;  // one event a call; libbpf has moved past it
}

Status ExitHook::Impl::open_ring() {
  ring.reset(ring_buffer__new(deaths.get(), &Impl::on_event, this, nullptr));
  if (!ring) return fail_errno("open the exit hook's event buffer");
  return {};
}

Result<std::unique_ptr<ExitHook::Impl>> ExitHook::Impl::from_pins(const PinPaths& pins) {
  auto impl = std::make_unique<Impl>();
  impl->link.reset(bpf_obj_get(pins.link.c_str()));
  impl->protected_cgroups.reset(bpf_obj_get(pins.protected_cgroups.c_str()));
  impl->deaths.reset(bpf_obj_get(pins.deaths.c_str()));
  if (!impl->link || !impl->protected_cgroups || !impl->deaths) {
    return fail(ErrorCode::kNotFound, std::format("no exit hook is pinned at '{}'", pins.link));
  }
  return impl;
}

Result<std::unique_ptr<ExitHook::Impl>> ExitHook::Impl::load() {
  const BpfLog log;
  const Skeleton skeleton(exit_hook_bpf__open_and_load());
  if (!skeleton) return fail(log.error("load the exit hook's BPF program", errno));
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
  return impl;
}

Status ExitHook::Impl::pin(const std::string& directory) const {
  const PinPaths pins = pin_paths(directory);
  const auto put = [](int fd, const std::string& path) -> Status {
    if (bpf_obj_pin(fd, path.c_str()) != 0)
      return fail_errno(std::format("pin the exit hook at '{}'", path));
    return {};
  };
  // The link last: with it the three are complete.
  PERDURE_TRY(put(protected_cgroups.get(), pins.protected_cgroups));
  PERDURE_TRY(put(deaths.get(), pins.deaths));
  return put(link.get(), pins.link);
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
  std::unique_ptr<Impl> impl;
  if (bpffs) {
    if (auto pinned = Impl::from_pins(pin_paths(options.pin_directory))) impl = *std::move(pinned);
  }
  if (!impl) {
    PERDURE_ASSIGN(impl, Impl::load());
    Status pinned = bpffs;
    if (pinned) {
      remove_pins(options.pin_directory);  // of other versions, or half made
      pinned = impl->pin(options.pin_directory);
      if (!pinned) remove_pins(options.pin_directory);
    }
    if (!pinned) impl->unpinned_reason = pinned.error().message();
  }
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
  if (bpf_map_delete_elem(impl_->protected_cgroups.get(), &cgroup) == 0 || errno == ENOENT)
    return {};
  return fail_errno(std::format("end protection of cgroup {}", cgroup));
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
