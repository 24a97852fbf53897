// Root file systems between nodes: gives those that this node has, fetches those that it needs, from whoever has them.
//
// Loop thread only; files are read and written on the pool. At most kMaxTransfers archives are given at once; a taker that falls silent
// loses its place.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/ids.h"
#include "base/result.h"
#include "io/loop.h"
#include "io/pool.h"
#include "node/cluster/peers.h"

namespace perdure::node {

inline constexpr std::size_t kMaxImageTransfers = 8;
inline constexpr std::size_t kImageChunkBytes = std::size_t{4} << 20;
inline constexpr Duration kImageTransferIdle = std::chrono::minutes(1);

class ImageExchange {
 public:
  ImageExchange(io::Loop& loop, io::Pool& pool, Peers& peers, std::string images_dir, Duration idle = kImageTransferIdle);
  ~ImageExchange();

  void serve(PeerRequestTable& table);
  // Directories that specifications of this node use in place: they have a digest, but do not lie below images_dir.
  std::function<std::optional<std::string>(const std::string& digest)> find_in_place;

  // Here already, or from the first of `sources` that has it. kNotFound: nobody does; the message says what each one said.
  // Several wishes for one digest are one transfer.
  void fetch(const std::string& digest, std::vector<NodeName> sources, std::function<void(Status)> done);
  // Archives that are given or fetched now, for status.
  std::size_t open_transfers() const;
  // The images of those, which must stay.
  std::set<std::string> open_images() const;

 private:
  struct Giving;
  struct Fetching;
  void on_fetch(PeerRequest request);
  void give_next(std::uint64_t transfer, ResponderRef respond);
  void ask(const std::string& digest);
  void finished(const std::string& digest, const Status& status);
  void forget_idle();

  io::Loop& loop_;
  io::Pool& pool_;
  Peers& peers_;
  const std::string images_dir_;
  const Duration idle_;  // of a taker that is given up
  std::map<std::uint64_t, std::unique_ptr<Giving>> giving_;
  std::uint64_t next_transfer_ = 1;
  std::map<std::string, std::unique_ptr<Fetching>> fetching_;
  io::Timer idle_timer_;
  io::Lifetime lifetime_;
};

}  // namespace perdure::node
