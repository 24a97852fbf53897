// Measures a recovery: when the container failed, when that was noticed, when its processes ran
// again and when the first frame left it.
//
// Loop thread only.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "base/clock.h"
#include "base/ids.h"
#include "io/loop.h"
#include "node/cluster/takeover_times.h"
#include "node/container_backend.h"
#include "node/event_log.h"

namespace perdure::node {

// The last recovery, measured.
struct RestoreReport {
  WallTime at{};
  std::string reason;
  std::optional<Generation> generation;  // empty: started afresh
  std::optional<Duration> noticed;       // since the failure, as the three below
  std::optional<Duration> restored;
  std::optional<Duration> first_packet;
  std::optional<Duration> lost;  // age of the generation at the failure
  std::uint32_t connections_reset = 0;
  // Of a takeover: the failure is the last heartbeat of the former owner that was answered.
  std::optional<NodeName> taken_from;
  std::optional<Duration> swapped;
};

class RecoveryMeter {
 public:
  struct Environment {
    io::Loop& loop;
    const Clock& clock;
    EventLog& events;
  };
  // `changed`: the report has got its first packet.
  RecoveryMeter(Environment environment, const ContainerName& name,
                std::shared_ptr<ContainerBackend> backend, std::function<void()> changed);
  RecoveryMeter(const RecoveryMeter&) = delete;
  RecoveryMeter& operator=(const RecoveryMeter&) = delete;

  // The kernel's report of a death at `at`; the earliest counts.
  void failed(Instant at);
  // The daemon knows of it now, if it did not before; without a kernel's report this is also the failure.
  void noticed();
  // Of the container's end. What was restored before sends no first packet any more.
  void ended(std::string reason) {
    reason_ = std::move(reason);
    first_packet_timer_.reset();
  }
  // No failure: the operator wants the restore.
  void begin_for_operator();
  // The failure came to nothing that has to be recovered from.
  void forget() {
    failed_at_.reset();
    noticed_at_.reset();
  }
  bool under_way() const { return failed_at_.has_value(); }

  // The recovery under way has ended: by a start from the beginning, or by a restore of
  // `generation`, taken at `captured_at` if that is known. The latter waits for the first packet
  // from now on.
  void started_afresh();
  void restored(const Generation& generation, std::optional<Instant> captured_at,
                const RestoreResult& result);

  // It has come here because its owner is silent: the last heartbeat that was answered counts as the failure, for nobody here
  // knows of a later sign of life.
  void taken_over(const TakeoverTimes& times, const Generation& generation, Instant captured_at, const RestoreResult& result);

  // It has come here because its owner could not keep it running; restored() follows.
  void failed_over(Instant failed, Instant noticed, std::string reason);
  // Of the recovery under way.
  std::optional<Instant> failed_at() const { return failed_at_; }
  std::optional<Instant> noticed_at() const { return noticed_at_; }

  // Adds what only the meter knows to the event by which the policy tells of the restore or the takeover.
  void add_details(control::v1::Event& event) const;
  void drop_details() { details_.reset(); }

  const std::optional<RestoreReport>& last() const { return last_; }

 private:
  RestoreReport report_now() const;
  void keep_details(const RestoreReport& report, const RestoreResult& result);
  void watch_first_packet(Instant failed_at, Instant give_up);

  Environment environment_;
  const ContainerName name_;
  std::shared_ptr<ContainerBackend> backend_;
  std::function<void()> changed_;
  std::optional<Instant> failed_at_;  // of the failure that is being recovered from
  std::optional<Instant> noticed_at_;
  std::string reason_;
  std::optional<control::v1::Event> details_;
  std::optional<RestoreReport> last_;
  std::uint64_t frames_before_ = 0;
  io::Timer first_packet_timer_;
};

}  // namespace perdure::node
