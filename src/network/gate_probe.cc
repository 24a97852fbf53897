// probe_gate() of gate.h.
#include <arpa/inet.h>
#include <bpf/libbpf.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <cstdlib>
#include <filesystem>
#include <format>
#include <system_error>
#include <thread>

#include "network/exit_hook.h"
#include "network/gate.h"
#include "network/link.h"
#include "network/packet_socket.h"
#include "network/tcp_probe.h"

namespace perdure::network {
namespace {

// How long a frame may take through a veth pair.
constexpr Duration kFrameDeadline = std::chrono::seconds(2);

Feature feature_of(const Status& status) {
  return status ? Feature{true, {}} : Feature{false, status.error().message()};
}

// A frame that the closed gate drops, and a frame that the open one passes, both counted.
Status try_gate() {
  PERDURE_ASSIGN(auto links, LinkControl::open());
  VethRequest veth;
  veth.host_name = "gate0";
  veth.peer_name = "gate1";
  PERDURE_ASSIGN(const LinkInfo host_end, links.create_veth(veth));
  PERDURE_ASSIGN(Gate gate, Gate::attach(host_end.index, GateState{Instant{}, GateFlags::kNone}));
  PERDURE_TRY(links.set_up("gate1"));
  PERDURE_TRY(links.set_up("gate0"));
  PERDURE_ASSIGN(auto sender, PacketSocket::open_sender("gate1"));
  const Frame frame = make_arp(ArpPacket{}, kBroadcastMac);
  const auto send_until = [&](auto&& seen) -> Status {
    const Instant deadline = BootClock::now() + kFrameDeadline;
    while (!seen(gate.counters())) {
      if (BootClock::now() >= deadline)
        return fail(ErrorCode::kUnsupported, "the gate's program sees no frames");
      PERDURE_TRY(sender.send(frame));
      std::this_thread::yield();
    }
    return {};
  };
  PERDURE_TRY(
      send_until([](const GateCounters& counters) { return counters.dropped_deadline > 0; }));
  gate.set_deadline(kNoDeadline);
  return send_until([](const GateCounters& counters) { return counters.passed > 0; });
}

Status try_destroy() {
  PERDURE_ASSIGN(auto links, LinkControl::open());
  PERDURE_TRY(links.set_up("lo"));
  const UniqueFd listener(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  const UniqueFd client(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof address;
  auto* generic = reinterpret_cast<sockaddr*>(&address);
  if (::bind(listener.get(), generic, size) != 0 || ::listen(listener.get(), 1) != 0 ||
      ::getsockname(listener.get(), generic, &size) != 0 ||
      ::connect(client.get(), generic, size) != 0) {
    return fail_errno("connect over the loopback");
  }
  const Endpoint server{IpAddress{IpFamily::kV4, {127, 0, 0, 1}}, ntohs(address.sin_port)};
  if (::getsockname(client.get(), generic, &size) != 0)
    return fail_errno("read a socket's address");
  const Endpoint local{server.address, ntohs(address.sin_port)};
  return destroy_socket(-1, TcpTuple{local, server});
}

// The directory exists on the caller's file system; what is mounted on it is seen by this thread
// only.
void try_exit_hook(const std::string& directory, GateSupport& support) {
  const auto hook = ExitHook::install({directory});
  support.exit_hook = hook ? Feature{true, {}} : Feature{false, hook.error().message()};
  support.pinning = support.exit_hook;
  if (hook && !hook->pinned()) support.pinning = Feature{false, hook->unpinned_reason()};
}

Status probe_here(const std::string& directory, GateSupport& support) {
  if (::unshare(CLONE_NEWNET | CLONE_NEWNS) != 0)
    return fail_errno("make a namespace to try the gate in");
  if (::mount("", "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0) {
    return fail_errno("make the mounts of a namespace private");
  }
  support.gate = feature_of(try_gate());
  support.destroy = feature_of(try_destroy());
  try_exit_hook(directory, support);
  return {};
}

}  // namespace

Result<GateSupport> probe_gate() {
  std::string directory = std::filesystem::temp_directory_path() / "perdure-gate.XXXXXX";
  if (::mkdtemp(directory.data()) == nullptr)
    return fail_errno(std::format("make directory '{}'", directory));
  GateSupport support;
  Status status;
  try {
    std::thread([&] { status = probe_here(directory, support); }).join();
  } catch (const std::system_error& error) {
    status = fail(ErrorCode::kTransient, std::format("start a thread: {}", error.what()));
  }
  ::rmdir(directory.c_str());
  if (!status) return fail(std::move(status).error());
  return support;
}

}  // namespace perdure::network
