#include "node/service_manager.h"

#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <charconv>
#include <cstddef>
#include <cstdlib>
#include <cstring>

#include "base/fd.h"
#include "base/log.h"
#include "io/process.h"

namespace perdure::node {
namespace {

constexpr int kFeedsPerPeriod = 3;

std::string take_variable(const char* name) {
  const char* value = ::getenv(name);
  std::string text = value == nullptr ? "" : value;
  ::unsetenv(name);
  return text;
}

template <typename Number>
std::optional<Number> number_from(const std::string& text) {
  Number number{};
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (text.empty() || error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return number;
}

Status send_datagram(const std::string& path, std::string_view text) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.size() >= sizeof address.sun_path) return fail(ErrorCode::kInvalid, "NOTIFY_SOCKET is too long");
  std::memcpy(address.sun_path, path.data(), path.size());
  if (path.front() == '@') address.sun_path[0] = '\0';  // the abstract namespace
  const UniqueFd socket(::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!socket) return fail_errno("make a socket");
  const auto length = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + path.size());
  if (::sendto(socket.get(), text.data(), text.size(), MSG_NOSIGNAL, reinterpret_cast<const sockaddr*>(&address),
               length) < 0) {
    return fail_errno("tell the service manager at '" + path + "'");
  }
  return {};
}

}  // namespace

ServiceManager::ServiceManager() : socket_(take_variable("NOTIFY_SOCKET")) {
  const auto period = number_from<std::int64_t>(take_variable("WATCHDOG_USEC"));
  const std::string pid = take_variable("WATCHDOG_PID");
  const bool for_us = pid.empty() || number_from<pid_t>(pid) == ::getpid();
  if (!socket_.empty() && for_us && period.value_or(0) > 0) watchdog_ = std::chrono::microseconds(*period);
}

bool ServiceManager::host_goes_down() const {
  if (socket_.empty()) return false;
  io::CommandOptions options;
  options.deadline = BootClock::now() + kManagerAnswer;
  const auto answer = io::run_command({"systemctl", "is-system-running"}, options);
  return answer && answer->standard_output.starts_with("stopping");
}

void ServiceManager::notify(std::string_view state) const {
  if (socket_.empty()) return;
  if (Status sent = send_datagram(socket_, state); !sent) log::warning("{}", sent.error().message());
}

WatchdogFeeder::WatchdogFeeder(const ServiceManager& manager, io::Loop& loop, io::Pool& pool, const Clock& clock)
    : manager_(manager), loop_(loop), pool_(pool), clock_(clock), pool_answered_(clock.now()) {
  if (manager_.watchdog()) check();
}

void WatchdogFeeder::check() {
  if (!asked_) {
    const Status submitted = pool_.submit(loop_, lifetime_, [] {}, [this] {
      asked_ = false;
      pool_answered_ = clock_.now();
    });
    asked_ = submitted.has_value();
  }
  if (clock_.now() - pool_answered_ < kPoolSilence) {
    manager_.notify("WATCHDOG=1");
    told_ = false;
  } else if (!told_) {
    told_ = true;
    log::error("no thread of the pool has become free for {}; the watchdog is not fed any more",
               format_duration(kPoolSilence));
  }
  timer_ = loop_.after(*manager_.watchdog() / kFeedsPerPeriod, [this] { check(); });
}

}  // namespace perdure::node
