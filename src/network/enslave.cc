#include "network/enslave.h"

#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <condition_variable>
#include <filesystem>
#include <format>
#include <mutex>
#include <stop_token>
#include <system_error>
#include <thread>

#include "base/log.h"
#include "io/atomic_file.h"
#include "network/enslave_state.h"
#include "network/link.h"
#include "network/netns.h"

namespace perdure::network {
namespace {

constexpr Duration kBridgeDeadline = std::chrono::seconds(5);
// A roll-back that fails at the deadline is the host's last hope: it is tried again until it
// succeeds.
constexpr Duration kRetryInterval = std::chrono::seconds(1);

// Everything happens in one namespace, whichever thread asks.
struct Tools {
  LinkControl links;
  NetlinkSocket socket;

  static Result<Tools> open(int netns) {
    PERDURE_ASSIGN(auto links, LinkControl::open(netns));
    PERDURE_ASSIGN(auto socket, NetlinkSocket::open(netns, NETLINK_ROUTE));
    return Tools{std::move(links), std::move(socket)};
  }
};

Status forget_state(const std::string& state_file) {
  if (::unlink(state_file.c_str()) != 0) {
    if (errno == ENOENT) return {};
    return fail_errno(std::format("remove '{}'", state_file));
  }
  return io::sync_directory(std::filesystem::path(state_file).parent_path().string());
}

// From any point on the way; every step may have been done before.
Status undo(Tools& tools, const LinkState& state) {
  PERDURE_ASSIGN(const auto bridge, tools.links.find(state.bridge));
  const unsigned bridge_index = bridge ? bridge->index : 0;
  if (bridge && state.made_bridge) {
    PERDURE_TRY(tools.links.remove(state.bridge));
  } else if (bridge) {
    for (const RawMessage& address : state.addresses) {
      PERDURE_TRY(apply_address(tools.socket, address, *bridge, AddressChange::kRemove));
    }
  }
  if (state.made_port) return tools.links.remove(state.port);
  PERDURE_ASSIGN(const auto port, tools.links.find(state.port));
  if (!port) return {};  // the hardware is gone
  if (port->bridge_index != 0 && port->bridge_index == bridge_index) {
    PERDURE_TRY(tools.links.release_from_bridge(state.port));
  }
  if (state.was_up) PERDURE_TRY(tools.links.set_up(state.port));
  for (const RawMessage& address : state.addresses) {
    PERDURE_TRY(apply_address(tools.socket, address, *port, AddressChange::kAdd));
  }
  if (!state.was_up) return tools.links.set_down(state.port);
  return add_routes(tools.socket, state.routes, port->index, *port);
}

Status undo_and_forget(int netns, const LinkState& state, const std::string& state_file) {
  const auto undone = [&]() -> Status {
    PERDURE_ASSIGN(auto tools, Tools::open(netns));
    return undo(tools, state);
  }();
  if (!undone) {
    return fail(undone.error().context(
        std::format("give link '{}' back what bridge '{}' took (kept in '{}')", state.port,
                    state.bridge, state_file)));
  }
  return forget_state(state_file);
}

Status move_to_bridge(Tools& tools, const LinkState& state, const LinkInfo& port) {
  PERDURE_ASSIGN(const LinkInfo bridge, tools.links.ensure_bridge(state.bridge, port.mtu));
  if (state.made_bridge) PERDURE_TRY(tools.links.set_mac(state.bridge, port.mac));
  PERDURE_TRY(tools.links.enslave(port.name, state.bridge));
  for (const RawMessage& address : state.addresses) {
    PERDURE_TRY(apply_address(tools.socket, address, port, AddressChange::kRemove));
    PERDURE_TRY(apply_address(tools.socket, address, bridge, AddressChange::kAdd));
  }
  PERDURE_TRY(tools.links.set_up(state.bridge));
  PERDURE_TRY(tools.links.set_up(port.name));
  PERDURE_TRY(tools.links.wait_forwarding(port.name, kBridgeDeadline));
  return add_routes(tools.socket, state.routes, port.index, bridge);
}

struct Plan {
  LinkState state;
  LinkInfo port;
};

// Looks, changes nothing but for the VLAN interface, which carries nothing yet.
Result<Plan> make_plan(Tools& tools, const EnslaveRequest& request) {
  Plan plan;
  plan.state.bridge = request.bridge;
  PERDURE_ASSIGN(plan.port, tools.links.get(request.nic));
  if (request.vlan) {
    PERDURE_ASSIGN(const auto existing,
                   tools.links.find(std::format("{}.{}", request.nic, *request.vlan)));
    PERDURE_ASSIGN(plan.port, tools.links.ensure_vlan(request.nic, *request.vlan));
    plan.state.made_port = !existing;
  }
  plan.state.port = plan.port.name;
  plan.state.was_up = plan.port.up;
  if (plan.port.bridge_index != 0) {
    return fail(ErrorCode::kExists,
                std::format("link '{}' is a port of a bridge already", plan.port.name));
  }
  PERDURE_ASSIGN(const auto bridge, tools.links.find(request.bridge));
  plan.state.made_bridge = !bridge;
  PERDURE_TRY(read_link_state(tools.socket, plan.port.index, plan.state));
  return plan;
}

}  // namespace

struct Enslavement::Impl {
  enum class Phase { kPending, kConfirmed, kRolledBack };

  LinkState state;
  std::string state_file;
  NetworkNamespace netns;
  mutable std::mutex mutex;
  std::condition_variable_any changed;
  Phase phase = Phase::kPending;  // under mutex
  std::jthread watchdog;

  Impl(LinkState what, std::string file, NetworkNamespace where)
      : state(std::move(what)), state_file(std::move(file)), netns(std::move(where)) {}

  ~Impl() {
    watchdog.request_stop();
    if (watchdog.joinable()) watchdog.join();
    const std::lock_guard lock(mutex);
    if (const auto undone = rollback_locked(); !undone) log::error("{}", undone.error().message());
  }

  Status rollback_locked() {
    if (phase != Phase::kPending) return {};
    PERDURE_TRY(undo_and_forget(netns.fd(), state, state_file));
    phase = Phase::kRolledBack;
    changed.notify_all();
    return {};
  }

  void watch(const std::stop_token& stop, Instant deadline) {
    std::unique_lock lock(mutex);
    const auto left = std::chrono::steady_clock::now() + (deadline - BootClock::now());
    const bool decided =
        changed.wait_until(lock, stop, left, [&] { return phase != Phase::kPending; });
    if (decided || stop.stop_requested()) return;
    log::warning("nobody confirmed that the host is reachable by bridge '{}': link '{}' goes back",
                 state.bridge, state.port);
    while (!stop.stop_requested() && phase == Phase::kPending) {
      const auto undone = rollback_locked();
      if (undone) return;
      log::error("{}; trying again", undone.error().message());
      changed.wait_for(lock, stop, kRetryInterval, [&] { return phase != Phase::kPending; });
    }
  }
};

Enslavement::Enslavement(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Enslavement::Enslavement(Enslavement&&) noexcept = default;
Enslavement& Enslavement::operator=(Enslavement&&) noexcept = default;
Enslavement::~Enslavement() = default;

Status Enslavement::confirm() {
  const std::lock_guard lock(impl_->mutex);
  if (impl_->phase == Impl::Phase::kRolledBack) {
    return fail(ErrorCode::kTimeout,
                std::format("link '{}' has been rolled back already", impl_->state.port));
  }
  PERDURE_TRY(forget_state(impl_->state_file));
  impl_->phase = Impl::Phase::kConfirmed;
  impl_->changed.notify_all();
  return {};
}

Status Enslavement::rollback() {
  const std::lock_guard lock(impl_->mutex);
  if (impl_->phase == Impl::Phase::kConfirmed) {
    return fail(ErrorCode::kInvalid,
                std::format("link '{}' has been confirmed already", impl_->state.port));
  }
  return impl_->rollback_locked();
}

Status Enslavement::wait_decided(Duration at_most) {
  std::unique_lock lock(impl_->mutex);
  if (impl_->changed.wait_for(lock, at_most, [&] { return impl_->phase != Impl::Phase::kPending; }))
    return {};
  return fail(ErrorCode::kTimeout,
              std::format("link '{}': neither confirmed nor rolled back within {}",
                          impl_->state.port, format_duration(at_most)));
}

bool Enslavement::rolled_back() const {
  const std::lock_guard lock(impl_->mutex);
  return impl_->phase == Impl::Phase::kRolledBack;
}

Result<Enslavement> enslave_nic(const EnslaveRequest& request) {
  struct stat info{};
  if (::stat(request.state_file.c_str(), &info) == 0) {
    return fail(
        ErrorCode::kExists,
        std::format("'{}' holds an unfinished change: roll it back first", request.state_file));
  }
  PERDURE_ASSIGN(auto netns, NetworkNamespace::current());
  PERDURE_ASSIGN(auto tools, Tools::open(netns.fd()));
  PERDURE_ASSIGN(Plan plan, make_plan(tools, request));
  const auto saved = io::write_file_atomically(request.state_file, to_text(plan.state), 0600);
  Status moved = saved;
  if (saved) moved = move_to_bridge(tools, plan.state, plan.port);
  if (!moved) {
    const auto undone =
        saved ? undo_and_forget(netns.fd(), plan.state, request.state_file)
              : (plan.state.made_port ? tools.links.remove(plan.state.port) : Status{});
    std::string text =
        std::format("make link '{}' a port of bridge '{}'", plan.state.port, plan.state.bridge);
    if (!undone) text += std::format(" (and undoing it: {})", undone.error().message());
    return fail(moved.error().context(text));
  }
  auto impl = std::make_unique<Enslavement::Impl>(std::move(plan.state), request.state_file,
                                                  std::move(netns));
  const Instant deadline = BootClock::now() + request.deadline;
  try {
    impl->watchdog = std::jthread([&watched = *impl, deadline](const std::stop_token& stop) {
      watched.watch(stop, deadline);
    });
  } catch (const std::system_error& error) {
    return fail(ErrorCode::kTransient,
                std::format("start a thread: {}", error.what()));  // rolls back
  }
  return Enslavement(std::move(impl));
}

Status recover_enslavement(const std::string& state_file) {
  struct stat info{};
  if (::stat(state_file.c_str(), &info) != 0 && errno == ENOENT) return {};
  PERDURE_ASSIGN(const std::string text, read_file(state_file));
  const auto state = parse_link_state(text);
  if (!state) return fail(state.error().context(std::format("read '{}'", state_file)));
  return undo_and_forget(-1, *state, state_file);
}

}  // namespace perdure::network
