// What happened on this node, numbered: the newest in memory, all of the last weeks in a bounded file of one
// JSON object per line. Loop thread only.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <string>

#include "base/clock.h"
#include "base/fd.h"
#include "base/result.h"
#include "control.pb.h"

namespace perdure::node {

struct EventLogOptions {
  std::string path;  // empty: memory only
  // In memory, for `perdure events` and `inspect`: a busy node has some per second at worst.
  std::size_t keep_in_memory = 4096;
  // Then the file is renamed to PATH.1, whose predecessor goes.
  std::uint64_t file_limit_bytes = 16u << 20;
};

class EventLog {
 public:
  // Reads the end of the file, so that numbers go on and `perdure events` shows what was before a restart.
  // A torn or foreign line is skipped. kIo: the file cannot be opened.
  static Result<EventLog> open(EventLogOptions options, const Clock& clock);

  EventLog(EventLog&&) = default;
  EventLog& operator=(EventLog&&) = default;

  // Sets sequence and time, remembers, writes, tells the subscribers. A disk that is full loses the line in
  // the file, never the event in memory, and says so once.
  void append(control::v1::Event event);

  const std::deque<control::v1::Event>& recent() const { return events_; }

  using Subscriber = std::function<void(const control::v1::Event&)>;
  std::uint64_t subscribe(Subscriber subscriber);
  void unsubscribe(std::uint64_t id);

 private:
  EventLog(EventLogOptions options, const Clock& clock) : options_(std::move(options)), clock_(&clock) {}
  Status load();
  void write_line(const control::v1::Event& event);

  EventLogOptions options_;
  const Clock* clock_;
  std::deque<control::v1::Event> events_;
  std::uint64_t next_sequence_ = 1;
  UniqueFd file_;
  std::uint64_t file_bytes_ = 0;
  bool write_failed_ = false;
  std::map<std::uint64_t, Subscriber> subscribers_;
  std::uint64_t next_subscriber_ = 1;
};

}  // namespace perdure::node
