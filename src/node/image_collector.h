// Removes root file systems below images_dir that no container of this host has needed for a while: its own, those it stands by
// for, and what is given to other nodes keep theirs.
//
// Loop thread only; files are removed on the pool. What is found unused when perdured starts is unused from then on.
#pragma once

#include <functional>
#include <map>
#include <set>
#include <string>

#include "base/clock.h"
#include "base/result.h"
#include "io/loop.h"
#include "io/pool.h"
#include "io/timers.h"

namespace perdure::node {

struct ImageCollectorOptions {
  io::Loop& loop;
  io::Pool& pool;
  const Clock& clock;
  std::string images_dir;
  Duration life;  // of an image that nobody needs
};

class ImageCollector {
 public:
  using Digests = std::set<std::string>;
  // `in_use` is asked at each look, which comes several times in a life.
  ImageCollector(ImageCollectorOptions options, std::function<Digests()> in_use);
  ImageCollector(const ImageCollector&) = delete;
  ImageCollector& operator=(const ImageCollector&) = delete;

 private:
  void look_later();
  void look();
  void listed(const Digests& here);

  const ImageCollectorOptions options_;
  const std::function<Digests()> in_use_;
  std::map<std::string, Instant> unused_since_;
  io::Timer timer_;
  io::Lifetime lifetime_;
};

}  // namespace perdure::node
