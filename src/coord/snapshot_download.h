// A snapshot of etcd on its way into a file. Inside of this room.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "base/clock.h"
#include "base/fd.h"
#include "base/result.h"
#include "coord/etcd_admin.h"
#include "coord/etcd_caller.h"
#include "image/sha256.h"
#include "io/loop.h"
#include "io/pool.h"

namespace perdure::coord {

// The file while it is written: "PATH.tmp" until it is complete. Blocking; one thread at a time.
class SnapshotWriter {
 public:
  // kExists: there is such a snapshot. An unfinished one of a crash is replaced.
  static Result<std::shared_ptr<SnapshotWriter>> create(const std::string& path);
  ~SnapshotWriter();  // without finish(): no file is left
  SnapshotWriter(const SnapshotWriter&) = delete;
  SnapshotWriter& operator=(const SnapshotWriter&) = delete;

  Status append(std::string_view bytes);  // kNoSpace, kInvalid: beyond kMaxSnapshotBytes
  // The last 32 bytes are the SHA-256 of all before them: kCorrupt if they are not. Durable afterwards.
  Result<SnapshotFile> finish();

 private:
  SnapshotWriter(std::string path, UniqueFd fd) : path_(std::move(path)), fd_(std::move(fd)) {}
  std::string path_;
  UniqueFd fd_;
  image::Sha256 hash_;
  std::string tail_;  // what may be the digest: written, not hashed
  std::uint64_t bytes_ = 0;
  bool finished_ = false;
};

// Stops without an answer when `owner` has ended; the caller and the pool live as long as that.
void download_snapshot(io::Loop& loop, EtcdCaller& caller, io::Pool& pool, io::Lifetime::Token owner, std::string path,
                       Instant deadline, Answer<SnapshotFile> answer);

}  // namespace perdure::coord
