// An etcd that runs, whether it was started here or found. Inside of this room.
#pragma once

#include <sys/types.h>

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "base/fd.h"
#include "base/result.h"
#include "coord/etcd_server.h"
#include "io/loop.h"
#include "io/process.h"

namespace perdure::coord {

class EtcdProcess {
 public:
  // Starts it with the log file as its output, and writes the pid file.
  static Result<EtcdProcess> spawn(const EtcdServerOptions& options, const std::vector<std::string>& command);
  // What an earlier perdured left running with this data directory.
  static std::optional<EtcdProcess> find(const EtcdServerOptions& options);

  pid_t pid() const { return pid_; }
  int pidfd() const { return child_ ? child_->pidfd() : pidfd_.get(); }
  const std::vector<std::string>& command() const { return command_; }
  void signal(int number) const;
  // Once the pidfd is readable: how it ended, as far as can be known.
  std::string reap();
  bool wait(Instant deadline);
  void release();

  EtcdProcess(EtcdProcess&&) noexcept = default;
  EtcdProcess& operator=(EtcdProcess&&) noexcept = default;

 private:
  EtcdProcess() = default;
  pid_t pid_ = -1;
  std::optional<io::ChildProcess> child_;  // absent: found; then pidfd_
  UniqueFd pidfd_;
  std::vector<std::string> command_;
};

std::string pid_file_of(const EtcdServerOptions& options);
bool has_member_data(const EtcdServerOptions& options);  // it has begun or joined a cluster
// What of two command lines must be the same for one to stand for the other: all but how a cluster is begun or joined.
bool same_service(const std::vector<std::string>& left, const std::vector<std::string>& right);

}  // namespace perdure::coord
