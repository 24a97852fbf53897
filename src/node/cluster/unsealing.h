// What a node stores of its containers when it leaves its cluster: their keys stay behind.
#pragma once

#include <functional>
#include <mutex>
#include <string>

#include "base/ids.h"
#include "base/result.h"
#include "replica/capsule_store.h"
#include "replica/file_system.h"

namespace perdure::node {

// What is waited for as long as its caller likes: no directory is changed any more after give_up().
class Keeping {
 public:
  void give_up();
  Status in_time(const std::function<Status()>& change);  // kCancelled

 private:
  std::mutex mutex_;
  bool given_up_ = false;
};

// `directory` becomes one that holds the newest good generation alone, written through `files`: all at once, as far as others see.
// `in_memory` is that one, if it is there; else it is loaded from `store`. What `store` holds elsewhere stays. Nothing is
// stored: the directory goes. An error: the directory is as it was. Blocks (pool threads only).
Status keep_newest_alone(replica::CapsuleStore& store, const capsule::CapsuleRef& in_memory, const ContainerName& container,
                         const std::string& directory, replica::FileSystem& files, Keeping& keeping);

}  // namespace perdure::node
