// What a node stores of its containers when it leaves its cluster: their keys stay behind.
#pragma once

#include <string>

#include "base/ids.h"
#include "base/result.h"
#include "replica/capsule_store.h"
#include "replica/file_system.h"

namespace perdure::node {

// `directory` becomes one that holds the newest good generation of `store` alone, written through `files`: all at once, as
// far as others see. What `store` holds elsewhere stays. Nothing there: the directory goes. Blocks (pool threads only).
Status keep_newest_alone(replica::CapsuleStore& store, const ContainerName& container, const std::string& directory,
                         replica::FileSystem& files);

}  // namespace perdure::node
