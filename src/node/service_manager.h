// What a service manager is told (sd_notify(3)): that we are ready, that we stop, that we are alive. Without
// one ($NOTIFY_SOCKET is not set) nothing happens.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "base/clock.h"
#include "base/result.h"
#include "io/loop.h"
#include "io/pool.h"

namespace perdure::node {

// systemctl(1) answers within some milliseconds.
inline constexpr Duration kManagerAnswer = std::chrono::milliseconds(300);

class ServiceManager {
 public:
  // Reads NOTIFY_SOCKET, WATCHDOG_USEC and WATCHDOG_PID, and takes them out of the environment: what we start
  // must not speak for us.
  ServiceManager();

  // "READY=1" and the like; a failure is logged.
  void notify(std::string_view state) const;
  // Whether it is shutting the host down, or starting it anew: what ends now does not come back soon. Blocking, for
  // kManagerAnswer at most; whoever cannot be asked is not.
  bool host_goes_down() const;
  // How often it wants to hear of us at least; nothing: it does not watch.
  std::optional<Duration> watchdog() const { return watchdog_; }

 private:
  std::string socket_;
  std::optional<Duration> watchdog_;
};

// A thread of the pool may sit in a capture or a restore that long; if none has become free for longer, all of
// them hang and a restart is the remedy. Containers run on over it.
inline constexpr Duration kPoolSilence = std::chrono::minutes(5);

// Feeds the watchdog three times per period, from the loop, as long as the pool does work too. Loop thread only;
// the pool and the loop outlive it.
class WatchdogFeeder {
 public:
  WatchdogFeeder(const ServiceManager& manager, io::Loop& loop, io::Pool& pool, const Clock& clock);

 private:
  void check();

  const ServiceManager& manager_;
  io::Loop& loop_;
  io::Pool& pool_;
  const Clock& clock_;
  Instant pool_answered_;
  bool asked_ = false;
  bool told_ = false;  // the log, of the silence that goes on
  io::Timer timer_;
  io::Lifetime lifetime_;
};

}  // namespace perdure::node
